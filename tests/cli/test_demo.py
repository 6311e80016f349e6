"""``resumable-stream demo`` as a whole: what it starts, what it keeps, and that it leaves nothing."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from resumable_stream.demo import script
from support import free_port, processes_naming, wait_until_sync


class Demo(Protocol):
    """What `start_demo` gives."""

    @property
    def address(self) -> str: ...
    @property
    def output(self) -> str: ...
    def wait_for(self, text: str) -> None: ...
    def wait_for_end(self, timeout: float = 30) -> int: ...
    def send(self, signal: int) -> None: ...


StartDemo = Callable[..., Demo]


def send(http: httpx.Client, demo: Demo, message: str) -> str:
    reply = http.post(f"{demo.address}/v1/chat/message", json={"message": message})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["thread_id"])


@contextmanager
def events(http: httpx.Client, demo: Demo, thread: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a thread's stream."""
    query = {"thread_id": thread, "format": "json"}
    with http.stream("GET", f"{demo.address}/v1/chat/stream", params=query) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))


def text_of(parts: Iterator[dict[str, Any]]) -> str:
    return "".join(part["data"] for part in parts if part["type"] == "text")


def history(http: httpx.Client, demo: Demo, thread: str) -> list[dict[str, Any]]:
    reply = http.get(f"{demo.address}/v1/thread", params={"thread_id": thread})
    assert reply.status_code == 200, reply.text
    return list(reply.json())


def test_it_answers_from_the_script_and_a_restart_keeps_the_conversation(
    start_demo: StartDemo, http: httpx.Client, open_folder: Path
) -> None:
    demo = start_demo()
    demo.wait_for("Ctrl-C stops everything")
    assert [line.split()[0] for line in demo.output.splitlines()[1:5]] == ["Data", "Valkey", "PostgreSQL", "Agent"]
    assert http.get(demo.address).status_code == 200
    thread = send(http, demo, "search for the lease of a producer")
    with events(http, demo, thread) as parts:
        answer = text_of(parts)
    assert "1. **" in answer

    demo.send(signal.SIGINT)
    assert demo.wait_for_end() == 0
    assert "Everything is stopped" in demo.output
    assert "Traceback" not in demo.output
    assert processes_naming(str(open_folder)) == []

    again = start_demo()
    again.wait_for("Ctrl-C stops everything")
    question, call, found = history(http, again, thread)
    assert question["content"] == "search for the lease of a producer"
    assert call["tool_calls"][0]["name"] == "search"
    assert found["content"] == answer
    threads = http.get(f"{again.address}/v1/threads").json()["threads"]
    assert [one["chat_name"] for one in threads] == ["Search for the lease of a"]


def test_sigterm_ends_it_with_an_open_stream_and_a_silent_model(
    start_demo: StartDemo, http: httpx.Client, open_folder: Path
) -> None:
    demo = start_demo()
    demo.wait_for("Ctrl-C stops everything")
    thread = send(http, demo, "a silent minute")
    with events(http, demo, thread):
        demo.send(signal.SIGTERM)
        assert demo.wait_for_end() == 0
    assert processes_naming(str(open_folder)) == []


def test_a_demo_that_was_killed_leaves_no_server_and_can_start_at_once(
    start_demo: StartDemo, http: httpx.Client, open_folder: Path
) -> None:
    demo = start_demo()
    demo.wait_for("Ctrl-C stops everything")
    thread = send(http, demo, "a long answer about redis")
    with events(http, demo, thread) as parts:
        assert any(part["type"] == "text" for part in parts)
        demo.send(signal.SIGKILL)
        assert demo.wait_for_end() == -signal.SIGKILL
    again = start_demo()
    again.wait_for("Ctrl-C stops everything")
    assert history(http, again, thread)[0]["content"] == "a long answer about redis"
    other = send(http, again, "How do I stop an answer?")
    with events(http, again, other) as parts:
        assert text_of(parts) == "".join(script("How do I stop an answer?"))


@pytest.mark.parametrize(
    ("moment", "wish"),
    [
        ("starting", signal.SIGTERM),
        ("Data folder", signal.SIGINT),
        ("Valkey", signal.SIGTERM),
        ("PostgreSQL", signal.SIGINT),
        ("PostgreSQL", signal.SIGHUP),
        ("Agent", signal.SIGTERM),
    ],
)
def test_a_signal_while_it_starts_leaves_nothing(
    moment: str, wish: signal.Signals, start_demo: StartDemo, open_folder: Path
) -> None:
    demo = start_demo()
    demo.wait_for(moment)
    demo.send(wish)
    code = demo.wait_for_end()
    # Before the first line of the work itself, signals do what they always do.
    assert code == 0 or (moment == "starting" and code in (130, -wish))
    assert "Traceback" not in demo.output
    assert processes_naming(str(open_folder)) == []


def test_a_second_ctrl_c_does_not_wait_and_leaves_nothing_either(start_demo: StartDemo, open_folder: Path) -> None:
    demo = start_demo()
    demo.wait_for("PostgreSQL")
    demo.send(signal.SIGINT)
    demo.send(signal.SIGINT)
    assert demo.wait_for_end() in (0, 130)
    assert "Traceback" not in demo.output
    # initdb, when it is killed, leaves its own child to find that out.
    wait_until_sync(lambda: not processes_naming(str(open_folder)), what="no process is left")


def test_a_second_demo_on_the_same_folder_is_told_of_the_first(start_demo: StartDemo) -> None:
    first = start_demo()
    first.wait_for("Ctrl-C stops everything")
    second = start_demo()
    assert second.wait_for_end() == 1
    assert f"at {first.address}). Stop it, or give another --data-dir." in second.output
    assert "Traceback" not in second.output


def test_a_port_in_use_is_told_before_any_server_starts(start_demo: StartDemo, open_folder: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        demo = start_demo(port=port)
        assert demo.wait_for_end() == 1
    assert f"port {port} of 127.0.0.1 is in use" in demo.output
    assert not (open_folder / "demo" / "valkey").exists()


def test_port_0_takes_any_free_port(start_demo: StartDemo, http: httpx.Client) -> None:
    demo = start_demo(port=0)
    demo.wait_for("Ctrl-C stops everything")
    assert not demo.address.endswith(":0")
    assert http.get(f"{demo.address}/readyz").json()["status"] == "ready"
    demo.send(signal.SIGHUP)
    assert demo.wait_for_end() == 0


def test_a_wrong_setting_in_the_environment_is_told_and_leaves_nothing(
    start_demo: StartDemo, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_TTL_SECONDS", "a while")
    demo = start_demo()
    assert demo.wait_for_end() == 2
    assert "STREAM_TTL_SECONDS" in demo.output
    assert "Traceback" not in demo.output
    assert processes_naming(str(open_folder)) == []
