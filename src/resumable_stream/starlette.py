"""`EventStreamResponse` as a Starlette response, for frameworks whose handlers must return one, as FastAPI's must.

Needs Starlette, which is there where FastAPI is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from . import asgi
from ._consumer import KEEP_ALIVE_INTERVAL, StreamConsumer
from ._events import EventID
from ._sse import EVENT_SOURCE, Dialect

try:
    from starlette.background import BackgroundTask
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "resumable_stream.starlette needs Starlette: pip install 'starlette>=0.49'", name=error.name
    ) from error


class EventStreamResponse(Response):
    """The same as `resumable_stream.asgi.EventStreamResponse`, to be returned from a handler.

    Headers and cookies that are set on it go out with 200 and 204, not with refusals.

    Args:
        consumer: an open consumer.
        stream_id: the stream.
        last_event_id: the client's cursor; ``None`` to take it from the request, ``""`` for the beginning.
        dialect: how events become frames.
        keep_alive: seconds of silence after which a comment is sent.
        max_age: seconds until the response ends for the client to come back, shortened at random by up to a fifth.
        expires_in: seconds until it ends in any case, such as those that the client's token is good for.
        send_timeout: seconds that one write may take before the client is cut.
        wait: seconds to wait for a stream that is not there yet, before the 404.
        headers: more response headers.
        closing: once set, the response ends at the next frame boundary, without a terminal event.
        status_code: what FastAPI writes into its OpenAPI document, where this is a ``response_class``. The status that
            is sent is decided by the stream.
        background: a task to run after the response. It is not run when the server cancels the request.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        consumer: StreamConsumer,
        stream_id: str,
        *,
        last_event_id: EventID | str | None = None,
        dialect: Dialect = EVENT_SOURCE,
        keep_alive: float = KEEP_ALIVE_INTERVAL,
        max_age: float | None = asgi.MAX_AGE,
        expires_in: float | None = None,
        send_timeout: float = asgi.SEND_TIMEOUT,
        wait: float = 0.0,
        headers: Mapping[str, str] | None = None,
        closing: asyncio.Event | None = None,
        status_code: int = 200,
        background: BackgroundTask | None = None,
    ) -> None:
        self.status_code = status_code
        self.background = background
        self.init_headers(headers)
        self._respond = partial(
            asgi.EventStreamResponse,
            consumer,
            stream_id,
            last_event_id=last_event_id,
            dialect=dialect,
            keep_alive=keep_alive,
            max_age=max_age,
            expires_in=expires_in,
            send_timeout=send_timeout,
            wait=wait,
            closing=closing,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request; then run the background task."""
        extra = [pair for pair in self.raw_headers if pair[0] != b"content-type"]  # that one depends on the status
        await self._respond(headers=extra)(scope, receive, send)
        if self.background is not None:
            await self.background()
