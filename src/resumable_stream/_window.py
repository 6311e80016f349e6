"""The newest events of a stream, as many as fit into a bounded piece of memory."""

from __future__ import annotations

import bisect
from typing import Final

from ._entries import Entries
from ._segment import SEGMENT, SEGMENT_BYTES, Segment

WINDOW_BYTES: Final = 8 * 1024 * 1024


class Window:
    """Segments without a hole between them; the oldest go when there are too many.

    Attributes:
        segments: oldest first.
    """

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self._cost = 0

    @property
    def first(self) -> int | None:
        """The sequence number of the oldest event; ``None`` when there is none."""
        return self.segments[0].first if self.segments else None

    def find(self, sequence: int) -> Segment | None:
        """The segment that has an event."""
        segments = self.segments
        if not segments or sequence >= segments[-1].next or sequence < segments[0].first:
            return None
        if sequence >= segments[-1].first:
            return segments[-1]
        return segments[bisect.bisect_right(segments, sequence, key=lambda s: s.first) - 1]

    def append(self, entries: Entries) -> None:
        """Add the entries that follow."""
        segments = self.segments
        if segments and (cost := segments[-1].extend(entries)):
            self._cost += cost
        else:
            for part in entries.split(SEGMENT, SEGMENT_BYTES // 2):
                segments.append(Segment(part))
                self._cost += segments[-1].cost
        while len(segments) > 1 and self._cost > WINDOW_BYTES:
            self._cost -= segments.pop(0).cost

    def forget(self) -> None:
        """Begin anew."""
        self.segments.clear()
        self._cost = 0
