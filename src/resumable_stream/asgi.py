"""A ready ASGI response that streams frames. Plain ASGI: it works in any framework that lets one call an app."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

import anyio

from ._consumer import KEEP_ALIVE_INTERVAL, StreamConsumer, spans
from ._errors import ConsumerClosed, EventIDError, LogUnavailable, StreamIDError, StreamNotFound
from ._events import EventID
from ._hub import IDLE, Viewer
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
        send_timeout: seconds that one write may take before the client is cut.
        wait: seconds to wait for a stream that is not there yet, before the 404: `EventSource` takes that as final.
        headers: more response headers, as pairs of bytes with lower-case names.
        closing: once set, the response ends at the next frame boundary, without a terminal event.
    """

    def __init__(
        self,
        consumer: StreamConsumer,
        stream_id: str,
        *,
        last_event_id: EventID | str | None = None,
        dialect: Dialect = EVENT_SOURCE,
        keep_alive: float = KEEP_ALIVE_INTERVAL,
        max_age: float | None = MAX_AGE,
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
        self._send_timeout = send_timeout
        self._wait = wait
        self._headers = [*HEADERS, *headers]
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        cursor = self._last_event_id
        if cursor is None:
            cursor = cursor_of(scope)
        try:
            viewer = await self._consumer.attach(self._stream_id, after=cursor, wait=self._wait)
        except StreamNotFound:
            await _refuse(send, 404, "stream_not_found", "There is no such stream.")
        except EventIDError:
            await _refuse(send, 400, "invalid_event_id", "The last event id is malformed.")
        except StreamIDError:
            await _refuse(send, 400, "invalid_stream_id", "The stream id is malformed.")
        except LogUnavailable:
            await _refuse(send, 503, "log_unavailable", "Streams cannot be read now. Try again soon.")
        else:
            async with viewer:
                if viewer.nothing_to_send or scope["method"] == "HEAD":
                    status = 204 if viewer.nothing_to_send else 200
                    await _start(send, status, self._headers[1:] if viewer.nothing_to_send else self._headers)
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await self._stream(viewer, receive, send)

    async def _stream(self, viewer: Viewer, receive: Receive, send: Send) -> None:
        """Send until the end, the age, or the client's leaving, which only ``receive`` tells."""
        await _start(send, 200, self._headers)
        scope = anyio.CancelScope()
        left = asyncio.create_task(_disconnected(receive), name="resumable_stream disconnect")
        watchers = [left]
        if self._closing is not None:
            watchers.append(asyncio.create_task(_set(self._closing), name="resumable_stream closing"))
        for watcher in watchers:
            watcher.add_done_callback(lambda _: scope.cancel())
        try:
            with scope:
                await self._write(viewer, send)
            gone = left.done()
        except ConsumerClosed:
            gone = False  # the process is about to end: the client comes back elsewhere
        except (TimeoutError, OSError):
            gone = True  # the client takes nothing: the server closes what is left
        finally:
            with anyio.CancelScope(shield=True):
                for watcher in watchers:
                    watcher.cancel()
                await asyncio.wait(watchers)
        if not gone:
            with contextlib.suppress(OSError), anyio.move_on_after(self._send_timeout):
                await send({"type": "http.response.body", "body": b""})

    async def _write(self, viewer: Viewer, send: Send) -> None:
        # Headers may stay with the server until there is a body, and the first token may be a while.
        await self._send(send, KEEP_ALIVE)
        prefix = retry_line()
        async with contextlib.aclosing(
            spans(viewer, self._dialect, keep_alive=self._keep_alive, max_age=self._max_age)
        ) as parts:
            async for span in parts:
                piece = KEEP_ALIVE if span is IDLE else span.joined(self._dialect)
                if prefix and span is not IDLE:
                    piece, prefix = prefix + piece, b""
                await self._send(send, piece)
                if span.stop - span.start > FAIR:
                    await asyncio.sleep(0)  # a server may take it all without a pause; others want their turn

    async def _send(self, send: Send, body: bytes) -> None:
        with anyio.fail_after(self._send_timeout):
            await send({"type": "http.response.body", "body": body, "more_body": True})


def cursor_of(scope: Scope) -> str:
    """The cursor of a request: the ``Last-Event-ID`` header, else ``last_event_id`` of the query, else ``""``."""
    for name, value in scope.get("headers", ()):
        if name == b"last-event-id":
            return str(value, "latin-1")
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("last_event_id")
    return values[0] if values else ""


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _refuse(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message}}, separators=(",", ":")).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await _start(send, status, headers)
    await send({"type": "http.response.body", "body": body})
