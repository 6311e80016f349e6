"""Whatever happens to the source, a stream ends exactly once, typed, and replays the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    ends_in_log,
    eventually,
    text_in_log,
)
from resumable_stream import (
    Status,
    StreamProducer,
    _ending,
)
from resumable_stream.testing import Gate, ScriptedSource


class Boom(BaseException):
    """Not an ``Exception``."""


async def test_what_is_no_source_is_refused_before_the_claim(redis: Redis) -> None:
    with pytest.raises(TypeError):
        await StreamProducer(redis).run("s", ["a"])  # type: ignore[arg-type]
    assert await redis.dbsize() == 0


async def test_a_source_that_raises_the_end_of_an_iteration_has_come_to_its_end(redis: Redis) -> None:
    source = ScriptedSource(["a", StopAsyncIteration("secret")])
    assert (await StreamProducer(redis).run("s", source)).status is Status.COMPLETED
    assert source.closed
    assert await text_in_log(redis, "s") == "a"
    assert await ends_in_log(redis, "s") == ['{"status":"completed"}']


@pytest.mark.parametrize("error", [ValueError("x"), Boom("x")])
async def test_an_error_in_an_open_block_ends_the_stream_and_is_raised(redis: Redis, error: BaseException) -> None:
    with pytest.raises(type(error)):  # noqa: PT012 - the block is what is tested
        async with StreamProducer(redis).open("s") as stream:
            await stream.send("a")
            raise error
    assert stream.status is Status.FAILED
    assert await text_in_log(redis, "s") == "a"
    assert len(await ends_in_log(redis, "s")) == 1


async def test_an_iterable_without_aclose_is_a_source_too(redis: Redis) -> None:
    class Words:
        def __aiter__(self) -> AsyncIterator[str]:
            return self.words()

        async def words(self) -> AsyncIterator[str]:
            yield "a"
            yield "b"

    assert (await StreamProducer(redis).run("s", Words())).status is Status.COMPLETED
    assert await text_in_log(redis, "s") == "ab"


async def test_a_source_that_does_not_close_cannot_hold_the_end_back(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bounded wait readers get the end; the call still returns only when the source is closed."""
    monkeypatch.setattr(_ending, "CLOSE_TIMEOUT", 0.05)
    stuck = Gate()

    async def source() -> AsyncIterator[str]:
        yield "a"
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await stuck.passage()

    with anyio.fail_after(DEADLINE):
        task = asyncio.create_task(StreamProducer(redis).run("s", source()))
        await eventually(lambda: text_in_log(redis, "s"))
        task.cancel()
        await eventually(lambda: ends_in_log(redis, "s"))
        assert not task.done()
        stuck.open()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(await ends_in_log(redis, "s")) == 1


async def test_a_source_that_does_not_obey_a_stop_cannot_hold_the_end_back(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person pressed stop: readers see `cancelled` within the bound though the source hangs."""
    monkeypatch.setattr(_ending, "CLOSE_TIMEOUT", 0.05)
    stuck = Gate()

    async def source() -> AsyncIterator[str]:
        yield "a"
        with anyio.CancelScope(shield=True):
            await stuck.passage()
        yield "too late"

    producer = StreamProducer(redis)
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(producer.run, "s", source())
            await stuck.reached()
            await producer.cancel("s")
            await eventually(lambda: ends_in_log(redis, "s"))
            stuck.open()
    assert await ends_in_log(redis, "s") == ['{"status":"cancelled"}']
    assert await text_in_log(redis, "s") == "a"
