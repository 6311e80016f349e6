"""Redis goes away and comes back: producers and readers go on by themselves, and the log equals the source."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.streams import (
    drain,
    ended_as,
    ends_in_log,
    eventually,
    faulty,
    is_dense,
    log_key,
    read_all,
    take,
    text_in_log,
    text_of,
)
from resumable_stream import Status, StreamConsumer, StreamEvent, StreamLost, StreamProducer, _links
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until

PATIENCE = 60.0


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A server that a test may stop, with an append-only file."""
    async with EmbeddedValkey(tmp_path, appendonly=True, binary=os.environ.get("TEST_REDIS_SERVER")) as server:
        yield server


async def written(redis: Redis, count: int) -> bool:
    return bool(await redis.xlen(log_key("s")) >= count)


async def test_a_server_that_comes_back_empty_is_told_as_lost(tmp_path: Path, no_tasks_left: None) -> None:
    """Without persistence: the producer gets `StreamLost`, an attached reader an end, nobody waits for ever."""
    binary = os.environ.get("TEST_REDIS_SERVER")
    source = ScriptedSource(["a", anyio.Event()])
    got: list[StreamEvent] = []
    async with (
        EmbeddedValkey(tmp_path, binary=binary) as server,
        Redis.from_url(server.url) as redis,
        StreamConsumer(redis) as consumer,
        anyio.create_task_group() as group,
    ):

        async def produce() -> None:
            with pytest.raises(StreamLost):
                await StreamProducer(redis, lease=1).run("s", source)

        with anyio.fail_after(PATIENCE):
            group.start_soon(produce)
            await source.wait_yielded(1)
            group.start_soon(drain, consumer.events("s"), got)
            await wait_until(lambda: got)
            server.kill()
            await anyio.to_thread.run_sync(server.restart)
            await source.wait_closed()
            await wait_until(lambda: got[-1].terminal)
    assert text_of(got) == "a"
    assert ended_as(got) is Status.LOST


@pytest.mark.parametrize("fault", ["cut", "reset_peer", "down"])
async def test_a_connection_that_breaks_is_made_again(redis: Redis, valkey_url: str, fault: str) -> None:
    tokens = numbered(300)
    got: list[StreamEvent] = []
    async with (
        faulty(valkey_url) as (proxy, client),
        StreamConsumer(client) as consumer,
        anyio.create_task_group() as group,
    ):

        async def break_it(count: int) -> None:
            await eventually(lambda: written(redis, count))
            await wait_until(lambda: got)  # a reader that begins without Redis is refused; this one has begun
            if fault == "down":
                await proxy.down()
                await proxy.up()
            else:
                getattr(proxy, fault)()

        script: list[Step] = []
        for index, token in enumerate(tokens):
            script.append(token)
            if index % 30 == 29:
                script.append(partial(break_it, index))
        with anyio.fail_after(PATIENCE):
            claimed = anyio.Event()
            group.start_soon(StreamProducer(client).run, "s", ScriptedSource([claimed.set, *script]))
            await claimed.wait()
            group.start_soon(drain, consumer.events("s"), got)
    assert text_of(got) == "".join(tokens)
    assert is_dense(got)


async def test_without_its_subscription_a_reader_still_gets_everything(redis: Redis, redis_admin: SyncRedis) -> None:
    """Notifications are a shortcut: the connection that they come on is killed before every token."""
    gates = [Gate() for _ in range(8)]
    script: list[Step] = []
    for number, gate in enumerate(gates):
        script += [str(number), gate]
    got: list[StreamEvent] = []
    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        with anyio.fail_after(PATIENCE):
            group.start_soon(StreamProducer(redis, lease=2).run, "s", ScriptedSource(script))
            await gates[0].reached()
            group.start_soon(drain, consumer.events("s"), got)
            for number, gate in enumerate(gates):
                await wait_until(lambda count=number: len(got) > count)  # type: ignore[misc] # bound early
                redis_admin.client_kill_filter(_type="pubsub")
                gate.open()
    assert text_of(got) == "01234567"
    assert ended_as(got) is Status.COMPLETED


