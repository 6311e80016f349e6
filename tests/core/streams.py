"""What the core's tests share: reading streams and logs, and a way to Redis that can fail."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import anyio
from redis.asyncio import Redis

from resumable_stream import EventID, LogUnavailable, Status, StreamConsumer, StreamEvent, StreamProducer, _committer
from resumable_stream.testing import FaultProxy
from support import wait_until

DEADLINE = 20.0
"""Seconds that a test waits at most for something that should happen soon."""


def text_of(events: Iterable[StreamEvent]) -> str:
    """The text of the answer."""
    return "".join(str(event.data) for event in events if event.type == "text")


def ids_of(events: Iterable[StreamEvent]) -> list[EventID]:
    """The ids of the events that have one."""
    return [event.id for event in events if event.id is not None]


def is_dense(events: Iterable[StreamEvent]) -> bool:
    """Whether the events are numbered 1, 2, 3 … in this order."""
    sequences = [event_id.sequence for event_id in ids_of(events)]
    return sequences == list(range(1, len(sequences) + 1))


def since_reset(events: list[StreamEvent]) -> list[StreamEvent]:
    """What a reader holds: all that came after the last event that told it to drop what it had."""
    resets = [index for index, event in enumerate(events) if event.type == "reset"]
    return events[resets[-1] + 1 :] if resets else events


async def eventually(condition: Callable[[], Awaitable[object]], *, what: str = "") -> None:
    """Wait until a question to a server is answered with yes."""

    async def answer() -> bool:
        return bool(await condition())

    question: Callable[[], bool | Awaitable[bool]] = answer
    await wait_until(question, timeout=DEADLINE, what=what)


async def read_all(
    consumer: StreamConsumer, stream_id: str, *, after: EventID | str | None = None
) -> list[StreamEvent]:
    """Everything from a cursor to the end."""
    with anyio.fail_after(DEADLINE):
        return [event async for event in consumer.events(stream_id, after=after)]


async def take(events: AsyncIterator[StreamEvent], count: int) -> list[StreamEvent]:
    """The next events."""
    with anyio.fail_after(DEADLINE):
        return [await anext(events) for _ in range(count)]


async def drain(source: AsyncIterable[StreamEvent], into: list[StreamEvent]) -> None:
    """Read to the end, in a task of its own."""
    async for event in source:
        into.append(event)  # noqa: PERF401 - others look at the list meanwhile


async def log_of(redis: Redis, stream_id: str) -> list[tuple[str, str, str]]:
    """The entries of a stream as they are in Redis: id, kind, data."""
    entries: Any = await redis.xrange(log_key(stream_id))
    return [
        (entry_id.decode(), kind.decode(), data.decode("utf-8", "surrogatepass"))
        for entry_id, fields in entries
        for kind, data in fields.items()
    ]


async def text_in_log(redis: Redis, stream_id: str) -> str:
    """The text that the log holds."""
    return "".join(data for _, kind, data in await log_of(redis, stream_id) if kind == "text")


async def ends_in_log(redis: Redis, stream_id: str) -> list[str]:
    """The data of every terminal event in the log; there must be at most one."""
    return [data for _, kind, data in await log_of(redis, stream_id) if kind == "end/json"]


async def abandon(url: str, stream_id: str, *tokens: str, lease: float = 0.3) -> None:
    """Leave what a crashed producer leaves: events, a lease that nobody renews, and no end."""
    async with faulty(url) as (proxy, redis):
        with suppress(LogUnavailable), patch.object(_committer, "LAST_WORDS", 0.0):
            async with StreamProducer(redis, lease=lease, outage_timeout=0).open(stream_id) as stream:
                for token in tokens:
                    await stream.send(token)
                await stream.flush()
                await proxy.down()


async def lease_is_over(redis: Redis, stream_id: str) -> bool:
    """Whether the producer counts as dead by the server's clock."""
    return await redis.hexists(state_key(stream_id), "l") and await lease_left(redis, stream_id) < 0


async def lease_left(redis: Redis, stream_id: str) -> float:
    """Milliseconds until the producer counts as dead."""
    return float(await redis.hget(state_key(stream_id), "l") or 0) - await milliseconds(redis)


async def milliseconds(redis: Redis) -> float:
    """The server's clock."""
    seconds, micros = await redis.time()
    return float(seconds) * 1000 + float(micros) / 1000


def log_key(stream_id: str) -> str:
    """The key of a stream's log: the layout is a promise to other versions of the library."""
    return f"rs1:{{{stream_id}}}:log"


def state_key(stream_id: str) -> str:
    """The key of a stream's state."""
    return f"rs1:{{{stream_id}}}:state"


def ended_as(events: list[StreamEvent]) -> Status:
    """The status of the last event, after a check that it is the only end."""
    assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]
    return events[-1].status


@asynccontextmanager
async def faulty(url: str, *, seed: int = 0, **settings: Any) -> AsyncIterator[tuple[FaultProxy, Redis]]:
    """A client with default settings that reaches the server through a proxy."""
    server = urlsplit(url)
    async with (
        FaultProxy(server.hostname or "", server.port or 0, seed=seed) as proxy,
        Redis(host=proxy.host, port=proxy.port, **settings) as redis,
    ):
        yield proxy, redis
