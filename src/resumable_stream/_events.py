"""Events and their ids: what the log holds and what readers get. Nothing here does I/O."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from ._errors import EventIDError, StreamIDError

_TYPE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_EVENT_ID: Final = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")
_STREAM_ID: Final = re.compile(r"[!-z|~]{1,200}")
_MAX_U64: Final = 2**64 - 1

TEXT: Final = "text"
RESTARTED: Final = "restarted"
GAP: Final = "gap"
RESET: Final = "reset"
END: Final = "end"
RESERVED: Final = frozenset({RESTARTED, GAP, RESET, END})
"""Types that only the library writes."""


class EventID(NamedTuple):
    """Where an event stands: the claim that wrote it, and its dense number in the stream.

    Ordered like the ids of Redis. Written ``<generation>-<sequence>``.

    Attributes:
        generation: the claim's time in milliseconds since the epoch, always above the one before.
        sequence: 1, 2, 3 … over the whole stream, across generations.
    """

    generation: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.generation}-{self.sequence}"

    @classmethod
    def parse(cls, value: str | bytes | EventID) -> EventID:
        """Read an id as it stands in an SSE ``id`` line.

        Raises:
            EventIDError: on anything else; the text is never echoed in full.
        """
        if isinstance(value, EventID):
            return value
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        match = _EVENT_ID.fullmatch(value) if len(value) <= 41 else None
        if match is None:
            raise EventIDError("an event id is written <generation>-<sequence>, two decimal numbers")
        generation, sequence = int(match[1]), int(match[2])
        if generation > _MAX_U64 or sequence > _MAX_U64:
            raise EventIDError("the numbers of an event id are below 2**64")
        return cls(generation, sequence)


class Status(StrEnum):
    """What a stream is doing, or how it ended."""

    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        """Whether nothing will follow."""
        return self is not Status.ACTIVE


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream.

    Attributes:
        type: a lower-case name, such as ``text``. ``restarted``, ``gap``, ``reset`` and ``end`` are the library's own.
        data: text as it is, or a JSON value (``dict`` or ``list``) for structured events.
        id: the event's place in the log; ``None`` before it is written, and for ``gap``, ``reset`` and an end
            that stands in no log.
    """

    type: str
    data: str | dict[str, Any] | list[Any] = ""
    id: EventID | None = None

    @property
    def terminal(self) -> bool:
        """Whether this is the last event of its stream."""
        return self.type == END

    @property
    def status(self) -> Status:
        """The status that a terminal event carries; ``Status.ACTIVE`` for any other event."""
        if self.type != END or not isinstance(self.data, dict):
            return Status.ACTIVE
        return Status(self.data["status"])


def check_event(event: StreamEvent) -> StreamEvent:
    """Return an event that a caller may write.

    Raises:
        ValueError: when its type is malformed or one of the library's own.
    """
    if event.type in RESERVED:
        raise ValueError(f"events of type {event.type!r} are written by the library only")
    if _TYPE_NAME.fullmatch(event.type) is None:
        raise ValueError("an event type is 1 to 64 characters: a-z, 0-9, _")
    return event


def check_stream_id(stream_id: str) -> str:
    """Return the id when it can name a stream.

    Raises:
        StreamIDError: when it is empty, over 200 bytes, or holds braces, blanks, control or non-ASCII characters.
    """
    if not isinstance(stream_id, str) or _STREAM_ID.fullmatch(stream_id) is None:
        raise StreamIDError("a stream id is 1 to 200 visible ASCII characters without braces")
    return stream_id


def pack(event: StreamEvent) -> tuple[bytes, bytes]:
    """The field and value that stand for an event in the log: ``type`` or ``type/json``, and UTF-8.

    Lone surrogates are kept as their three bytes, so that what was sent is what is read.
    """
    if isinstance(event.data, str):
        return event.type.encode(), event.data.encode("utf-8", "surrogatepass")
    try:
        text = json.dumps(event.data, separators=(",", ":"), allow_nan=False)
    except TypeError as exc:
        raise ValueError("the data of an event is text or JSON") from exc
    return event.type.encode() + b"/json", text.encode()


def unpack(field: bytes, value: bytes, event_id: EventID) -> StreamEvent:
    """The event that a field and value of the log stand for."""
    name = field.decode()
    if name.endswith("/json"):
        return StreamEvent(name[:-5], json.loads(value), event_id)
    return StreamEvent(name, value.decode("utf-8", "surrogatepass"), event_id)
