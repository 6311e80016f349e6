"""Settles what a process that died has left, without anybody asking."""

from __future__ import annotations

import logging
import random
from typing import Final, NoReturn

import anyio

from ._answer import where
from ._errors import RunsError
from ._run_store import RunStore
from ._settling import Settler
from ._thread_store import ThreadStore
from ._threads import ThreadService

logger = logging.getLogger("resumable_stream.app")

_BATCH: Final = 100


class Janitor:
    """Looks for dead runs and unfinished deletions, again and again.

    Args:
        interval: seconds between two looks, shortened at random by up to a half so that processes take turns.
    """

    def __init__(
        self,
        *,
        runs: RunStore,
        threads: ThreadStore,
        service: ThreadService,
        settler: Settler,
        interval: float,
    ) -> None:
        self._runs = runs
        self._threads = threads
        self._service = service
        self._settler = settler
        self._interval = interval

    async def work(self) -> NoReturn:
        """Work until cancelled. Errors are logged, and what could not be done is tried at the next look."""
        while True:
            try:
                await self.look()
            except RunsError as error:
                logger.debug("the janitor could not work: %s", where(error))
            except Exception as error:  # noqa: BLE001 - the next look may go better
                logger.warning("the janitor stumbled: %s", where(error))
            await anyio.sleep(self._interval * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load

    async def look(self) -> None:
        """Look once."""
        for run in await self._runs.unsettled(limit=_BATCH):
            await self._settler.settle(run)
        for owner, thread_id in await self._threads.half_deleted(limit=_BATCH):
            await self._service.delete(owner, thread_id)
