"""Several processes and one run: whoever has it answers, and the others do it no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID, uuid4

import anyio
import pytest
from redis.asyncio import Redis

from resumable_stream import Status, StreamEvent, StreamHandOver, StreamNotFound
from resumable_stream._log import Log
from resumable_stream._names import Names
from resumable_stream.agent import Turn
from resumable_stream.runs import NewMessage, Run, RunActive, _executor
from resumable_stream.runs._errors import Unavailable
from resumable_stream.runs._run_store import Held, Overtaken, Repeated
from resumable_stream.runs._settling import Settled
from runs.room import Resumable, Room, open_room, thread_of
from support import wait_until


async def begin(room: Room, run: Run) -> Run:
    """One attempt more, of a process that read the run just now."""
    begun = await room.runs.begin(run, uuid4())
    assert isinstance(begun, Run)
    return begun


async def lose(room: Room, run: Run) -> None:
    """Take the lease from the process that has the run, which does not know."""
    last = (await room.consumer.status(run.stream_id)).last_id
    assert last is not None
    async with Log(room.producer._log._redis) as log:
        await log.release(Names.of(run.stream_id), last.generation)


async def written(room: Room, run: Run) -> None:
    """Wait until something of the run is in the log."""

    async def is_written() -> bool:
        return (await room.consumer.status(run.stream_id)).last_id is not None

    await wait_until(is_written, what="the first words are in the log")


def beginning() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("begin ")]


async def test_a_process_that_lost_its_run_keeps_nothing_of_it(database_url: str, redis: Redis) -> None:
    """Though the other, which has the stream, has not come to Postgres yet.

    Fails without the silence of who was fenced (`runs/_executor.py`).
    """
    agent = Resumable()
    async with (
        open_room(database_url, redis, agent=agent, max_attempts=3) as first,
        open_room(database_url, redis, agent=agent, max_attempts=3) as second,
    ):
        run = await first.manager.start(NewMessage(owner="ann", text="one hold pace:0.2 two three"))
        await wait_until(agent.held.is_set, what="the first process is at work")
        await written(first, run)
        begin, claimed, go_on = second.runs.begin, anyio.Event(), anyio.Event()

        async def late(run: Run, token: UUID) -> Run | Overtaken | None:
            claimed.set()
            await go_on.wait()
            return await begin(run, token)

        second.runs.begin = late  # type: ignore[method-assign]  # a slow Postgres
        await lose(first, run)
        known = await second.runs.load(run.id)
        assert known is not None
        second.executor.launch(known)
        await wait_until(claimed.is_set, what="the second process has the stream")
        agent.release.set()
        assert await first.executor.wait_idle(seconds=10)
        assert agent.kept == {}
        go_on.set()
        assert await second.executor.wait_idle(seconds=10)
        assert (await thread_of(first, run))[-1] == "one two three "
        assert not await first.runs.holds(run)


async def test_a_message_whose_acceptance_was_in_doubt_is_not_taken_back_once_it_is_being_answered(
    database_url: str, redis: Redis
) -> None:
    """Its thread would be free for another run beside it, and its answer be cut off.

    Fails without the look whether it has begun (`runs/_run_store.py`).
    """
    agent = Resumable()
    async with (
        open_room(database_url, redis, agent=agent, max_attempts=3) as first,
        open_room(database_url, redis, agent=agent, max_attempts=3) as second,
    ):
        accept = first.runs.accept
        accepted: list[Run] = []

        async def in_doubt(message: NewMessage, run: Run) -> Run | Repeated | Held:
            outcome = await accept(message, run)
            assert isinstance(outcome, Run)
            accepted.append(outcome)
            second.executor.launch(outcome)  # as its janitor does, who finds it
            await wait_until(agent.held.is_set, what="the second process is at work")
            raise Unavailable("postgres")  # the answer to the commit was late

        first.runs.accept = in_doubt  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await first.manager.start(NewMessage(owner="ann", text="one hold two"))
        first.runs.accept = accept  # type: ignore[method-assign]
        (run,) = accepted
        await wait_until(lambda: not beginning(), what="the first process is done with it")
        with pytest.raises(RunActive):
            await first.manager.start(NewMessage(owner="ann", text="next", thread_id=run.thread_id))
        agent.release.set()
        assert await second.executor.wait_idle(seconds=10)
        assert (await second.consumer.status(run.stream_id)).status is Status.COMPLETED
        assert await thread_of(first, run) == ["one hold two", "one two "]


async def test_a_message_whose_acceptance_was_in_doubt_is_taken_back_while_nobody_answers_it(
    database_url: str, redis: Redis
) -> None:
    async with open_room(database_url, redis) as room:
        accept = room.runs.accept
        accepted: list[Run] = []

        async def in_doubt(message: NewMessage, run: Run) -> Run | Repeated | Held:
            outcome = await accept(message, run)
            assert isinstance(outcome, Run)
            accepted.append(outcome)
            raise Unavailable("postgres")

        room.runs.accept = in_doubt  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await room.manager.start(NewMessage(owner="ann", text="hello"))
        room.runs.accept = accept  # type: ignore[method-assign]
        (run,) = accepted

        async def gone() -> bool:
            try:
                await room.consumer.status(run.stream_id)
            except StreamNotFound:
                return await room.runs.load(run.id) is None
            return False

        await wait_until(gone, what="nothing is left of it")
        assert not await room.runs.holds(run)


async def test_a_hand_over_is_counted_before_others_see_the_run_without_a_process(
    database_url: str, redis: Redis
) -> None:
    """Else it looks like one more crash, and the run like one that was begun too often.

    Fails without the count before the release (`runs/_executor.py`), the hand-over on cancellation
    (`runs/_executor.py`) and the adoption (`runs/_janitor.py`).
    """
    agent = Resumable()
    async with open_room(database_url, redis, agent=agent, max_attempts=2) as second:
        found: list[Settled | None] = []
        async with open_room(database_url, redis, agent=agent, max_attempts=2) as first:
            hand_over, begin = first.runs.hand_over, first.runs.begin

            async def looked_at(run: Run) -> None:
                found.append(await second.settler.settle(await second.runs.load(run.id) or run))
                await hand_over(run)

            async def after_a_crash(run: Run, token: UUID) -> Run | Overtaken | None:
                died = await begin(run, uuid4())
                assert isinstance(died, Run)
                return await begin(died, token)

            first.runs.hand_over = looked_at  # type: ignore[method-assign]  # somebody looks just then
            first.runs.begin = after_a_crash  # type: ignore[method-assign]
            run = await first.manager.start(NewMessage(owner="ann", text="one hold two"))
            await wait_until(agent.held.is_set, what="the first process is at work")
        assert found == [Settled.ALIVE]
        agent.release.set()
        await second.janitor.look()
        assert await second.executor.wait_idle(seconds=10)
        assert (await second.consumer.status(run.stream_id)).status is Status.COMPLETED
        assert (await thread_of(second, run))[-1] == "one two "


async def test_a_run_is_handed_over_though_that_cannot_be_counted(database_url: str, redis: Redis) -> None:
    agent = Resumable()

    async def stream(turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        yield StreamEvent("text", "one ")
        raise StreamHandOver

    async def away(run: Run) -> None:
        raise Unavailable("postgres")

    agent.stream = stream  # type: ignore[method-assign]
    async with open_room(database_url, redis, agent=agent, max_attempts=3) as room:
        room.runs.hand_over = away  # type: ignore[method-assign]
        room.executor._draining.set()
        run = await room.manager.start(NewMessage(owner="ann", text="question"))
        assert await room.executor.wait_idle(seconds=10)
        assert (await room.consumer.status(run.stream_id)).orphaned
        assert await room.runs.holds(run)


async def test_a_run_is_not_given_up_by_what_was_known_of_it_a_while_ago(database_url: str, redis: Redis) -> None:
    """A janitor with much to do comes to a run long after it has read how often that was begun.

    Fails without the second look before a run is given up (`runs/_settling.py`).
    """
    async with open_room(database_url, redis, agent=Resumable(), max_attempts=2) as room:
        agent = room.agent
        async with open_room(database_url, redis, agent=agent, max_attempts=2) as first:
            begin = first.runs.begin

            async def after_a_crash(run: Run, token: UUID) -> Run | Overtaken | None:
                died = await begin(run, uuid4())
                assert isinstance(died, Run)
                return await begin(died, token)

            first.runs.begin = after_a_crash  # type: ignore[method-assign]
            await first.manager.start(NewMessage(owner="ann", text="hold on"))
            await wait_until(agent.held.is_set, what="the first process is at work")
            (listed,) = await room.runs.unsettled(limit=10)
        assert await room.settler.settle(listed) is Settled.ORPHANED


async def test_a_stop_that_meets_a_hand_over_keeps_the_answer(database_url: str, redis: Redis) -> None:
    """An agent may notice that it should drain when it is cancelled for the stop.

    Fails without the repair of what was not kept (`runs/_executor.py`).
    """
    agent = Resumable()
    waiting = asyncio.Event()

    async def stream(turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        yield StreamEvent("text", "one ")
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StreamHandOver from None

    agent.stream = stream  # type: ignore[method-assign]
    async with open_room(database_url, redis, agent=agent, max_attempts=3) as room:
        run = await room.manager.start(NewMessage(owner="ann", text="question"))
        await wait_until(waiting.is_set, what="the agent is at work")
        await room.manager.stop("ann", run.thread_id, None)
        assert await room.executor.wait_idle(seconds=10)
        assert (await room.consumer.status(run.stream_id)).status is Status.CANCELLED
        assert agent.kept == {str(run.id): "one "}
        assert not await room.runs.holds(run)


async def test_a_thread_that_was_deleted_under_a_process_that_lost_its_run_stays_deleted(
    database_url: str, redis: Redis
) -> None:
    """Fails without the forgetting by whoever has asked the agent (`runs/_executor.py`)."""
    agent = Resumable()
    async with open_room(database_url, redis, agent=agent, max_attempts=3) as room:
        run = await room.manager.start(NewMessage(owner="ann", text="one hold two"))
        await wait_until(agent.held.is_set, what="the process is at work")
        await written(room, run)
        await lose(room, run)
        async with Log(redis) as log:
            await log.claim(Names.of(run.stream_id), stream_id=run.stream_id, lease=60.0, retention=60.0)
        await room.threads.mark_deleted("ann", run.thread_id)
        agent.release.set()
        assert await room.executor.wait_idle(seconds=10)
        assert agent.deleted == [str(run.thread_id)]


async def test_a_memory_that_hangs_does_not_hold_a_process(
    database_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It forgets a thread that was deleted while the process could not hear it, but not for ever."""
    monkeypatch.setattr(_executor, "_FORGET_SECONDS", 0.2)
    agent = Resumable()
    asked = anyio.Event()

    async def endless(thread_id: str) -> None:
        asked.set()
        await asyncio.Event().wait()

    agent.delete = endless  # type: ignore[method-assign]
    async with open_room(database_url, redis, agent=agent) as room:
        run = await room.manager.start(NewMessage(owner="ann", text="one hold two"))
        await wait_until(agent.held.is_set, what="the process is at work")
        await room.threads.mark_deleted("ann", run.thread_id)
        agent.release.set()
        assert await room.executor.wait_idle(seconds=10)
        assert asked.is_set()


