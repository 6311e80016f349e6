"""A reader that is cut anywhere, any number of times, resumes with the id it has: nothing twice, nothing missing."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import count

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.sse_parser import Message, parse
from core.streams import DEADLINE, drain, eventually, faulty, ids_of, log_key, read_all, text_of
from resumable_stream import (
    JSON,
    EventID,
    LogUnavailable,
    StreamConsumer,
    StreamEvent,
    StreamProducer,
)
from resumable_stream.testing import ScriptedSource, Step, numbered

names = (f"s{number}" for number in count())


def chunks(messages: list[Message]) -> str:
    return "".join(message.data for message in messages if message.type == "chunk")


async def test_from_every_event_exactly_the_rest_follows(redis: Redis) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(numbered(200)))
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
        for position, event in enumerate(events):
            assert await read_all(consumer, "s", after=event.id) == events[position + 1 :]
            assert await read_all(consumer, "s", after=str(event.id)) == events[position + 1 :]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    tokens=st.lists(
        st.text(max_size=8).filter(lambda token: not token.endswith("\r")), max_size=40
    ),  # it waits for a LF
    readers=st.lists(st.lists(st.integers(1, 12), max_size=12), min_size=1, max_size=4),
    pauses=st.lists(st.integers(0, 5), max_size=10),
)
async def test_any_readers_cut_anywhere_on_a_live_stream(
    redis: Redis, tokens: list[str], readers: list[list[int]], pauses: list[int]
) -> None:
    """The main promise, over schedules of producer and readers that hypothesis makes up."""
    stream_id = next(names)
    claimed = anyio.Event()
    script: list[Step] = [claimed.set]
    for index, token in enumerate(tokens):
        script += [anyio.lowlevel.checkpoint] * (pauses[index % len(pauses)] if pauses else 0)
        script.append(token)
    got: list[list[StreamEvent]] = []

    async def read(consumer: StreamConsumer, parts: list[int]) -> None:
        events: list[StreamEvent] = []
        for size in [*parts, 10**9]:
            if events and events[-1].terminal:
                break
            reader = consumer.events(stream_id, after=events[-1].id if events else None)
            async for event in reader:
                events.append(event)
                size -= 1
                if not size:
                    break
            await reader.aclose()
        got.append(events)

    with anyio.fail_after(DEADLINE):
        async with (
            StreamProducer(redis) as producer,
            StreamConsumer(redis) as consumer,
            anyio.create_task_group() as group,
        ):
            group.start_soon(producer.run, stream_id, ScriptedSource(script))
            await claimed.wait()
            for parts in readers:
                group.start_soon(read, consumer, parts)
    for events in got:
        assert [event.data for event in events[:-1]] == [token for token in tokens if token]
        assert [event_id.sequence for event_id in ids_of(events)] == list(range(1, len(events) + 1))
        assert events[-1].terminal


@pytest.mark.parametrize("seed", [1, 2])
async def test_with_faults_on_every_line_all_readers_get_the_source(redis: Redis, valkey_url: str, seed: int) -> None:
    """Connections of producer and readers are cut again and again, in the middle of anything."""
    tokens = numbered(600)
    got: list[list[StreamEvent]] = [[] for _ in range(5)]

    async def written(count: int) -> None:
        await eventually(lambda: _has(redis, count))

    async with (
        faulty(valkey_url, seed=seed) as (up, writer),
        faulty(valkey_url, seed=seed + 10) as (down, reader),
        StreamProducer(writer) as producer,
        StreamConsumer(reader) as consumer,
    ):
        with anyio.fail_after(90):
            for proxy in (up, down):
                proxy.to_client.slice_size = 100 + seed
            script: list[Step] = []
            for index, token in enumerate(tokens):
                script.append(token)
                if index % 40 == 0:
                    script += [partial(written, index), up.cut, down.cut]
                if index % 70 == 0:
                    script += [partial(up.to_server.cut_after, index), partial(down.to_client.cut_after, index)]
                    script += [partial(up.to_client.cut_after, index % 11)]
            claimed = anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(producer.run, "s", ScriptedSource([claimed.set, *script]))
                await claimed.wait()
                for events in got:
                    group.start_soon(come_back, consumer, events)
    for events in got:
        assert text_of(events) == "".join(tokens)
        assert [event_id.sequence for event_id in ids_of(events)] == list(range(1, 602))


async def come_back(consumer: StreamConsumer, events: list[StreamEvent]) -> None:
    """Read as a client does: when it is refused because Redis is away, it tries again."""
    while not events or not events[-1].terminal:
        with suppress(LogUnavailable):
            await drain(consumer.events("s", after=events[-1].id if events else None), events)


async def _has(redis: Redis, count: int) -> bool:
    return bool(await redis.xlen(log_key("s")) >= count)


async def test_a_cursor_works_in_every_process_and_dialect(redis: Redis) -> None:
    """An id names an event of the log, not a frame of a server."""
    await StreamProducer(redis).run("s", ScriptedSource(numbered(20)))
    async with StreamConsumer(redis) as one, StreamConsumer(redis) as other:
        frames = one.frames("s", dialect=JSON)
        cursor = parse(await anext(frames))[0].last_event_id
        await frames.aclose()
        assert EventID.parse(cursor).sequence == 1
        assert chunks(await _frames(other, cursor)) == "".join(numbered(19, start=2))


async def _frames(consumer: StreamConsumer, cursor: str) -> list[Message]:
    return parse(b"".join([frame async for frame in consumer.frames("s", last_event_id=cursor)]))
