"""Promises 7 and 8: readers that are cut anywhere and resume, and readers that come at any moment."""

from __future__ import annotations

import random

import anyio
import anyio.lowlevel
import pytest
from redis.asyncio import Redis

from core.http_server import StreamApp, request, served
from core.sse_parser import Message, parse
from core.streams import DEADLINE, drain, ended_as, is_dense, read_all, text_of
from promises.matrix import everywhere, in_pairs
from resumable_stream import Status, StreamConsumer, StreamEvent, StreamNotFound, StreamProducer
from resumable_stream.testing import Gate, ScriptedSource, numbered

live_or_ended = pytest.mark.parametrize("live", [True, False], ids=["live", "ended"])


def equals(messages: list[Message], tokens: list[str]) -> None:
    """What was put together of all parts is the source, without an id twice."""
    assert [message.data for message in messages] == [*tokens, "end"]
    ids = [message.last_event_id for message in messages]
    assert len(set(ids)) == len(ids)


@pytest.mark.promise(number=7)
@everywhere
@live_or_ended
async def test_a_reader_that_is_cut_behind_every_frame_gets_all(client: Redis, *, live: bool) -> None:
    """One reader a frame; each begins with the id that the one before had.

    Fails without the place of a cursor (`_hub.py`).
    """
    tokens = numbered(300)
    messages: list[Message] = []
    cursor: str | None = None
    async with StreamProducer(client) as producer, StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                claimed = anyio.Event()
                source = ScriptedSource([claimed.set, *tokens])
                if live:
                    group.start_soon(producer.run, "s", source)
                    await claimed.wait()
                else:
                    await producer.run("s", source)
                while not messages or messages[-1].data != "end":
                    frames = consumer.frames("s", last_event_id=cursor)
                    messages += parse(await anext(frames))
                    await frames.aclose()
                    cursor = messages[-1].last_event_id
        assert [frame async for frame in consumer.frames("s", last_event_id=cursor)] == []
    equals(messages, tokens)


@pytest.mark.promise(number=7)
@in_pairs
@live_or_ended
async def test_a_client_that_is_cut_behind_every_frame_gets_all(client: Redis, *, live: bool) -> None:
    """The same over HTTP, with the `Last-Event-ID` that the client had.

    Fails without the header of the request (`asgi.py`).
    """
    tokens = numbered(100)
    messages: list[Message] = []
    cursor: dict[str, str] = {}
    async with (
        StreamProducer(client) as producer,
        StreamConsumer(client) as consumer,
        served(StreamApp(consumer)) as server,
        anyio.create_task_group() as group,
    ):
        claimed = anyio.Event()
        source = ScriptedSource([claimed.set, *tokens])
        if live:
            group.start_soon(producer.run, "s", source)
            await claimed.wait()
        else:
            await producer.run("s", source)
        with anyio.fail_after(DEADLINE):
            while not messages or messages[-1].data != "end":
                async with request(server.port, "/s", headers=cursor) as response:
                    assert response.status == 200
                    await response.read_until(b"\n\n")
                    messages.append(parse(response.body)[0])
                    cursor = {"Last-Event-ID": messages[-1].last_event_id}
    equals(messages, tokens)


@pytest.mark.promise(number=7)
@in_pairs
async def test_a_client_that_is_cut_at_any_byte_gets_all(client: Redis) -> None:
    """Inside a frame too: half a frame is as good as none, and only a whole one moves the cursor.

    Fails without the answer that there is nothing more (`asgi.py`).
    """
    tokens = ["Hel", "lo\n", "😀"]
    await StreamProducer(client).run("s", ScriptedSource(tokens))
    async with StreamConsumer(client) as consumer, served(StreamApp(consumer)) as server:
        async with request(server.port, "/s") as response:
            size = len(await response.read_all())
        with anyio.fail_after(DEADLINE):
            for received in range(size + 1):
                async with request(server.port, "/s") as response:
                    while len(response.body) < received:
                        await response.read_some()
                    messages = parse(response.body[:received])
                cursor = {"Last-Event-ID": messages[-1].last_event_id} if messages else {}
                async with request(server.port, "/s", headers=cursor) as response:
                    assert response.status == (204 if received == size else 200)
                    messages += parse(await response.read_all())
                equals(messages, tokens)


@pytest.mark.promise(number=8)
@everywhere
async def test_at_whatever_moment_a_reader_comes_it_gets_the_same_text(client: Redis) -> None:
    """Before the first event, in the middle, as the end is being written, and after it.

    Fails without the position in a segment (`_hub.py`).
    """
    first, last = Gate(), Gate()
    early: list[StreamEvent] = []
    middle: list[StreamEvent] = []
    at_the_end: list[StreamEvent] = []
    source = ScriptedSource([first, *numbered(50), last, *numbered(50, start=51)])
    async with StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(StreamProducer(client).run, "s", source)
                await first.reached()
                group.start_soon(drain, consumer.events("s"), early)
                await anyio.lowlevel.checkpoint()
                first.open()
                await last.reached()
                group.start_soon(drain, consumer.events("s"), middle)
                last.open()
                await source.wait_closed()
                group.start_soon(drain, consumer.events("s"), at_the_end)
        after = await read_all(consumer, "s")
    async with StreamConsumer(client) as elsewhere:
        assert await read_all(elsewhere, "s") == after
    assert text_of(after) == "".join(numbered(100))
    assert is_dense(after)
    assert early == middle == at_the_end == after


@pytest.mark.promise(number=8)
@in_pairs
async def test_a_reader_that_comes_within_a_millisecond_of_the_end_misses_nothing(client: Redis) -> None:
    """A hundred short streams, with readers that come at any step of the loop from the claim to past the end.

    Fails without the waking of those who wait (`_fanout.py`).
    """
    rng = random.Random(8)
    got: dict[str, list[StreamEvent]] = {}

    async def read(consumer: StreamConsumer, stream_id: str, steps: int) -> None:
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        while stream_id not in got:
            try:
                got[stream_id] = [event async for event in consumer.events(stream_id)]
            except StreamNotFound:
                await anyio.lowlevel.checkpoint()

    async with StreamProducer(client) as producer, StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            for batch in range(4):
                async with anyio.create_task_group() as group:
                    for number in range(25):
                        stream_id = f"s{batch}-{number}"
                        group.start_soon(producer.run, stream_id, ScriptedSource(["a", "b", "c"]))
                        group.start_soon(read, consumer, stream_id, rng.randrange(60))
    assert len(got) == 100
    for events in got.values():
        assert text_of(events) == "abc"
        assert is_dense(events)
        assert ended_as(events) is Status.COMPLETED
