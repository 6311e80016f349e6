"""Lines about a run say which, whoever has come to execute or to settle it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from resumable_stream.agent import Turn
from resumable_stream.runs import NewMessage, Run
from runs.room import Room, open_room


@pytest.fixture
async def room(database_url: str, redis: Redis) -> AsyncIterator[Room]:
    async with open_room(database_url, redis) as opened:
        yield opened


def ids_in(caplog: pytest.LogCaptureFixture, text: str) -> list[tuple[str | None, ...]]:
    """The run, thread and stream that lines with this text are about."""
    found = [vars(record) for record in caplog.records if text in record.getMessage()]
    return [tuple(one.get(name) for name in ("run_id", "thread_id", "stream_id")) for one in found]


async def test_of_a_run_that_came_through_a_queue(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    run_id, thread_id = uuid4(), uuid4()
    run = Run(
        id=run_id, number=0, thread_id=thread_id, owner="ann", stream_id=f"run:{run_id}", message="one fail",
        message_id=str(uuid4()),
    )  # fmt: skip
    await room.producer.reserve(run.stream_id, seconds=60)
    await room.runs.accept(NewMessage(owner="ann", text="one fail"), run)
    await room.executor.perform(run_id)
    assert ids_in(caplog, "failed: scripted") == [(str(run_id), str(thread_id), run.stream_id)]


async def test_of_a_run_that_the_janitor_cannot_settle(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    run = await room.dead_run("one ")

    async def broken(turn: Turn, text: str) -> None:
        raise ValueError("a secret of the agent")

    room.agent.keep_partial = broken  # type: ignore[method-assign]  # an agent that cannot save
    await room.gone(run)
    await room.janitor.look()
    assert ids_in(caplog, "the janitor stumbled") == [(str(run.id), str(run.thread_id), run.stream_id)]
    assert "secret" not in caplog.text
