"""``resumable-stream serve`` on configured servers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import free_port


@pytest.fixture
def settings(valkey_url: str, database_url: str) -> dict[str, str]:
    return {
        "REDIS_URL": valkey_url,
        "DATABASE_URL": database_url,
        "LLM_PROVIDER": "openai",
        "LLM_MODEL": "any",
        "OPENAI_API_KEY": "no key at all",
        "SHUTDOWN_GRACE_SECONDS": "1",
    }


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_what_the_environment_names_until_it_is_stopped(
    wish: signal.Signals, start: Callable[..., Any], settings: dict[str, str], http: httpx.Client
) -> None:
    server = start("serve", "--port", str(free_port()), **settings)
    server.wait_for("The chat is at")
    assert http.get(f"{server.address}/readyz").json()["status"] == "ready"
    assert http.get(f"{server.address}/docs").status_code == 200
    server.send(wish)
    assert server.wait_for_end() == 0
    assert "Traceback" not in server.output
    assert "no key at all" not in server.output


def test_it_starts_without_its_servers_and_says_what_is_missing(
    start: Callable[..., Any], settings: dict[str, str], http: httpx.Client
) -> None:
    nothing = free_port()
    settings |= {
        "REDIS_URL": f"redis://:hunter2@127.0.0.1:{nothing}/0",
        "DATABASE_URL": f"postgresql://someone:hunter2@127.0.0.1:{nothing}/none",
    }
    server = start("serve", "--port", str(free_port()), **settings)
    server.wait_for("The chat is at")
    reply = http.get(f"{server.address}/readyz")
    assert reply.status_code == 503
    assert reply.json() == {"status": "not_ready", "redis": "unavailable", "postgres": "unavailable"}
    server.send(signal.SIGTERM)
    assert server.wait_for_end() == 0
    assert "hunter2" not in server.output


def test_its_log_is_json_where_that_is_wished(
    start: Callable[..., Any], settings: dict[str, str], http: httpx.Client
) -> None:
    """The argument wins over the setting."""
    settings |= {"LOG_FORMAT": "text", "REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}
    server = start("serve", "--port", str(free_port()), "--log-format", "json", **settings)
    server.wait_for("The chat is at")
    assert http.get(f"{server.address}/v1/threads").status_code == 200
    assert http.post(f"{server.address}/v1/chat/message", json={"message": "hunter2"}).status_code == 503
    server.wait_for("redis is not available")
    server.send(signal.SIGTERM)
    assert server.wait_for_end() == 0
    lines = [json.loads(line) for line in server.output.splitlines() if not line.startswith("The chat is at")]
    assert {"uvicorn.error", "uvicorn.access", "resumable_stream.app"} <= {line["logger"] for line in lines}
    assert {"time", "level", "message"} <= set.intersection(*(set(line) for line in lines))
    assert "hunter2" not in server.output


def test_the_log_of_a_worker_is_json_where_the_settings_say_so(
    start: Callable[..., Any], settings: dict[str, str]
) -> None:
    settings |= {"LOG_FORMAT": "json", "DATABASE_URL": "postgresql://someone:hunter2@127.0.0.1:1/none"}
    worker = start("worker", **settings)
    worker.wait_for("Postgres is not ready")
    worker.send(signal.SIGTERM)
    assert worker.wait_for_end() == 0
    lines = [json.loads(line) for line in worker.output.splitlines() if not line.startswith("The worker")]
    assert "resumable_stream.app" in {line["logger"] for line in lines}
    assert "hunter2" not in worker.output


def test_a_port_in_use_is_told(start: Callable[..., Any], settings: dict[str, str]) -> None:
    port = str(free_port())
    first = start("serve", "--port", port, **settings)
    first.wait_for("The chat is at")
    second = start("serve", "--port", port, **settings)
    assert second.wait_for_end() == 1
    assert f"port {port} of 127.0.0.1 is in use" in second.output
    first.send(signal.SIGTERM)
    assert first.wait_for_end() == 0


def test_settings_come_from_a_file_in_the_current_folder(
    start: Callable[..., Any],
    settings: dict[str, str],
    http: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in settings:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))
    assert not os.environ.get("REDIS_URL")
    server = start("serve", "--port", str(free_port()))
    server.wait_for("The chat is at")
    assert http.get(f"{server.address}/readyz").status_code == 200
    server.send(signal.SIGTERM)
    assert server.wait_for_end() == 0
