"""What an attempt saves as checkpoints, and that it saves none once another one has begun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import anyio
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from redis.asyncio import Redis

from resumable_stream.agent._checkpoint import RunSaver, Superseded, checkpoint_saver, set_up_checkpoints
from resumable_stream.runs import Run
from runs.room import Room, open_room
from support import wait_until


@dataclass(frozen=True)
class Scene:
    """A run with an attempt, and what saves its checkpoints."""

    room: Room
    attempt: Run
    saver: RunSaver

    async def begin(self) -> Run:
        """Another attempt."""
        newer = await self.room.runs.begin(self.attempt, uuid4())
        assert isinstance(newer, Run)
        return newer

    async def save(self) -> RunnableConfig:
        """A checkpoint, and what a task has written behind it."""
        config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        config = await self.saver.aput(config, empty_checkpoint(), {"source": "loop", "step": 1, "parents": {}}, {})
        await self.saver.aput_writes(config, [("messages", "said")], "task")
        return config

    async def saved(self) -> tuple[int, int]:
        """How many checkpoints and writes there are."""
        async with self.room.database.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT (SELECT count(*) FROM checkpoints) AS puts, (SELECT count(*) FROM checkpoint_writes) AS writes"
            )
            row = await cursor.fetchone()
        assert row is not None
        return row["puts"], row["writes"]


@pytest.fixture
async def scene(database_url: str, redis: Redis) -> AsyncIterator[Scene]:
    async with open_room(database_url, redis) as room:
        await set_up_checkpoints(room.database.pool)
        attempt = await room.runs.begin(await room.dead_run("one "), uuid4())
        assert isinstance(attempt, Run)
        saver = checkpoint_saver(room.database.pool, guard=room.runs.fence(attempt))
        yield Scene(room, attempt, saver)


async def test_the_newest_attempt_saves(scene: Scene) -> None:
    config = await scene.save()
    assert await scene.saved() == (1, 1)
    found = await scene.saver.aget_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", "messages", "said")]


async def test_an_older_one_does_not(scene: Scene) -> None:
    """Fails without what is sent last in each writing transaction (`agent/_checkpoint.py`)."""
    config = await scene.save()
    await scene.begin()
    with pytest.raises(Superseded):
        await scene.save()
    with pytest.raises(Superseded):
        await scene.saver.aput_writes(config, [("messages", "late")], "another task")
    with pytest.raises(Superseded):
        await scene.saver.durable()
    assert await scene.saved() == (1, 1)


@pytest.mark.parametrize("how", ["released", "deleted"])
async def test_nor_does_one_whose_run_has_let_its_thread_go(scene: Scene, how: str) -> None:
    if how == "released":
        await scene.room.runs.release(scene.attempt)
    else:
        await scene.room.threads.mark_deleted("ann", scene.attempt.thread_id)
    with pytest.raises(Superseded):
        await scene.save()
    assert await scene.saved() == (0, 0)


async def test_another_one_begins_only_when_a_write_under_way_is_in_the_database(scene: Scene) -> None:
    """What it then reads is the last that the older one has saved. Fails without the row's lock (`runs/_fence.py`)."""
    begun = anyio.Event()

    async def begin() -> None:
        await scene.begin()
        begun.set()

    async with anyio.create_task_group() as group:
        async with scene.room.database.pool.connection() as connection, connection.transaction():
            await scene.room.runs.fence(scene.attempt).enter(connection.cursor())
            group.start_soon(begin)
            await wait_until(lambda: _waits(scene.room))
            assert not begun.is_set()
        with anyio.fail_after(5):
            await begun.wait()


async def _waits(room: Room) -> bool:
    """Whether somebody waits for a lock."""
    async with room.database.pool.connection() as connection:
        cursor = await connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return await cursor.fetchone() is not None
