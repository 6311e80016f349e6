"""A failover to a replica that was behind: what was acknowledged and is gone is written again, or told."""

from __future__ import annotations

import anyio
import pytest
from redis.asyncio import Redis

from core.processes import producer_process
from core.replication import Pair, lagging_pair
from core.streams import (
    DEADLINE,
    abandon,
    drain,
    ended_as,
    eventually,
    is_dense,
    lease_is_over,
    log_key,
    read_all,
    since_reset,
    text_in_log,
    text_of,
)
from resumable_stream import (
    Status,
    StreamConsumer,
    StreamEvent,
    StreamLost,
    StreamProducer,
    StreamWriter,
    _buffer,
    _log,
)
from resumable_stream.testing import numbered
from support import wait_until

TOKENS = numbered(150)


async def write(stream: StreamWriter, tokens: list[str]) -> None:
    for token in tokens:
        await stream.send(token)
    await stream.flush()


async def replicated(pair: Pair, text: str) -> None:
    async with Redis.from_url(pair.replica.url) as copy:

        async def there() -> bool:
            return await text_in_log(copy, "s") == text

        await eventually(there, what="the replica has what was written")


@pytest.mark.parametrize("trimmed", [0, 40])
async def test_what_a_failover_has_lost_is_written_again_by_its_producer(trimmed: int, no_tasks_left: None) -> None:
    """Readers of any time get all of it: the one who had it, the one who resumes behind it, the one who comes later.

    Fails without the check of the log's head (`APPEND` in `_scripts.py`), and without the tail (`_buffer.py`).
    """
    got: list[StreamEvent] = []
    async with (
        lagging_pair() as pair,
        Redis(port=pair.way.port) as redis,
        StreamConsumer(redis) as consumer,
        StreamProducer(redis, lease=60) as producer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                await write(stream, TOKENS[:50])
                await redis.xtrim(log_key("s"), maxlen=50 - trimmed, approximate=False)
                await replicated(pair, "".join(TOKENS[trimmed:50]))
                group.start_soon(drain, consumer.events("s"), got)
                pair.line.blackhole()
                await write(stream, TOKENS[50:100])
                await wait_until(lambda: text_of(got) == "".join(TOKENS[trimmed:100]))
                cursor = got[-1].id
                await pair.fail_over()
                await write(stream, TOKENS[100:])
            await wait_until(lambda: got[-1].terminal)
            async with StreamConsumer(redis) as elsewhere:
                later = await read_all(elsewhere, "s")
            resumed = await read_all(consumer, "s", after=cursor)
    for events in (since_reset(got), later):
        assert text_of(events) == "".join(TOKENS[trimmed:])
        assert [event.data for event in events if event.type == "gap"] == [{"missed": 40}] * bool(trimmed)
        assert is_dense(events) or trimmed
        assert ended_as(events) is Status.COMPLETED
    assert text_of(resumed) == "".join(TOKENS[100:])


async def test_what_nobody_has_any_more_is_told_as_a_gap(no_tasks_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The producer keeps a bounded tail: to those who come later the rest is missing, by number.

    Fails without the check of the log's head (`APPEND` in `_scripts.py`), and without the tail (`_buffer.py`).
    """
    monkeypatch.setattr(_buffer, "TAIL_BYTES", 1000)
    got: list[StreamEvent] = []
    async with (
        lagging_pair() as pair,
        Redis(port=pair.way.port) as redis,
        StreamConsumer(redis) as consumer,
        StreamProducer(redis, lease=60) as producer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                await write(stream, TOKENS[:50])
                await replicated(pair, "".join(TOKENS[:50]))
                group.start_soon(drain, consumer.events("s"), got)
                pair.line.blackhole()
                for token in TOKENS[50:100]:
                    await write(stream, [token])
                await wait_until(lambda: len(got) == 100)
                cursor = got[69].id
                await pair.fail_over()
                await write(stream, TOKENS[100:])
            await wait_until(lambda: got[-1].terminal)
            async with StreamConsumer(redis) as elsewhere:  # the first one may still have all of it in its window
                later = await read_all(elsewhere, "s")
                resumed = await read_all(elsewhere, "s", after=cursor)
    gap = next(event for event in later if event.type == "gap")
    assert isinstance(gap.data, dict)
    missed = gap.data["missed"]
    assert 0 < missed < 50
    assert text_of(later) == "".join(TOKENS[:50] + TOKENS[50 + missed :])
    assert [event.type for event in resumed].count("gap") == 1
    assert text_of(resumed) == "".join(TOKENS[50 + missed :])
    assert text_of(since_reset(got)) in ("".join(TOKENS), text_of(later))  # it had them, or was told to drop them


async def test_a_newest_event_that_somebody_deletes_is_a_gap_and_nothing_more(redis: Redis) -> None:
    """Its producer cannot tell that from a failover; Redis refuses to have the event again."""
    async with StreamProducer(redis) as producer, StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                await write(stream, ["a", "b"])
                await redis.xdel(log_key("s"), str(stream.last_id))
                await write(stream, ["c"])
            events = await read_all(consumer, "s")
    assert [(event.type, event.data) for event in events[:-1]] == [
        ("text", "a"),
        ("gap", {"missed": 1}),
        ("text", "c"),
    ]
    assert ended_as(events) is Status.COMPLETED


async def test_a_producer_that_died_with_the_primary_leaves_what_the_replica_has(
    no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had more is told to drop it; all get the same end."""
    monkeypatch.setattr(_log, "GRACE", 0.2)
    got: list[StreamEvent] = []
    async with (
        lagging_pair() as pair,
        producer_process(pair.primary.url, "s", lease=0.6) as process,
        Redis(port=pair.way.port) as redis,
        StreamConsumer(redis) as consumer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            await process.send(*TOKENS[:50])
            await replicated(pair, "".join(TOKENS[:50]))
            group.start_soon(drain, consumer.events("s"), got)
            pair.line.blackhole()
            await process.send(*TOKENS[50:100])
            await wait_until(lambda: len(got) == 100)
            cursor = got[-1].id
            await process.kill()
            await pair.fail_over()
            await wait_until(lambda: got[-1].terminal)
            later = await read_all(consumer, "s")
            resumed = await read_all(consumer, "s", after=cursor)
    assert [event.type for event in got].count("reset") == 1
    assert since_reset(got) == later
    assert [event.type for event in resumed] == ["reset", *(event.type for event in later)]
    assert text_of(later) == "".join(TOKENS[:50])
    assert ended_as(later) is Status.LOST


async def test_a_stream_whose_end_a_failover_has_lost_ends_lost(
    no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is there to write it again. A reader who had it is told, should it come back.

    Fails without the burial by whoever notices (`bury` in `_fanout.py`).
    """
    monkeypatch.setattr(_log, "GRACE", 0.2)
    async with lagging_pair() as pair, Redis(port=pair.way.port) as redis:
        with anyio.fail_after(DEADLINE):
            async with StreamProducer(redis, lease=0.5).open("s") as stream:
                await write(stream, ["a"])
                await replicated(pair, "a")
                pair.line.blackhole()
            async with StreamConsumer(redis) as consumer:
                before = await read_all(consumer, "s")
            await pair.fail_over()
            async with StreamConsumer(redis) as consumer:
                resumed = await read_all(consumer, "s", after=before[-1].id)
                later = await read_all(consumer, "s")
    assert ended_as(before) is Status.COMPLETED
    assert [event.type for event in resumed] == ["reset", "text", "end"]
    assert resumed[1:] == later
    assert ended_as(later) is Status.LOST


async def test_a_stream_whose_claim_a_failover_has_lost_is_lost(no_tasks_left: None) -> None:
    got: list[StreamEvent] = []
    async with (
        lagging_pair() as pair,
        Redis(port=pair.way.port) as redis,
        StreamConsumer(redis) as consumer,
        StreamProducer(redis, lease=60) as producer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            pair.line.blackhole()
            with pytest.raises(StreamLost):  # noqa: PT012 - the block is what raises
                async with producer.open("s") as stream:
                    await write(stream, TOKENS[:10])
                    group.start_soon(drain, consumer.events("s"), got)
                    await wait_until(lambda: len(got) == 10)
                    await pair.fail_over()
                    await write(stream, TOKENS[10:20])
            await wait_until(lambda: got[-1].terminal)
    assert text_of(got) == "".join(TOKENS[:10])
    assert ended_as(got) is Status.LOST


async def test_a_takeover_that_a_failover_has_lost_leaves_the_attempt_before_it(
    no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer is told that its stream is lost, not that somebody else has it: there is nobody.

    Fails without the comparison of generations by size (`APPEND` in `_scripts.py`).
    """
    monkeypatch.setattr(_log, "GRACE", 0.2)
    got: list[StreamEvent] = []
    async with (
        lagging_pair() as pair,
        Redis(port=pair.way.port) as redis,
        StreamConsumer(redis) as consumer,
        StreamProducer(redis, lease=60) as producer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            await abandon(pair.primary.url, "s", "old", lease=0.2)
            await replicated(pair, "old")
            await eventually(lambda: lease_is_over(redis, "s"))
            pair.line.blackhole()
            with pytest.raises(StreamLost):  # noqa: PT012 - the same
                async with producer.open("s") as stream:
                    await write(stream, ["new"])
                    group.start_soon(drain, consumer.events("s"), got)
                    await wait_until(lambda: len(got) == 3)
                    await pair.fail_over()
                    await write(stream, ["more"])
            await wait_until(lambda: got[-1].terminal)
    assert [event.type for event in got] == ["text", "restarted", "text", "reset", "text", "end"]
    assert [event.data for event in since_reset(got)][:1] == ["old"]
    assert ended_as(got) is Status.LOST
