"""Messages of which nobody knows whether they were accepted: Postgres was too slow to say so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio import Redis

from resumable_stream.runs import NewMessage, Run, RunManager, RunStore
from resumable_stream.runs._errors import Unavailable
from resumable_stream.runs._run_store import Held, Repeated
from runs.room import Room, open_room
from support import wait_until


class SlowStore(RunStore):
    """Accepts the first run, and is too late to say so."""

    first: UUID | None = None

    async def accept(self, message: NewMessage, run: Run) -> Run | Repeated | Held:
        accepted = await super().accept(message, run)
        if self.first is None:
            self.first = run.id
            raise Unavailable("postgres")
        return accepted


@pytest.fixture
async def room(database_url: str, redis: Redis) -> AsyncIterator[Room]:
    async with open_room(database_url, redis) as opened:
        yield opened


async def test_a_message_that_is_sent_again_with_its_key_keeps_the_run_that_it_is_told(room: Room) -> None:
    """The second request finds the run; the first must not take it back then."""
    slow = SlowStore(room.runs._database)
    asked = NewMessage(owner="ann", text="question", idempotency_key="k")

    async def leave(run: Run) -> None:
        """To the janitor."""

    async with RunManager(
        dispatch=leave,
        producer=room.producer,
        runs=slow,
        threads=room.threads,
        settler=room.settler,
        queue_seconds=60,
    ) as manager:
        with pytest.raises(Unavailable):
            await manager.start(asked)
        told = await manager.start(asked)
        assert told.id == slow.first

        async def answered() -> bool:
            await room.janitor.look()
            return room.agent.threads[str(told.thread_id)][-1:] != [] and not await room.runs.holds(told)

        await wait_until(answered)
    assert [turn.run_id for turn in room.agent.turns] == [str(told.id)]
