"""The reconnecting client of the page on clients does what the page says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

import anyio
import httpx
import uvicorn
from httpx_sse import ServerSentEvent
from redis.asyncio import Redis

from docs.pages import ROOT, blocks_of
from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.asgi import EventStreamResponse
from resumable_stream.testing import Gate, ScriptedSource
from support import wait_until

Follow = Callable[[httpx.AsyncClient, str], AsyncGenerator[ServerSentEvent]]


async def test_the_documented_client_gets_every_event_once_over_two_connections(redis: Redis) -> None:
    gate = Gate()
    closing = asyncio.Event()
    requests = 0

    async with StreamProducer(redis) as producer, StreamConsumer(redis) as consumer, asyncio.TaskGroup() as tasks:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal requests
            requests += 1
            await EventStreamResponse(consumer, "s", closing=closing if requests == 1 else None)(scope, receive, send)

        tasks.create_task(producer.run("s", ScriptedSource(["one", "two", gate, "three"])))
        await gate.reached()
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        serving = tasks.create_task(server.serve())
        await wait_until(lambda: server.started or serving.done(), what="the server has started")
        port = server.servers[0].sockets[0].getsockname()[1]

        texts: list[str] = []
        async with httpx.AsyncClient() as client:
            with anyio.fail_after(20):
                async for event in _documented_client()(client, f"http://127.0.0.1:{port}/"):
                    texts.append(event.data)
                    if event.data == "two":
                        closing.set()  # the first connection ends here, cleanly
                        gate.open()
        server.should_exit = True

    assert texts == ["one", "two", "three", "end"]
    assert requests == 2


def _documented_client() -> Follow:
    (block,) = [one for one in blocks_of(ROOT / "docs/clients.md", "python") if "def follow(" in one.code]
    namespace: dict[str, Any] = {}
    exec(compile(block.code, block.page, "exec"), namespace)
    return cast("Follow", namespace["follow"])
