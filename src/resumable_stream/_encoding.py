"""How appends are packed for Redis, and what comes back is read: bytes in and out, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import hiredis

from ._buffer import Entry
from ._entries import Entries
from ._events import EventID
from ._names import Names
from ._scripts import POKE, Script
from ._wire import bulk

PUBLISH_LIMIT: Final = 256 * 1024
"""Bytes of entries that a notification carries; more is left to be read from the log."""


def by_name(script: Script, count: int, arguments: bytes) -> bytes:
    """A call of a script that the server has, most likely, with two keys and the rest of ``count`` arguments."""
    return b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n2\r\n%b" % (count + 3, script.sha, arguments)


class AppendEncoder:
    """Packs the appends of one claim: what stays the same in them is packed once.

    Args:
        names: the stream.
        generation: of the claim.
        max_events: keep only about so many; 0 keeps all.
    """

    __slots__ = ("_bound", "_generation", "_head")

    def __init__(self, names: Names, generation: int, max_events: int) -> None:
        self._generation = b"%d" % generation
        self._head = b"".join(map(bulk, (names.log, names.state, names.channel, self._generation)))
        self._bound = bulk(b"%d" % max_events)

    def arguments(self, first: int, entries: Sequence[Entry], *, mode: int, end: bool) -> tuple[int, bytes]:
        """The arguments of the script that appends, its keys among them: their number, and themselves.

        Args:
            first: the sequence number of the first entry.
            entries: what to append.
            mode: what the script calls "renew".
            end: whether the last entry is the terminal event.
        """
        body = b"".join(entries)
        sequence = b"%d" % first
        count = 2 * len(entries)
        if len(body) <= PUBLISH_LIMIT:
            size = len(self._generation) + 1 + len(sequence)
            message = b"*%d\r\n$%d\r\n%b-%b\r\n%b" % (count + 1, size, self._generation, sequence, body)
        else:
            message = POKE
        return count + 9, b"%b$%d\r\n%b\r\n%b$1\r\n%d\r\n$1\r\n%d\r\n$%d\r\n%b\r\n%b" % (
            self._head, len(sequence), sequence, self._bound, mode, end, len(message), message, body,
        )  # fmt: skip


def grouped(reply: list[Any]) -> list[Entries]:
    """What XRANGE answered, cut where a number is missing or another claim begins."""
    if not reply:
        return []
    head, _, tail = reply[0][0].partition(b"-")
    generation, _, last = reply[-1][0].partition(b"-")
    if head == generation and int(last) - int(tail) == len(reply) - 1:  # they are in order, so none is missing between
        pairs = [pair for _, pair in reply]
        return [Entries.parse(int(head), int(tail), [pair[0] for pair in pairs], [pair[1] for pair in pairs])]
    return _cut(reply)


def _cut(reply: list[Any]) -> list[Entries]:
    groups: list[Entries] = []
    generation, first, due = b"", 0, -1
    fields: list[bytes] = []
    values: list[bytes] = []
    for key, pair in reply:
        head, _, tail = key.partition(b"-")
        sequence = int(tail)
        if sequence != due or head != generation:
            if fields:
                groups.append(Entries.parse(int(generation), first, fields, values))
            generation, first, fields, values = head, sequence, [], []
        due = sequence + 1
        fields.append(pair[0])
        values.append(pair[1])
    if fields:
        groups.append(Entries.parse(int(generation), first, fields, values))
    return groups


class MessageParser:
    """Reads notifications, of any number of streams."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()

    def parse(self, payload: bytes) -> Entries | EventID | None:
        """What a notification carries: entries, or the id that comes next; ``None`` when it says to look at the log."""
        if payload == POKE:
            return None
        reader = self._reader
        try:
            reader.feed(payload)
            parts = reader.gets()
            generation, _, sequence = parts[0].partition(b"-")
            carried: Entries | EventID = EventID(int(generation), int(sequence))
            if len(parts) > 1:
                carried = Entries.parse(int(generation), int(sequence), parts[1::2], parts[2::2])
        except Exception:  # noqa: BLE001 - whatever a stranger may have published: the log knows better
            self._reader = hiredis.Reader()
            return None
        if reader.has_data():
            self._reader = hiredis.Reader()
        return carried
