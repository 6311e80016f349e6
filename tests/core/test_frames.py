"""Frames that are made straight from the log's bytes are the frames that the dialect would make of the events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream import EVENT_SOURCE, JSON, Dialect, EventID, EventSourceDialect, StreamEvent
from resumable_stream._entries import Entries
from resumable_stream._events import pack
from resumable_stream._frames import encode

TEXT = st.text(st.characters() | st.sampled_from('\r\n\0\ud800\udfff퟿\ue000\ufeff\u2028\u2029\x85"\\</'))
EVENTS = st.lists(
    TEXT.map(lambda text: StreamEvent("text", text))
    | st.sampled_from(
        [StreamEvent("tool_call", {"name": "search"}), StreamEvent("note", "x"), StreamEvent("restarted")]
    ),
    min_size=1,
)


class Shouting(EventSourceDialect):
    """A dialect of a user's own, made from one of ours."""

    def encode(self, event: StreamEvent) -> bytes:
        return super().encode(event).upper()


def entries_of(events: list[StreamEvent], generation: int, first: int) -> Entries:
    packed = [pack(event) for event in events]
    return Entries.parse(generation, first, [field for field, _ in packed], [value for _, value in packed])


@pytest.mark.parametrize("dialect", [EVENT_SOURCE, JSON, Shouting()], ids=lambda dialect: type(dialect).__name__)
@given(events=EVENTS, generation=st.integers(1, 2**64 - 1), first=st.integers(1, 2**64 - 1), start=st.integers(0, 3))
def test_frames_are_those_of_the_dialect(
    dialect: Dialect, events: list[StreamEvent], generation: int, first: int, start: int
) -> None:
    entries = entries_of(events, generation, first)
    expected = [
        dialect.encode(StreamEvent(event.type, event.data, EventID(generation, first + place)))
        for place, event in enumerate(events)
    ]
    assert encode(dialect, entries, start, len(events)) == expected[start:]


@given(events=EVENTS, size=st.integers(1, 30), count=st.integers(1, 5), after=st.integers(-1, 8))
def test_entries_stay_the_same_however_they_are_cut(
    events: list[StreamEvent], size: int, count: int, after: int
) -> None:
    whole = entries_of(events, 7, 1)
    expected = [StreamEvent(event.type, event.data, EventID(7, place)) for place, event in enumerate(events, 1)]
    assert list(whole) == expected
    assert whole.last == expected[-1].id
    parts = list(whole.split(count, size))
    assert [event for part in parts for event in part] == expected
    assert all(len(part) <= count and (len(part) == 1 or sum(map(len, part.values)) <= size) for part in parts)
    rest = whole.after(after)
    assert (list(rest) if rest is not None else []) == expected[max(0, after) :]


@pytest.mark.parametrize(
    ("field", "value"), [(b"text", b"\xff"), (b"text", b"\xed"), (b"x/json", b"{broken"), (b"\xff", b"")]
)
def test_what_no_producer_wrote_is_refused_at_once(field: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Entries.parse(7, 1, [b"text", field], [b"a", value])
