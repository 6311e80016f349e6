"""`StreamConsumer`: any number of resumable readers over one pair of connections."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from redis.asyncio import Redis, RedisCluster

from ._counts import Counts
from ._errors import ConsumerClosed, StreamNotFound
from ._events import EventID, Status, StreamEvent
from ._hub import IDLE, Hub, Viewer
from ._log import Log
from ._names import Names
from ._segment import Span
from ._sse import EVENT_SOURCE, KEEP_ALIVE, Dialect

KEEP_ALIVE_INTERVAL: Final = 15.0


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is known of a stream without reading it.

    Attributes:
        stream_id: the stream.
        status: ``active``, or how it ended.
        last_id: the last event's id; ``None`` before the first.
        stop_requested: whether somebody asked it to stop.
        code: with ``failed``, what the source said went wrong.
        message: with ``failed``, the same for people.
        orphaned: whether it is active without a producer, and waits for one. A producer that only has not been heard
            of for its lease is given 1.5 s more.
        origin: the generation of its first claim; 0 where that is not known.
    """

    stream_id: str
    status: Status
    last_id: EventID | None
    stop_requested: bool = False
    code: str | None = None
    message: str | None = None
    orphaned: bool = False
    origin: int = 0


class StreamConsumer:
    """Reads streams. One for a process, inside ``async with``; any number of readers at once.

    It has two connections of its own (in a cluster: to each node that has its streams), however many streams and
    readers there are; the client's pool is not used and the client is not closed. What readers of one stream need is
    read and encoded once.

    Args:
        redis: a ``redis.asyncio.Redis`` or ``RedisCluster`` with any settings; its addresses and credentials are
            what is used.
    """

    def __init__(self, redis: Redis | RedisCluster) -> None:
        self._log = Log(redis)
        self._hub: Hub | None = None

    @property
    def counts(self) -> Counts:
        """What was done so far, in numbers; `resumable_stream.telemetry` gives them names."""
        return self._log.counts

    async def __aenter__(self) -> Self:
        if self._hub is not None:
            raise ConsumerClosed("a consumer is entered once at a time")
        await self._log.__aenter__()
        self._log.open()
        self._hub = Hub(self._log)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        hub, self._hub = self._hub, None
        if hub is not None:
            await hub.aclose()
            await self._log.__aexit__(kind, exc, tb)

    async def attach(self, stream_id: str, *, after: EventID | str | None = None, wait: float = 0.0) -> Viewer:
        """Begin to read; the viewer is an async context manager and says whether there is anything to send.

        This is what `events`, `frames` and `asgi.EventStreamResponse` are made of; its errors are theirs.
        """
        if self._hub is None:
            raise ConsumerClosed("enter the consumer first: `async with StreamConsumer(redis) as consumer`")
        Names.of(stream_id)
        return await self._hub.attach(stream_id, parse_cursor(after), wait)

    async def events(
        self, stream_id: str, *, after: EventID | str | None = None, wait: float = 0.0
    ) -> AsyncGenerator[StreamEvent, None]:
        """The events after a cursor, each exactly once and in order, ending with the terminal event.

        Redis going away for a while is waited out. What is lost for good is told by a ``gap`` event (some are missing,
        the rest follows) or a ``reset`` event (the cursor fits nothing there; what follows is the stream from its first
        event). A stream that vanishes, or whose producer dies, ends with the status ``lost``.

        Args:
            stream_id: the stream.
            after: the id of the last event that the reader has; ``None`` or ``""`` for the whole stream. Past the
                terminal event nothing is left and the iterator ends.
            wait: seconds to wait for a stream that is not there yet, for readers that may come before the producer.

        Raises:
            StreamNotFound: there is no such stream, nor was there within ``wait`` seconds.
            EventIDError: the cursor is malformed.
            LogUnavailable: Redis cannot be reached when the reading begins.
        """
        async with await self.attach(stream_id, after=after, wait=wait) as viewer:
            while (span := await viewer.advance()) is not None:
                for event in span.events:
                    yield event

    async def frames(
        self,
        stream_id: str,
        *,
        last_event_id: EventID | str | None = None,
        dialect: Dialect = EVENT_SOURCE,
        keep_alive: float = KEEP_ALIVE_INTERVAL,
        max_age: float | None = None,
        wait: float = 0.0,
    ) -> AsyncGenerator[bytes, None]:
        """The same as SSE frames, one event each, with keep-alive comments where nothing happens.

        Args:
            stream_id: the stream.
            last_event_id: what the client sent as ``Last-Event-ID``.
            dialect: how events become frames.
            keep_alive: seconds of silence after which a comment is sent.
            max_age: seconds after which the iterator ends at a frame boundary, shortened at random by up to a fifth,
                so that clients who resume are spread over servers and time. ``None``: only with the stream.
            wait: seconds to wait for a stream that is not there yet.

        Raises:
            StreamNotFound, EventIDError, LogUnavailable: as `events`, before the first frame.
        """
        async with await self.attach(stream_id, after=last_event_id, wait=wait) as viewer:
            clock = asyncio.get_running_loop().time
            pace = Pace(clock(), keep_alive, max_age)
            while clock() < pace.retire and (span := await viewer.advance(pace.deadline)) is not None:
                piece = pace.piece(clock(), span, dialect)
                if piece is KEEP_ALIVE:
                    yield piece
                elif piece:
                    for one in span.frames(dialect):
                        if one:
                            yield one

    async def status(self, stream_id: str) -> StreamInfo:
        """What a stream is doing. A stream whose producer is found dead is ended as ``lost`` on the way.

        Raises:
            StreamNotFound: there is no such stream.
            LogUnavailable: Redis cannot be reached.
        """
        names = Names.of(stream_id)
        async with self._log as log:
            peek = await log.peek(names)
            if peek is not None and peek.exists and peek.end is None and not peek.lease_left:
                await log.bury(names)
                peek = await log.peek(names)
        if peek is None:
            raise StreamNotFound(stream_id, "there is no such stream")
        if not peek.exists:
            return StreamInfo(stream_id, Status.LOST, None, peek.stop)
        if peek.end is None:
            return StreamInfo(
                stream_id, Status.ACTIVE, peek.last, peek.stop, orphaned=peek.abandoned, origin=peek.origin
            )
        data = peek.end.data if isinstance(peek.end.data, dict) else {}
        return StreamInfo(
            stream_id,
            peek.end.status,
            peek.last,
            peek.stop,
            data.get("code"),
            data.get("message"),
            origin=peek.origin,
        )