async def test_who_could_not_repair_a_thread_gives_the_right_back(database_url: str, redis: Redis) -> None:
    """Postgres may be away for a moment; the thread is not to wait for as long as a repair may take.

    Fails without the return of the right (`runs/_settling.py`).
    """
    async with open_room(database_url, redis) as room:
        dead = await room.dead_run("one ")
        await room.gone(dead)
        keep = room.agent.keep_partial

        async def away(turn: Turn, text: str) -> None:
            raise Unavailable("postgres")

        room.agent.keep_partial = away  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await room.settler.settle(dead)
        room.agent.keep_partial = keep  # type: ignore[method-assign]
        assert await room.settler.settle(dead, patience=0.0) is Settled.FREE
        assert room.agent.kept == {str(dead.id): "one "}


async def test_an_older_attempt_may_not_touch_the_thread(database_url: str, redis: Redis) -> None:
    """Fails without the number of the attempt (`runs/_run_store.py`)."""
    async with open_room(database_url, redis) as room:
        dead = await room.dead_run("one ")
        older = await begin(room, dead)
        newer = await begin(room, older)
        assert not await room.runs.begin_repair(older, seconds=60)
        assert not await room.runs.release(older)
        assert await room.runs.begin_repair(newer, seconds=60)
        await room.runs.end_repair(older)
        assert not await room.runs.begin_repair(newer, seconds=60), "the right is still taken"
        assert await room.runs.release(newer)


