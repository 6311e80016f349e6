"""Promise 11: whatever happens to its source, a stream ends exactly once, typed, and replays the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    drain,
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
from promises.matrix import Variant, everywhere, in_corners
from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamFailure,
    StreamProducer,
    _committer,
    _log,
)
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered


class Boom(BaseException):
    """Not an ``Exception``."""


class FailsWhenClosed(ScriptedSource):
    """A source whose clean-up raises."""

    async def aclose(self) -> None:
        await super().aclose()
        raise ValueError("secret-key")


async def one_end(redis: Redis, client: Redis, attached: list[StreamEvent], status: Status) -> dict[str, object]:
    """There is one terminal event, of this kind, for those who were there and for all who come. Returns its data."""
    assert len(await ends_in_log(redis, "s")) == 1
    assert "secret" not in str(await log_of(redis, "s"))
    assert ended_as(attached) is status
    assert is_dense(attached)
    async with StreamConsumer(client) as consumer:
        for _ in range(2):
            assert await read_all(consumer, "s") == attached
        info = await consumer.status("s")
    assert (info.status, info.last_id) == (status, attached[-1].id)
    end = attached[-1].data
    assert isinstance(end, dict)
    assert (info.code, info.message) == (end.get("code"), end.get("message"))
    return end


ERRORS: dict[str, tuple[int, BaseException]] = {
    "an error at once": (0, ValueError("secret-key")),
    "an error": (7, ValueError("secret-key")),
    "a BaseException": (1, Boom("secret-key")),
    "a failure in its own words": (2, StreamFailure("provider_unavailable", "The model does not answer.")),
    "a cancellation of its own": (3, asyncio.CancelledError()),
}


@pytest.mark.promise(number=11)
@everywhere
@pytest.mark.parametrize(("count", "error"), ERRORS.values(), ids=ERRORS.keys())
async def test_a_source_that_raises_ends_its_stream_once(
    redis: Redis, client: Redis, count: int, error: BaseException
) -> None:
    """All tokens before it stay, the caller gets the error, and readers an end without its text.

    Fails without the catch of everything (`_producer.py`).
    """
    gate = Gate()
    script: list[Step] = [*numbered(count), gate, error]
    source = ScriptedSource(script)
    got: list[StreamEvent] = []

    async def run() -> None:
        with pytest.raises(type(error)):
            await StreamProducer(client).run("s", source)

    async with StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                gate.open()
    if isinstance(error, asyncio.CancelledError):
        status, code = Status.CANCELLED, None
    else:
        status, code = Status.FAILED, error.code if isinstance(error, StreamFailure) else "error"
    end = await one_end(redis, client, got, status)
    assert end.get("code") == code
    assert text_of(got) == "".join(numbered(count))
    assert source.closed


@pytest.mark.promise(number=11)
@everywhere
@pytest.mark.parametrize("stopped", [False, True], ids=["at its end", "stopped"])
async def test_a_hook_that_raises_as_the_source_is_closed_leaves_one_end(
    redis: Redis, client: Redis, *, stopped: bool
) -> None:
    """What the source does last may fail: the stream says `failed`, or `cancelled` where somebody stopped it.

    Fails without the precedence of a stop (`_ending.py`).
    """
    gate = Gate()
    got: list[StreamEvent] = []

    async def run() -> None:
        if stopped:
            await producer.run("s", FailsWhenClosed(["a", gate]))
        else:
            with pytest.raises(ValueError, match="secret"):
                await producer.run("s", FailsWhenClosed(["a", gate]))

    async with StreamProducer(client) as producer, StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                if stopped:
                    await producer.cancel("s")
                else:
                    gate.open()
    await one_end(redis, client, got, Status.CANCELLED if stopped else Status.FAILED)
    assert text_of(got) == "a"


@pytest.mark.promise(number=11)
@everywhere
@pytest.mark.parametrize("status", [Status.CANCELLED, Status.LOST])
async def test_a_run_that_is_cancelled_from_outside_ends_once(redis: Redis, client: Redis, status: Status) -> None:
    """Twice in a row, as a shutdown does it: the source is closed, and its last words are in the log before the end.

    Fails without the shelter of the end (`_ending.py`).
    """
    gate, closing = Gate(), Gate()
    got: list[StreamEvent] = []

    async def source() -> AsyncIterator[str]:
        yield "a"
        try:
            await gate.passage()
        finally:
            await closing.passage()
            assert await ends_in_log(redis, "s") == []

    async with StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                task = asyncio.create_task(StreamProducer(client).run("s", source(), cancelled_as=status))
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                task.cancel()
                await closing.reached()
                task.cancel()
                closing.open()
                with pytest.raises(asyncio.CancelledError):
                    await task
    await one_end(redis, client, got, status)
    assert text_of(got) == "a"


@pytest.mark.promise(number=11)
@everywhere
async def test_a_server_that_is_away_at_the_end_is_waited_for(
    redis: Redis, client: Redis, valkey_url: str, variant: Variant
) -> None:
    """The end is written when it is back, behind everything that was buffered meanwhile.

    Fails without the patience with the end (`_committer.py`).
    """
    got: list[StreamEvent] = []
    async with faulty(valkey_url, **variant.settings) as (proxy, shaky), StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                source = ScriptedSource(["a ", proxy.down, "b ", "c"])
                group.start_soon(StreamProducer(shaky).run, "s", source)
                await source.wait_closed()
                group.start_soon(drain, consumer.events("s"), got)
                assert await ends_in_log(redis, "s") == []
                await proxy.up()
    await one_end(redis, client, got, Status.COMPLETED)
    assert text_of(got) == "a b c"


@pytest.mark.promise(number=11)
@in_corners
async def test_a_server_that_is_away_for_too_long_is_an_error_and_readers_get_lost(
    redis: Redis, client: Redis, valkey_url: str, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can write the end then: readers make it, once, when the lease is over.

    Fails without the outage timeout (`_committer.py`).
    """
    monkeypatch.setattr(_committer, "LAST_WORDS", 0.5)
    monkeypatch.setattr(_log, "GRACE", 0.2)
    got: list[StreamEvent] = []
    source = ScriptedSource(["a", anyio.Event()])
    async with faulty(valkey_url, **variant.settings) as (proxy, shaky), StreamConsumer(client) as consumer:

        async def run() -> None:
            with pytest.raises(LogUnavailable):
                await StreamProducer(shaky, lease=0.5, outage_timeout=0.5).run("s", source)

        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                await eventually(lambda: text_in_log(redis, "s"))
                group.start_soon(drain, consumer.events("s"), got)
                await proxy.down()
    await one_end(redis, client, got, Status.LOST)
    assert source.closed
    assert text_of(got) == "a"
