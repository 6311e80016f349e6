"""Whether requests can be served, and what is missing: asked at once, in bounded time, and not by everybody anew."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

import anyio

from resumable_stream import LogUnavailable, StreamConsumer, StreamNotFound
from resumable_stream.runs import Database, DatabaseState, RunQueue, Unavailable

from ._schemas import Readiness

PROBE_SECONDS: Final = 1.5
KEPT_SECONDS: Final = 1.0
_PROBE_STREAM: Final = "readiness-probe"

ServiceState = Literal["ok", "unavailable"]


@dataclass(slots=True)
class _Found:
    """What a look has found."""

    redis: ServiceState = "unavailable"
    postgres: DatabaseState = "unavailable"
    workers: int | None = None


class ReadinessProbe:
    """Answers ``GET /readyz``. What was found is the answer for `KEPT_SECONDS`, and those who ask at once share a look.

    Args:
        consumer: how Redis is asked.
        database: Postgres.
        queue: of the runs that workers execute; ``None`` where this process does.
        closing: set when the process takes no more runs.
    """

    def __init__(
        self, *, consumer: StreamConsumer, database: Database, queue: RunQueue | None, closing: asyncio.Event
    ) -> None:
        self._consumer = consumer
        self._database = database
        self._queue = queue
        self._closing = closing
        self._look: asyncio.Task[_Found] | None = None
        self._looked = 0.0

    async def find(self) -> Readiness:
        """What is ready now, or was a moment ago."""
        loop = asyncio.get_running_loop()
        look = self._look
        if look is None or (look.done() and loop.time() >= self._looked + KEPT_SECONDS):
            look = self._look = asyncio.create_task(self._ask(), name="resumable_stream readiness")
        found = await asyncio.shield(look)
        queue: ServiceState | None = None
        if self._queue is not None:
            queue = "ok" if self._queue.is_open else "unavailable"
        ready = found.redis == "ok" and found.postgres == "ok" and queue != "unavailable"
        status: Literal["ready", "not_ready", "draining"] = "ready" if ready else "not_ready"
        status = "draining" if self._closing.is_set() else status
        return Readiness(status=status, redis=found.redis, postgres=found.postgres, queue=queue, workers=found.workers)

    async def aclose(self) -> None:
        """Give up a look that is under way."""
        if self._look is not None:
            self._look.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([self._look])

    async def _ask(self) -> _Found:
        found = _Found()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ask_redis, found)
            tasks.start_soon(self._ask_postgres, found)
            if self._queue is not None:
                tasks.start_soon(self._ask_queue, self._queue, found)
        self._looked = asyncio.get_running_loop().time()
        return found

    async def _ask_redis(self, found: _Found) -> None:
        try:
            with anyio.fail_after(PROBE_SECONDS):
                await self._consumer.status(_PROBE_STREAM)
        except StreamNotFound:
            found.redis = "ok"
        except (LogUnavailable, TimeoutError):
            return

    async def _ask_postgres(self, found: _Found) -> None:
        found.postgres = await self._database.state(seconds=PROBE_SECONDS)

    async def _ask_queue(self, queue: RunQueue, found: _Found) -> None:
        with suppress(Unavailable):  # it has a bound of its own
            found.workers = await queue.workers()
