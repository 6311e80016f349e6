"""Streams of LLM tokens that survive page reloads, dropped connections, several viewers, deploys and crashes.

`StreamProducer` drains any async iterator into a log in Redis (or Valkey); `StreamConsumer` reads it from any cursor,
in any process, as events or as Server-Sent Events frames. This package needs only ``redis`` and ``anyio``;
``resumable_stream.app`` is a chat application on top of it, and has requirements of its own.
"""

from ._consumer import StreamConsumer, StreamInfo
from ._errors import (
    ConsumerClosed,
    EventIDError,
    EventTooLarge,
    LogUnavailable,
    ResumableStreamError,
    StreamClosed,
    StreamError,
    StreamExists,
    StreamFailure,
    StreamFenced,
    StreamHandOver,
    StreamIDError,
    StreamLost,
    StreamNotFound,
)
from ._events import EventID, Status, StreamEvent
from ._hub import Viewer
from ._producer import StreamProducer, StreamResult
from ._sse import EVENT_SOURCE, JSON, Dialect, EventSourceDialect, JSONDialect
from ._writer import StreamWriter

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - grouped by what they are for
    # Writing
    "StreamProducer",
    "StreamResult",
    "StreamWriter",
    # Reading
    "StreamConsumer",
    "StreamInfo",
    "Viewer",
    # Events
    "EventID",
    "Status",
    "StreamEvent",
    # Wire formats
    "EVENT_SOURCE",
    "JSON",
    "Dialect",
    "EventSourceDialect",
    "JSONDialect",
    # Errors
    "ResumableStreamError",
    "StreamError",
    "StreamNotFound",
    "StreamExists",
    "StreamFenced",
    "StreamLost",
    "StreamClosed",
    "StreamIDError",
    "EventIDError",
    "EventTooLarge",
    "StreamFailure",
    "StreamHandOver",
    "LogUnavailable",
    "ConsumerClosed",
    "__version__",
]
