"""Lines to Redis and Postgres that break and are mended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import httpx

from app.serving import Chat, new_thread
from resumable_stream.testing import FaultProxy

Service: TypeAlias = Literal["redis", "postgres"]
Fault: TypeAlias = Literal["refused", "silent"]


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines to both services, and the addresses that lead over them."""

    redis: FaultProxy
    postgres: FaultProxy
    redis_url: str
    database_url: str

    async def break_(self, service: Service, fault: Fault) -> None:
        line = self.redis if service == "redis" else self.postgres
        if fault == "refused":
            await line.down()
        else:
            line.blackhole()

    async def mend(self, service: Service) -> None:
        line = self.redis if service == "redis" else self.postgres
        line.heal()
        await line.up()


@asynccontextmanager
async def lines_to(redis_url: str, database_url: str) -> AsyncIterator[Lines]:
    """Lay the lines."""
    async with _line(redis_url) as (redis, url), _line(database_url) as (postgres, dsn):
        yield Lines(redis, postgres, url, dsn)


@asynccontextmanager
async def _line(url: str) -> AsyncIterator[tuple[FaultProxy, str]]:
    parts = urlsplit(url)
    async with FaultProxy(parts.hostname or "", parts.port or 0) as proxy:
        account = f"{parts.username}:{parts.password or ''}@" if parts.username else ""
        yield proxy, parts._replace(netloc=f"{account}{proxy.host}:{proxy.port}").geturl()


async def is_ready(chat: Chat) -> bool:
    return (await chat.http.get("/readyz")).status_code == 200


def requests(chat: Chat, thread_id: str, run_id: str) -> dict[str, Callable[[], Awaitable[httpx.Response]]]:
    """Requests that need the service, whatever the state of the thread; the thread's run is active."""
    return {
        "message": lambda: chat.post("more", thread_id),
        "message for a new thread": lambda: chat.post("more", new_thread()),
        "stream": lambda: chat.stream_status(thread_id),
        "stream of the run": lambda: chat.stream_status(thread_id, run_id=run_id),
        "stream after a cursor": lambda: chat.stream_status(thread_id, last_event_id="1-1"),
        "stop": lambda: chat.stop(thread_id),
        "history": lambda: chat.thread(thread_id),
        "threads": lambda: chat.http.get("/v1/threads"),
    }
