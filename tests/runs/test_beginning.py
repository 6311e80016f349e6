"""Counting an attempt: once, and only where nobody else has begun since the run was read."""

from __future__ import annotations

from uuid import UUID, uuid4

import anyio
import pytest
from redis.asyncio import Redis

from resumable_stream import Status, StreamNotFound
from resumable_stream._log import Log
from resumable_stream._names import Names
from resumable_stream.runs import NewMessage, Run
from resumable_stream.runs._errors import Unavailable
from resumable_stream.runs._run_store import Overtaken
from runs.room import Resumable, Room, open_room, thread_of
from support import wait_until


async def attempts(room: Room, run: Run) -> int:
    """How often the run was begun, as it is counted."""
    counted = await room.runs.load(run.id)
    assert counted is not None
    return counted.attempts


async def test_an_attempt_whose_counting_was_in_doubt_is_counted_once(database_url: str, redis: Redis) -> None:
    """Fails without the token of the attempt (`runs/_run_store.py`)."""
    async with open_room(database_url, redis) as room:
        begin = room.runs.begin
        answers = [False, True]

        async def in_doubt(run: Run, token: UUID) -> Run | Overtaken | None:
            begun = await begin(run, token)
            if not answers.pop(0):
                raise Unavailable("postgres")  # the answer to the commit was late
            return begun

        room.runs.begin = in_doubt  # type: ignore[method-assign]
        run = await room.manager.start(NewMessage(owner="ann", text="hello"))
        assert await room.executor.wait_idle(seconds=10)
        assert (await room.consumer.status(run.stream_id)).status is Status.COMPLETED
        assert await thread_of(room, run) == ["hello", "hello "]
        assert await attempts(room, run) == 1


async def test_a_process_that_stood_still_before_it_began_takes_the_run_from_nobody(
    database_url: str, redis: Redis
) -> None:
    """It had claimed the stream when another process took that, began, and is at work.

    Fails without the count that was read before the claim (`runs/_run_store.py`).
    """
    agent = Resumable()
    async with (
        open_room(database_url, redis, agent=agent, max_attempts=3) as first,
        open_room(database_url, redis, agent=agent, max_attempts=3) as second,
    ):
        begin, claimed, awake = first.runs.begin, anyio.Event(), anyio.Event()
        outcomes: list[Run | Overtaken | None] = []

        async def asleep(run: Run, token: UUID) -> Run | Overtaken | None:
            claimed.set()
            await awake.wait()
            outcomes.append(await begin(run, token))
            return outcomes[-1]

        first.runs.begin = asleep  # type: ignore[method-assign]
        run = await first.manager.start(NewMessage(owner="ann", text="one hold two"))
        await claimed.wait()
        async with Log(first.producer._log._redis) as log:
            peek = await log.peek(Names.of(run.stream_id))
            assert peek is not None
            await log.release(Names.of(run.stream_id), peek.generation)
        assert second.executor.launch(run)
        await wait_until(agent.held.is_set, what="the second process is at work")
        awake.set()
        assert await first.executor.wait_idle(seconds=10)
        agent.release.set()
        assert await second.executor.wait_idle(seconds=10)
        assert outcomes == [Overtaken()]
        assert (await second.consumer.status(run.stream_id)).status is Status.COMPLETED
        assert await thread_of(second, run) == ["one hold two", "one two "]
        assert await attempts(second, run) == 1


async def test_a_run_whose_thread_is_deleted_before_it_begins_is_withdrawn_not_handed_over(
    database_url: str, redis: Redis
) -> None:
    """Nobody goes on with it; a stream that is let go would wait for somebody.

    Fails without the look whether the thread is deleted (`runs/_run_store.py`).
    """
    async with open_room(database_url, redis, agent=Resumable(), max_attempts=3) as room:
        begin = room.runs.begin
        outcomes: list[Run | Overtaken | None] = []

        async def too_late(run: Run, token: UUID) -> Run | Overtaken | None:
            await room.threads.mark_deleted("ann", run.thread_id)
            outcomes.append(await begin(run, token))
            return outcomes[-1]

        room.runs.begin = too_late  # type: ignore[method-assign]
        run = await room.manager.start(NewMessage(owner="ann", text="hello"))
        assert await room.executor.wait_idle(seconds=10)
        assert outcomes == [None]
        with pytest.raises(StreamNotFound):
            await room.consumer.status(run.stream_id)


async def test_a_hand_over_whose_counting_was_in_doubt_is_counted_once(database_url: str, redis: Redis) -> None:
    """Else a run that kills its processes would be begun once more than it may.

    Fails without the count that the attempt began with (`runs/_run_store.py`).
    """
    async with open_room(database_url, redis, max_attempts=3) as room:
        run: Run | None = await room.dead_run("one ")
        for number in (1, 2):
            assert run is not None
            attempt = await room.runs.begin(run, uuid4())
            assert isinstance(attempt, Run)
            await room.runs.hand_over(attempt)
            await room.runs.hand_over(attempt)
            run = await room.runs.load(attempt.id)
            assert run is not None
            assert (run.attempts, run.handovers) == (number, number)
