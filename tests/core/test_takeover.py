"""A stream whose producer has died, or has let it go, is gone on with by another; one that waits for its first, too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import DEADLINE, ended_as, eventually, is_dense, lease_is_over, read_all, text_of
from resumable_stream import (
    EventID,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamExists,
    StreamFenced,
    StreamHandOver,
    StreamLost,
    StreamNotFound,
    StreamProducer,
    StreamResult,
    _log,
)
from resumable_stream._buffer import entry
from resumable_stream._log import Log
from resumable_stream._names import Names
from resumable_stream.testing import Gate, ScriptedSource

LONG = 600.0


@pytest.fixture
async def producer(redis: Redis) -> AsyncIterator[StreamProducer]:
    async with StreamProducer(redis, takeover=LONG) as producer:
        yield producer


@pytest.fixture
async def consumer(redis: Redis) -> AsyncIterator[StreamConsumer]:
    async with StreamConsumer(redis) as consumer:
        yield consumer


async def hand_over(*tokens: str) -> AsyncIterator[str]:
    for token in tokens:
        yield token
    raise StreamHandOver


async def test_a_source_that_hands_over_leaves_a_stream_that_another_goes_on_with(
    producer: StreamProducer, consumer: StreamConsumer
) -> None:
    """Fails without the early end of the lease (`_scripts.py`)."""
    result = await producer.run("s", hand_over("one ", "two"))
    assert result.status is Status.ACTIVE
    info = await consumer.status("s")
    assert (info.status, info.orphaned) == (Status.ACTIVE, True)

    async with await consumer.attach("s") as viewer:
        first = await viewer.advance()
        assert first is not None
        assert text_of(first.events) == "one two"
        await producer.run("s", ScriptedSource(["three"]), existing=True)
        rest: list[StreamEvent] = []
        with anyio.fail_after(DEADLINE):
            while (span := await viewer.advance()) is not None:
                rest += span.events
    assert [(event.type, event.data) for event in rest[:2]] == [("restarted", ""), ("text", "three")]
    assert is_dense([*first.events, *rest])
    assert ended_as(rest) is Status.COMPLETED
    assert not (await consumer.status("s")).orphaned


async def test_a_stream_that_nobody_takes_over_in_time_is_lost(redis: Redis, consumer: StreamConsumer) -> None:
    async with StreamProducer(redis, takeover=0.2) as producer:
        await producer.run("s", hand_over("one"))
        assert ended_as(await read_all(consumer, "s")) is Status.LOST
        with pytest.raises(StreamExists):
            await producer.run("s", ScriptedSource(["two"]), existing=True)


async def test_readers_wait_for_an_heir_as_long_as_the_takeover_lasts(
    redis: Redis, producer: StreamProducer, consumer: StreamConsumer
) -> None:
    """A lease that has run out for longer than the grace of a burial does not end the stream.

    Fails without the window of a takeover (`_scripts.py`).
    """
    log = Log(redis)
    async with log:
        names = Names.of("s")
        claim = await log.claim(names, stream_id="s", lease=0.1, retention=60, takeover=LONG)
        await eventually(lambda: orphaned(consumer))
        for _ in range(2):
            left = await log.bury(names)
            assert left is not None
            assert left > LONG / 2
        assert claim.head == 0
    await producer.run("s", ScriptedSource(["at last"]))
    events = await read_all(consumer, "s")
    assert text_of(events) == "at last"


async def orphaned(consumer: StreamConsumer) -> bool:
    return (await consumer.status("s")).orphaned


async def test_a_producer_that_is_cancelled_can_hand_over(producer: StreamProducer, consumer: StreamConsumer) -> None:
    gate = Gate()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await producer.run("s", ScriptedSource(["one", gate]), cancelled_as=Status.ACTIVE)

        group.start_soon(run)
        with anyio.fail_after(DEADLINE):
            await gate.reached()
        group.cancel_scope.cancel()
    assert await orphaned(consumer)


async def test_the_old_producer_is_fenced_by_its_heir(redis: Redis, consumer: StreamConsumer) -> None:
    """One that was only slow: what it still sends after the takeover is refused."""
    async with StreamProducer(redis, lease=LONG, takeover=LONG) as slow, StreamProducer(redis) as heir:
        fenced: list[type[Exception]] = []
        gate = Gate()

        async def run() -> None:
            try:
                await slow.run("s", ScriptedSource(["old", gate, "older"]))
            except StreamFenced as error:
                fenced.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            with anyio.fail_after(DEADLINE):
                await gate.reached()
                await eventually(lambda: written(consumer, 1))
                last_id = (await consumer.status("s")).last_id
                assert last_id is not None
                async with Log(redis) as log:
                    await log.release(Names.of("s"), last_id.generation)
                await heir.run("s", ScriptedSource(["new"]), existing=True)
                gate.open()
    assert fenced == [StreamFenced]
    assert text_of(await read_all(consumer, "s")) == "oldnew"


async def written(consumer: StreamConsumer, count: int) -> bool:
    last_id = (await consumer.status("s")).last_id
    return last_id is not None and last_id.sequence >= count


async def test_a_reserved_stream_can_be_read_before_it_has_a_producer(
    producer: StreamProducer, consumer: StreamConsumer
) -> None:
    """Its reader sees the first producer's events and nothing of the wait, not even a restart.

    Fails without the origin of a log without events (`_scripts.py`).
    """
    await producer.reserve("s", seconds=LONG)
    assert await orphaned(consumer)
    events: list[StreamEvent] = []
    async with anyio.create_task_group() as group:

        async def read() -> None:
            async with await consumer.attach("s") as viewer:
                attached.set()
                while (span := await viewer.advance()) is not None:
                    events.extend(span.events)

        attached = anyio.Event()
        group.start_soon(read)
        with anyio.fail_after(DEADLINE):
            await attached.wait()
            result = await producer.run("s", ScriptedSource(["one", "two"]), existing=True)
    assert result == StreamResult(Status.COMPLETED, events[-1].id)
    assert [event.type for event in events] == ["text", "text", "end"]
    assert is_dense(events)


async def test_a_reserved_stream_that_nobody_writes_is_lost(producer: StreamProducer, consumer: StreamConsumer) -> None:
    await producer.reserve("s", seconds=0.1)
    assert ended_as(await read_all(consumer, "s")) is Status.LOST


async def test_a_stream_is_reserved_once(producer: StreamProducer) -> None:
    """Fails without the refusal to reserve what is there (`_scripts.py`)."""
    await producer.reserve("s", seconds=LONG)
    with pytest.raises(StreamExists):
        await producer.reserve("s", seconds=LONG)
    await producer.run("s", ScriptedSource(["one"]))
    with pytest.raises(StreamExists):
        await producer.reserve("s", seconds=LONG)


async def test_a_reserved_stream_that_was_cancelled_ends_so_without_its_source(
    producer: StreamProducer, consumer: StreamConsumer
) -> None:
    await producer.reserve("s", seconds=LONG)
    assert await producer.cancel("s")
    source = ScriptedSource(["never"])
    assert (await producer.run("s", source)).status is Status.CANCELLED
    assert source.pulled == 0
    assert [event.type for event in await read_all(consumer, "s")] == ["end"]


async def test_nothing_is_made_where_an_existing_stream_is_wanted(redis: Redis, producer: StreamProducer) -> None:
    """Fails without the refusal to make a stream (`_scripts.py`)."""
    with pytest.raises(StreamNotFound):
        await producer.run("s", ScriptedSource(["one"]), existing=True)
    await producer.reserve("s", seconds=LONG)
    await producer.delete("s")
    with pytest.raises(StreamNotFound):
        await producer.run("s", ScriptedSource(["one"]), existing=True)
    assert await redis.keys("*s}*") == [] or all("gone" in str(key) for key in await redis.keys("*s}*"))


async def test_a_producer_is_told_why_its_source_is_cancelled(producer: StreamProducer) -> None:
    told: list[type[Exception] | None] = []

    async def run(stream_id: str, gate: Gate) -> None:
        with suppress(StreamLost):
            await producer.run(stream_id, ScriptedSource(["one", gate]), on_interrupt=note)

    def note(error: Exception | None) -> None:
        told.append(None if error is None else type(error))

    for stream_id, interrupt in ("stopped", producer.cancel), ("deleted", producer.delete):
        gate = Gate()
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(run, stream_id, gate)
                await gate.reached()
                await interrupt(stream_id)
    await producer.run("undisturbed", ScriptedSource(["one"]), on_interrupt=note)
    assert told == [None, StreamLost]


async def test_a_producer_that_was_not_heard_of_is_given_the_grace_before_its_stream_is_an_orphan(
    redis: Redis, consumer: StreamConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails without the date of abandonment (`_scripts.py`)."""
    monkeypatch.setattr(_log, "GRACE", LONG)
    async with Log(redis) as log:
        names = Names.of("s")
        claim = await log.claim(names, stream_id="s", lease=0.1, retention=60, takeover=LONG)
        await eventually(lambda: lease_is_over(redis, "s"))
        assert not await orphaned(consumer)
        appended = await log.append(names, EventID(claim.generation, 1), [entry(b"text", b"late")])
        assert appended.outcome == "ok"


async def test_letting_go_of_a_stream_that_has_changed_hands_changes_nothing(
    redis: Redis, consumer: StreamConsumer
) -> None:
    """Fails without the generation in a release (`_scripts.py`)."""
    async with Log(redis) as log:
        names = Names.of("s")
        old = await log.claim(names, stream_id="s", lease=0.1, retention=60, takeover=LONG)
        await eventually(lambda: lease_is_over(redis, "s"))
        await log.claim(names, stream_id="s", lease=LONG, retention=60)
        await log.release(names, old.generation)
        info = await consumer.status("s")
        assert (info.status, info.orphaned) == (Status.ACTIVE, False)


async def test_a_stream_without_a_producer_can_be_ended_at_once(
    producer: StreamProducer, consumer: StreamConsumer
) -> None:
    """Fails without the end that waits for no heir (`_scripts.py`)."""
    await producer.run("s", hand_over("one"))
    assert await producer.end("s", Status.CANCELLED)
    assert ended_as(await read_all(consumer, "s")) is Status.CANCELLED
    async with producer.open("alive"):
        assert not await producer.end("alive", Status.LOST)
