"""Answering what a thread waits for: a run like any other, once it is clear that the thread waits for these answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from ._errors import NotInterrupted, RunActive, UnknownInterrupt
from ._manager import RunManager
from ._run_store import RunStore
from ._threads import ThreadService
from ._values import NewMessage, Run


class Resuming:
    """Starts runs that have a person's answers."""

    def __init__(self, *, manager: RunManager, runs: RunStore, threads: ThreadService) -> None:
        self._manager = manager
        self._runs = runs
        self._threads = threads

    async def start(self, owner: str, thread_id: UUID, answers: Mapping[str, Any], *, key: str | None) -> Run:
        """Start the run that goes on with the answers, or find the one that does already.

        Where two do this at the same moment, one gets the thread. Should the other's turn come after that run, its run
        fails with ``not_interrupted`` or ``unknown_interrupt``, and the thread is as it was.

        Raises:
            NotInterrupted: the thread does not wait.
            UnknownInterrupt: it waits for something else.
            RunActive: the thread is busy.
            ThreadNotFound: it is not there, or not the owner's.
            IdempotencyMismatch: the key stands for other answers.
            TooManyRuns: the owner has as many active runs as they may.
            Unavailable: Redis or Postgres cannot be reached.
        """
        asked = NewMessage(owner=owner, text="", thread_id=thread_id, idempotency_key=key, answers=answers)
        if (known := await self._runs.by_key(asked)) is not None:
            return known
        history = await self._threads.history(owner, thread_id)
        if history.active is not None:
            raise RunActive(history.active)
        last = history.messages[-1] if history.messages else None
        if last is None or not last.interrupts:
            raise NotInterrupted
        waits = tuple(str(question["id"]) for question in last.interrupts)
        if not answers or not set(waits) >= answers.keys():
            raise UnknownInterrupt(waits)
        return await self._manager.start(replace(asked, after_id=last.id))
