"""Which stream a reader gets: the rules of the contract, in one place."""

from __future__ import annotations

import asyncio
from typing import Final, Literal
from uuid import UUID

import anyio

from resumable_stream import EventID, Status, StreamConsumer

from ._errors import RunNotFound, ThreadNotFound
from ._liveness import look
from ._run_store import RunStore
from ._values import Run

RECENT_SECONDS: Final = 5.0
"""How long after its end a run is still what a reader without a cursor means."""

WAIT_SECONDS: Final = 2.0
"""How long a reader waits for a run that is about to begin."""

_LOOK_BACK: Final = 20
"""How many runs of a thread are searched for a cursor."""


class StreamFinder:
    """Finds the run that a request for a stream is about.

    All methods raise ``Unavailable`` when Redis or Postgres cannot be reached.
    """

    def __init__(self, *, runs: RunStore, consumer: StreamConsumer) -> None:
        self._runs = runs
        self._consumer = consumer

    async def find(
        self,
        owner: str,
        thread_id: UUID,
        *,
        run_id: UUID | None,
        cursor: EventID | None,
        closing: asyncio.Event | None = None,
    ) -> Run | None:
        """The run to send, after the cursor where there is one; ``None`` for nothing to send.

        Args:
            owner: who asks.
            thread_id: their thread.
            run_id: only this run.
            cursor: what the reader has.
            closing: once set, a run that is about to begin is waited for no longer.

        Raises:
            ThreadNotFound: the thread is not there, or not the owner's. Without a cursor and a run,
                only after waiting for it to appear.
            RunNotFound: the thread has no such run.
        """
        if run_id is not None:
            run = await self._named(owner, thread_id, run_id)
        elif cursor is not None:
            run = await self._placed(owner, thread_id, cursor)
        else:
            run = await self._current(owner, thread_id, closing or asyncio.Event())
        if run is not None and not run.followed:
            await self._runs.mark_followed(run)
        return run

    async def _named(self, owner: str, thread_id: UUID, run_id: UUID) -> Run | None:
        run = await self._runs.get(owner, run_id)
        if run is None or run.thread_id != thread_id:
            await self._runs.newest(owner, thread_id, limit=1)  # says when it is the thread that is missing
            raise RunNotFound
        return run if await look(self._consumer, run) is not None else None

    async def _placed(self, owner: str, thread_id: UUID, cursor: EventID) -> Run | None:
        """The run that a cursor belongs to; the newest that is kept when it belongs to none, which resets the reader.

        Generations grow along the runs of a thread: those of a run lie between its first claim and its last event.
        """
        kept: Run | None = None
        for run in await self._runs.newest(owner, thread_id, limit=_LOOK_BACK):
            info = await look(self._consumer, run)
            if info is None or info.last_id is None:
                kept = kept or (run if info is not None else None)
                continue
            kept = kept or run
            if (info.origin or info.last_id.generation) <= cursor.generation <= info.last_id.generation:
                return run
        return kept

    async def _current(self, owner: str, thread_id: UUID, closing: asyncio.Event) -> Run | None:
        """The active run, or one that has just ended; waits for one that is about to begin."""
        fallback: Run | None = None
        known: UUID | None = None
        missing = True
        pause = 0.02
        with anyio.move_on_after(WAIT_SECONDS):
            while not closing.is_set():
                try:
                    runs = await self._runs.newest(owner, thread_id, limit=1)
                    missing = False
                except ThreadNotFound:
                    runs, missing = [], True
                if runs and runs[0].id != known:
                    run = runs[0]
                    known = run.id
                    age = await self._age(run)
                    if age == "active" or (age == "fresh" and not run.followed):
                        return run
                    if age == "fresh":
                        # Somebody follows it already: this reader more likely wants what comes next.
                        fallback = run
                await anyio.sleep(pause)
                pause = min(pause * 1.5, 0.2)
        if closing.is_set():
            return None
        if missing:
            raise ThreadNotFound
        return fallback

    async def _age(self, run: Run) -> Literal["active", "fresh", "old"]:
        """Whether a run is active, has ended just now, or is of no interest unless it is named."""
        info = await look(self._consumer, run)
        if info is None:
            return "old"
        if info.status is Status.ACTIVE:
            return "active"
        return "fresh" if run.ended_ago is None or run.ended_ago < RECENT_SECONDS else "old"
