"""What can be done with threads: read, list, rename, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import anyio

from resumable_stream import Status, StreamConsumer, StreamProducer
from resumable_stream.agent import Agent, HistoryMessage
from resumable_stream.logs import get_logger

from ._liveness import asking_memory, asking_redis, look, status_of
from ._run_store import RunStore
from ._settling import Settled, Settler
from ._thread_store import ThreadStore
from ._values import Run, Thread, ThreadCursor, about_run

logger = get_logger("resumable_stream.app")

_READS: Final = 5
_HISTORY_SECONDS: Final = 15.0
"""A long history takes its time; that Postgres is away has shown before it is asked for."""
_DELETE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class History:
    """A thread's messages; with an active run they end with the message that it answers."""

    messages: Sequence[HistoryMessage]
    active: Run | None


@dataclass(frozen=True, slots=True)
class ListedThread:
    """A thread with its active run."""

    thread: Thread
    active: Run | None


class ThreadService:
    """Threads, as their owners see them. All methods raise ``Unavailable`` when Redis or Postgres cannot be reached.

    Args:
        end_timeout: seconds that deleting waits for an active run to end.
    """

    def __init__(
        self,
        *,
        agent: Agent,
        producer: StreamProducer,
        consumer: StreamConsumer,
        runs: RunStore,
        threads: ThreadStore,
        settler: Settler,
        end_timeout: float,
    ) -> None:
        self._agent = agent
        self._producer = producer
        self._consumer = consumer
        self._runs = runs
        self._threads = threads
        self._settler = settler
        self._end_timeout = end_timeout

    async def history(self, owner: str, thread_id: UUID) -> History:
        """The messages that belong with the thread's stream, neither doubled nor with a hole.

        The log is asked before the history is read: a run that has ended has its answer in the history. When another
        run has begun meanwhile, all is read again.

        Raises:
            ThreadNotFound: it is not there, or not the owner's.
        """
        for _ in range(_READS):
            before = await self._threads.get(owner, thread_id)
            active = await self._active(owner, before)
            with asking_memory(_HISTORY_SECONDS):
                messages = await self._agent.history(str(thread_id))
            after = await self._threads.get(owner, thread_id)
            # A run that began meanwhile, though it may have ended too, shows in the time of the last activity.
            if after.last_activity_time == before.last_activity_time:
                break
        return History(messages if active is None else _until(messages, active), active)

    async def page(
        self, owner: str, *, limit: int, after: ThreadCursor | None
    ) -> tuple[list[ListedThread], ThreadCursor | None]:
        """The owner's threads, newest activity first, and where the next page begins."""
        rows = await self._threads.page(owner, limit=limit + 1, after=after)
        listed = []
        for thread, run in rows[:limit]:
            alive = run is not None and await status_of(self._consumer, run) is Status.ACTIVE
            listed.append(ListedThread(thread, run if alive else None))
        last = rows[limit - 1][0] if len(rows) > limit else None
        return listed, None if last is None else ThreadCursor(last.last_activity_time, last.id)

    async def rename(self, owner: str, thread_id: UUID, chat_name: str) -> None:
        """Give a thread a name.

        Raises:
            ThreadNotFound: it is not there, or not the owner's.
        """
        await self._threads.rename(owner, thread_id, chat_name)

    async def delete(self, owner: str, thread_id: UUID) -> None:
        """Stop the thread's run, wait for its end, and remove history, runs and streams.

        The thread is invisible from the first moment, and its id is never used again. When this is broken off, calling
        it again goes on; so does the janitor.

        Raises:
            ThreadNotFound: it is not there, or not the owner's.
        """
        runs = await self._threads.mark_deleted(owner, thread_id)
        if runs:
            await self._end(runs[0])
        with asking_memory(_DELETE_SECONDS):
            await self._agent.delete(str(thread_id))
        for run in runs:
            with asking_redis():
                await self._producer.delete(run.stream_id)
        await self._threads.mark_purged(thread_id)

    async def _active(self, owner: str, thread: Thread) -> Run | None:
        """The run that holds the thread if it is alive; one that is not is settled."""
        if thread.active_run_id is None:
            return None
        run = await self._runs.get(owner, thread.active_run_id)
        if run is None or await self._settler.settle(run) not in (Settled.ALIVE, Settled.ORPHANED):
            return None
        return run

    async def _end(self, run: Run) -> None:
        """Stop a run and wait for the end of its stream, after which its process writes no history any more."""
        with asking_redis():
            await self._producer.cancel(run.stream_id)
        pause = 0.02
        with anyio.move_on_after(self._end_timeout) as scope:
            while await self._is_at_work(run):
                await anyio.sleep(pause)
                pause = min(pause * 1.5, 0.25)
        if scope.cancelled_caught:
            with about_run(run):
                logger.warning("run %s did not end in time; its thread is deleted anyway", run.id)

    async def _is_at_work(self, run: Run) -> bool:
        """Whether some process has the run. No other can take it once the thread is marked as deleted."""
        info = await look(self._consumer, run)
        return info is not None and info.status is Status.ACTIVE and not info.orphaned


def _until(messages: Sequence[HistoryMessage], run: Run) -> list[HistoryMessage]:
    """The messages up to the one that the run answers, which is added when the agent does not have it yet.

    What a person was asked is left out: the run has the answers, or will ask again.
    """
    until: list[HistoryMessage] = []
    for message in messages:
        if message.id == run.message_id:
            uses = [replace(use, status="running") if use.status == "waiting" else use for use in message.tool_calls]
            return [*until, replace(message, interrupts=(), tool_calls=tuple(uses))]
        until.append(message)
    if run.answers is not None:
        return until
    asked = HistoryMessage(type="human", content=run.message, id=run.message_id, run_id=str(run.id))
    return [*until, asked]
