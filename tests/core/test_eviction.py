"""What the server's memory policy does to streams: a warning beforehand, and what happens under each of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from redis.asyncio import Redis

from core.replication import BINARY
from core.streams import (
    DEADLINE,
    drain,
    ended_as,
    eventually,
    is_dense,
    log_key,
    read_all,
    state_key,
    text_in_log,
    text_of,
)
from resumable_stream import LogUnavailable, Status, StreamConsumer, StreamEvent, StreamLost, StreamProducer, _committer
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until

EVICTING = [
    "allkeys-lru", "allkeys-lfu", "allkeys-random",
    "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
]  # fmt: skip
FILLER = "x" * 50_000


@asynccontextmanager
async def server_with(policy: str, maxmemory: str = "1gb", **settings: str) -> AsyncIterator[EmbeddedValkey]:
    """A server of its own, which this process has never talked to."""
    memory = {"maxmemory-policy": policy, "maxmemory": maxmemory, "lfu-log-factor": "0"}
    async with EmbeddedValkey(binary=BINARY, settings=memory | settings) as server:
        yield server


async def use(redis: Redis) -> None:
    """Connect from a producer and from a consumer, twice each."""
    with anyio.fail_after(DEADLINE):
        for name in ("a", "b"):
            await StreamProducer(redis).run(name, ScriptedSource(["x"]))
            async with StreamConsumer(redis) as consumer:
                assert text_of(await read_all(consumer, name)) == "x"


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("policy", "maxmemory", "settings"),
    [
        ("noeviction", "1gb", {}),
        ("allkeys-lru", "0", {}),
        ("allkeys-lru", "1gb", {"user": "app on nopass ~* &* +@all -info -config"}),
    ],
    ids=["noeviction", "without a limit", "the answer is forbidden"],
)
async def test_other_servers_are_used_without_a_word(
    policy: str, maxmemory: str, settings: dict[str, str], caplog: pytest.LogCaptureFixture, no_tasks_left: None
) -> None:
    user = "app:any@" if "user" in settings else ""
    async with (
        server_with(policy, maxmemory, **settings) as server,
        Redis.from_url(f"redis://{user}127.0.0.1:{server.port}") as redis,
    ):
        await use(redis)
    assert warnings_in(caplog) == []


async def fill(redis: Redis) -> None:
    """Write into a server that is all but full, which may refuse it."""
    pipeline = redis.pipeline(transaction=False)
    for number in range(10):
        pipeline.set(f"filler{number}", FILLER)
        for _ in range(20):  # as often as a policy that counts wants to see
            pipeline.get(f"filler{number}")
    await pipeline.execute(raise_on_error=False)


@pytest.mark.parametrize("policy", EVICTING)
async def test_an_evicted_stream_is_lost_to_its_producer_and_its_readers(
    policy: str, caplog: pytest.LogCaptureFixture, no_tasks_left: None
) -> None:
    """Whichever of its two keys went first; Redis itself tells neither of them anything. Both were warned, once.

    Fails without the memory of who was asked, and without the warning (`_eviction.py`).
    """
    source = ScriptedSource(["a", anyio.Event()])
    got: list[StreamEvent] = []
    async with (
        server_with(policy) as server,
        Redis.from_url(server.url) as redis,
        StreamConsumer(redis) as consumer,
        anyio.create_task_group() as group,
    ):

        async def produce() -> None:
            with pytest.raises(StreamLost):
                await StreamProducer(redis, lease=0.6).run("s", source)

        with anyio.fail_after(DEADLINE):
            await use(redis)
            [warning] = warnings_in(caplog)
            group.start_soon(produce)
            await source.wait_yielded(1)
            group.start_soon(drain, consumer.events("s"), got)
            await wait_until(lambda: got)
            await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] + 200_000)
            while await redis.exists(log_key("s"), state_key("s")) == 2:
                await fill(redis)
            await source.wait_closed()
            await wait_until(lambda: got[-1].terminal)
    assert text_of(got) == "a"
    assert ended_as(got) is Status.LOST
    assert policy in warning
    assert "noeviction" in warning
    assert str(server.port) in warning
    assert warnings_in(caplog) == [warning]


async def test_a_full_server_that_evicts_nothing_holds_a_stream_up_until_there_is_room(no_tasks_left: None) -> None:
    tokens = numbered(200)
    gate, full = Gate(), Gate()
    got: list[StreamEvent] = []
    async with (
        server_with("noeviction") as server,
        Redis.from_url(server.url) as redis,
        StreamConsumer(redis) as consumer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            script: list[Step] = [*tokens[:100], gate, *tokens[100:], full]
            group.start_soon(StreamProducer(redis, lease=1).run, "s", ScriptedSource(script))
            await gate.reached()
            group.start_soon(drain, consumer.events("s"), got)
            await wait_until(lambda: len(got) == 100)
            await redis.config_set("maxmemory", "1")
            gate.open()
            await full.reached()
            before = await refused(redis)
            await eventually(lambda: refused_since(redis, before + 3), what="the producer has tried again")
            assert await text_in_log(redis, "s") == "".join(tokens[:100])
            await redis.config_set("maxmemory", "1gb")
            full.open()
            await wait_until(lambda: got[-1].terminal)
    assert text_of(got) == "".join(tokens)
    assert is_dense(got)
    assert ended_as(got) is Status.COMPLETED


async def refused(redis: Redis) -> int:
    """How many commands the server has refused for want of memory."""
    return int((await redis.info("errorstats")).get("errorstat_OOM", {}).get("count", 0))


async def refused_since(redis: Redis, count: int) -> bool:
    return await refused(redis) >= count


async def test_a_server_that_stays_full_fails_the_stream_and_its_readers_are_told_when_there_is_room(
    no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the end can be written. Who reads waits, as when Redis is away; the first who can ends it as `lost`."""
    monkeypatch.setattr(_committer, "LAST_WORDS", 0.2)
    got: list[StreamEvent] = []
    source = ScriptedSource(["a", full := Gate(), "b", anyio.Event()])
    async with (
        server_with("noeviction") as server,
        Redis.from_url(server.url) as redis,
        StreamConsumer(redis) as consumer,
        anyio.create_task_group() as group,
    ):
        failed = anyio.Event()

        async def produce() -> None:
            with pytest.raises(LogUnavailable):
                await StreamProducer(redis, lease=0.5, outage_timeout=0.2).run("s", source)
            failed.set()

        with anyio.fail_after(DEADLINE):
            group.start_soon(produce)
            await full.reached()
            group.start_soon(drain, consumer.events("s"), got)
            await wait_until(lambda: got)
            await redis.config_set("maxmemory", "1")
            full.open()
            await failed.wait()
            assert source.closed
            assert not got[-1].terminal
            await redis.config_set("maxmemory", "1gb")
            await wait_until(lambda: got[-1].terminal)
    assert text_of(got) == "a"
    assert ended_as(got) is Status.LOST
