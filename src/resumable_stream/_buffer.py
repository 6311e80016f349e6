"""What was sent and is not acknowledged yet: a queue of entries that is drained group by group."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from ._entries import TEXT_FIELD

GROUP_ENTRIES: Final = 512
GROUP_BYTES: Final = 512 * 1024
TAIL_BYTES: Final = 64 * 1024
"""How much of what Redis has acknowledged is kept, for a failover that loses it."""
ENTRY_OVERHEAD: Final = 64
"""Bytes that one entry is reckoned to cost beside its data."""

Entry = tuple[bytes, bytes]
"""A field and a value of the log: see `_events.pack`."""


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that are written in one step.

    Attributes:
        entries: in order; empty when there was nothing to write.
        total: how many entries were put in up to and with these: more than are here where text was joined.
        size: what they are reckoned to cost.
    """

    entries: list[Entry]
    total: int
    size: int


class Buffer:
    """Entries on their way into the log, oldest first.

    Attributes:
        size: what those that are not acknowledged are reckoned to cost, in bytes.
        count: how many were ever put in.
        acknowledged: how many of them are in the log.
    """

    def __init__(self, *, join: bool) -> None:
        self.size = 0
        self.count = 0
        self.acknowledged = 0
        self._join = join
        self._queue: deque[Entry] = deque()
        self._taken = 0

    def __bool__(self) -> bool:
        return bool(self._queue)

    def put(self, entry: Entry) -> None:
        """Add an entry behind the others."""
        self._queue.append(entry)
        self.size += len(entry[1]) + ENTRY_OVERHEAD
        self.count += 1

    def take(self) -> Group:
        """Take the next group out; where text is joined, what stands together becomes one entry."""
        queue = self._queue
        entries: list[Entry] = []
        taken = size = 0
        while queue and len(entries) < GROUP_ENTRIES and size < GROUP_BYTES:
            entry = queue.popleft()
            taken += 1
            size += len(entry[1])
            if self._join and entry[0] == TEXT_FIELD:
                pieces = [entry[1]]
                while queue and queue[0][0] == TEXT_FIELD and size < GROUP_BYTES:
                    pieces.append(queue.popleft()[1])
                    taken += 1
                    size += len(pieces[-1])
                entry = (TEXT_FIELD, b"".join(pieces))
            entries.append(entry)
        self._taken += taken
        return Group(entries, self._taken, size + taken * ENTRY_OVERHEAD)

    def acknowledge(self, group: Group) -> None:
        """Say that a group is in the log."""
        self.acknowledged = group.total
        self.size -= group.size

    def clear(self) -> None:
        """Give up what was not taken."""
        self._queue.clear()


class Tail:
    """The newest events that were acknowledged, in groups as they were written, up to `TAIL_BYTES`."""

    def __init__(self) -> None:
        self._groups: deque[tuple[int, Group]] = deque()
        self._size = 0

    def add(self, first: int, group: Group) -> None:
        """Keep what follows."""
        if group.entries:
            self._groups.append((first, group))
            self._size += group.size
            while self._size > TAIL_BYTES:
                self._size -= self._groups.popleft()[1].size

    def after(self, sequence: int) -> list[Entry]:
        """What is known of the events after this one, up to the newest."""
        return [entry for first, group in self._groups for entry in group.entries[max(0, sequence + 1 - first) :]]
