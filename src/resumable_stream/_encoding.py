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


def append_arguments(
    names: Names,
    first: EventID,
    entries: Sequence[Entry],
    *,
    max_events: int,
    mode: int,
    end: bool,
) -> tuple[int, bytes]:
    """The arguments of the script that appends, its keys among them: their number, and themselves."""
    body = b"".join(entries)
    parts = 2 * len(entries)
    if not parts:
        message = b""
    elif len(body) <= PUBLISH_LIMIT:
        message = b"*%d\r\n%b%b" % (parts + 1, bulk(b"%d-%d" % first), body)
    else:
        message = POKE
    head = (
        names.log, names.state, names.channel, b"%d" % first.generation, b"%d" % first.sequence,
        b"%d" % max_events, b"%d" % mode, b"1" if end else b"0", message,
    )  # fmt: skip
    return len(head) + parts, b"".join([bulk(part) for part in head]) + body


def grouped(reply: list[Any]) -> list[Entries]:
    """What XRANGE answered, cut where a number is missing or another claim begins."""
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


def parse_message(payload: bytes) -> Entries | None:
    """The entries that a notification carries; ``None`` when it only says to look at the log.

    Raises:
        Exception: somebody else published it; what is raised depends on what it is.
    """
    if payload == POKE:
        return None
    reader = hiredis.Reader()
    reader.feed(payload)
    parts = reader.gets()
    generation, _, sequence = parts[0].partition(b"-")
    return Entries.parse(int(generation), int(sequence), parts[1::2], parts[2::2])
