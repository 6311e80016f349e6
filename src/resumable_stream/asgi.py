"""A ready ASGI response that streams frames. Plain ASGI: it works in any framework that lets one call an app."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

import anyio

from ._consumer import KEEP_ALIVE_INTERVAL, Pace, StreamConsumer
from ._errors import ConsumerClosed, EventIDError, LogUnavailable, StreamIDError, StreamNotFound
from ._events import EventID
from ._hub import IDLE, Viewer
from ._segment import Span
from ._sse import EVENT_SOURCE, HEADERS, KEEP_ALIVE, Dialect, retry_line

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_AGE: Final = 600.0
SEND_TIMEOUT: Final = 30.0
FAIR: Final = 100
"""Events in one write after which other tasks get their turn."""


class EventStreamResponse:
    """Streams one stream to one client, from where the client was.

    Answers before the headers are sent: 204 when the client has everything, 404 for an unknown stream, 400 for a
    malformed cursor or stream id, 503 when Redis is away. Otherwise 200, first bytes at once, a keep-alive comment in
    silence, everything that is ready in one write. It ends cleanly after the terminal event, or at the connection's
    age, at a frame boundary; a client that resumes loses nothing.

    The ``Last-Event-ID`` header is read from the request, then ``last_event_id`` from the query, where
    ``last_event_id`` is not given.

    Args:
        consumer: an open consumer.
        stream_id: the stream.
        last_event_id: the client's cursor; ``None`` to take it from the request, ``""`` for the beginning.
        dialect: how events become frames.
        keep_alive: seconds of silence after which a comment is sent.
        max_age: seconds until the response ends for the client to come back, shortened at random by up to a fifth.
        expires_in: seconds until it ends in any case, such as those that the client's token is good for.
        send_timeout: seconds that one write may take before the client is cut.
        wait: seconds to wait for a stream that is not there yet, before the 404: `EventSource` takes that as final.
        headers: more response headers, as pairs of bytes with lower-case names.
        closing: once set, the response ends at the next frame boundary, without a terminal event; also while it waits
            for a stream that is not there yet.
    """

    __slots__ = (
        "_closing", "_consumer", "_dialect", "_expires_in", "_headers", "_keep_alive", "_last_event_id", "_max_age",
        "_send_timeout", "_stream_id", "_wait",
    )  # fmt: skip

    def __init__(
        self,
        consumer: StreamConsumer,
        stream_id: str,
        *,
        last_event_id: EventID | str | None = None,
        dialect: Dialect = EVENT_SOURCE,
        keep_alive: float = KEEP_ALIVE_INTERVAL,
        max_age: float | None = MAX_AGE,
        expires_in: float | None = None,
        send_timeout: float = SEND_TIMEOUT,
        wait: float = 0.0,
        headers: Iterable[tuple[bytes, bytes]] = (),
        closing: asyncio.Event | None = None,
    ) -> None:
        self._consumer = consumer
        self._stream_id = stream_id
        self._last_event_id = last_event_id
        self._dialect = dialect
        self._keep_alive = keep_alive
        self._max_age = max_age
        self._expires_in = expires_in
        self._send_timeout = send_timeout
        self._wait = wait
        self._headers = [*HEADERS, *headers]
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        began = asyncio.get_running_loop().time()
        cursor = self._last_event_id
        if cursor is None:
            cursor = cursor_of(scope)
        left = asyncio.create_task(_disconnected(receive), name="resumable_stream disconnect")
        try:
            await self._serve(scope, receive, send, cursor, left, began)
        finally:
            if not left.done():
                left.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait([left])
            if not left.cancelled():
                left.exception()  # a server whose `receive` fails has no client either

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, cursor: EventID | str, left: asyncio.Task[None], began: float
    ) -> None:
        try:
            viewer = await self._attach(cursor, left)
        except StreamNotFound:
            await _refuse(send, 404, "stream_not_found", "There is no such stream.")
        except EventIDError:
            await _refuse(send, 400, "invalid_event_id", "The last event id is malformed.")
        except StreamIDError:
            await _refuse(send, 400, "invalid_stream_id", "The stream id is malformed.")
        except (LogUnavailable, ConsumerClosed):
            await _refuse(send, 503, "log_unavailable", "Streams cannot be read now. Try again soon.")
        else:
            if viewer is None:
                if not left.done():
                    await come_back(scope, receive, send)
                return
            async with viewer:
                if viewer.nothing_to_send or scope["method"] == "HEAD":
                    status = 204 if viewer.nothing_to_send else 200
                    await _start(send, status, self._headers[1:] if viewer.nothing_to_send else self._headers)
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await self._stream(viewer, left, send, began)

    async def _attach(self, cursor: EventID | str, left: asyncio.Task[None]) -> Viewer | None:
        """The viewer; ``None`` when the client leaves or the server closes before there is a stream."""
        if not self._wait:
            return await self._consumer.attach(self._stream_id, after=cursor)
        closing: asyncio.Task[Any] | None = None
        with anyio.CancelScope() as waiting:
            left.add_done_callback(lambda _: waiting.cancel())
            if self._closing is not None:
                closing = asyncio.create_task(self._closing.wait(), name="resumable_stream closing")
                closing.add_done_callback(lambda _: waiting.cancel())
            try:
                return await self._consumer.attach(self._stream_id, after=cursor, wait=self._wait)
            finally:
                if closing is not None:
                    closing.cancel()
        return None

    async def _stream(self, viewer: Viewer, left: asyncio.Task[None], send: Send, began: float) -> None:
        """Send until the end, the age, or the client's leaving, which only ``receive`` tells."""
        await _start(send, 200, self._headers)
        guard = _Guard(self._send_timeout)
        left.add_done_callback(guard.on_left)
        if self._closing is not None:
            viewer.when_set(self._closing, guard.on_closing)
        try:
            async with guard.limit:
                await self._write(viewer, send, guard, began)
        except ConsumerClosed:
            pass  # the process is about to end: the client comes back elsewhere
        except TimeoutError:
            if guard.open:  # it was the server's, not ours
                guard.gone = True
        except OSError:
            guard.gone = True  # the client takes nothing: the server closes what is left
        finally:
            guard.close()
        if not guard.gone:
            with contextlib.suppress(OSError), anyio.move_on_after(self._send_timeout):
                await send({"type": "http.response.body", "body": b""})

    async def _write(self, viewer: Viewer, send: Send, guard: _Guard, began: float) -> None:
        clock = asyncio.get_running_loop().time
        dialect = self._dialect
        now = clock()
        until = math.inf if self._expires_in is None else began + self._expires_in
        pace = Pace(now, self._keep_alive, self._max_age, until)
        # Headers may stay with the server until there is a body, and the first token may be a while.
        prefix, piece = retry_line(), KEEP_ALIVE
        span: Span = IDLE
        while guard.open:
            guard.since = now
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            guard.since = 0.0
            if len(span) > FAIR:
                await asyncio.sleep(0)  # a server may take it all without a pause; others want their turn
            piece = b""
            while not piece:
                if clock() >= pace.retire:
                    return
                if (news := await viewer.advance(pace.deadline)) is None:
                    return
                span, now = news, clock()
                piece = pace.piece(now, span, dialect)
            if prefix and piece is not KEEP_ALIVE:
                piece, prefix = prefix + piece, b""


