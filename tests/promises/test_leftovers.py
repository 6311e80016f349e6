"""Promise 24: no key without a time to live, no task and no connection is left, whatever happened.

The fixtures ``empty_redis`` and ``no_tasks_left`` look after every test of a promise. Here is that they do, that they
would see it, and what they cannot see afterwards: each moment of a stream's life.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    abandon,
    drain,
    ended_as,
    eventually,
    faulty,
    lease_is_over,
    log_key,
    read_all,
    state_key,
)
from promises.matrix import Variant, everywhere, in_corners, in_pairs
from resumable_stream import LogUnavailable, ResumableStreamError, Status, StreamConsumer, StreamProducer, _log
from resumable_stream.testing import Gate, ScriptedSource, numbered
from support import keys_without_ttl, no_connections_left, no_tasks_left


def test_every_test_of_a_promise_is_looked_after(request: pytest.FixtureRequest) -> None:
    """Whatever it leaves behind fails it. This sees the tests of the run that it is part of."""
    tests = [item for item in request.session.items if item.get_closest_marker("promise")]
    assert tests
    for item in tests:
        assert isinstance(item, pytest.Function)
        fixtures = set(item.fixturenames)
        if item.path.parent.name == "chat":
            # Its tasks are in processes of servers, which share a Valkey for a file: that is looked at in the end.
            assert "valkey_url" in fixtures, item
        else:
            assert "no_tasks_left" in fixtures, item
            assert fixtures & {"empty_redis", "every_server"}, item


@in_corners
async def test_what_is_left_behind_would_be_seen(redis: Redis, client: Redis, redis_admin: SyncRedis) -> None:
    """The test of the look itself: a key, a connection and a task."""
    await redis.set("for ever", "x")
    assert keys_without_ttl(redis_admin) == [b"for ever"]
    await redis.delete("for ever")
    with pytest.raises(AssertionError, match="every connection"), no_connections_left(redis_admin, timeout=0.05):
        await client.ping()
    with pytest.raises(AssertionError, match="every task"):
        async with no_tasks_left(timeout=0.05):
            task = asyncio.create_task(anyio.sleep_forever())
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def expiring(admin: SyncRedis, *, keys: int = 2, at_most: float) -> None:
    """There are so many keys, and each has so many seconds to live at most."""
    assert admin.dbsize() == keys
    for key in admin.scan_iter():
        assert 0 < admin.pttl(key) <= at_most * 1000


@pytest.mark.promise(number=24)
@everywhere
async def test_every_key_expires_from_the_moment_it_exists(client: Redis, redis_admin: SyncRedis) -> None:
    """From the claim, before anything else was said to Redis; while it is written, stopped, ended and deleted.

    Fails without the time to live that a claim gives (`_scripts.py`).
    """
    with anyio.fail_after(DEADLINE):
        async with StreamProducer(client, lease=5, retention=60) as producer:
            async with producer.open("s") as stream:
                expiring(redis_admin, at_most=65)
                await stream.send("a")
                await stream.flush()
                expiring(redis_admin, at_most=65)
            expiring(redis_admin, at_most=60)
            await producer.delete("s")
            gate = Gate()
            task = asyncio.create_task(producer.run("s", ScriptedSource(["a", gate])))
            await gate.reached()
            await producer.cancel("s")
            assert (await task).status is Status.CANCELLED
            expiring(redis_admin, at_most=60)
            await producer.cancel("unknown")
            await producer.delete("unknown")
            expiring(redis_admin, at_most=60)


@pytest.mark.promise(number=24)
@in_corners
async def test_what_a_dead_producer_left_expires_whoever_finds_it(
    redis: Redis, client: Redis, valkey_url: str, redis_admin: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken over, buried, or buried without its state, of which nobody knows how long it was to be kept.

    Fails without the time to live that a burial gives (`_scripts.py`).
    """
    monkeypatch.setattr(_log, "GRACE", 0.2)
    async with StreamConsumer(client) as consumer:
        await abandon(valkey_url, "s", "a")
        expiring(redis_admin, at_most=901)
        await eventually(lambda: lease_is_over(redis, "s"))
        await StreamProducer(client, lease=5, retention=60).run("s", ScriptedSource(["b"]))
        expiring(redis_admin, at_most=60)
        for stream_id in ("t", "u"):
            await abandon(valkey_url, stream_id, "a")
        await redis.delete(state_key("u"))
        await redis.persist(log_key("u"))
        for stream_id in ("t", "u"):
            assert ended_as(await read_all(consumer, stream_id)) is Status.LOST
        expiring(redis_admin, keys=5, at_most=900)


@pytest.mark.promise(number=24)
@in_pairs
async def test_nothing_is_left_of_work_that_is_cut_off_at_any_step(
    client: Redis, valkey_url: str, variant: Variant
) -> None:
    """Producers and readers that are cancelled, on a line that is cut: then the consumer goes, readers and all.

    Fails without the end of the subscriptions (`_log.py`).
    """
    async with faulty(valkey_url, **variant.settings) as (proxy, shaky):

        async def read(consumer: StreamConsumer, stream_id: str) -> None:
            with suppress(ResumableStreamError):
                await drain(consumer.events(stream_id, wait=DEADLINE), [])

        with anyio.fail_after(DEADLINE):
            async with (
                anyio.create_task_group() as readers,
                StreamConsumer(shaky) as consumer,
                StreamProducer(shaky) as producer,
            ):
                for steps in range(0, 80, 4):
                    readers.start_soon(read, consumer, f"s{steps}")
                    run = asyncio.create_task(producer.run(f"s{steps}", ScriptedSource([*numbered(3), anyio.Event()])))
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    if steps % 16 == 0:
                        proxy.cut()
                    run.cancel()
                    with suppress(asyncio.CancelledError, LogUnavailable):
                        await run
                    async with anyio.create_task_group() as doomed:
                        doomed.start_soon(read, consumer, f"s{steps}")
                        await anyio.lowlevel.checkpoint()
                        doomed.cancel_scope.cancel()