def parse_cursor(value: EventID | str | None) -> EventID | None:
    """The cursor that a client sent; ``None`` and the empty text mean the beginning.

    Raises:
        EventIDError: it is malformed.
    """
    return None if value is None or value == "" else EventID.parse(value)


class Pace:
    """When a reader who sees nothing is due a sign of life, and when a connection has lasted long enough.

    Attributes:
        retire: when the connection should end, in loop time.
    """

    __slots__ = ("_due", "_keep_alive", "retire")

    def __init__(self, now: float, keep_alive: float, max_age: float | None, until: float = math.inf) -> None:
        age = math.inf if max_age is None else max_age * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load, guards nothing
        self.retire = min(now + age, until)
        self._keep_alive = keep_alive
        self._due = now + keep_alive

    @property
    def deadline(self) -> float:
        """Until when the reader may wait for events."""
        return min(self._due, self.retire)

    def piece(self, now: float, span: Span, dialect: Dialect) -> bytes:
        """What to send for what came: its frames, a keep-alive where nothing could be seen for long, or nothing."""
        piece = b"" if span is IDLE else span.joined(dialect)
        if not piece:
            if now < self._due or now >= self.retire:
                return b""
            piece = KEEP_ALIVE
        self._due = now + self._keep_alive
        return piece
