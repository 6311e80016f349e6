"""A client with any settings works as it is passed in, is not used up, and is given back as it was."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import BlockingConnectionPool, Redis

from core.streams import DEADLINE, drain, eventually, faulty, read_all, text_of
from resumable_stream import LogUnavailable, StreamConsumer, StreamEvent, StreamProducer, _links
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import Gate, ScriptedSource, numbered
from support import connections_of_this_process, wait_until


async def round_trip(redis: Redis) -> None:
    """One stream written, followed, read again, and removed."""
    gate = Gate()
    got: list[StreamEvent] = []
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis) as producer:
            async with anyio.create_task_group() as group:
                group.start_soon(producer.run, "s", ScriptedSource(["é", gate, "\x00"]))
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                gate.open()
            assert text_of(got) == "é\x00"
            assert await read_all(consumer, "s") == got
            assert await producer.delete("s")


SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "RESP2": {"protocol": 2},
    "RESP3": {"protocol": 3},
    "decoded": {"decode_responses": True},
    "decoded RESP3": {"decode_responses": True, "protocol": 3},
    "latin-1": {"encoding": "latin-1", "decode_responses": True},
    "another database": {"db": 5},
    "one connection": {"max_connections": 1},
    "short timeouts": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
    "no timeouts": {"socket_timeout": None},
    "health checks": {"health_check_interval": 1},
    "named": {"client_name": "the-app"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
async def test_a_client_with_any_settings_works(redis: Redis, valkey_url: str, settings: dict[str, Any]) -> None:
    async with Redis.from_url(valkey_url, **settings) as client:
        await round_trip(client)
        assert await client.ping()


async def test_a_blocking_pool_and_a_single_connection_work(redis: Redis, valkey_url: str) -> None:
    pool = BlockingConnectionPool.from_url(valkey_url, max_connections=1, timeout=1)
    async with Redis(connection_pool=pool) as client:
        await round_trip(client)
    await pool.aclose()
    async with Redis.from_url(valkey_url, single_connection_client=True) as client:
        await round_trip(client)


@pytest.fixture
async def locked_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedValkey]:
    """A server with a password, a second user and a Unix socket."""
    folder: Path = tmp_path_factory.mktemp("v")
    settings = {"unixsocket": str(folder / "s"), "user": "app on >secret ~rs1:* &rs1:* +@all"}
    binary = os.environ.get("TEST_REDIS_SERVER")
    async with EmbeddedValkey(folder, password="s3cret", settings=settings, binary=binary) as server:
        yield server


async def test_passwords_users_and_unix_sockets_work(locked_server: EmbeddedValkey, no_tasks_left: None) -> None:
    """Also a user who may touch nothing but this library's keys and channels."""
    path = str(locked_server.data_dir / "s")
    for client in (
        Redis.from_url(locked_server.url),
        Redis(unix_socket_path=path, password="s3cret"),
        Redis(unix_socket_path=path, password="s3cret", protocol=2, decode_responses=True),
        Redis(port=locked_server.port, username="app", password="secret"),
    ):
        async with client:
            await round_trip(client)


async def test_a_wrong_password_is_an_error_that_tells_no_secret(
    locked_server: EmbeddedValkey, no_tasks_left: None
) -> None:
    async with Redis(port=locked_server.port, password="wr0ng") as client:
        with anyio.fail_after(DEADLINE), pytest.raises(LogUnavailable) as caught:
            await StreamProducer(client).run("s", ScriptedSource(["a"]))
        async with StreamConsumer(client) as consumer:
            with pytest.raises(LogUnavailable):
                await consumer.status("s")
    assert "wr0ng" not in str(caught.value)
    assert str(locked_server.port) not in str(caught.value)


