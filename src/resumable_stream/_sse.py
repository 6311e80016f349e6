"""Events as bytes of a Server-Sent Events stream. Nothing here does I/O.

The format is WHATWG HTML, "Server-sent events". Three habits keep clients alive that read it less strictly than
browsers do: line feeds only, no blank line behind anything without ``data:`` (a keep-alive is a comment and ONE line
feed), and ``retry:`` inside a data frame.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ._events import END, GAP, RESET, RESTARTED, TEXT, EventID, Status, StreamEvent

KEEP_ALIVE: Final = b": ka\n"
"""A comment that clients ignore and that keeps proxies from closing a silent connection."""

HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
"""The response headers that keep caches, compressors and nginx from holding frames back."""

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_ESCAPED: Final = re.compile(r"[\x85\u2028\u2029\ud800-\udfff]")
"""What JSON may hold as it is and not every reader takes: UTF-8 has no surrogates, and many a script in Python ends a
line wherever `str.splitlines` does."""
_SYSTEM: Final = {
    "message_end": "message_ended",
    "interrupted": "interrupted",
    RESTARTED: "message_restarted",
    GAP: "gap",
    RESET: "reset",
}
_ENDINGS: Final = {
    Status.FAILED: "error",
    Status.CANCELLED: "cancelled",
    Status.LOST: "lost",
}


class Dialect(Protocol):
    """How events become frames. Implementations are pure, and hashable: frames are cached per dialect."""

    def encode(self, event: StreamEvent) -> bytes:
        """The frame or frames of an event; empty when the dialect does not show it.

        Only the last frame may carry the event's id, so that a client never resumes in the middle of an event.
        """
        ...


def frame(data: str, *, event: str | None = None, event_id: EventID | None = None) -> bytes:
    r"""One SSE frame. CR, LF and CRLF in the data start a new ``data:`` line, so a lone CR arrives as LF.

    Lone surrogates, which UTF-8 cannot carry, become U+FFFD.

    Args:
        data: any text.
        event: a name without line breaks; clients call it ``message`` when there is none.
        event_id: becomes the client's ``Last-Event-ID``.
    """
    head = f"id: {event_id}\n" if event_id is not None else ""
    if event is not None:
        head = f"{head}event: {event}\n"
    if "\n" in data or "\r" in data:
        lines = "\ndata: ".join(_LINE_END.split(data))
        text = f"{head}data: {lines}\n\n"
    else:
        text = f"{head}data: {data}\n\n"
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Through UTF-16 halves that belong together meet; "replace" would make question marks.
        clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return clean.encode()


@dataclass(frozen=True, slots=True)
class EventSourceDialect:
    """For ``EventSource`` listeners on ``chunk``, ``tool_call`` and ``system``: text as it is, no JSON.

    Events that have no place there (reasoning, tool results, titles, a caller's own types) are left out.
    """

    def encode(self, event: StreamEvent) -> bytes:
        """See `Dialect`."""
        kind = event.type
        if kind == TEXT:
            return frame(str(event.data), event="chunk", event_id=event.id)
        if kind == "tool_call":
            name = event.data.get("name", "") if isinstance(event.data, dict) else event.data
            return frame(str(name), event="tool_call", event_id=event.id)
        if kind == END:
            reason = _ENDINGS.get(event.status)
            first = frame(reason, event="system") if reason is not None else b""
            return first + frame("end", event="system", event_id=event.id)
        name = _SYSTEM.get(kind)
        return frame(name, event="system", event_id=event.id) if name is not None else b""


@dataclass(frozen=True, slots=True)
class JSONDialect:
    r"""Every event, as compact JSON: ``{"type": …, "data": …}``, without an ``event:`` line.

    Exact for any text, also a lone CR or half a surrogate pair. ``data`` is left out where it is empty.
    """

    def encode(self, event: StreamEvent) -> bytes:
        """See `Dialect`."""
        body: dict[str, Any] = {"type": event.type}
        if event.data:
            body["data"] = event.data
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        if not text.isascii():
            text = _ESCAPED.sub(_escape, text)
        return frame(text, event_id=event.id)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


EVENT_SOURCE: Final = EventSourceDialect()
JSON: Final = JSONDialect()


def retry_line() -> bytes:
    """A reconnection delay of 1 to 3 s, at random, so that many clients do not come back at once.

    A line to put before a data frame; a block of its own would be an empty event to some clients.
    """
    return b"retry: %d\n" % random.randint(1000, 3000)  # noqa: S311 - spreads load, guards nothing
