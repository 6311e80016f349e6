"""Readers that come before the stream is claimed."""

from __future__ import annotations

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import DEADLINE, text_of
from resumable_stream import StreamConsumer, StreamNotFound, StreamProducer
from support import wait_until


async def test_a_reader_may_wait_for_a_stream_that_is_not_there_yet(redis: Redis) -> None:
    """The claim wakes it; nothing is polled."""
    async with StreamConsumer(redis) as consumer:
        seen: list[str] = []

        async def read() -> None:
            seen.append(text_of([event async for event in consumer.events("s", wait=DEADLINE)]))

        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                hub = consumer._hub
                assert hub is not None
                await wait_until(lambda: hub._feeds and hub._feeds["s"].missing)
                async with StreamProducer(redis).open("s") as stream:
                    await stream.send("here it is")
        assert seen == ["here it is"]


async def test_a_stream_that_does_not_come_is_not_found(redis: Redis) -> None:
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE), pytest.raises(StreamNotFound):
            await consumer.attach("s", wait=0.05)
