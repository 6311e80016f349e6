"""What is lost is told in-band: `gap`, `reset` or `lost`; never passed over, never waited for without end."""

from __future__ import annotations

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
    log_of,
    read_all,
    state_key,
    take,
    text_of,
)
from resumable_stream import (
    EventID,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamFenced,
    StreamInfo,
    StreamLost,
    StreamNotFound,
    StreamProducer,
    _pages,
    _window,
)
from resumable_stream.testing import Gate, ScriptedSource, numbered
from support import wait_until


async def finished(redis: Redis, *tokens: str, stream_id: str = "s") -> list[StreamEvent]:
    """A stream that has ended, and its events."""
    await StreamProducer(redis).run(stream_id, ScriptedSource(tokens))
    async with StreamConsumer(redis) as consumer:
        return await read_all(consumer, stream_id)


async def test_a_hole_inside_the_log_is_a_gap(redis: Redis) -> None:
    """XDEL by a stranger: the reader is told where."""
    events = await finished(redis, *numbered(10))
    await redis.xdel(log_key("s"), str(events[4].id), str(events[5].id))
    async with StreamConsumer(redis) as consumer:
        rest = await read_all(consumer, "s")
    assert [event.data for event in rest[:4]] == numbered(4)
    assert (rest[4].type, rest[4].data) == ("gap", {"missed": 2})
    assert rest[5:] == events[6:]


async def test_trimming_under_a_reader_that_lags_is_a_gap(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window has moved on and the log was trimmed meanwhile."""
    monkeypatch.setattr(_window, "WINDOW_BYTES", 1)
    monkeypatch.setattr(_pages, "COLD_PAGES", 0)  # nor does another reader leave what it has read
    async with StreamConsumer(redis) as consumer:
        gate = Gate()
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["0 ", gate, *numbered(2000)]))
                await gate.reached()
                reader = consumer.events("s")
                got = await take(reader, 1)
                gate.open()
                await drain(consumer.events("s"), [])
            await redis.xtrim(log_key("s"), maxlen=101, approximate=False)
            got += [event async for event in reader]
    assert [event.type for event in got].count("gap") == 1
    assert text_of(got) == "0 " + "".join(numbered(100, start=1901))
    assert ended_as(got) is Status.COMPLETED


async def test_a_bounded_stream_tells_a_late_reader_that_its_head_is_gone(redis: Redis) -> None:
    await StreamProducer(redis, max_events=100).run("s", ScriptedSource(numbered(1000)))
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
    assert events[0].type == "gap"
    assert isinstance(events[0].data, dict)
    assert events[0].data["missed"] + len(events) - 1 == 1001
    assert ended_as(events) is Status.COMPLETED


async def test_a_cursor_from_before_a_takeover_goes_on_behind_it(redis: Redis, valkey_url: str) -> None:
    """Two generations in one log: a cursor of the first is placed, whatever the state says of the second."""
    await abandon(valkey_url, "s", "a", "b")
    cursor = (await log_of(redis, "s"))[0][0]
    await eventually(lambda: lease_is_over(redis, "s"))
    await StreamProducer(redis).run("s", ScriptedSource(["c"]))
    async with StreamConsumer(redis) as consumer:
        rest = await read_all(consumer, "s", after=cursor)
    assert [event.type for event in rest] == ["text", "restarted", "text", "end"]


async def test_a_log_that_was_evicted_alone_is_lost(redis: Redis) -> None:
    """The state says that there was a stream: its readers get an end, not an error."""
    await finished(redis, "a")
    await redis.delete(log_key("s"))
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
        info = await consumer.status("s")
    assert [(event.type, event.id, event.status) for event in events] == [("end", None, Status.LOST)]
    assert info == StreamInfo("s", Status.LOST, None)


async def test_a_log_whose_state_was_evicted_can_still_be_read(redis: Redis) -> None:
    """From the start and from a cursor; a cursor that is no entry gets a reset."""
    events = await finished(redis, *numbered(5))
    await redis.delete(state_key("s"))
    async with StreamConsumer(redis) as consumer:
        assert await read_all(consumer, "s") == events
        assert await read_all(consumer, "s", after=events[2].id) == events[3:]
        rest = await read_all(consumer, "s", after=EventID(7, 2))
        assert rest[0].type == "reset"
        assert rest[1:] == events
        assert (await consumer.status("s")).status is Status.COMPLETED


@pytest.mark.parametrize("kept", [0, 2], ids=["all", "the newest"])
async def test_a_reader_whose_events_and_state_are_gone_is_reset_when_the_stream_is_buried(
    redis: Redis, kept: int
) -> None:
    """The end ``lost`` gets a number that the reader has had; `Peek.places` tells though there is no state to ask."""
    events = await finished(redis, "a", "b")
    async with StreamConsumer(redis) as consumer, await consumer.attach("s", after=events[1].id) as viewer:
        await redis.xdel(log_key("s"), *map(str, ids_of(events)[kept:]))
        await redis.delete(state_key("s"))
        async with StreamConsumer(redis) as other:
            assert (await other.status("s")).status is Status.LOST
        await wait_until(lambda: viewer._feed.epoch)  # it has had the other end in memory
        got: list[StreamEvent] = []
        with anyio.fail_after(DEADLINE):
            while (span := await viewer.advance()) is not None:
                got += span.events
    assert [event.type for event in got] == ["reset", *["text"] * kept, "end"]
    assert ended_as(got) is Status.LOST


async def test_a_stream_that_is_made_anew_under_a_reader_resets_it(redis: Redis) -> None:
    """FLUSHALL, then the same id again: the reader of the old one is told, and gets the new one whole."""
    first, second = Gate(), Gate()
    got: list[StreamEvent] = []
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:

                async def lose() -> None:
                    with pytest.raises((StreamLost, StreamFenced)):
                        await StreamProducer(redis).run("s", ScriptedSource([*numbered(9), first, "never"]))

                group.start_soon(lose)
                await first.reached()
                group.start_soon(drain, consumer.events("s"), got)
                await wait_until(lambda: len(got) == 9)
                pipeline = redis.pipeline(transaction=True)
                pipeline.delete(log_key("s"), state_key("s"))
                await pipeline.execute()
                group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["new", second]))
                await second.reached()
                first.open()
                second.open()
    assert text_of(got[:9]) == "".join(numbered(9))
    rest = got[9:]
    assert [event.type for event in rest] in (["reset", "text", "end"], ["end"])
    if rest[0].type == "end":
        assert ended_as(rest) is Status.LOST


async def test_a_finished_stream_that_vanishes_under_a_lagging_reader_is_a_gap(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had not read to the end, its window is gone and so is the log: it is told, and does not wait."""
    monkeypatch.setattr(_window, "WINDOW_BYTES", 1)
    monkeypatch.setattr(_pages, "COLD_PAGES", 0)  # nor does another reader leave what it has read
    async with StreamConsumer(redis) as consumer:
        gate = Gate()
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["0 ", gate, *numbered(2000)]))
                await gate.reached()
                reader = consumer.events("s")
                got = await take(reader, 1)
                gate.open()
                await drain(consumer.events("s"), [])
            await StreamProducer(redis).delete("s")
            got += [event async for event in reader]
    kinds = [event.type for event in got]
    assert kinds.count("gap") == 1
    gap = got[kinds.index("gap")]
    assert isinstance(gap.data, dict)
    assert gap.data["missed"] + len(got) - 1 == 2002
    assert ended_as(got) is Status.COMPLETED


