"""A stream that takes its readers many connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import pytest
from redis.asyncio import Redis

from core.http_server import Served, StreamApp, served
from core.streams import eventually, state_key
from resumable_stream import StreamConsumer, StreamProducer, _sse
from resumable_stream.asgi import Receive, Scope, Send
from resumable_stream.testing import Gate, ScriptedSource

TOKENS: Sequence[str] = ("one\n", "\ntwo ", " three", "four\r", "\n\u2028five", "😀")


class RestlessApp(StreamApp):
    """Ends each connection after some milliseconds, and lets the source go on by one token with each new one."""

    def __init__(self, consumer: StreamConsumer) -> None:
        super().__init__(consumer, max_age=0.03)
        self.gates = [Gate() for _ in TOKENS]
        self.connections = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/s":
            if self.connections < len(self.gates):
                self.gates[self.connections].open()
            self.connections += 1
        await super().__call__(scope, receive, send)


@asynccontextmanager
async def restless_stream(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Served, RestlessApp]]:
    """A server with a stream ``s`` that one reader can follow to its end, a token a connection."""
    monkeypatch.setattr(_sse, "random", SimpleNamespace(randint=lambda _low, _high: 10))  # `retry:`, in milliseconds
    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        app = RestlessApp(consumer)
        steps = [part for gate, token in zip(app.gates, TOKENS, strict=True) for part in (gate, token)]
        group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(steps))
        await eventually(lambda: redis.exists(state_key("s")))
        async with served(app) as server:
            yield server, app
        group.cancel_scope.cancel()  # a reader that has failed leaves gates closed
