"""A process that stands still while it saves a checkpoint: PostgreSQL waits for the rest, and holds what it locked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import anyio
import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from redis.asyncio import Redis

from resumable_stream.agent._checkpoint import RunSaver, checkpoint_saver, set_up_checkpoints
from resumable_stream.runs import Run, RunStore
from resumable_stream.runs._errors import Unavailable
from runs.room import Room, open_room
from support import wait_until

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}


@asynccontextmanager
async def standing_still(room: Room, saver: RunSaver, *, at_end: bool) -> AsyncIterator[None]:
    """In the block, a process has sent what a task has written, perhaps all of it, and no commit."""
    go_on = anyio.Event()

    async def write() -> None:
        async with saver._cursor(pipeline=True) as cursor:
            await cursor.execute(
                "INSERT INTO checkpoint_writes (thread_id, checkpoint_id, task_id, idx, channel, blob)"
                " VALUES ('t', 'c', 'task', 0, 'messages', '')"
            )
            if at_end:
                assert saver._fence is not None
                await saver._fence.check(cursor)
            await go_on.wait()

    async def awake() -> None:
        with pytest.raises(psycopg.OperationalError):
            await write()

    async with anyio.create_task_group() as group:
        group.start_soon(awake)
        try:
            await wait_until(lambda: waits_for_its_client(room), what="the server process waits for the rest")
            yield
            await wait_until(lambda: has_ended(room), what="the write was ended")
        finally:
            go_on.set()


async def has_ended(room: Room) -> bool:
    return not await waits_for_its_client(room)


async def waits_for_its_client(room: Room) -> bool:
    """Whether some transaction that has written waits for its client."""
    async with room.database.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_xid IS NOT NULL AND wait_event = 'ClientRead'"
        )
        return await cursor.fetchone() is not None


@pytest.fixture
async def room(database_url: str, redis: Redis) -> AsyncIterator[Room]:
    async with open_room(database_url, redis) as room:
        await set_up_checkpoints(room.database.pool)
        yield room


async def begun(room: Room, run: Run) -> Run:
    """An attempt; as a process begins one, which asks again while Postgres does not answer."""
    runs, token = RunStore(room.database.patient(0.3)), uuid4()
    with anyio.fail_after(10):
        while True:
            try:
                attempt = await runs.begin(run, token)
            except Unavailable:
                continue
            assert isinstance(attempt, Run)
            return attempt


@pytest.mark.parametrize("at_end", [False, True], ids=["in the middle", "before the commit"])
async def test_another_process_goes_on_though_one_stands_still_in_a_write(room: Room, *, at_end: bool) -> None:
    """It saves what the same task has written in its own attempt.

    Fails without the lock that comes first (`agent/_checkpoint.py`), which shows who writes, and without the end of who
    keeps a newer attempt waiting (`runs/_fence.py`).
    """
    attempt = await begun(room, await room.dead_run("one "))
    saver = checkpoint_saver(room.database.pool, guard=room.runs.fence(attempt))
    async with standing_still(room, saver, at_end=at_end):
        newer = await begun(room, attempt)
        assert newer.attempts == 2
        with anyio.fail_after(10):
            saver = checkpoint_saver(room.database.pool, guard=room.runs.fence(newer))
            await saver.aput_writes(CONFIG, [("messages", "said")], "task")


async def test_a_thread_is_let_go_though_the_process_of_its_run_stands_still_in_a_write(room: Room) -> None:
    """Who knows less of the run does not end the write: it may be of an attempt that is alive.

    Fails without what the run was known as (`runs/_fence.py`).
    """
    run = await room.dead_run("one ")
    attempt = await begun(room, run)
    saver = checkpoint_saver(room.database.pool, guard=room.runs.fence(attempt))
    runs = RunStore(room.database.patient(0.3))
    async with standing_still(room, saver, at_end=True):
        with pytest.raises(Unavailable):
            await runs.release(run)
        assert await waits_for_its_client(room)
        with pytest.raises(Unavailable):
            await runs.release(replace(attempt, attempt=0))

        async def released() -> bool:
            return not await room.runs.holds(attempt)

        await wait_until(released)
