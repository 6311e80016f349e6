"""Runs of neighbouring events in memory, with the frames made of them. Shared by all viewers of a stream."""

from __future__ import annotations

from typing import Final

from ._entries import Entries
from ._events import StreamEvent
from ._frames import encode
from ._sse import Dialect

SEGMENT: Final = 512
"""Entries that a segment takes at most: what a viewer gets in one piece."""

SEGMENT_BYTES: Final = 256 * 1024
"""What a segment may cost, unless one entry alone is larger."""

ENTRY_OVERHEAD: Final = 200
"""Bytes that one entry is reckoned to cost beside its data, with its frame."""


def cost_of(entries: Entries) -> int:
    """About how many bytes entries and their frames take in memory."""
    return ENTRY_OVERHEAD * len(entries.values) + 2 * entries.size


class Segment:
    """Entries of one claim with dense sequence numbers. Grows at its end; each is encoded once per dialect.

    Attributes:
        entries: what it holds.
        first: the sequence number of the first event.
        next: the sequence number after the last event.
        cost: about how many bytes it holds.
        terminal: whether its last event ends the stream.
    """

    __slots__ = ("_events", "_frames", "_joined", "cost", "entries", "first", "next", "terminal")

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.first = entries.first
        self.next = entries.first + len(entries.values)
        self.cost = cost_of(entries)
        self.terminal = entries.terminal
        self._events: list[StreamEvent] = []
        self._frames: dict[Dialect, list[bytes]] = {}
        self._joined: tuple[Dialect | None, int, int, bytes] = (None, 0, 0, b"")

    def extend(self, more: Entries) -> int:
        """Add the entries that follow, if they are of this claim and there is room. Returns what they cost, or 0."""
        mine = self.entries
        cost = cost_of(more)
        if (
            mine.generation != more.generation
            or len(mine.values) + len(more.values) > SEGMENT
            or self.cost + cost > SEGMENT_BYTES
        ):
            return 0
        mine.extend(more)
        self.next += len(more.values)
        self.cost += cost
        self.terminal = more.terminal
        return cost

    def events(self, start: int, stop: int) -> list[StreamEvent]:
        """The events at these places."""
        made = self._events
        made += map(self.entries.event, range(len(made), stop))
        return made[start:stop]

    def frames(self, dialect: Dialect, start: int, stop: int) -> list[bytes]:
        """The frames of the events at these places; those that the dialect leaves out are empty."""
        made = self._frames.get(dialect)
        if made is None:
            made = self._frames[dialect] = []
        if len(made) < stop:
            made += encode(dialect, self.entries, len(made), stop)
        return made[start:stop]

    def joined(self, dialect: Dialect, start: int, stop: int) -> bytes:
        """The same frames in one piece. Viewers who read at the same pace share it."""
        known, known_start, known_stop, piece = self._joined
        if known_start != start or known_stop != stop or known != dialect:
            piece = b"".join(self.frames(dialect, start, stop))
            self._joined = (dialect, start, stop, piece)
        return piece


class Span:
    """What a viewer reads next: a part of a segment."""

    __slots__ = ("_segment", "_start", "_stop")

    def __init__(self, segment: Segment, start: int, stop: int) -> None:
        self._segment = segment
        self._start = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def events(self) -> list[StreamEvent]:
        """The events, in order."""
        return self._segment.events(self._start, self._stop)

    def frames(self, dialect: Dialect) -> list[bytes]:
        """A frame for each event; empty ones for what the dialect leaves out."""
        return self._segment.frames(dialect, self._start, self._stop)

    def joined(self, dialect: Dialect) -> bytes:
        """All the frames in one piece."""
        return self._segment.joined(dialect, self._start, self._stop)


class Notice(Span):
    """What a viewer is told that stands in no log."""

    __slots__ = ("_told",)

    def __init__(self, *events: StreamEvent) -> None:
        self._told = events

    def __len__(self) -> int:
        return len(self._told)

    @property
    def events(self) -> list[StreamEvent]:
        """The events, in order."""
        return list(self._told)

    def frames(self, dialect: Dialect) -> list[bytes]:
        """A frame for each event."""
        return [dialect.encode(event) for event in self._told]

    def joined(self, dialect: Dialect) -> bytes:
        """All the frames in one piece."""
        return b"".join(self.frames(dialect))
