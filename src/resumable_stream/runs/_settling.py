"""What happens to a thread after its run: the answer of a run that was broken off is kept, and the thread let go.

A run does this itself when it ends. Where it could not (its process died, Postgres was away), whoever comes next does
it: the next message, the next reader of the history, or the janitor. The right to do it is taken in Postgres, so it is
done once at a time, and never beside a new run.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from enum import Enum, auto
from typing import Final
from uuid import UUID

import anyio

from resumable_stream import LogUnavailable, Status, StreamConsumer, StreamExists, StreamNotFound, StreamProducer
from resumable_stream.agent import Agent
from resumable_stream.logs import get_logger

from ._answer import KEEP_SECONDS, turn_of, where
from ._errors import Unavailable
from ._liveness import PATIENCE, asking_memory, asking_redis, look
from ._run_store import RunStore
from ._transcript import Transcript
from ._values import Run, about_run

logger = get_logger("resumable_stream.app")

_RIGHT_SECONDS: Final = 2 * KEEP_SECONDS + 4.0
"""The right to repair lasts for reading what was said and keeping it."""


class Settled(Enum):
    """How a run that held its thread was found.

    ``ALIVE``: it is active. ``ORPHANED``: it is active, but no process has it now. ``FREE``: it had ended, and holds
    the thread no more. ``IN_REPAIR``: it has ended, and somebody is keeping what it said, or its process may still be
    about to.
    """

    ALIVE = auto()
    ORPHANED = auto()
    FREE = auto()
    IN_REPAIR = auto()


class Settler:
    """Keeps what broken runs have said, and lets their threads go.

    Args:
        agent: whose memory it is kept in.
        runs: who holds which thread.
        producer: ends the streams of runs that nobody goes on with.
        consumer: tells how a run is.
        max_attempts: how often a run is begun.
        lease: seconds after which a producer whose stream has vanished has noticed it for certain.
        queue_seconds: how long a run may wait for a process to begin it.
    """

    def __init__(
        self,
        *,
        agent: Agent,
        runs: RunStore,
        producer: StreamProducer,
        consumer: StreamConsumer,
        max_attempts: int,
        lease: float,
        queue_seconds: float = 300.0,
    ) -> None:
        self._agent = agent
        self._runs = runs
        self._producer = producer
        self._max_attempts = max_attempts
        self._consumer = consumer
        self._lease = lease
        self._queue_seconds = queue_seconds
        self._unsaved: set[UUID] = set()

    async def keep(self, run: Run, text: str) -> None:
        """Save a partial answer, unless the thread has gone on without this run.

        Failing is logged, not raised; the run then keeps its thread until `settle` has saved what the log holds.
        """
        self._unsaved.add(run.id)
        try:
            if await self._runs.begin_repair(run, seconds=_RIGHT_SECONDS):
                try:
                    await self._agent.keep_partial(turn_of(run), text)
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._runs.end_repair(run)
            self._unsaved.discard(run.id)
        except Exception as error:  # noqa: BLE001 - the run's own end must not be lost over it
            logger.warning("run %s: its partial answer was not saved: %s", run.id, where(error))

    async def let_go(self, run: Run) -> None:
        """After a run's own end: release its thread, unless somebody has to repair it first, or is about to."""
        if run.id in self._unsaved:
            self._unsaved.discard(run.id)
        else:
            await self._runs.release(run, unless_in_repair=True)

    async def settle(self, run: Run, *, patience: float = PATIENCE) -> Settled:
        """Repair and let go when the run holds its thread but is not alive.

        Args:
            run: the run.
            patience: seconds to wait for somebody else who is repairing it already.

        Raises:
            Unavailable: when Redis or Postgres cannot be reached.
        """
        info = await look(self._consumer, run)
        if info is not None and info.orphaned and await self._end(run, stop=info.stop_requested):
            info = await look(self._consumer, run)
        if info is not None and info.status is Status.ACTIVE:
            return Settled.ORPHANED if info.orphaned else Settled.ALIVE
        if info is None and await self._runs.waits(run, seconds=self._queue_seconds):
            await self._reserve_again(run)
            return Settled.ORPHANED
        # A log that was lost has not ended. Its producer may be alive, and knows after a third of its lease.
        if (info is None or info.last_id is None) and await self._runs.gone_for(run) < self._lease:
            return Settled.IN_REPAIR
        if info is not None and info.status is Status.COMPLETED:
            await self._runs.release(run)  # the history had the answer before the end was written
        elif await self._runs.begin_repair(run, seconds=_RIGHT_SECONDS):
            try:
                with about_run(run):
                    await self._repair(run)
            except (Unavailable, asyncio.CancelledError):
                with anyio.CancelScope(shield=True):
                    await self._runs.end_repair(run)  # for whoever comes next
                raise
            await self._runs.release(run)
        elif not await self._let_go(run, patience):
            return Settled.IN_REPAIR
        return Settled.FREE

    async def _end(self, run: Run, *, stop: bool) -> bool:
        """End the stream of a run that has no process, when it is to stop or was begun too often."""
        if not stop:
            known = run.attempts - run.handovers < self._max_attempts
            if known or (now := await self._runs.load(run.id)) is None:
                return False
            if now.attempts - now.handovers < self._max_attempts:  # it went on since the caller has read of it
                return False
        with asking_redis():
            return await self._producer.end(run.stream_id, Status.CANCELLED if stop else Status.LOST)

    async def _reserve_again(self, run: Run) -> None:
        """Make the stream of a run that no process has begun: Redis has lost it, and nothing has been said yet."""
        with asking_redis(), suppress(StreamExists):
            await self._producer.reserve(run.stream_id, seconds=self._queue_seconds)

    async def _repair(self, run: Run) -> None:
        """Keep what the run said, as far as the log still has it."""
        if (whole := await self._runs.load(run.id)) is None:
            return
        said = Transcript()
        try:
            with anyio.fail_after(KEEP_SECONDS):
                async with aclosing(self._consumer.events(run.stream_id)) as events:
                    async for event in events:
                        said.add(event)
        except StreamNotFound:
            pass  # nothing is known of what it said
        except (LogUnavailable, TimeoutError) as error:
            raise Unavailable("redis") from error
        with asking_memory(KEEP_SECONDS):
            await self._agent.keep_partial(turn_of(whole), said.text)

    async def _let_go(self, run: Run, patience: float) -> bool:
        """Whether the run has let its thread go, or does so soon."""
        if not await self._runs.holds(run):  # asked whatever the patience
            return True
        with anyio.move_on_after(patience):
            while await self._runs.holds(run):  # noqa: ASYNC110 - another process may let it go
                await anyio.sleep(0.05)
            return True
        return False
