"""The queue between a source and the log: nothing is lost or reordered in it, and it knows how full it is."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream import _buffer
from resumable_stream._buffer import ENTRY_OVERHEAD, Buffer, Entry, Group, entry

TEXT, EVENT, SEAL, TAKE = "text", "event", "seal", "take"
steps = st.lists(
    st.one_of(
        st.tuples(st.just(TEXT), st.binary(min_size=1, max_size=40)),
        st.tuples(st.just(EVENT), st.binary(max_size=40)),
        st.tuples(st.sampled_from([SEAL, TAKE]), st.just(b"")),
    ),
    max_size=60,
)


def parsed(entries: list[Entry]) -> list[tuple[bytes, bytes]]:
    reader = hiredis.Reader()
    reader.feed(b"*%d\r\n" % (2 * len(entries)) + b"".join(entries))
    parts = reader.gets()
    return list(zip(parts[::2], parts[1::2], strict=True))


def run_together(entries: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Neighbouring texts as one."""
    joined: list[tuple[bytes, bytes]] = []
    for field, value in entries:
        if joined and field == joined[-1][0] == b"text":
            joined[-1] = (field, joined[-1][1] + value)
        else:
            joined.append((field, value))
    return joined


@pytest.mark.parametrize("join", [False, True])
@given(steps=steps, entries=st.integers(1, 5), size=st.integers(1, 200))
def test_what_comes_out_is_what_was_put_in(join: bool, steps: list[tuple[str, bytes]], entries: int, size: int) -> None:
    """Without the corrections of ``size`` in ``seal`` and ``acknowledge`` a source would stand still for ever, or
    never. Without ``seal`` in ``put`` an event would pass the text before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_buffer, "GROUP_ENTRIES", entries)
        patch.setattr(_buffer, "GROUP_BYTES", size)
        buffer = Buffer(join=join)
        sent: list[tuple[bytes, bytes]] = []
        groups: list[Group] = []
        for step, value in steps:
            if step == TEXT:
                buffer.put_text(value)
                sent.append((b"text", value))
            elif step == EVENT:
                buffer.put(entry(b"tool_call", value))
                sent.append((b"tool_call", value))
            elif step == SEAL:
                buffer.seal()
            else:
                groups.append(buffer.take())
        assert buffer.puts == len(sent)
        while buffer:
            groups.append(buffer.take())
            assert groups[-1].entries
        for group in groups:
            assert len(group.entries) <= entries
            assert sum(map(len, group.entries[:-1])) < size
            buffer.acknowledge(group)
    received = parsed([one for group in groups for one in group.entries])
    assert run_together(received) == run_together(sent)
    if not join:
        assert received == sent
    assert (buffer.size, buffer.acknowledged) == (0, buffer.count)


def test_text_that_is_joined_counts_until_it_is_acknowledged() -> None:
    """The bound of the buffer holds for it as for any other."""
    buffer = Buffer(join=True)
    for _ in range(10):
        buffer.put_text(b"token")
    assert buffer.size >= 10 * (5 + ENTRY_OVERHEAD)
    group = buffer.take()
    assert parsed(group.entries) == [(b"text", b"token" * 10)]
    assert buffer.size >= 50
    buffer.acknowledge(group)
    assert buffer.size == 0
