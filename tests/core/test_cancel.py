"""A stop is a durable wish: any process may utter it, and the producer obeys though its source is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    abandon,
    ends_in_log,
    eventually,
    lease_is_over,
    state_key,
    text_in_log,
)
from resumable_stream import Status, StreamConsumer, StreamProducer, StreamResult
from resumable_stream.testing import Gate, ScriptedSource


async def stopped_run(redis: Redis, source: AsyncIterator[str], ready: Gate, *, stops: int = 1) -> StreamResult:
    """Run a source, stop it when the gate is reached."""
    results: list[StreamResult] = []
    producer = StreamProducer(redis, lease=60)

    async def run() -> None:
        results.append(await producer.run("s", source))

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await ready.reached()
            for _ in range(stops):
                group.start_soon(producer.cancel, "s")
    return results[0]


async def test_a_stopped_run_returns_and_its_source_is_closed(redis: Redis) -> None:
    gate = Gate()
    source = ScriptedSource(["a", gate, "never"])
    result = await stopped_run(redis, source, gate)  # type: ignore[arg-type] # its tokens are text
    assert result.status is Status.CANCELLED
    assert source.cancelled
    assert source.closed
    assert await text_in_log(redis, "s") == "a"


async def test_twenty_stops_at_once_make_one_end(redis: Redis) -> None:
    gate = Gate()
    source = ScriptedSource(["a", gate, "never"])
    await stopped_run(redis, source, gate, stops=20)  # type: ignore[arg-type] # its tokens are text
    assert len(await ends_in_log(redis, "s")) == 1


async def test_what_a_source_saves_as_it_is_stopped_is_there_before_the_end(redis: Redis) -> None:
    """`finally` and `except CancelledError` run to their end, then the terminal event is written."""
    gate = Gate()
    saved: list[str] = []

    async def source() -> AsyncIterator[str]:
        yield "partial"
        try:
            await gate.passage()
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await redis.ping()
                saved.append(await text_in_log(redis, "s"))
                assert await ends_in_log(redis, "s") == []
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await redis.ping()
                assert await ends_in_log(redis, "s") == []
            saved.append("finally")

    result = await stopped_run(redis, source(), gate)
    assert result.status is Status.CANCELLED
    assert saved == ["partial", "finally"]
    assert len(await ends_in_log(redis, "s")) == 1


async def test_what_a_source_saves_as_its_run_is_cancelled_is_there_before_the_end(redis: Redis) -> None:
    """The same when the task of `run` is cancelled, as at a server's shutdown."""
    gate = Gate()
    saved: list[str] = []

    async def source() -> AsyncIterator[str]:
        yield "partial"
        try:
            await gate.passage()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(20):
                    await redis.ping()
                assert await ends_in_log(redis, "s") == []
            saved.append("finally")

    with anyio.fail_after(DEADLINE):
        task = asyncio.create_task(StreamProducer(redis).run("s", source()))
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert saved == ["finally"]
    assert await ends_in_log(redis, "s") == ['{"status":"cancelled"}']


async def test_a_source_that_answers_a_stop_with_a_last_word_is_heard(redis: Redis) -> None:
    gate = Gate()

    async def source() -> AsyncIterator[str]:
        yield "a"
        try:
            await gate.passage()
        except asyncio.CancelledError:
            yield " goodbye"

    result = await stopped_run(redis, source(), gate)
    assert result.status is Status.CANCELLED
    assert await text_in_log(redis, "s") == "a goodbye"


async def test_a_stop_whose_notification_is_lost_is_seen_at_the_next_sign_of_life(redis: Redis) -> None:
    """The wish stands in the state; nobody tells the producer, whose source is silent."""
    gate = Gate()
    source = ScriptedSource(["a", gate])
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(StreamProducer(redis, lease=0.6).run, "s", source)
            await gate.reached()
            await redis.hset(state_key("s"), "s", "1")
            await source.wait_closed()
    assert await ends_in_log(redis, "s") == ['{"status":"cancelled"}']


async def test_a_stop_before_the_start_finds_nothing_and_leaves_nothing(redis: Redis) -> None:
    producer = StreamProducer(redis)
    assert await producer.cancel("s") is False
    assert await redis.dbsize() == 0
    assert (await producer.run("s", ScriptedSource(["a"]))).status is Status.COMPLETED


async def test_a_stop_after_the_end_changes_nothing(redis: Redis) -> None:
    producer = StreamProducer(redis)
    await producer.run("s", ScriptedSource(["a"]))
    assert await producer.cancel("s") is False
    assert await ends_in_log(redis, "s") == ['{"status":"completed"}']


async def test_a_stop_that_found_its_producer_dead_is_obeyed_by_the_next_one(redis: Redis, valkey_url: str) -> None:
    """The new claim ends at once, and its source is closed without having been pulled."""
    await abandon(valkey_url, "s", "a")
    producer = StreamProducer(redis)
    assert await producer.cancel("s") is True
    await eventually(lambda: lease_is_over(redis, "s"))
    source = ScriptedSource(["never", anyio.Event()])
    with anyio.fail_after(DEADLINE):
        result = await producer.run("s", source)
    assert result.status is Status.CANCELLED
    assert source.closed
    assert await text_in_log(redis, "s") == "a"
    assert await ends_in_log(redis, "s") == ['{"status":"cancelled"}']


async def test_a_stop_is_seen_in_the_status_before_it_is_obeyed(redis: Redis) -> None:
    stopped = anyio.Event()
    obey = anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                stopped.set()
                await obey.wait()

    producer = StreamProducer(redis)
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(producer.run, "s", source())
                await eventually(lambda: text_in_log(redis, "s"))
                assert not (await consumer.status("s")).stop_requested
                await producer.cancel("s")
                await stopped.wait()
                info = await consumer.status("s")
                assert (info.status, info.stop_requested) == (Status.ACTIVE, True)
                obey.set()
        assert (await consumer.status("s")).status is Status.CANCELLED


async def test_an_open_block_is_cancelled_by_a_stop_and_the_code_behind_it_goes_on(redis: Redis) -> None:
    producer = StreamProducer(redis)
    with anyio.fail_after(DEADLINE):
        async with producer.open("s") as stream:
            await stream.send("a")
            await producer.cancel("s")
            await anyio.sleep_forever()
    assert stream.status is Status.CANCELLED
    assert await ends_in_log(redis, "s") == ['{"status":"cancelled"}']


async def test_an_open_block_that_is_cancelled_from_outside_ends_cancelled(redis: Redis) -> None:
    inside = anyio.Event()

    async def produce() -> None:
        async with StreamProducer(redis).open("s") as stream:
            await stream.send("a")
            inside.set()
            await anyio.sleep_forever()

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            await inside.wait()
            group.cancel_scope.cancel()
    assert await text_in_log(redis, "s") == "a"
    assert await ends_in_log(redis, "s") == ['{"status":"cancelled"}']


async def test_readers_that_leave_never_stop_a_run(redis: Redis) -> None:
    """The last viewer goes away in the middle; the run comes to its own end."""
    gate = Gate()
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["a", gate, "b"]))
            await gate.reached()
            async with StreamConsumer(redis) as consumer:
                events = consumer.events("s")
                assert (await anext(events)).data == "a"
                await events.aclose()
            gate.open()
    assert await ends_in_log(redis, "s") == ['{"status":"completed"}']
