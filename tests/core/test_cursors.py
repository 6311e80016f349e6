"""Cursors come from strangers: parsed strictly, bounded, and never a reason to skip anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.streams import read_all
from resumable_stream import EventID, EventIDError, StreamConsumer, StreamProducer
from resumable_stream.testing import ScriptedSource

MALFORMED = (
    "abc", "-1", "$", ">", "+", "-", "*", "0-0-0", "1", "1-", "-1-1", "1-1 ", " 1-1", "1-1\n", "1_0-1", "01-1", "1-01",
    "+1-1", "1.0-1", "0x1-1", "\uff11-1", "1-1\0", "18446744073709551616-1", "1-18446744073709551616",
    "9" * 10_240, "1-" + "1" * 10_240, "\udcff-1", "null", "undefined", "1:1",
)  # fmt: skip


@pytest.mark.parametrize("cursor", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_cursor_is_an_error_before_anything_is_read(redis: Redis, cursor: str) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    async with StreamConsumer(redis) as consumer:
        with pytest.raises(EventIDError) as caught:
            await read_all(consumer, "s", after=cursor)
        with pytest.raises(EventIDError):
            await anext(consumer.frames("s", last_event_id=cursor))
        with pytest.raises(EventIDError):
            await anext(consumer.frames("unknown", last_event_id=cursor))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("cursor", [None, ""])
async def test_no_cursor_is_the_beginning(redis: Redis, cursor: str | None) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(["a", "b"]))
    async with StreamConsumer(redis) as consumer:
        assert [event.type for event in await read_all(consumer, "s", after=cursor)] == ["text", "text", "end"]


@pytest.mark.parametrize("cursor", ["0-0", "0-1", "1-0", "18446744073709551615-18446744073709551615"])
async def test_a_cursor_that_never_was_gets_everything_again(redis: Redis, cursor: str) -> None:
    """Well-formed, but no event of this stream: a reset, then the whole stream; never a skip."""
    await StreamProducer(redis).run("s", ScriptedSource(["a", "b"]))
    async with StreamConsumer(redis) as consumer:
        assert [event.type for event in await read_all(consumer, "s", after=cursor)] == ["reset", "text", "text", "end"]


async def test_the_terminal_cursor_has_nothing_left(redis: Redis) -> None:
    result = await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    async with StreamConsumer(redis) as consumer:
        assert await read_all(consumer, "s", after=result.last_id) == []
        assert [frame async for frame in consumer.frames("s", last_event_id=result.last_id)] == []
        async with await consumer.attach("s", after=result.last_id) as viewer:
            assert viewer.nothing_to_send


@given(generation=st.integers(0, 2**64 - 1), sequence=st.integers(0, 2**64 - 1))
def test_an_id_is_read_as_it_was_written(generation: int, sequence: int) -> None:
    event_id = EventID(generation, sequence)
    text = str(event_id)
    assert EventID.parse(text) == EventID.parse(text.encode()) == EventID.parse(event_id) == event_id
    assert len(text) <= 41
    assert set(text) <= set("0123456789-")


@given(st.text(max_size=45))
def test_no_text_at_all_breaks_the_parser(text: str) -> None:
    try:
        event_id = EventID.parse(text)
    except EventIDError:
        return
    assert str(event_id) == text


@given(st.binary(max_size=45))
def test_no_bytes_at_all_break_the_parser(raw: bytes) -> None:
    try:
        event_id = EventID.parse(raw)
    except EventIDError:
        return
    assert str(event_id).encode() == raw


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), min_size=2, max_size=2))
def test_ids_are_ordered_as_redis_orders_them(pairs: list[tuple[int, int]]) -> None:
    one, other = (EventID(*pair) for pair in pairs)
    assert (one < other) == (pairs[0] < pairs[1])
