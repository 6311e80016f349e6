"""The errors of the core, one class for each way a stream can be.

    ResumableStreamError
    ├── StreamError                  something about one stream; has ``stream_id``
    │   ├── StreamNotFound           no such stream, or it has expired
    │   ├── StreamExists             a claim met a live producer or a finished stream
    │   ├── StreamFenced             a newer claim has taken the stream from this producer
    │   ├── StreamLost               the stream's keys vanished under its producer
    │   └── StreamClosed             something was sent after the terminal event
    ├── StreamIDError                a stream id that is not acceptable (also a ValueError)
    ├── EventIDError                 a malformed cursor (also a ValueError)
    ├── EventTooLarge                one event over the size limit (also a ValueError)
    ├── StreamFailure                raised by a source: the code and text that its readers may see
    ├── StreamHandOver               raised by a source: another producer goes on with the stream
    ├── LogUnavailable               Redis cannot be reached or refuses to work
    └── ConsumerClosed               a consumer was used outside ``async with``

Text of exceptions never holds what Redis said: that is in ``__cause__``, for logs on the server's side.
"""

from __future__ import annotations


class ResumableStreamError(Exception):
    """The base of every error that this library raises."""


class StreamError(ResumableStreamError):
    """Something about one stream.

    Attributes:
        stream_id: the stream that it is about.
    """

    def __init__(self, stream_id: str, message: str) -> None:
        super().__init__(message)
        self.stream_id = stream_id

    def __reduce__(self) -> tuple[type[StreamError], tuple[str, str]]:
        return type(self), (self.stream_id, str(self))


class StreamNotFound(StreamError):
    """There is no such stream: it was never claimed, it has expired, or it was deleted."""


class StreamExists(StreamError):
    """The stream cannot be claimed: its producer is alive, or it has ended."""


class StreamFenced(StreamError):
    """A newer claim holds the stream; what this producer sends is refused."""


class StreamLost(StreamError):
    """The stream's keys are gone (expired, evicted, deleted, flushed) or its reader can go no further."""


class StreamClosed(StreamError):
    """The stream has its terminal event; nothing can follow it."""


class StreamIDError(ResumableStreamError, ValueError):
    """A stream id must be 1 to 200 visible ASCII characters without braces."""


class EventIDError(ResumableStreamError, ValueError):
    """A cursor must be an event id as it was sent: ``<generation>-<sequence>``."""


class EventTooLarge(ResumableStreamError, ValueError):
    """One event is larger than the log accepts."""


class StreamFailure(ResumableStreamError):
    """Raised by a source to say how its stream failed, in words that every reader may see.

    Attributes:
        code: a short machine-readable name, such as ``provider_unavailable``.
        message: text for people; keep secrets and internals out of it.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = str(code)
        self.message = str(message)
        super().__init__(self.code, self.message)

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class StreamHandOver(ResumableStreamError):
    """Raised by a source: it stops here without an end, and another producer goes on with the stream.

    The stream then waits for that producer as long as the ``takeover`` of its own says.
    """


class LogUnavailable(ResumableStreamError):
    """Redis cannot be reached, or it refuses to work; the cause is attached."""


class ConsumerClosed(ResumableStreamError, RuntimeError):
    """The consumer is not open: use it inside ``async with``."""
