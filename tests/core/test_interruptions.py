"""Stops and cancellations that come at a bad moment: one end, soon, and nothing left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from redis.asyncio import Redis

from core.streams import DEADLINE, ended_as, ends_in_log, eventually, faulty, read_all, state_key
from resumable_stream import (
    LogUnavailable,
    Status,
    StreamClosed,
    StreamConsumer,
    StreamNotFound,
    StreamProducer,
    _committer,
    _ending,
    _log,
)
from resumable_stream.testing import ScriptedSource
from support import wait_until

CANCELLED = ['{"status":"cancelled"}']


@pytest.fixture
async def producer(redis: Redis) -> AsyncIterator[StreamProducer]:
    async with StreamProducer(redis) as producer:
        yield producer


async def test_a_stop_that_meets_an_append_in_flight_is_obeyed_at_once(
    redis: Redis, producer: StreamProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The append knows nothing of it, and the next sign of life is further away than the test's deadline."""
    written, told = asyncio.Event(), asyncio.Event()
    launch, on_reply, on_message = _log.Log.launch, _committer.Committer.on_reply, _committer.Committer.on_message
    renewing: list[object] = []
    replies: list[Callable[[], None]] = []

    def noted(self: _log.Log, receiver: Any, *args: Any, renew: bool = False, **options: Any) -> bool:
        if renew:
            renewing.append(receiver)
        return launch(self, receiver, *args, renew=renew, **options)

    def slow_reply(self: _committer.Committer, flight: Any, reply: object) -> None:
        if flight in renewing and not told.is_set():
            replies.append(lambda: on_reply(self, flight, reply))
            written.set()
        else:
            on_reply(self, flight, reply)

    def heard(self: _committer.Committer, payload: bytes) -> None:
        on_message(self, payload)
        told.set()

    with anyio.fail_after(DEADLINE):
        await producer.run("first", ScriptedSource(["a"]))  # the server knows the script from now on
        monkeypatch.setattr(_log.Log, "launch", noted)
        monkeypatch.setattr(_committer.Committer, "on_reply", slow_reply)
        monkeypatch.setattr(_committer.Committer, "on_message", heard)
        async with StreamProducer(redis, lease=DEADLINE * 6) as slow:
            task = asyncio.create_task(slow.run("s", ScriptedSource(["a", anyio.Event()])))
            await written.wait()
            assert await producer.cancel("s")
            await told.wait()
            (answer,) = replies
            answer()
            assert (await task).status is Status.CANCELLED


@pytest.mark.parametrize("pause", range(4))
async def test_an_open_block_that_is_cancelled_twice_ends_once(
    redis: Redis, producer: StreamProducer, pause: int
) -> None:
    opened = anyio.Event()

    async def body() -> None:
        async with producer.open("s") as stream:
            await stream.send("a")
            opened.set()
            await anyio.sleep_forever()

    with anyio.fail_after(DEADLINE):
        task = asyncio.create_task(body())
        await opened.wait()
        task.cancel()
        for _ in range(pause):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert await ends_in_log(redis, "s") == CANCELLED


async def test_a_source_that_swallows_its_cancellation_does_not_keep_readers_from_their_end(
    redis: Redis, producer: StreamProducer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_ending, "CLOSE_TIMEOUT", 0.05)
    started, release = anyio.Event(), anyio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        started.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    with anyio.fail_after(DEADLINE):
        task = asyncio.create_task(producer.run("s", source()))
        await started.wait()
        await producer.cancel("s")
        async with StreamConsumer(redis) as consumer:
            assert ended_as(await read_all(consumer, "s")) is Status.CANCELLED
        assert not task.done()
        release.set()
        assert (await task).status is Status.CANCELLED
    assert await ends_in_log(redis, "s") == CANCELLED
    assert "its source does not stop" in caplog.text


async def test_an_error_of_a_source_that_is_stopped_is_logged_and_the_stream_is_cancelled(
    redis: Redis, producer: StreamProducer, caplog: pytest.LogCaptureFixture
) -> None:
    started = anyio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            yield "a"
            started.set()
            await anyio.sleep_forever()
        finally:
            raise RuntimeError("could not save")

    with anyio.fail_after(DEADLINE):
        task = asyncio.create_task(producer.run("s", source()))
        await started.wait()
        await producer.cancel("s")
        assert (await task).status is Status.CANCELLED
    assert await ends_in_log(redis, "s") == CANCELLED
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "RuntimeError" in record.getMessage()
    assert "could not save" not in caplog.text


async def test_a_claim_that_is_cancelled_under_way_ends_its_stream(redis: Redis, valkey_url: str) -> None:
    """Redis has made the stream, and the answer is not here yet: nobody would write it."""
    source = ScriptedSource(["a"])
    with anyio.fail_after(DEADLINE):
        async with faulty(valkey_url) as (proxy, client), StreamProducer(client) as producer:
            await producer.cancel("other")  # it is connected now
            proxy.to_client.hold()
            task = asyncio.create_task(producer.run("s", source))
            await eventually(lambda: redis.exists(state_key("s")))
            task.cancel()
            await anyio.lowlevel.checkpoint()
            proxy.to_client.release()
            await asyncio.wait([task])
    assert task.cancelled()
    assert source.closed
    assert await ends_in_log(redis, "s") == CANCELLED


@pytest.mark.parametrize("way", ["run", "open"])
async def test_a_producer_cancelled_at_any_step_leaves_no_stream_without_an_end(
    redis: Redis, producer: StreamProducer, way: str
) -> None:
    async def run(stream_id: str) -> None:
        await producer.run(stream_id, ScriptedSource(["a", "b"]))

    async def use_open(stream_id: str) -> None:
        async with producer.open(stream_id) as stream:
            await stream.send("a")
            await stream.flush()

    work: Callable[[str], Awaitable[None]] = run if way == "run" else use_open
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer:
            for steps in range(0, 60, 2):
                task = asyncio.ensure_future(work(f"s{steps}"))
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                task.cancel()
                await asyncio.wait([task])
                try:
                    info = await consumer.status(f"s{steps}")
                except StreamNotFound:
                    continue
                assert info.status.ended, steps


async def test_a_flush_in_another_task_ends_when_the_block_is_left(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is silent, so what it waits for never comes."""
    monkeypatch.setattr(_committer, "LAST_WORDS", 0.0)
    with anyio.fail_after(DEADLINE):
        async with faulty(valkey_url) as (proxy, client), StreamProducer(client, outage_timeout=0) as producer:
            flushing: list[asyncio.Task[None]] = []

            async def body() -> None:
                async with producer.open("s") as stream:
                    await stream.send("a")
                    await stream.flush()
                    proxy.blackhole()
                    await stream.send("b")
                    flushing.append(asyncio.create_task(stream.flush()))
                    await wait_until(lambda: proxy.to_server.swallowed)

            with pytest.raises(LogUnavailable):
                await body()
            with pytest.raises((StreamClosed, LogUnavailable)):
                await flushing[0]
