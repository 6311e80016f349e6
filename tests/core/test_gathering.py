"""A flush interval holds back text, and nothing that somebody waits for. The intervals here outlast the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
from redis.asyncio import Redis

from core.streams import DEADLINE, eventually, log_key, text_in_log
from resumable_stream import Status, StreamEvent, StreamProducer
from resumable_stream._buffer import GROUP_ENTRIES

MANY = 3 * GROUP_ENTRIES


async def test_an_end_does_not_wait_for_the_text_that_is_gathering(redis: Redis) -> None:
    """Without the ``wake`` in ``Committer.finish`` the task goes on gathering."""
    producer = StreamProducer(redis, lease=3600, flush_interval=3600)
    with anyio.fail_after(DEADLINE):
        async with producer.open("s") as stream:
            await stream.send("first")
            await stream.flush()
            await stream.send(" second")
            await redis.ping()  # meanwhile the task begins to gather
    assert stream.status is Status.COMPLETED
    assert await text_in_log(redis, "s") == "first second"


async def test_a_flush_and_an_end_of_many_events_gather_for_none_of_their_groups(redis: Redis) -> None:
    """They do where ``Committer.flush`` and ``finish`` ask for haste once, not up to the last event."""
    producer = StreamProducer(redis, lease=3600, flush_interval=3600)
    with anyio.fail_after(DEADLINE):
        async with producer.open("s") as stream:
            for number in range(MANY):
                await stream.send(StreamEvent("step", str(number)))
            await stream.flush()
            assert await redis.xlen(log_key("s")) == MANY
            for number in range(MANY):
                await stream.send(StreamEvent("step", str(number)))
    assert await redis.xlen(log_key("s")) == 2 * MANY + 1


async def test_a_stop_is_seen_while_text_is_gathering(redis: Redis) -> None:
    """Without a look at ``_renew_at`` each time that ``Committer._gather`` wakes, it waits for the interval."""

    async def source() -> AsyncIterator[str]:
        yield "first"
        await eventually(lambda: text_in_log(redis, "s"))
        yield " second"
        await redis.ping()
        stopped.set()
        await anyio.sleep_forever()

    stopped = asyncio.Event()
    with anyio.fail_after(DEADLINE):
        async with StreamProducer(redis, lease=3600, flush_interval=3600) as producer, asyncio.TaskGroup() as group:
            run = group.create_task(producer.run("s", source()))
            await stopped.wait()
            await producer.cancel("s")
    assert run.result().status is Status.CANCELLED
    assert await text_in_log(redis, "s") == "first second"
