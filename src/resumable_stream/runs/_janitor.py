"""Settles what a process that died has left, without anybody asking."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable
from typing import Final, NoReturn

import anyio

from ._answer import where
from ._database import Database
from ._errors import Unavailable
from ._run_store import RunStore
from ._settling import Settler
from ._thread_store import ThreadStore
from ._threads import ThreadService

logger = logging.getLogger("resumable_stream.app")

_BATCH: Final = 500


class Janitor:
    """Looks for dead runs and unfinished deletions, again and again. Of all processes, one looks at a time.

    Args:
        database: where the turns are kept.
        interval: seconds between two looks, whoever makes them.
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
    ) -> None:
        self._database = database
        self._runs = runs
        self._threads = threads
        self._service = service
        self._settler = settler
        self._interval = interval

    async def work(self) -> NoReturn:
        """Work until cancelled. Errors are logged, and what could not be done is tried at the next look."""
        while True:
            try:
                if await self._is_my_turn():
                    await self.look()
            except Unavailable as error:
                logger.debug("the janitor could not work: %s", error)
            except Exception as error:  # noqa: BLE001 - a janitor that goes takes the whole app with it
                logger.warning("the janitor stumbled: %s", where(error))
            await anyio.sleep(self._interval * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load

    async def look(self) -> None:
        """Look once.

        Raises:
            Unavailable: Redis or Postgres cannot be reached; what is left is for the next look.
        """
        for run in await self._runs.unsettled(limit=_BATCH):
            await self._try(self._settler.settle(run, patience=0.0))
        for owner, thread_id in await self._threads.half_deleted(limit=_BATCH):
            await self._try(self._service.delete(owner, thread_id))

    async def _try(self, chore: Awaitable[object]) -> None:
        """Do something about one thread, which must not keep the others waiting when it fails."""
        try:
            await chore
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - an agent may raise anything
            logger.warning("the janitor stumbled: %s", where(error))

    async def _is_my_turn(self) -> bool:
        row = await self._database.fetch_one(
            "INSERT INTO resumable_stream_chores AS chore (name, next_time)"
            " VALUES ('janitor', clock_timestamp() + make_interval(secs => %(seconds)s))"
            " ON CONFLICT (name) DO UPDATE SET next_time = excluded.next_time"
            " WHERE chore.next_time < clock_timestamp() RETURNING name",
            {"seconds": self._interval},
        )
        return row is not None