async def test_connections_do_not_grow_with_streams_or_viewers(redis: Redis, redis_admin: SyncRedis) -> None:
    """60 streams, 3 viewers each, one producer and one consumer object."""
    gates = [Gate() for _ in range(60)]
    got: list[list[StreamEvent]] = [[] for _ in range(180)]
    async with StreamConsumer(redis) as consumer, StreamProducer(redis) as producer:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for number, gate in enumerate(gates):
                    group.start_soon(producer.run, f"s{number}", ScriptedSource(["a", gate, "b"]))
                    await gate.reached()
                    for viewer in range(3):
                        group.start_soon(drain, consumer.events(f"s{number}"), got[number * 3 + viewer])
                await wait_until(lambda: all(got))
                assert len(connections_of_this_process(redis_admin)) <= 4
                for gate in gates:
                    gate.open()
    assert all(text_of(events) == "ab" for events in got)


async def test_a_bare_producer_opens_connections_only_while_it_works(redis: Redis, redis_admin: SyncRedis) -> None:
    before = len(connections_of_this_process(redis_admin))
    producer = StreamProducer(redis)
    async with producer.open("s"):
        assert len(connections_of_this_process(redis_admin)) > before

    def none_left() -> bool:
        return len(connections_of_this_process(redis_admin)) == before

    await wait_until(none_left)
    await producer.cancel("s")
    await wait_until(none_left)


async def test_a_producer_cancelled_at_any_step_of_its_start_leaves_nothing(redis: Redis) -> None:
    """While it connects, claims, begins to write: the task ends, and no connection or task stays."""
    for steps in range(120):
        source = ScriptedSource(numbered(3))
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(StreamProducer(redis).run, f"s{steps}", source)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        assert source.closed or not source.pulled


async def test_a_call_on_a_line_that_has_fallen_silent_is_given_up(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stands, but nothing comes: neither for ever nor for the kernel's patience."""
    monkeypatch.setattr(_links, "REPLY_TIMEOUT", 0.1)
    async with faulty(valkey_url) as (proxy, client), StreamProducer(client) as producer:
        await producer.cancel("unknown")
        proxy.to_server.swallow = True
        with anyio.fail_after(DEADLINE), pytest.raises(LogUnavailable):
            await producer.cancel("unknown")


async def test_a_server_that_hangs_up_behind_its_greeting_is_not_waited_for(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends as it is taken into service: that must not look like a silent one."""
    monkeypatch.setattr(_links, "REPLY_TIMEOUT", 3600)
    async with faulty(valkey_url) as (proxy, client), StreamProducer(client) as producer:
        with anyio.fail_after(DEADLINE):
            for _ in range(40):
                proxy.to_client.cut_after(len(b"+OK\r\n" * 2))  # to CLIENT SETINFO, twice
                with suppress(LogUnavailable):
                    await producer.cancel("unknown")
                proxy.heal()
                proxy.cut()


async def test_a_borrowed_client_is_never_closed(redis: Redis) -> None:
    async with StreamProducer(redis) as producer, StreamConsumer(redis) as consumer:
        await producer.run("s", ScriptedSource(["a"]))
        await read_all(consumer, "s")
    assert await redis.ping()


async def test_producer_and_consumer_can_be_entered_again(redis: Redis) -> None:
    producer, consumer = StreamProducer(redis), StreamConsumer(redis)
    for number in range(3):
        async with producer, consumer:
            await producer.run(f"s{number}", ScriptedSource(["a"]))
            assert text_of(await read_all(consumer, f"s{number}")) == "a"


async def test_connections_that_the_server_closes_are_made_again(redis: Redis, valkey_url: str) -> None:
    """CLIENT KILL of everything, between and during calls."""
    async with faulty(valkey_url) as (proxy, client), StreamProducer(client) as producer:
        for number in range(5):
            await producer.run(f"s{number}", ScriptedSource(["a"]))
            proxy.cut()

            async def answered() -> bool:
                try:
                    await producer.cancel("unknown")
                except LogUnavailable:
                    return False
                return True

            await eventually(answered)