async def test_a_subscription_that_falls_silent_is_found_out(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that swallows everything and tells nobody: given up after an unanswered ping, then made anew."""
    monkeypatch.setattr(_links, "CHECK_INTERVAL", 0.1)
    monkeypatch.setattr(_links, "REPLY_TIMEOUT", 0.2)
    async with faulty(valkey_url) as (proxy, client), StreamConsumer(client) as consumer:
        with anyio.fail_after(PATIENCE):
            async with StreamProducer(redis).open("s") as stream:
                await stream.send("a")
                events = consumer.events("s")
                await take(events, 1)
                before = proxy.accepted
                proxy.blackhole()
                await stream.send("b")
                await stream.flush()
                # Sooner than the slow sweep would look at the log, and so find the other connection silent.
                await wait_until(lambda: proxy.accepted > before, timeout=4)
                proxy.heal()
                proxy.cut()
                assert [event.data for event in await take(events, 1)] == ["b"]
            assert [event.type for event in await take(events, 1)] == ["end"]
            await events.aclose()


async def test_scripts_that_the_server_has_forgotten_are_sent_again(redis: Redis) -> None:
    async with StreamProducer(redis) as producer, StreamConsumer(redis) as consumer, producer.open("s") as stream:
        events = consumer.events("s")
        for token in numbered(5):
            await redis.script_flush()
            await stream.send(token)
            assert [event.data for event in await take(events, 1)] == [token]
        await redis.script_flush()
        assert (await consumer.status("s")).status is Status.ACTIVE
        await events.aclose()
    assert await ends_in_log(redis, "s") == ['{"status":"completed"}']


async def errors(redis: Redis, kind: str) -> int:
    """How often the server has refused a command for this reason."""
    stats = await redis.info("errorstats")
    return int(stats.get(f"errorstat_{kind}", {}).get("count", 0))


async def test_a_server_without_memory_is_waited_for(own_server: EmbeddedValkey, no_tasks_left: None) -> None:
    """Refused, not lost: the same ids are written when there is room again."""
    tokens = numbered(50)
    async with Redis.from_url(own_server.url) as redis, StreamProducer(redis) as producer:
        with anyio.fail_after(PATIENCE):
            async with producer.open("s") as stream:
                await redis.config_set("maxmemory", "1")
                for token in tokens:
                    await stream.send(token)
                await eventually(lambda: _at_least(redis, "OOM", 2))
                await redis.config_set("maxmemory", "0")
                await stream.flush()
        assert await text_in_log(redis, "s") == "".join(tokens)


async def test_a_server_that_has_become_a_replica_is_waited_for(
    own_server: EmbeddedValkey, no_tasks_left: None
) -> None:
    """During a failover writes are refused for a while."""
    async with Redis.from_url(own_server.url) as redis, StreamProducer(redis) as producer:
        with anyio.fail_after(PATIENCE):
            async with producer.open("s") as stream:
                await stream.send("a")
                await stream.flush()
                await redis.replicaof("127.0.0.1", "1")
                await stream.send("b")
                await eventually(lambda: _at_least(redis, "READONLY", 1))
                await redis.replicaof("NO", "ONE")
                await stream.send("c")
        assert await text_in_log(redis, "s") == "abc"


async def _at_least(redis: Redis, kind: str, count: int) -> bool:
    try:
        return await errors(redis, kind) >= count
    except RedisError:
        return False


async def test_a_slow_and_shaky_line_changes_nothing(redis: Redis, valkey_url: str) -> None:
    """Latency with jitter, single bytes, a narrow band: later, but equal."""
    tokens = numbered(60)
    async with faulty(valkey_url, seed=5) as (proxy, client), StreamProducer(client) as producer:
        for line in (proxy.to_server, proxy.to_client):
            line.latency, line.jitter = 0.005, 0.005
        with anyio.fail_after(PATIENCE):
            await producer.run("s", ScriptedSource(tokens))
            proxy.heal()
            proxy.to_client.slice_size = 1
            async with StreamConsumer(client) as consumer:
                events = await read_all(consumer, "s")
    assert text_of(events) == "".join(tokens)
    assert is_dense(events)
