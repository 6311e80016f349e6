"""A producer that lives keeps its stream; one that has died is buried, once, by whoever notices."""

from __future__ import annotations

import anyio
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    abandon,
    drain,
    ended_as,
    ends_in_log,
    eventually,
    faulty,
    read_all,
    state_key,
    text_in_log,
    text_of,
)
from resumable_stream import Status, StreamConsumer, StreamEvent, StreamProducer
from resumable_stream.testing import Gate, ScriptedSource


async def test_asking_for_the_status_of_a_dead_stream_ends_it(redis: Redis, valkey_url: str) -> None:
    """`status` is enough: nobody needs to read the stream for it to be buried."""
    await abandon(valkey_url, "s", "a")
    async with StreamConsumer(redis) as consumer:

        async def lost() -> bool:
            return (await consumer.status("s")).status is Status.LOST

        await eventually(lost)
        info = await consumer.status("s")
    assert info.last_id is not None
    assert len(await ends_in_log(redis, "s")) == 1


async def test_many_readers_bury_a_stream_once(redis: Redis, valkey_url: str) -> None:
    await abandon(valkey_url, "s", "a")
    ends: list[StreamEvent] = []

    async def read() -> None:
        async with StreamConsumer(redis) as consumer:
            ends.append((await read_all(consumer, "s"))[-1])

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(read)
    assert len(ends) == 5
    assert len({end.id for end in ends}) == 1
    assert len(await ends_in_log(redis, "s")) == 1


async def test_a_stream_without_an_event_is_buried_too(redis: Redis, valkey_url: str) -> None:
    """A producer that died between its claim and its first token."""
    await abandon(valkey_url, "s")
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
    assert [(event.type, event.status) for event in events] == [("end", Status.LOST)]


async def test_a_producer_that_comes_back_in_time_is_not_buried(redis: Redis, valkey_url: str) -> None:
    """After an outage a reader only sets a date; a sign of life strikes it."""
    gate = Gate()
    got: list[StreamEvent] = []
    async with (
        faulty(valkey_url) as (proxy, client),
        StreamConsumer(redis) as consumer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            group.start_soon(StreamProducer(client, lease=0.5).run, "s", ScriptedSource(["a", gate, "b"]))
            await eventually(lambda: text_in_log(redis, "s"))
            group.start_soon(drain, consumer.events("s"), got)
            proxy.to_server.hold()
            await eventually(lambda: redis.hexists(state_key("s"), "b"), what="a reader has set the date")
            proxy.to_server.release()
            gate.open()
    assert text_of(got) == "ab"
    assert ended_as(got) is Status.COMPLETED
