"""Promise 9: what is gone is told in-band, whatever took it: never passed over, never waited for without end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    abandon,
    drain,
    ended_as,
    eventually,
    ids_of,
    lease_is_over,
    log_key,
    read_all,
    state_key,
    text_of,
)
from promises.matrix import everywhere, in_pairs
from resumable_stream import (
    EventID,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamLost,
    StreamNotFound,
    StreamProducer,
)
from resumable_stream.testing import Gate, ScriptedSource, numbered
from support import wait_until

Loss = Callable[[Redis], Awaitable[object]]


async def expire(redis: Redis) -> None:
    """Let the time to live of everything run out."""
    for key in (log_key("s"), state_key("s")):
        await redis.pexpire(key, 1)
    await eventually(lambda: _empty(redis), what="everything has expired")


async def evict(redis: Redis) -> None:
    """Let the server itself remove every key for want of memory."""
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        await redis.config_set("maxmemory", "1")
        await eventually(lambda: _empty(redis), what="everything is evicted")
    finally:
        await redis.config_set("maxmemory", "0")
        await redis.config_set("maxmemory-policy", "noeviction")


async def _empty(redis: Redis) -> bool:
    return await redis.dbsize() == 0


LOSSES: dict[str, Loss] = {
    "expired": expire,
    "evicted": evict,
    "log evicted": lambda redis: redis.delete(log_key("s")),
    "state evicted": lambda redis: redis.delete(state_key("s")),
    "deleted": lambda redis: StreamProducer(redis).delete("s"),
    "flushed": lambda redis: redis.flushall(),
}
whatever_takes_it = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


async def finished(client: Redis, *tokens: str) -> list[StreamEvent]:
    """A stream that has ended, and its events."""
    await StreamProducer(client).run("s", ScriptedSource(tokens))
    async with StreamConsumer(client) as consumer:
        return await read_all(consumer, "s")


@pytest.mark.promise(number=9)
@in_pairs
@whatever_takes_it
async def test_a_stream_that_vanishes_under_a_reader_ends_lost(redis: Redis, client: Redis, loss: Loss) -> None:
    """The reader gets an end, the producer `StreamLost`, and the source is closed. Nothing comes to life again.

    Fails without the end that stands in no log (`_fanout.py`).
    """
    gate = Gate()
    source = ScriptedSource(["a", gate, anyio.Event()])
    got: list[StreamEvent] = []

    async def produce() -> None:
        with pytest.raises(StreamLost):
            await StreamProducer(client, lease=0.3).run("s", source)

    async with StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(produce)
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                await wait_until(lambda: got)
                await loss(redis)
    assert source.closed
    assert text_of(got) == "a"
    assert ended_as(got) is Status.LOST


@pytest.mark.promise(number=9)
@everywhere
async def test_a_reader_that_comes_back_to_what_has_vanished_is_told(redis: Redis, client: Redis) -> None:
    """With a cursor or without: it is not there, or it is `lost`, or the rest can still be read. Never silence.

    Fails without the word for what is not there (`_fanout.py`).
    """
    for name, loss in LOSSES.items():
        events = await finished(client, *numbered(5))
        await loss(redis)
        async with StreamConsumer(client) as consumer:
            for cursor, rest in ((None, events), (events[2].id, events[3:])):
                if name == "state evicted":
                    assert await read_all(consumer, "s", after=cursor) == rest
                elif name == "log evicted":
                    got = await read_all(consumer, "s", after=cursor)
                    assert (got[-1].id, ended_as(got)) == (None, Status.LOST)
                    assert [event.type for event in got[:-1]] == (["reset"] if cursor else [])
                    assert (await consumer.status("s")).status is Status.LOST
                else:
                    with pytest.raises(StreamNotFound):
                        await read_all(consumer, "s", after=cursor)
                    with pytest.raises(StreamNotFound):
                        await consumer.status("s")
        await redis.flushall()


@pytest.mark.promise(number=9)
@everywhere
async def test_a_cursor_that_was_trimmed_away_gets_a_gap_and_then_what_there_is(redis: Redis, client: Redis) -> None:
    """The gap has no id and says how many are missing.

    Fails without the gap (`_hub.py`).
    """
    events = await finished(client, *numbered(20))
    await redis.xtrim(log_key("s"), maxlen=6, approximate=False)
    async with StreamConsumer(client) as consumer:
        rest = await read_all(consumer, "s", after=events[4].id)
        assert (rest[0].type, rest[0].id, rest[0].data) == ("gap", None, {"missed": 10})
        assert rest[1:] == events[15:]
        from_the_start = await read_all(consumer, "s")
        assert from_the_start[0].data == {"missed": 15}
        assert from_the_start[1:] == events[15:]
        assert await read_all(consumer, "s", after=events[14].id) == events[15:]


@pytest.mark.promise(number=9)
@everywhere
async def test_a_cursor_that_the_log_cannot_place_gets_a_reset_and_everything(client: Redis) -> None:
    """One of another run, or from the future after a failover: what follows is the whole stream.

    Fails without the reset (`_hub.py`).
    """
    events = await finished(client, "a", "b")
    last = ids_of(events)[-1]
    async with StreamConsumer(client) as consumer:
        for generation, sequence in ((0, 1), (0, 3), (0, 100), (5, -2), (-5, 0)):
            cursor = EventID(last.generation + generation, last.sequence + sequence)
            rest = await read_all(consumer, "s", after=cursor)
            assert (rest[0].type, rest[0].id, rest[0].data) == ("reset", None, "")
            assert rest[1:] == events


@pytest.mark.promise(number=9)
@everywhere
async def test_a_cursor_of_a_stream_that_was_deleted_and_made_anew_gets_a_reset(client: Redis) -> None:
    """The old numbers must not be mistaken for new ones.

    Fails without the generation in a cursor (`_log.py`).
    """
    old = await finished(client, *numbered(10))
    await StreamProducer(client).delete("s")
    new = await finished(client, *numbered(10, start=11))
    async with StreamConsumer(client) as consumer:
        rest = await read_all(consumer, "s", after=old[3].id)
    assert rest[0].type == "reset"
    assert rest[1:] == new


@pytest.mark.promise(number=9)
@in_pairs
async def test_a_stream_that_is_restarted_says_so_to_old_and_new_readers(
    redis: Redis, client: Redis, valkey_url: str
) -> None:
    """A new claim of a stream left behind: `restarted` stands between the attempts, and the numbers go on.

    Fails without the mark between two claims (`_scripts.py`).
    """
    await abandon(valkey_url, "s", "first")
    got: list[StreamEvent] = []
    async with StreamConsumer(client) as consumer, anyio.create_task_group() as group:
        with anyio.fail_after(DEADLINE):
            group.start_soon(drain, consumer.events("s"), got)
            await wait_until(lambda: got)
            await eventually(lambda: lease_is_over(redis, "s"))
            await StreamProducer(client).run("s", ScriptedSource(["second"]))
            await wait_until(lambda: got[-1].terminal)
        assert await read_all(consumer, "s") == got
        assert await read_all(consumer, "s", after=got[0].id) == got[1:]
    assert [event.type for event in got] == ["text", "restarted", "text", "end"]
    assert [event_id.sequence for event_id in ids_of(got)] == [1, 2, 3, 4]
