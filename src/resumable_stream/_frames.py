"""Frames made straight from the bytes of the log, where a dialect allows it: most of a stream is plain text.

What comes out is what `Dialect.encode` makes of the event, byte for byte.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring
from typing import Final

from ._entries import Entries
from ._sse import Dialect, EventSourceDialect, JSONDialect

_NO_TEXT: Final = re.compile(rb"[\r\n]|\xed[\xa0-\xbf]")
"""What a text frame cannot carry as it is: line ends, and lone surrogates (their UTF-8 begins like that)."""

_ESCAPED: Final = re.compile(rb"\xc2\x85|\xe2\x80[\xa8\xa9]|\xed[\xa0-\xbf]")
"""What `JSONDialect` writes as escapes beside what JSON demands: U+0085, U+2028, U+2029, and lone surrogates."""


def encode(dialect: Dialect, entries: Entries, start: int, stop: int) -> list[bytes]:
    """The frames of the entries at these places."""
    kind = type(dialect)
    if kind is EventSourceDialect:
        if entries.plain and not entries.events:
            head, values = b"id: %d-" % entries.generation, enumerate(entries.values[start:stop], entries.first + start)
            return [b"%b%d\nevent: chunk\ndata: %b\n\n" % (head, sequence, value) for sequence, value in values]
        return _as_event_source(dialect, entries, start, stop)
    if kind is JSONDialect:
        return _as_json(dialect, entries, start, stop)
    return [dialect.encode(entries.event(place)) for place in range(start, stop)]


def _as_event_source(dialect: Dialect, entries: Entries, start: int, stop: int) -> list[bytes]:
    frames = []
    events = entries.events
    unusual = _NO_TEXT.search
    head = b"id: %d-" % entries.generation
    sequence = entries.first + start
    for place, value in enumerate(entries.values[start:stop], start):
        if place in events or unusual(value) is not None:
            frames.append(dialect.encode(entries.event(place)))
        else:
            frames.append(b"%b%d\nevent: chunk\ndata: %b\n\n" % (head, sequence, value))
        sequence += 1
    return frames


def _as_json(dialect: Dialect, entries: Entries, start: int, stop: int) -> list[bytes]:
    frames = []
    events = entries.events
    escaped = _ESCAPED.search
    head = b"id: %d-" % entries.generation
    sequence = entries.first + start
    for place, value in enumerate(entries.values[start:stop], start):
        if place in events or not value or (not value.isascii() and escaped(value) is not None):
            frames.append(dialect.encode(entries.event(place)))
        else:
            text = encode_basestring(value.decode()).encode()
            frames.append(b'%b%d\ndata: {"type":"text","data":%b}\n\n' % (head, sequence, text))
        sequence += 1
    return frames
