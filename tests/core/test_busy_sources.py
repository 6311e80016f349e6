"""Sources that have every token ready and never wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
from redis.asyncio import Redis

from core.streams import DEADLINE, log_key, text_in_log
from resumable_stream import Status, StreamProducer
from resumable_stream._committer import TURN


async def test_a_source_that_never_waits_lets_other_tasks_have_their_turn(redis: Redis) -> None:
    """Without the ``sleep`` in ``Committer.reserve`` nobody else runs until the buffer is full."""
    loop = asyncio.get_running_loop()
    turns = 0
    seen: list[int] = []
    over = asyncio.Event()

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not over.is_set():
            loop.call_soon(turn)

    async def source() -> AsyncIterator[str]:
        loop.call_soon(turn)
        for number in range(10 * TURN):
            seen.append(turns)
            yield f"{number} "
        over.set()

    with anyio.fail_after(DEADLINE):
        result = await StreamProducer(redis).run("s", source())
    assert result.status is Status.COMPLETED
    assert len(set(seen)) >= 10
    assert await text_in_log(redis, "s") == "".join(f"{number} " for number in range(10 * TURN))


async def test_the_first_tokens_of_a_source_that_never_waits_are_written_before_its_last_is_made(redis: Redis) -> None:
    """Its reader sees it begin, however long it goes on."""
    written = asyncio.Event()

    async def watch() -> None:
        while not await redis.xlen(log_key("s")):
            await anyio.lowlevel.checkpoint()
        written.set()

    async def source() -> AsyncIterator[str]:
        while not written.is_set():
            yield ""
            yield "x"

    with anyio.fail_after(DEADLINE):
        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            await StreamProducer(redis, buffer_bytes=1024**3).run("s", source())
    assert set(await text_in_log(redis, "s")) == {"x"}
