"""Runs of neighbouring events in memory, with the frames made of them. Shared by all viewers of a stream."""

from __future__ import annotations

import json
from typing import Final

from ._events import StreamEvent
from ._sse import Dialect

EVENT_OVERHEAD: Final = 300
"""Bytes that one event is reckoned to cost beside its data, with its frame."""


def cost_of(event: StreamEvent) -> int:
    """About how many bytes an event and its frame take in memory."""
    data = event.data
    length = len(data) if isinstance(data, str) else len(json.dumps(data))
    return EVENT_OVERHEAD + 2 * length


class Segment:
    """Events with dense sequence numbers. Grows at its end; each event is encoded once per dialect.

    Attributes:
        first: the sequence number of the first event.
        cost: about how many bytes it holds.
    """

    __slots__ = ("_frames", "_joined", "cost", "events", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        self.events: list[StreamEvent] = []
        self.cost = 0
        self._frames: dict[Dialect, list[bytes]] = {}
        self._joined: tuple[Dialect | None, int, int, bytes] = (None, 0, 0, b"")

    @property
    def next(self) -> int:
        """The sequence number after the last event."""
        return self.first + len(self.events)

    def add(self, event: StreamEvent) -> int:
        """Add the event that follows. Returns what it costs."""
        cost = cost_of(event)
        self.events.append(event)
        self.cost += cost
        return cost

    def frames(self, dialect: Dialect, start: int, stop: int) -> list[bytes]:
        """The frames of the events at these indices; those that the dialect leaves out are empty."""
        made = self._frames.setdefault(dialect, [])
        if len(made) < stop:
            made += [dialect.encode(event) for event in self.events[len(made) : stop]]
        return made[start:stop]

    def joined(self, dialect: Dialect, start: int, stop: int) -> bytes:
        """The same frames in one piece. Viewers who read at the same pace share it."""
        known, known_start, known_stop, piece = self._joined
        if known != dialect or known_start != start or known_stop != stop:
            piece = b"".join(self.frames(dialect, start, stop))
            self._joined = (dialect, start, stop, piece)
        return piece


class Span:
    """What a viewer reads next: a part of a segment."""

    __slots__ = ("segment", "start", "stop")

    def __init__(self, segment: Segment, start: int, stop: int) -> None:
        self.segment = segment
        self.start = start
        self.stop = stop

    @classmethod
    def of(cls, *events: StreamEvent) -> Span:
        """A span of events that stand in no log."""
        segment = Segment(0)
        segment.events = list(events)
        return cls(segment, 0, len(events))

    @property
    def events(self) -> list[StreamEvent]:
        """The events, in order."""
        return self.segment.events[self.start : self.stop]

    def frames(self, dialect: Dialect) -> list[bytes]:
        """A frame for each event; empty ones for what the dialect leaves out."""
        return self.segment.frames(dialect, self.start, self.stop)

    def joined(self, dialect: Dialect) -> bytes:
        """All the frames in one piece."""
        return self.segment.joined(dialect, self.start, self.stop)