async def test_an_attempt_may_save_nothing_once_its_run_holds_the_thread_no_more(
    database_url: str, redis: Redis
) -> None:
    """Somebody else has ended it, as after a stop while its process could not reach Redis; another run may be next.

    Fails without the look who holds the thread (`runs/_fence.py`).
    """
    async with open_room(database_url, redis) as room:
        freed, deleted = await room.dead_run("one "), await room.dead_run("two ")
        attempts = [await begin(room, run) for run in (freed, deleted)]
        assert [await room.runs.fence(attempt)() for attempt in attempts] == [True, True]
        await room.runs.release(freed)
        await room.threads.mark_deleted("ann", deleted.thread_id)
        assert [await room.runs.fence(attempt)() for attempt in attempts] == [False, False]


async def test_an_agent_that_leaves_off_without_being_asked_to_is_begun_only_so_often(
    database_url: str, redis: Redis
) -> None:
    """Fails without the wish to drain (`runs/_executor.py`)."""
    agent = Resumable()

    async def stream(turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        agent.turns.append(turn)
        yield StreamEvent("text", "one ")
        raise StreamHandOver

    agent.stream = stream  # type: ignore[method-assign]
    async with open_room(database_url, redis, agent=agent, max_attempts=2) as room:
        run = await room.manager.start(NewMessage(owner="ann", text="question"))

        async def ended() -> bool:
            await room.executor.wait_idle(seconds=10)
            await room.janitor.look()
            return len(agent.turns) > 3 or (await room.consumer.status(run.stream_id)).status.ended

        await wait_until(ended, what="the run is given up")
        assert (await room.consumer.status(run.stream_id)).status is Status.LOST
        assert len(agent.turns) == 2
        assert agent.kept == {str(run.id): "one "}
