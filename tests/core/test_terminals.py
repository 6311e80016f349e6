"""Whatever happens to the source, a stream ends exactly once, typed, and replays the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    ended_as,
    ends_in_log,
    eventually,
    faulty,
    is_dense,
    log_of,
    read_all,
    text_in_log,
    text_of,
)
from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamFailure,
    StreamProducer,
    _producer,
)
from resumable_stream.testing import Gate, ScriptedSource, numbered


class Boom(BaseException):
    """Not an ``Exception``."""


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("error", [ValueError("secret-key"), Boom("secret-key"), StopAsyncIteration("secret-key")])
async def test_an_error_of_the_source_ends_the_stream_and_is_raised(
    redis: Redis, error: BaseException, count: int
) -> None:
    """All tokens before it stay, the end says `failed`, and the error's text goes to nobody."""
    source = ScriptedSource([*numbered(count), error])
    if isinstance(error, StopAsyncIteration):
        await StreamProducer(redis).run("s", source)
        expected = Status.COMPLETED
    else:
        with pytest.raises(type(error)):
            await StreamProducer(redis).run("s", source)
        expected = Status.FAILED
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
        assert await read_all(consumer, "s") == events
        info = await consumer.status("s")
    assert text_of(events) == "".join(numbered(count))
    assert ended_as(events) is expected
    assert is_dense(events)
    assert (info.status, info.last_id) == (expected, events[-1].id)
    assert info.code == ("error" if expected is Status.FAILED else None)
    assert "secret" not in str(await log_of(redis, "s"))
    assert source.closed


async def test_a_source_can_say_in_safe_words_how_it_failed(redis: Redis) -> None:
    failure = StreamFailure("provider_unavailable", "The model does not answer.")
    with pytest.raises(StreamFailure):
        await StreamProducer(redis).run("s", ScriptedSource(["a", failure]))
    async with StreamConsumer(redis) as consumer:
        end = (await read_all(consumer, "s"))[-1]
        info = await consumer.status("s")
    assert end.data == {
        "status": "failed",
        "code": "provider_unavailable",
        "message": "The model does not answer.",
    }
    assert (info.code, info.message) == ("provider_unavailable", "The model does not answer.")


async def test_a_source_that_raises_as_it_is_closed_fails_the_stream_once(redis: Redis) -> None:
    class Source(ScriptedSource):
        async def aclose(self) -> None:
            await super().aclose()
            raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):
        await StreamProducer(redis).run("s", Source(["a"]))
    ends = await ends_in_log(redis, "s")
    assert len(ends) == 1
    assert '"status":"failed"' in ends[0]
    assert "secret" not in ends[0]


async def test_what_is_no_source_is_refused_before_the_claim(redis: Redis) -> None:
    with pytest.raises(TypeError):
        await StreamProducer(redis).run("s", ["a"])  # type: ignore[arg-type]
    assert await redis.dbsize() == 0


async def test_a_source_that_raises_a_cancellation_of_its_own_ends_cancelled(redis: Redis) -> None:
    with pytest.raises(asyncio.CancelledError):
        await StreamProducer(redis).run("s", ScriptedSource(["a", asyncio.CancelledError()]))
    assert await ends_in_log(redis, "s") == ['{"status":"cancelled"}']


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


async def test_redis_away_at_the_end_is_waited_for(redis: Redis, valkey_url: str) -> None:
    """The end is written when Redis is back, behind everything that was buffered meanwhile."""
    async with faulty(valkey_url) as (proxy, client), anyio.create_task_group() as group:
        with anyio.fail_after(DEADLINE):
            source = ScriptedSource(["a ", proxy.down, "b ", "c"])
            group.start_soon(StreamProducer(client).run, "s", source)
            await source.wait_closed()
            assert await ends_in_log(redis, "s") == []
            await proxy.up()
    assert await text_in_log(redis, "s") == "a b c"
    assert await ends_in_log(redis, "s") == ['{"status":"completed"}']


async def test_redis_away_for_too_long_is_an_error_and_readers_are_told(redis: Redis, valkey_url: str) -> None:
    """`LogUnavailable` for the caller, the source closed; for readers the stream is `lost`."""
    source = ScriptedSource(["a", anyio.Event()])
    async with (
        StreamConsumer(redis) as consumer,
        faulty(valkey_url) as (proxy, client),
        anyio.create_task_group() as group,
    ):

        async def run() -> None:
            with pytest.raises(LogUnavailable):
                await StreamProducer(client, lease=0.5, outage_timeout=0.5).run("s", source)

        with anyio.fail_after(DEADLINE):
            group.start_soon(run)
            await eventually(lambda: text_in_log(redis, "s"))
            await proxy.down()
            await source.wait_closed()
            events = await read_all(consumer, "s")
    assert text_of(events) == "a"
    assert ended_as(events) is Status.LOST


async def test_a_source_that_does_not_close_cannot_hold_the_end_back(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bounded wait readers get the end; the call still returns only when the source is closed."""
    monkeypatch.setattr(_producer, "CLOSE_TIMEOUT", 0.05)
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
    monkeypatch.setattr(_producer, "CLOSE_TIMEOUT", 0.05)
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
