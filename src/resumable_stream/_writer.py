"""`StreamWriter`: the writing end of one stream, as a producer's user sees it."""

from __future__ import annotations

from typing import Final

from ._buffer import entry
from ._committer import Committer
from ._errors import EventTooLarge
from ._events import TEXT, EventID, Status, StreamEvent, check_event, pack

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
_SURELY_FINE: Final = MAX_EVENT_BYTES // 4
_TEXTUAL: Final = (str, bytes)


class StreamWriter:
    """Sends events into one stream, in order. Made by `StreamProducer.open`."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    @property
    def stream_id(self) -> str:
        """The stream."""
        return self._committer.stream_id

    @property
    def status(self) -> Status:
        """``active`` until the terminal event is written, then what it says."""
        return self._committer.status

    @property
    def last_id(self) -> EventID | None:
        """The id of the last event that Redis has acknowledged; ``None`` before the first."""
        return self._committer.last_id

    @property
    def stop_requested(self) -> bool:
        """Whether `StreamProducer.cancel` was called on the stream, by anyone."""
        return self._committer.stop_requested

    async def send(self, item: str | bytes | StreamEvent) -> None:
        """Put an event behind those sent before. Text that is empty is dropped: it would change nothing.

        ``str`` and ``bytes`` (UTF-8, also cut inside a character) become ``text`` events. Returns when the event is
        buffered, not when it is written (`flush` waits for that). Waits while the buffer is full, and lets others have
        their turn after many events in a row; when it is cancelled there, the event is not sent.

        Raises:
            StreamFenced, StreamLost, LogUnavailable: nothing more can be written; the source should stop.
            StreamClosed: the stream has ended.
            EventTooLarge: over 8 MiB; the event is not sent, others can be.
            ValueError: an event type that is malformed or the library's own, or data that is no JSON.
        """
        if not self._committer.ready:
            await self._committer.reserve()
        put(self._committer, item)

    async def flush(self) -> None:
        """Wait until all that was sent is in Redis. Half a character or CRLF at the end stays back until it is whole.

        Raises:
            StreamFenced, StreamLost, LogUnavailable: it cannot be written.
        """
        await self._committer.flush()


def put(committer: Committer, item: str | bytes | StreamEvent) -> None:
    """Buffer what `StreamWriter.send` takes, when the committer is ready for it.

    Raises:
        EventTooLarge, ValueError: as there.
    """
    if isinstance(item, _TEXTUAL):
        if len(item) > _SURELY_FINE:
            _check_size(len(item) if isinstance(item, bytes) else len(item.encode("utf-8", "surrogatepass")))
        committer.put_text(committer.text.feed(item))
    elif isinstance(item, StreamEvent) and item.type != TEXT:
        field, value = pack(check_event(item))
        _check_size(len(value))
        committer.put_text(committer.text.finish())
        committer.put(entry(field, value))
    elif isinstance(item, StreamEvent) and isinstance(item.data, _TEXTUAL):
        put(committer, item.data)
    else:
        raise ValueError("a text event's data is a string")


def _check_size(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise EventTooLarge(f"an event holds at most {MAX_EVENT_BYTES} bytes")
