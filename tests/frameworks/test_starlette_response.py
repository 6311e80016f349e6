"""`resumable_stream.starlette.EventStreamResponse` in FastAPI and Starlette apps, behind a real server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from httpx_sse import ServerSentEvent, aconnect_sse
from redis.asyncio import Redis
from starlette.background import BackgroundTask
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from resumable_stream import JSON, StreamConsumer, StreamProducer
from resumable_stream.starlette import EventStreamResponse
from resumable_stream.testing import Gate, ScriptedSource
from support import wait_until

DEADLINE = 20.0


async def test_a_handler_of_fastapi_returns_a_stream_that_can_be_resumed(redis: Redis) -> None:
    async with consuming(redis) as consumer:
        app = FastAPI()

        @app.get("/{stream_id}", response_class=EventStreamResponse)
        async def read(stream_id: str) -> EventStreamResponse:
            return EventStreamResponse(consumer, stream_id)

        await write(redis, "s", ["one ", "two ", "three"])
        async with client_of(app) as client:
            events = await read_all(client, "/s")
            assert [event.data for event in events] == ["one ", "two ", "three", "end"]
            assert [event.data for event in await read_all(client, f"/s?last_event_id={events[1].id}")] == [
                "three",
                "end",
            ]
        assert "text/event-stream" in str(app.openapi()["paths"]["/{stream_id}"])


async def test_refusals_keep_their_status(redis: Redis) -> None:
    async with consuming(redis) as consumer:
        app = FastAPI()

        @app.get("/{stream_id}")
        async def read(stream_id: str) -> Response:
            return EventStreamResponse(consumer, stream_id)

        await write(redis, "s", ["one"])
        async with client_of(app) as client:
            last = (await read_all(client, "/s"))[-1].id
            answers = [
                await client.get("/unknown"),
                await client.get("/s", headers={"Last-Event-ID": "nonsense"}),
                await client.get("/s", headers={"Last-Event-ID": last}),
            ]
        assert [answer.status_code for answer in answers] == [404, 400, 204]
        assert [answer.headers.get("content-type") for answer in answers] == [
            "application/json",
            "application/json",
            None,
        ]


async def test_every_option_reaches_the_stream(redis: Redis) -> None:
    async with consuming(redis) as consumer:
        closing = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            response = EventStreamResponse(
                consumer,
                "s",
                last_event_id="",
                dialect=JSON,
                keep_alive=0.01,
                max_age=None,
                send_timeout=5,
                closing=closing,
            )
            await response(scope, receive, send)

        gate = Gate()
        async with StreamProducer(redis) as producer, asyncio.TaskGroup() as tasks, client_of(app) as client:
            source = ScriptedSource(["one", gate, "two"])
            tasks.create_task(producer.run("s", source))
            with anyio.fail_after(DEADLINE):
                await gate.reached()
                async with client.stream("GET", "/", headers={"Last-Event-ID": "ignored"}) as response:
                    lines = response.aiter_lines()
                    async for line in lines:
                        if line == 'data: {"type":"text","data":"one"}':
                            break
                    assert [await anext(lines) for _ in range(3)] == ["", ": ka", ": ka"]
                    closing.set()
                    assert "data" not in "".join([line async for line in lines])
            gate.open()


async def test_headers_and_cookies_that_are_set_on_it_arrive_beside_its_own(redis: Redis) -> None:
    async with consuming(redis) as consumer:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            response = EventStreamResponse(consumer, "s", headers={"X-Run": "42"})
            response.set_cookie("seen", "yes")
            await response(scope, receive, send)

        await write(redis, "s", ["one"])
        async with client_of(app) as client:
            headers = (await client.get("/")).headers
        assert headers.get_list("content-type") == ["text/event-stream; charset=utf-8"]
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-run"] == "42"
        assert headers["set-cookie"].startswith("seen=yes")
        assert "content-length" not in headers


async def test_a_background_task_runs_when_the_stream_has_been_sent(redis: Redis) -> None:
    async with consuming(redis) as consumer:
        done = asyncio.Event()

        async def note() -> None:
            done.set()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await EventStreamResponse(consumer, "s", background=BackgroundTask(note))(scope, receive, send)

        await write(redis, "s", ["one"])
        async with client_of(app) as client:
            await read_all(client, "/")
            with anyio.fail_after(DEADLINE):
                await done.wait()


async def test_behind_middleware_frames_come_at_once_and_a_client_that_leaves_is_noticed(redis: Redis) -> None:
    async with consuming(redis) as consumer:
        app = FastAPI()
        app.add_middleware(GZipMiddleware, minimum_size=1)
        served = asyncio.Event()

        @app.middleware("http")
        async def passing(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
            return await call_next(request)

        class Noted(EventStreamResponse):
            async def __call__(self, *args: Any) -> None:
                await super().__call__(*args)
                served.set()

        @app.get("/")
        async def read() -> Response:
            return Noted(consumer, "s")

        gate = Gate()
        async with StreamProducer(redis) as producer, asyncio.TaskGroup() as tasks, client_of(app) as client:
            tasks.create_task(producer.run("s", ScriptedSource(["one", gate])))
            with anyio.fail_after(DEADLINE):
                await gate.reached()
                async with client.stream("GET", "/") as response:
                    async for line in response.aiter_lines():
                        if line == "data: one":
                            break
                await served.wait()
            gate.open()


def test_without_starlette_the_error_names_the_line_that_installs_it() -> None:
    code = "import sys; sys.modules['starlette'] = None; import resumable_stream.starlette"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "ModuleNotFoundError: resumable_stream.starlette needs Starlette: pip install 'starlette" in done.stderr


@pytest.mark.parametrize("module", ["fastapi", "pydantic", "langgraph", "psycopg"])
def test_it_needs_nothing_but_starlette(module: str) -> None:
    code = f"import sys; import resumable_stream.starlette; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@asynccontextmanager
async def consuming(redis: Redis) -> AsyncIterator[StreamConsumer]:
    async with StreamConsumer(redis) as consumer:
        yield consumer


async def write(redis: Redis, stream_id: str, script: list[str]) -> None:
    await StreamProducer(redis).run(stream_id, ScriptedSource(script))


@asynccontextmanager
async def client_of(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server in this event loop."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=5))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server.serve())
        await wait_until(lambda: server.started or task.done(), what="the server has started")
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client:
                yield client
        finally:
            server.should_exit = True


async def read_all(client: httpx.AsyncClient, path: str) -> list[ServerSentEvent]:
    """The events of a stream, to its end."""
    async with aconnect_sse(client, "GET", path) as source:
        return [event async for event in source.aiter_sse()]
