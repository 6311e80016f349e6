"""What a reader is told when little is known, what a feed keeps, and how a response ends when nobody reads."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, MutableMapping
from functools import partial
from itertools import cycle
from typing import Any

import anyio
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from core.streams import DEADLINE, faulty, ids_of, is_dense, take, text_of
from resumable_stream import (
    EVENT_SOURCE,
    JSON,
    EventID,
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamNotFound,
    StreamProducer,
    StreamWriter,
    _fanout,
    _hub,
    _segment,
    _sse,
    _window,
)
from resumable_stream._events import pack
from resumable_stream._pages import Pages
from resumable_stream.asgi import EventStreamResponse, Scope
from resumable_stream.testing import ScriptedSource, Step
from support import wait_until

Message = MutableMapping[str, Any]


@pytest.fixture
async def stream(redis: Redis) -> AsyncIterator[StreamWriter]:
    """A live stream with one event."""
    async with StreamProducer(redis) as producer, producer.open("s") as stream:
        await stream.send("1")
        await stream.flush()
        yield stream


async def written(stream: StreamWriter, text: str) -> EventID:
    """Write one more event, and its id."""
    await stream.send(text)
    await stream.flush()
    assert stream.last_id is not None
    return stream.last_id


async def test_a_valid_cursor_while_redis_is_away_is_an_error_and_no_reset(
    stream: StreamWriter, valkey_url: str
) -> None:
    """The event is newer than what this process has seen: another one served the client before."""
    with anyio.fail_after(DEADLINE):
        async with (
            faulty(valkey_url) as (proxy, client),
            StreamConsumer(client) as consumer,
            await consumer.attach("s") as viewer,
        ):
            assert await viewer.advance() is not None
            await proxy.down()
            cursor = await written(stream, "2")
            with pytest.raises(LogUnavailable):
                await consumer.attach("s", after=cursor)
            await proxy.up()
            await wait_until(lambda: viewer._feed.head == cursor)
            await written(stream, "3")
            assert [event.data for event in await take(consumer.events("s", after=cursor), 1)] == ["3"]


async def test_an_answer_that_is_older_than_the_cursor_is_no_reset(
    stream: StreamWriter, valkey_url: str, redis_admin: SyncRedis
) -> None:
    """A look at the log was under way when the event was written; its answer comes last."""

    def looks() -> int:
        return int(redis_admin.info("commandstats")["cmdstat_evalsha"]["calls"])

    with anyio.fail_after(DEADLINE):
        async with (
            faulty(valkey_url) as (proxy, client),
            StreamConsumer(client) as consumer,
            await consumer.attach("s") as viewer,
        ):
            assert await viewer.advance() is not None
            proxy.to_client.hold()
            before = looks()
            viewer._feed.kick()
            await wait_until(lambda: looks() > before)
            cursor = await written(stream, "2")
            attaching = asyncio.create_task(consumer.attach("s", after=cursor))
            await wait_until(lambda: viewer._feed._asked)
            proxy.to_client.release()
            async with await attaching as placed:
                await written(stream, "3")
                span = await placed.advance()
                assert span is not None
                assert [event.data for event in span.events] == ["3"]


async def test_who_does_not_wait_is_told_at_once_beside_a_reader_that_does(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when it would have given up on a silent Redis."""
    monkeypatch.setattr(_hub, "ATTACH_TIMEOUT", DEADLINE * 2)
    async with StreamConsumer(redis) as consumer:
        waiting = asyncio.create_task(consumer.attach("s", wait=DEADLINE * 2))
        with anyio.fail_after(DEADLINE):
            await wait_until(lambda: consumer._hub is not None and "s" in consumer._hub._feeds)
            await wait_until(lambda: consumer._hub is not None and consumer._hub._feeds["s"].missing)
            with pytest.raises(StreamNotFound):
                await consumer.attach("s")
            assert not waiting.done()
            await StreamProducer(redis).run("s", ScriptedSource(["a"]))
            async with await waiting as viewer:
                span = await viewer.advance()
    assert span is not None
    assert text_of(span.events) == "a"


async def test_the_window_is_bounded_by_bytes_however_large_the_events_are(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_window, "WINDOW_BYTES", 1024 * 1024)
    event = StreamEvent("tool_result", {"content": "x" * 100_000})
    cost = _segment.ENTRY_OVERHEAD + 2 * len(pack(event)[1])
    async with (
        StreamConsumer(redis) as consumer,
        StreamProducer(redis) as producer,
        producer.open("s") as stream,
        await consumer.attach("s") as viewer,
    ):
        feed = viewer._feed
        for _ in range(20):
            await stream.send(event)
            await stream.flush()
        await wait_until(lambda: feed.head == stream.last_id)
        assert all(segment.cost <= _segment.SEGMENT_BYTES + cost for segment in feed.window.segments)
        assert sum(segment.cost for segment in feed.window.segments) <= _window.WINDOW_BYTES
        assert feed.first > 1
        got: list[StreamEvent] = []
        with anyio.fail_after(DEADLINE):
            while len(got) < 20:
                span = await viewer.advance()
                assert span is not None
                assert span._segment.cost <= _fanout.PAGE_BYTES + cost * _fanout.FIRST_PAGE
                got += span.events
        assert is_dense(got)
        assert len(ids_of(got)) == 20


