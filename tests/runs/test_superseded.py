"""What a process may still do to a thread that it has lost without knowing."""

from __future__ import annotations

from redis.asyncio import Redis

from app.scripted import ScriptedAgent
from resumable_stream import Status
from resumable_stream._log import Log
from resumable_stream._names import Names
from resumable_stream.runs import NewMessage
from resumable_stream.runs._settling import Settled
from runs.room import open_room
from support import wait_until


async def test_a_process_whose_run_was_given_up_saves_nothing_more_though_runs_are_begun_once(
    database_url: str, redis: Redis
) -> None:
    """It stood still for longer than its lease, and the thread has gone on without it.

    Fails without the guard of runs that are begun once (`runs/_executor.py`).
    """
    agent = ScriptedAgent()
    async with open_room(database_url, redis, agent=agent) as first, open_room(database_url, redis) as second:
        run = await first.manager.start(NewMessage(owner="ann", text="hold"))
        await wait_until(agent.held.is_set, what="the first process is at work")
        guard = agent.turns[0].guard
        assert guard is not None, "it has none"
        assert await guard()
        async with Log(redis) as log:
            peek = await log.peek(Names.of(run.stream_id))
            assert peek is not None
            await log.release(Names.of(run.stream_id), peek.generation)
        assert await second.producer.end(run.stream_id, Status.LOST)
        assert await second.settler.settle(run) is Settled.FREE
        assert not await guard()
        agent.release.set()
        assert await first.executor.wait_idle(seconds=10)
