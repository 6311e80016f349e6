"""The sub-app behind a real server, and clients for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import uuid4

import httpx
import psycopg
import uvicorn
from httpx_sse import ServerSentEvent, aconnect_sse
from psycopg.sql import Composed
from starlette.types import ASGIApp

from resumable_stream.app import Settings, load_settings
from support import wait_until

DEADLINE = 15.0


def settings_for(valkey_url: str, database_url: str, **values: Any) -> Settings:
    """Settings for tests: nothing from the environment of the machine, short lease."""
    given = {
        "redis_url": valkey_url,
        "database_url": database_url,
        "stream_lease_seconds": 2.0,
        "shutdown_grace_seconds": 0.0,
        "handle_signals": False,
    }
    return load_settings(_env_file=None, **(given | values))


@asynccontextmanager
async def served(app: ASGIApp, *, lifespan: str = "on") -> AsyncIterator[str]:
    """A uvicorn in this event loop; gives the address. Afterwards it is stopped, with its lifespan."""
    config = uvicorn.Config(app, port=0, log_level="error", ws="none", lifespan=lifespan, timeout_graceful_shutdown=5)  # type: ignore[arg-type]  # uvicorn names the values of lifespan in a private Literal
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    # Importing the package of a model provider takes seconds.
    await wait_until(lambda: server.started or task.done(), timeout=60, what="the server has started")
    if task.done():
        await task
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, DEADLINE)


@dataclass(frozen=True, slots=True)
class Chat:
    """Calls the API as one user."""

    http: httpx.AsyncClient

    async def post(self, message: str, thread_id: str | None = None, **headers: str) -> httpx.Response:
        body = {"message": message} | ({} if thread_id is None else {"thread_id": thread_id})
        return await self.http.post("/v1/chat/message", json=body, headers=headers)

    async def send(self, message: str, thread_id: str | None = None) -> dict[str, str]:
        """Send a message that must be accepted."""
        response = await self.post(message, thread_id)
        assert response.status_code == 200, response.text
        accepted: dict[str, str] = response.json()
        return accepted

    async def thread(self, thread_id: str) -> httpx.Response:
        return await self.http.get("/v1/thread", params={"thread_id": thread_id})

    async def history(self, thread_id: str) -> list[dict[str, Any]]:
        response = await self.thread(thread_id)
        assert response.status_code == 200, response.text
        messages: list[dict[str, Any]] = response.json()
        return messages

    async def stop(self, thread_id: str, run_id: str | None = None) -> httpx.Response:
        body = {"thread_id": thread_id} | ({} if run_id is None else {"run_id": run_id})
        return await self.http.post("/v1/chat/stop", json=body)

    async def delete(self, thread_id: str) -> httpx.Response:
        return await self.http.delete("/v1/thread", params={"thread_id": thread_id})

    async def rename(self, thread_id: str, name: str) -> httpx.Response:
        params = {"thread_id": thread_id}
        return await self.http.patch("/v1/thread", params=params, json={"chat_name": name})

    async def threads(self, **params: Any) -> dict[str, Any]:
        response = await self.http.get("/v1/threads", params=params)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        return page

    async def stream_status(self, thread_id: str, **params: str) -> httpx.Response:
        """Ask for a stream that is expected to be refused, or to end."""
        query = {"thread_id": thread_id, **params}
        return await self.http.get("/v1/chat/stream", params=query)

    async def events(
        self, thread_id: str, *, cursor: str | None = None, **params: str
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """The events of the stream, until the server ends it."""
        headers = {} if cursor is None else {"Last-Event-ID": cursor}
        query = {"thread_id": thread_id, **params}
        async with aconnect_sse(self.http, "GET", "/v1/chat/stream", params=query, headers=headers) as source:
            source.response.raise_for_status()
            if source.response.status_code == 204:
                return
            async for event in source.aiter_sse():
                yield event

    async def read(self, thread_id: str, **params: Any) -> list[ServerSentEvent]:
        """All events of the stream, under a deadline."""
        async with asyncio.timeout(DEADLINE):
            return [event async for event in self.events(thread_id, **params)]

    async def answer(self, thread_id: str, **params: Any) -> str:
        """The text of the stream, which must come to its end."""
        events = await self.read(thread_id, **params)
        assert events, "the stream was empty"
        assert (events[-1].event, events[-1].data) == ("system", "end")
        return text_of(events)


@asynccontextmanager
async def chat_on(url: str, *, user: str | None = None) -> AsyncIterator[Chat]:
    """A client; with a user, it says so in a header that ``by_header`` reads."""
    headers = {} if user is None else {"X-User": user}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=DEADLINE) as http:
        yield Chat(http)


def by_header(request: Any) -> str | None:
    """An ``identify`` for tests."""
    user: str | None = request.headers.get("x-user")
    return user


def text_of(events: list[ServerSentEvent]) -> str:
    """The text of the ``chunk`` events, joined."""
    return "".join(event.data for event in events if event.event == "chunk")


def typed(events: list[ServerSentEvent]) -> list[dict[str, Any]]:
    """The events of ``format=json``."""
    return [json.loads(event.data) for event in events]


def new_thread() -> str:
    """An id that no thread has."""
    return str(uuid4())


async def eventually(predicate: Callable[[], Awaitable[bool]], *, timeout: float = DEADLINE) -> None:
    """Wait until an async predicate says yes."""
    async with asyncio.timeout(timeout):
        while not await predicate():  # noqa: ASYNC110 - what is asked is in another process
            await asyncio.sleep(0.02)


async def sql(database_url: str, statement: LiteralString | Composed, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement beside the app. Not blocking: the app that may hold the row is in this very event loop."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        cursor = await connection.execute(statement, values)
        return await cursor.fetchall() if cursor.description is not None else []


def code_of(response: httpx.Response) -> str:
    """The error code of a response, which must be in the one format."""
    body = response.json()
    assert set(body) == {"error"}
    assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "detail"}
    code: str = body["error"]["code"]
    return code