async def test_a_page_that_fails_when_its_reader_has_left_is_nobodys_trouble(no_tasks_left: None) -> None:
    """No "Task exception was never retrieved" in the log: `Pages` looks at how a read went."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    away = asyncio.Event()

    async def read(cursor: EventID | None) -> list[Any]:
        await away.wait()
        raise LogUnavailable("Redis is away")

    pages = Pages(read)
    reader = asyncio.create_task(pages.get(0, None))
    await wait_until(lambda: pages.tasks)
    reader.cancel()
    await asyncio.wait([reader])
    del reader
    away.set()
    await wait_until(lambda: not pages.tasks)
    pages.forget()
    gc.collect()
    assert complaints == []


async def test_dialects_that_are_equal_share_their_frames(redis: Redis) -> None:
    """An app may make one for each request."""
    await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    async with StreamConsumer(redis) as consumer:
        pieces = [
            b"".join([frame async for frame in consumer.frames("s", dialect=_sse.JSONDialect())]) for _ in range(10)
        ]
        assert len(set(pieces)) == 1
        assert consumer._hub is not None
        (segment,) = consumer._hub._feeds["s"].window.segments
        assert list(segment._frames) == [JSON]
        async for _ in consumer.frames("s", dialect=_sse.EventSourceDialect()):
            pass
        assert list(segment._frames) == [JSON, EVENT_SOURCE]


async def test_keep_alives_go_on_while_the_dialect_hides_the_events(redis: Redis) -> None:
    """A model that thinks for minutes: its reasoning is not shown, and proxies close silent connections."""
    step: tuple[Step, Step] = (StreamEvent("reasoning", "x"), partial(anyio.sleep, 0.01))
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis) as producer:
            running = asyncio.create_task(producer.run("s", ScriptedSource(cycle(step))))
            frames = consumer.frames("s", keep_alive=0.2, wait=DEADLINE)
            assert [await anext(frames) for _ in range(2)] == [_sse.KEEP_ALIVE] * 2
            await producer.cancel("s")
            assert b"cancelled" in b"".join([frame async for frame in frames])
            assert (await running).status is Status.CANCELLED


class Client:
    """One end of ASGI: keeps what is sent, and takes nothing more after so many messages."""

    def __init__(self, *, stalls_after: int | None = None) -> None:
        self.messages: list[Message] = []
        self.stalled = anyio.Event()
        self._stalls_after = stalls_after

    async def receive(self) -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(self, message: Message) -> None:
        if len(self.messages) == self._stalls_after:
            self.stalled.set()
            await anyio.sleep_forever()
        self.messages.append(message)

    @property
    def ended(self) -> bool:
        """Whether the response is whole."""
        return bool(self.messages) and not self.messages[-1].get(
            "more_body", self.messages[-1]["type"].endswith("start")
        )


SCOPE: Scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}


async def test_closing_does_not_wait_for_a_client_that_takes_nothing(redis: Redis, stream: StreamWriter) -> None:
    """Not for its write under way, and no longer than a write may take for the last one."""
    client, closing = Client(stalls_after=2), asyncio.Event()
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer:
            response = EventStreamResponse(consumer, "s", closing=closing, send_timeout=0.2)
            serving = asyncio.ensure_future(response(SCOPE, client.receive, client.send))
            await client.stalled.wait()
            closing.set()
            await serving
    assert not client.ended


async def test_a_consumer_that_closes_ends_its_responses(redis: Redis, stream: StreamWriter) -> None:
    client = Client()
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer:
            serving = asyncio.ensure_future(EventStreamResponse(consumer, "s")(SCOPE, client.receive, client.send))
            await wait_until(lambda: any(b"data: 1\n" in message.get("body", b"") for message in client.messages))
        await serving
    assert client.ended


async def test_who_waits_for_a_look_is_let_go_when_the_consumer_is_closed(
    stream: StreamWriter, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``Feed._let_go`` the second waits as long as for Redis."""
    monkeypatch.setattr(_fanout, "ATTACH_TIMEOUT", 3600.0)
    with anyio.fail_after(DEADLINE):
        async with (
            faulty(valkey_url) as (proxy, client),
            asyncio.TaskGroup() as group,
            StreamConsumer(client) as consumer,
            await consumer.attach("s") as viewer,
        ):
            assert await viewer.advance() is not None
            feed = viewer._feed
            proxy.blackhole()
            group.create_task(feed.refresh())
            await anyio.wait_all_tasks_blocked()
            assert not feed._asked, "its look is under way"
            group.create_task(feed.refresh())
            await anyio.wait_all_tasks_blocked()
