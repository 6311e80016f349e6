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
ENTRY_OVERHEAD: Final = 48
"""Bytes that one entry is reckoned to cost beside itself."""

Entry = bytes
"""A field and a value of the log as they are sent: see `entry`."""


def entry(field: bytes, value: bytes) -> Entry:
    """A field and a value in RESP."""
    return b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(field), field, len(value), value)


_TEXT: Final = entry(TEXT_FIELD, b"")[: -len(b"$0\r\n\r\n")] + b"$%d\r\n%b\r\n"


@dataclass(slots=True)
class Group:
    """Entries that are written in one step.

    Attributes:
        entries: in order; empty when there was nothing to write.
        total: how many entries there were up to and with these.
        size: what they are reckoned to cost.
    """

    entries: list[Entry]
    total: int
    size: int


class Buffer:
    """Entries on their way into the log, oldest first; where text is joined, what stands together becomes one entry.

    Attributes:
        size: what those that are not acknowledged are reckoned to cost, in bytes.
        puts: how often something was put in.
        count: how many entries there were, without text that may still be joined.
        acknowledged: how many of them are in the log.
    """

    def __init__(self, *, join: bool) -> None:
        self.size = 0
        self.puts = 0
        self.count = 0
        self.acknowledged = 0
        self._join = join
        self._queue: list[Entry] = []
        self._taken = 0
        self._pieces: list[bytes] = []
        self._pieces_size = 0

    def __bool__(self) -> bool:
        return bool(self._queue or self._pieces)

    def put(self, entry: Entry) -> None:
        """Add an entry behind the others."""
        if self._pieces:
            self.seal()
        self._queue.append(entry)
        self.size += len(entry) + ENTRY_OVERHEAD
        self.count += 1
        self.puts += 1

    def put_text(self, text: bytes) -> None:
        """Add text behind what is there; as an entry of its own, or to be joined."""
        if not self._join:  # `put`, for the sake of time
            packed = _TEXT % (len(text), text)
            self._queue.append(packed)
            self.size += len(packed) + ENTRY_OVERHEAD
            self.count += 1
            self.puts += 1
            return
        self._pieces.append(text)
        cost = len(text) + ENTRY_OVERHEAD
        self._pieces_size += cost
        self.size += cost
        self.puts += 1
        if self._pieces_size >= GROUP_BYTES:
            self.seal()

    def seal(self) -> None:
        """Join what is to be joined; text that comes later is another entry."""
        if self._pieces:
            text = b"".join(self._pieces)
            self._pieces.clear()
            self.size -= self._pieces_size
            self._pieces_size = 0
            self.put(_TEXT % (len(text), text))
            self.puts -= 1

    def take(self) -> Group:
        """Take the next group out."""
        self.seal()
        entries = self._queue[:GROUP_ENTRIES]
        size = sum(map(len, entries))
        if size > GROUP_BYTES:
            size = 0
            for number, one in enumerate(entries, 1):
                size += len(one)
                if size >= GROUP_BYTES:
                    del entries[number:]
        del self._queue[: len(entries)]
        self._taken += len(entries)
        return Group(entries, self._taken, size + len(entries) * ENTRY_OVERHEAD)

    def acknowledge(self, group: Group) -> None:
        """Say that a group is in the log."""
        self.acknowledged = group.total
        self.size -= group.size

    def clear(self) -> None:
        """Give up what was not taken."""
        self._queue.clear()
        self._pieces.clear()


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