async def test_a_finished_stream_that_vanishes_before_it_was_read_ends_lost(redis: Redis) -> None:
    """Somebody had the end already, so that nothing of it was in memory; then another reads from the start."""
    result = await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    async with (
        StreamConsumer(redis) as consumer,
        await consumer.attach("s", after=result.last_id),
        await consumer.attach("s") as late,
    ):
        await StreamProducer(redis).delete("s")
        await eventually(lambda: _gone(consumer))
        with anyio.fail_after(DEADLINE):
            span = await late.advance()
            assert span is not None
            assert ended_as(span.events) is Status.LOST
            assert await late.advance() is None


async def _gone(consumer: StreamConsumer) -> bool:
    try:
        async with await consumer.attach("s"):
            return False
    except StreamNotFound:
        return True


async def test_a_failover_that_lost_the_newest_events_resets_the_readers(redis: Redis) -> None:
    """What was delivered is not in the log any more: everybody starts over, in-band.

    Unless the producer mends it before they look; here it sleeps.
    """
    gate = Gate()
    got: list[StreamEvent] = []
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(StreamProducer(redis, lease=60).run, "s", ScriptedSource(["a", "b", "c", gate]))
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                await wait_until(lambda: len(got) == 3)
                entries = await log_of(redis, "s")
                await _roll_back(redis, [entry for entry in entries if entry[2] == "a"])
                await redis.spublish("rs1:{s}:events", "!")
                await wait_until(lambda: _was_reset(got))
                group.cancel_scope.cancel()
    kinds = [event.type for event in got]
    assert text_of(got[: kinds.index("reset")]) == "abc"
    assert text_of(got[kinds.index("reset") :]) == "a"


def _was_reset(got: list[StreamEvent]) -> bool:
    kinds = [event.type for event in got]
    return "reset" in kinds and len(kinds) > kinds.index("reset") + 1


async def _roll_back(redis: Redis, entries: list[tuple[str, str, str]]) -> None:
    """Make the log what a replica knew that had not got everything."""
    pipeline = redis.pipeline(transaction=True)
    pipeline.delete(log_key("s"))
    for entry_id, kind, data in entries:
        pipeline.xadd(log_key("s"), {kind: data}, id=entry_id)
    pipeline.pexpire(log_key("s"), 60_000)
    await pipeline.execute()


async def test_a_log_that_cannot_be_read_is_an_error_and_not_a_hang(redis: Redis) -> None:
    """Somebody wrote what is no event of ours."""
    await finished(redis, "a")
    await redis.xadd(log_key("t"), {"text": b"\xff\xfe"}, id="5-1")
    await redis.xadd(log_key("t"), {"x/json": "{broken"}, id="5-2")
    await redis.pexpire(log_key("t"), 60_000)
    async with StreamConsumer(redis) as consumer:
        with pytest.raises(StreamLost):
            await read_all(consumer, "t")
    await redis.set(log_key("u"), "not a stream", px=60_000)
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE), pytest.raises(Exception, match=r".") as caught:
            await read_all(consumer, "u")
    assert "WRONGTYPE" not in str(caught.value)


async def test_deleting_says_whether_there_was_anything(redis: Redis) -> None:
    producer = StreamProducer(redis)
    assert await producer.delete("s") is False
    await producer.run("s", ScriptedSource(["a"]))
    assert await producer.delete("s") is True
    assert await producer.delete("s") is False
    assert await redis.dbsize() == 0
