"""What a run that broke leaves behind: kept once, by whoever comes first, and then the thread is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

import anyio
import pytest
from redis.asyncio import Redis

from app.scripted import ScriptedAgent
from app.serving import sql
from resumable_stream import EventID, StreamConsumer, StreamProducer
from resumable_stream._buffer import entry
from resumable_stream._log import Log
from resumable_stream._names import Names
from resumable_stream.agent import Turn
from resumable_stream.runs import (
    Database,
    Executor,
    Janitor,
    NewMessage,
    Run,
    RunActive,
    RunManager,
    RunStore,
    Settler,
    ThreadService,
    ThreadStore,
    _answer,
)
from resumable_stream.runs._settling import Settled


@dataclass(frozen=True, slots=True)
class Room:
    """The room, without a web server."""

    agent: ScriptedAgent
    runs: RunStore
    threads: ThreadStore
    producer: StreamProducer
    consumer: StreamConsumer
    settler: Settler
    manager: RunManager
    service: ThreadService
    janitor: Janitor
    executor: Executor

    async def dead_run(self, *said: str, run: Run | None = None) -> Run:
        """A run that took its thread and wrote this; then its process died: nobody renews its lease."""
        asked = NewMessage(owner="ann", text="question")
        run_id = uuid4()
        dead = run or Run(
            id=run_id,
            number=0,
            thread_id=uuid4(),
            owner="ann",
            stream_id=f"run:{run_id}",
            message=asked.text,
            message_id=str(uuid4()),
        )
        accepted = await self.runs.accept(asked, dead)
        assert isinstance(accepted, Run)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._die, dead, said)
        return accepted

    async def _die(self, run: Run, said: tuple[str, ...]) -> None:
        log = self.producer._log
        assert isinstance(log, Log)
        names = Names.of(run.stream_id)
        claim = await log.claim(names, stream_id=run.stream_id, lease=0.1, retention=60)
        if said:
            entries = [entry(b"text", word.encode()) for word in said]
            await log.append(names, EventID(claim.generation, 1), entries)

    async def gone(self, run: Run) -> None:
        """Wait until the log says that the run is dead."""
        async with asyncio.timeout(20):
            while not (await self.consumer.status(run.stream_id)).status.ended:  # noqa: ASYNC110 - in Redis
                await asyncio.sleep(0.05)


@pytest.fixture
async def room(database_url: str, redis: Redis) -> AsyncIterator[Room]:
    agent = ScriptedAgent()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(database_url, timeout=10.0))
        producer = await stack.enter_async_context(StreamProducer(redis, retention=60))
        consumer = await stack.enter_async_context(StreamConsumer(redis))
        runs, threads = RunStore(database), ThreadStore(database)
        settler = Settler(agent=agent, runs=runs, producer=producer, consumer=consumer, max_attempts=1, lease=1.0)
        service = ThreadService(
            agent=agent,
            producer=producer,
            consumer=consumer,
            runs=runs,
            threads=threads,
            settler=settler,
            end_timeout=10,
        )
        executor = await stack.enter_async_context(
            Executor(
                agent=agent,
                producer=producer,
                consumer=consumer,
                runs=runs,
                threads=threads,
                settler=settler,
                max_attempts=1,
                closing=asyncio.Event(),
            )
        )

        async def launch(run: Run) -> bool:
            return executor.launch(run)

        janitor = Janitor(
            database=database,
            runs=runs,
            threads=threads,
            service=service,
            settler=settler,
            interval=0.1,
            adopt=launch,
        )
        manager = await stack.enter_async_context(
            RunManager(
                dispatch=launch,
                producer=producer,
                runs=runs,
                threads=threads,
                settler=settler,
                queue_seconds=60,
            )
        )
        yield Room(agent, runs, threads, producer, consumer, settler, manager, service, janitor, executor)


async def test_a_run_that_is_alive_is_left_alone(room: Room) -> None:
    run = await room.manager.start(NewMessage(owner="ann", text="hold on"))
    assert await room.settler.settle(run) is Settled.ALIVE
    assert await room.runs.holds(run)
    room.agent.release.set()
    await room.executor.wait_idle(seconds=10)


async def test_what_a_dead_run_said_is_kept_once_by_many_who_come(room: Room) -> None:
    run = await room.dead_run("one ", "two ")
    await room.gone(run)
    found: list[Settled] = []

    async def one() -> None:
        found.append(await room.settler.settle(run))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(one)
    assert set(found) == {Settled.FREE}
    assert room.agent.kept == {str(run.id): "one two "}
    assert [message.content for message in await room.agent.history(str(run.thread_id))] == ["question", "one two "]
    assert not await room.runs.holds(run)


async def test_a_run_whose_stream_is_gone_is_repaired_without_text_when_its_process_must_know(room: Room) -> None:
    run = await room.dead_run("one ")
    await room.producer.delete(run.stream_id)
    assert await room.settler.settle(run) is Settled.IN_REPAIR, "its process may be alive, and write history"
    assert room.agent.kept == {}
    async with asyncio.timeout(10):
        while await room.settler.settle(run) is not Settled.FREE:  # noqa: ASYNC110 - the time is Postgres's
            await asyncio.sleep(0.05)
    assert room.agent.kept == {str(run.id): ""}


async def test_the_next_message_settles_and_is_answered(room: Room) -> None:
    dead = await room.dead_run("one ")
    await room.gone(dead)
    run = await room.manager.start(NewMessage(owner="ann", text="next", thread_id=dead.thread_id))
    await room.executor.wait_idle(seconds=10)
    contents = [message.content for message in await room.agent.history(str(dead.thread_id))]
    assert contents == ["question", "one ", "next", "next "]
    assert run.id != dead.id


async def test_a_message_during_a_repair_is_told_that_the_thread_is_busy(room: Room) -> None:
    dead = await room.dead_run("one ")
    await room.gone(dead)
    assert await room.runs.begin_repair(dead, seconds=60)
    assert await room.settler.settle(dead, patience=0.1) is Settled.IN_REPAIR
    with pytest.raises(RunActive):
        await room.manager.start(NewMessage(owner="ann", text="next", thread_id=dead.thread_id))
    history = await room.service.history("ann", dead.thread_id)
    assert history.active is None
    await room.runs.end_repair(dead)
    await room.manager.start(NewMessage(owner="ann", text="next", thread_id=dead.thread_id))
    await room.executor.wait_idle(seconds=10)


async def test_the_janitor_settles_one_after_another_though_one_cannot_be(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await room.dead_run("one "), await room.dead_run("two ")
    keep = room.agent.keep_partial

    async def stubborn(turn: Turn, text: str) -> None:
        if turn.run_id == str(first.id):
            raise ValueError("a secret of the agent")
        await keep(turn, text)

    room.agent.keep_partial = stubborn  # type: ignore[method-assign]  # an agent that cannot save one thread
    await room.gone(first)
    await room.gone(second)
    await room.janitor.look()
    assert await room.runs.holds(first)
    assert not await room.runs.holds(second)
    assert "the janitor stumbled: builtins.ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_run_that_was_accepted_just_now_is_left_to_the_process_that_took_it(
    room: Room, database_url: str
) -> None:
    run_id = uuid4()
    asked = NewMessage(owner="ann", text="question")
    values = {"id": run_id, "thread_id": uuid4(), "stream_id": f"run:{run_id}", "message_id": str(uuid4())}
    await room.producer.reserve(f"run:{run_id}", seconds=60)
    await room.runs.accept(asked, Run(number=0, owner="ann", message="question", **values))  # type: ignore[arg-type]  # a mixed dict
    await room.janitor.look()
    assert room.executor.active == 0
    await sql(database_url, "UPDATE resumable_stream_runs SET created_time = created_time - interval '3 s'")
    await room.janitor.look()
    await room.executor.wait_idle(seconds=10)
    assert [turn.run_id for turn in room.agent.turns] == [str(run_id)]


async def test_of_several_janitors_one_looks_at_a_time(room: Room) -> None:
    turns = [await room.janitor._is_my_turn() for _ in range(5)]
    assert turns == [True, False, False, False, False]
    async with asyncio.timeout(10):
        while not await room.janitor._is_my_turn():  # noqa: ASYNC110 - the turns are kept in Postgres
            await asyncio.sleep(0.02)


async def test_a_title_that_fails_is_no_failure(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(message: str) -> str | None:
        raise ValueError("a secret of the provider")

    room.agent.title = broken  # type: ignore[method-assign]  # an agent whose titles fail
    run = await room.manager.start(NewMessage(owner="ann", text="hello"))
    await room.executor.wait_idle(seconds=10)
    assert (await room.threads.get("ann", run.thread_id)).chat_name is None
    assert "got no title: builtins.ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_run_that_cannot_save_in_time_still_ends(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_answer, "KEEP_SECONDS", 0.2)

    async def endless(turn: Turn, text: str) -> None:
        await asyncio.Event().wait()

    room.agent.keep_partial = endless  # type: ignore[method-assign]  # an agent whose memory hangs
    run = await room.manager.start(NewMessage(owner="ann", text="one fail"))
    await room.executor.wait_idle(seconds=10)
    assert (await room.consumer.status(run.stream_id)).status.ended
    assert "was not saved in time" in caplog.text
