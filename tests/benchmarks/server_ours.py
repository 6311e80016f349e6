"""The library: producers, one consumer and its ready response, on a bare ASGI app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Self

from redis.asyncio import Redis

from benchmarks.sources import paced, phases
from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.asgi import EventStreamResponse, Receive, Scope, Send
from support import wait_until


class Ours:
    """``GET /<stream>`` is that stream."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._go = asyncio.Event()
        self._stack = AsyncExitStack()
        self._runs: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        redis: Redis = await self._stack.enter_async_context(Redis.from_url(self._spec["url"]))
        self._producer = await self._stack.enter_async_context(
            StreamProducer(redis, flush_interval=self._spec.get("flush_interval", 0.0))
        )
        self._consumer = await self._stack.enter_async_context(StreamConsumer(redis))
        self._redis = redis
        self._keys = await redis.dbsize()
        streams, rate = self._spec["streams"], self._spec["rate"]
        for number, phase in enumerate(phases(streams, rate) if rate else [0.0] * streams):
            run = self._producer.run(f"s{number}", self._source(phase))
            self._runs.append(asyncio.create_task(run))
        await wait_until(self._claimed, timeout=60.0, what="every stream is claimed")
        await redis.connection_pool.disconnect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        await self._stack.aclose()

    async def _claimed(self) -> bool:
        return bool(await self._redis.dbsize() == self._keys + 2 * self._spec["streams"])

    async def _source(self, phase: float) -> AsyncIterator[str]:
        await self._go.wait()
        async for token in paced(self._spec["count"], self._spec["rate"], phase):
            yield token

    async def go(self) -> None:
        """Let the sources begin."""
        self._go.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await EventStreamResponse(self._consumer, scope["path"][1:])(scope, receive, send)
