"""Settles what a process that died has left, without anybody asking: runs are passed on, threads are let go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn, TypeVar

import anyio

from resumable_stream.logs import get_logger

from ._answer import where
from ._database import Database
from ._errors import Unavailable
from ._run_store import RunStore
from ._settling import Settled, Settler
from ._thread_store import ThreadStore
from ._threads import ThreadService
from ._values import Run, about_run

logger = get_logger("resumable_stream.app")

T = TypeVar("T")

_NAME: Final = "janitor"
_BATCH: Final = 5000
_AT_ONCE: Final = 50
"""Runs that are looked at together."""
_ADOPTED: Final = 32
"""Runs that one look passes on. What is more is left to the next, which may be another process's: so they spread."""


class Janitor:
    """Looks for dead runs and unfinished deletions, again and again. Of all processes, one looks at a time.

    Args:
        database: where the turns are kept.
        interval: seconds between two looks, whoever makes them.
        adopt: has a run executed that no process has; says whether it will be.
    """

    def __init__(
        self,
        *,
        database: Database,
        runs: RunStore,
        threads: ThreadStore,
        service: ThreadService,
        settler: Settler,
        interval: float,
        adopt: Callable[[Run], Awaitable[bool]],
    ) -> None:
        self._database = database
        self._runs = runs
        self._threads = threads
        self._service = service
        self._settler = settler
        self._interval = interval
        self._adopt = adopt

    async def work(self) -> NoReturn:
        """Work until cancelled. Errors are logged, and what could not be done is tried at the next look."""
        while True:
            try:
                if await self._is_my_turn() and await self.look():
                    await self._offer_turn()
            except Unavailable as error:
                logger.debug("the janitor could not work: %s", error)
            except Exception as error:  # noqa: BLE001 - a janitor that goes takes the whole app with it
                logger.warning("the janitor stumbled: %s", where(error))
            await anyio.sleep(self._interval * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load

    async def look(self) -> bool:
        """Look once. Returns whether runs without a process are left for another look.

        Raises:
            Unavailable: Redis or Postgres cannot be reached; what is left is for the next look.
        """
        adopted = 0
        held = await self._runs.unsettled(limit=_BATCH)
        for start in range(0, len(held), _AT_ONCE):
            for run in await self._orphans(held[start : start + _AT_ONCE]):
                with about_run(run):
                    if adopted < _ADOPTED:
                        adopted += bool(await self._try(self._adopt(run)))
        for owner, thread_id in await self._threads.half_deleted(limit=_BATCH):
            await self._try(self._service.delete(owner, thread_id))
        return adopted == _ADOPTED

    async def _orphans(self, runs: Sequence[Run]) -> list[Run]:
        """Settle some runs at once, which is one question to Redis, mostly. Returns those that no process has."""

        async def settle(run: Run) -> Settled | None:
            with about_run(run):
                return await self._try(self._settler.settle(run, patience=0.0))

        found = await asyncio.gather(*map(settle, runs), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return [run for run, one in zip(runs, found, strict=True) if one is Settled.ORPHANED]

    async def _try(self, chore: Awaitable[T]) -> T | None:
        """Do something about one thread, which must not keep the others waiting when it fails."""
        try:
            return await chore
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - an agent may raise anything
            logger.warning("the janitor stumbled: %s", where(error))
            return None

    async def _offer_turn(self) -> None:
        """Let the next process that asks have the turn at once."""
        await self._database.fetch(
            "UPDATE resumable_stream_chores SET next_time = clock_timestamp() WHERE name = %(name)s", {"name": _NAME}
        )

    async def _is_my_turn(self) -> bool:
        row = await self._database.fetch_one(
            "INSERT INTO resumable_stream_chores AS chore (name, next_time)"
            " VALUES (%(name)s, clock_timestamp() + make_interval(secs => %(seconds)s))"
            " ON CONFLICT (name) DO UPDATE SET next_time = excluded.next_time"
            " WHERE chore.next_time < clock_timestamp() RETURNING name",
            {"name": _NAME, "seconds": self._interval},
        )
        return row is not None
