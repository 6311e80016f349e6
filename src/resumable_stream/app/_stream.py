"""The stream route: it finds the run, and hands it to the core's response."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from resumable_stream import EVENT_SOURCE, JSON, EventID, StreamConsumer
from resumable_stream.asgi import EventStreamResponse, come_back, cursor_of
from resumable_stream.runs import StreamFinder

from ._endpoints import Call
from ._identity import require_valid
from ._limits import OpenStreams
from ._schemas import NoBody, StreamQuery
from ._settings import Settings


class StreamRoute:
    """Serves ``GET /v1/chat/stream``.

    Args:
        streams: how many each owner has open.
        closing: once set, streams end at a frame boundary without a terminal event, and clients come back elsewhere.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        finder: StreamFinder,
        consumer: StreamConsumer,
        streams: OpenStreams,
        closing: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._finder = finder
        self._consumer = consumer
        self._streams = streams
        self._closing = closing

    async def read(self, call: Call[StreamQuery, NoBody]) -> ASGIApp:
        """Take a place among the owner's streams, find the run, and send it."""

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            with self._streams.one_of(call.owner):
                response = await self._find(call)
                await response(scope, receive, send)

        return respond

    async def _find(self, call: Call[StreamQuery, NoBody]) -> ASGIApp:
        """Find the run and make its response.

        Raises:
            ApiError: the caller's identity has expired while a run was waited for.
            EventIDError: the cursor is malformed.
            ThreadNotFound, RunNotFound, Unavailable: as ``StreamFinder.find``.
        """
        text = cursor_of(call.request.scope)
        cursor = EventID.parse(text) if text else None
        run = await self._finder.find(
            call.owner, call.query.thread_id, run_id=call.query.run_id, cursor=cursor, closing=self._closing
        )
        if run is None:
            return come_back if self._closing.is_set() else Response(status_code=204)
        require_valid(call.caller)
        return EventStreamResponse(
            self._consumer,
            run.stream_id,
            last_event_id=text,
            dialect=JSON if call.query.format == "json" else EVENT_SOURCE,
            keep_alive=self._settings.keep_alive_seconds,
            max_age=self._settings.connection_max_seconds,
            expires_in=call.caller.remaining,
            headers=[(b"x-run-id", str(run.id).encode())],
            closing=self._closing,
        )
