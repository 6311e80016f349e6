"""An agent that uses a model and a tool, as its events tell, and a host that makes spans of requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
from opentelemetry.trace import Tracer
from starlette.types import ASGIApp, Receive, Scope, Send

from app.scripted import ScriptedAgent
from resumable_stream import StreamEvent
from resumable_stream.agent import Turn

USAGE = {"input_tokens": 40, "output_tokens": 7, "total_tokens": 47}


class TalkingAgent(ScriptedAgent):
    """Calls its model, a tool that fails, and its model again. Its work makes a span of its own.

    Attributes:
        tracer: makes it.
    """

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    async def stream(self, turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        with self.tracer.start_as_current_span("HTTP call of the model's package"):
            await anyio.lowlevel.checkpoint()
        yield StreamEvent("message_start", {"message_id": "m-1"})
        yield StreamEvent("tool_call", {"id": "c-1", "name": "search", "args": {"query": "a secret"}})
        yield StreamEvent("message_end", {"message_id": "m-1", "usage": USAGE, "finish_reason": "tool_calls"})
        result = {"id": "c-1", "name": "search", "content": "a secret", "status": "error"}
        yield StreamEvent("tool_result", result)
        yield StreamEvent("message_start", {"message_id": "m-2"})
        async for event in super().stream(turn):
            yield event


class Instrumented:
    """An app in a host whose requests are spans, as OpenTelemetry's instrumentations make them."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._tracer.start_as_current_span(f"{scope['method']} {scope['path']}"):
            await self._app(scope, receive, send)
