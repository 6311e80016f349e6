"""The plain way: XADD and EXPIRE awaited for each token, a blocking XREAD for each viewer, Starlette's response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

from redis.asyncio import ConnectionPool, Redis
from starlette.responses import StreamingResponse

from benchmarks.sources import paced, phases
from resumable_stream.asgi import Receive, Scope, Send

RETENTION = 900
COUNT = 100


class Plain:
    """``GET /<stream>`` is that stream."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._runs: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._pool = ConnectionPool.from_url(self._spec["url"], max_connections=100_000)
        self._redis = Redis(connection_pool=self._pool)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        await self._redis.aclose()
        await self._pool.aclose()

    async def go(self) -> None:
        """Let the sources begin."""
        rate, count = self._spec["rate"], self._spec["count"]
        if rate:
            for number, phase in enumerate(phases(self._spec["streams"], rate)):
                self._runs.append(asyncio.create_task(self._produce(f"s{number}", paced(count, rate, phase))))

    async def _produce(self, stream: str, source: AsyncIterator[str]) -> None:
        async for token in source:
            await self._redis.xadd(stream, {"text": token})
            await self._redis.expire(stream, RETENTION)
        await self._redis.xadd(stream, {"end": ""})

    async def _frames(self, stream: str) -> AsyncIterator[bytes]:
        last = b"0"
        yield b": ka\n"
        while True:
            reply: Any = await self._redis.xread({stream: last}, block=4000, count=COUNT)
            if not reply:
                yield b": ka\n"
                continue
            for _, entries in reply.items() if isinstance(reply, dict) else reply:
                for entry_id, fields in entries:
                    last = entry_id
                    if b"end" in fields:
                        yield b"id: %b\nevent: system\ndata: end\n\n" % entry_id
                        return
                    yield b"id: %b\nevent: chunk\ndata: %b\n\n" % (entry_id, fields[b"text"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        frames = self._frames(scope["path"][1:])
        await StreamingResponse(frames, media_type="text/event-stream")(scope, receive, send)