class _Guard:
    """What ends a response from outside. One timer looks after all its writes: a timer for each would cost as much.

    Attributes:
        limit: its block ends with ``TimeoutError`` when the client has left, a write takes too long, or on closing.
        since: when the write under way began, in loop time; 0 when there is none.
        gone: whether there is nobody left to send to.
        open: whether nothing has ended it yet.
    """

    __slots__ = ("_loop", "_patience", "_timer", "gone", "limit", "open", "since")

    def __init__(self, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self.limit = asyncio.timeout(None)
        self.since = 0.0
        self.gone = False
        self.open = True
        self._timer = self._loop.call_later(patience, self._check)

    def _check(self) -> None:
        now = self._loop.time()
        if self.since and now >= self.since + self._patience:
            self._end(gone=True)
        else:
            # It rings at least once while a write waits, and then just when that has waited too long.
            self._timer = self._loop.call_at((self.since or now) + self._patience, self._check)

    def on_left(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._end(gone=True)

    def on_closing(self) -> None:
        self._end(gone=False)

    def _end(self, *, gone: bool) -> None:
        if self.open:
            self.open = False
            self.gone = gone
            self.limit.reschedule(self._loop.time())

    def close(self) -> None:
        """Nothing can end it any more."""
        self.open = False
        self._timer.cancel()


def cursor_of(scope: Scope) -> str:
    """The cursor of a request: the ``Last-Event-ID`` header, else ``last_event_id`` of the query, else ``""``."""
    for name, value in scope.get("headers", ()):
        if name == b"last-event-id":
            return str(value, "latin-1")
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("last_event_id")
    return values[0] if values else ""


async def come_back(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI app that answers with a stream that ends before its first event.

    For a process that is about to stop: a client that resumes asks again, and another process answers. A status that
    says "unavailable" would be final for `EventSource`.
    """
    await _start(send, 200, [*HEADERS])
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else KEEP_ALIVE})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _refuse(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message}}, separators=(",", ":")).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await _start(send, status, headers)
    await send({"type": "http.response.body", "body": body})
