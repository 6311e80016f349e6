"""What executes runs, without a web server; more than one of it, where several processes are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import anyio
from redis.asyncio import Redis

from app.scripted import ScriptedAgent
from resumable_stream import EventID, StreamConsumer, StreamProducer
from resumable_stream._buffer import entry
from resumable_stream._log import Log
from resumable_stream._names import Names
from resumable_stream.runs import (
    Database,
    Executor,
    Janitor,
    NewMessage,
    Run,
    RunManager,
    RunStore,
    Settler,
    ThreadService,
    ThreadStore,
)


class Resumable(ScriptedAgent):
    """One that may be asked again; it begins from the start, as one does that has saved nothing."""

    resumable = True


@dataclass(frozen=True, slots=True)
class Room:
    """The room, without a web server."""

    agent: ScriptedAgent
    database: Database
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


@asynccontextmanager
async def open_room(
    database_url: str, redis: Redis, *, agent: ScriptedAgent | None = None, max_attempts: int = 1
) -> AsyncIterator[Room]:
    """The room of one process; several on one database and one Redis are like several processes."""
    agent = agent or ScriptedAgent()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(database_url, timeout=10.0))
        producer = await stack.enter_async_context(
            StreamProducer(redis, retention=60, takeover=60.0 * (max_attempts > 1))
        )
        consumer = await stack.enter_async_context(StreamConsumer(redis))
        runs, threads = RunStore(database), ThreadStore(database)
        settler = Settler(
            agent=agent, runs=runs, producer=producer, consumer=consumer, max_attempts=max_attempts, lease=1.0
        )
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
                max_attempts=max_attempts,
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
        yield Room(agent, database, runs, threads, producer, consumer, settler, manager, service, janitor, executor)


async def thread_of(room: Room, run: Run) -> list[str]:
    """The texts of the run's thread."""
    return [message.content for message in await room.agent.history(str(run.thread_id))]
