"""What happens to a thread after its run: the answer of a run that was broken off is kept, and the thread let go.

A run does this itself when it ends. Where it could not (its process died, Postgres was away), whoever comes next does
it: the next message, the next reader of the history, or the janitor. The right to do it is taken in Postgres, so it is
done once at a time, and never beside a new run.
"""

from __future__ import annotations

import logging
from typing import Final

import anyio

from resumable_stream import LogUnavailable, Status, StreamConsumer, StreamNotFound
from resumable_stream.agent import Agent

from ._answer import KEEP_SECONDS, turn_of, where
from ._errors import Unavailable
from ._liveness import PATIENCE, asking_memory, status_of
from ._run_store import RunStore
from ._values import TEXT, Run

logger = logging.getLogger("resumable_stream.app")

_RIGHT_SECONDS: Final = KEEP_SECONDS + 4.0


class Settler:
    """Keeps what broken runs have said, and lets their threads go."""

    def __init__(self, *, agent: Agent, runs: RunStore, consumer: StreamConsumer) -> None:
        self._agent = agent
        self._runs = runs
        self._consumer = consumer

    async def keep(self, run: Run, text: str) -> None:
        """Save a partial answer, unless the thread has gone on without this run. Failing is logged, not raised."""
        try:
            if await self._runs.begin_repair(run, seconds=_RIGHT_SECONDS):
                await self._agent.keep_partial(turn_of(run), text)
                await self._runs.end_repair(run)
        except Exception as error:  # noqa: BLE001 - the run's own end must not be lost over it
            logger.warning("run %s: its partial answer was not saved: %s", run.id, where(error))

    async def settle(self, run: Run) -> Status:
        """Repair and let go when the run holds its thread but is not alive.

        Returns:
            ``active`` when it is alive, and nothing was done; otherwise how it ended. Somebody else may be repairing
            it still: then this waits a little.

        Raises:
            Unavailable: when Redis or Postgres cannot be reached.
        """
        status = await status_of(self._consumer, run)
        if status is Status.ACTIVE:
            return status
        if status is Status.COMPLETED:  # the history had the answer before the end was written
            await self._runs.release(run)
        elif await self._runs.begin_repair(run, seconds=_RIGHT_SECONDS):
            text = await self._said(run)
            with asking_memory(KEEP_SECONDS):
                await self._agent.keep_partial(turn_of(run), text)
            await self._runs.release(run)
        else:
            await self._wait_for_release(run)
        return status

    async def _said(self, run: Run) -> str:
        """All text of an ended run that the log still has."""
        said: list[str] = []
        try:
            with anyio.fail_after(KEEP_SECONDS):
                said += [
                    event.data
                    async for event in self._consumer.events(run.stream_id)
                    if event.type == TEXT and isinstance(event.data, str)
                ]
        except StreamNotFound:
            pass  # nothing is known of what it said
        except (LogUnavailable, TimeoutError) as error:
            raise Unavailable("redis") from error
        return "".join(said)

    async def _wait_for_release(self, run: Run) -> None:
        with anyio.move_on_after(PATIENCE):
            while await self._runs.holds(run):  # noqa: ASYNC110 - another process may let it go
                await anyio.sleep(0.05)
