"""Accepted runs on their way to worker processes: a queue of docket's, in the Redis that holds the streams.

The queue is the quick way, not the sure one. A run that does not come through it, because Redis was away or its worker
died, is found by a janitor, which puts it in again; a run that comes twice is claimed once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NoReturn
from uuid import UUID

import anyio

from resumable_stream.logs import get_logger

from ._answer import where
from ._errors import Unavailable
from ._liveness import asking_redis
from ._values import Run

if TYPE_CHECKING:
    from docket import Docket

logger = get_logger("resumable_stream.app")

Perform = Callable[[UUID], Awaitable[None]]
"""Executes a run to its end."""

NAME: Final = "resumable-stream"
"""What docket's keys begin with."""
_RETRY_SECONDS: Final = 1.0
_REDELIVERY_SECONDS: Final = 30.0


class RunQueue:
    """Puts runs into the queue, and takes them out where ``perform`` is given.

    `keep_open` has to run in a task beside.

    Args:
        url: of Redis.
        perform: what a worker does with a run; ``None`` in processes that only put runs in.
        concurrency: how many runs are performed at once.

    Raises:
        ModuleNotFoundError: docket is not installed; the text says how to.
    """

    def __init__(self, url: str, *, perform: Perform | None = None, concurrency: int = 100) -> None:
        try:
            import docket
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "RUN_EXECUTOR=worker needs docket: pip install 'resumable-stream-redis[worker]'", name=error.name
            ) from error
        self._docket_package = docket
        self._url = url
        self._perform = perform
        self._concurrency = concurrency
        self._docket: Docket | None = None

    async def put(self, run: Run) -> bool:
        """Have a run executed by whichever worker is free. Putting it in again while it waits changes nothing.

        Raises:
            Unavailable: the queue cannot be reached.
        """
        if self._docket is None:
            raise Unavailable("redis")
        with asking_redis():
            try:
                # After an attempt that died docket believes for a while that it is at work: so the number.
                await self._docket.add("answer_run", key=f"{run.id}-{run.attempts}")(run_id=str(run.id))
            except (OSError, self._redis_error) as error:
                raise Unavailable("redis") from error
        return True

    @property
    def _redis_error(self) -> type[Exception]:
        from redis.exceptions import RedisError

        return RedisError

    async def keep_open(self) -> NoReturn:
        """Keep the queue open, and work it off where runs are performed. Redis may come and go."""
        while True:
            try:
                async with self._docket_package.Docket(NAME, self._url) as docket:
                    docket.register(self._task())
                    self._docket = docket
                    if self._perform is None:
                        await anyio.sleep_forever()
                    await self._work(docket)
            except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
                logger.warning("the queue of runs is not available: %s", where(error))
            finally:
                self._docket = None
            await anyio.sleep(_RETRY_SECONDS)

    async def _work(self, docket: Docket) -> None:
        worker = self._docket_package.Worker(
            docket,
            concurrency=self._concurrency,
            redelivery_timeout=timedelta(seconds=_REDELIVERY_SECONDS),
            reconnection_delay=timedelta(seconds=_RETRY_SECONDS),
            minimum_check_interval=timedelta(milliseconds=50),
            schedule_automatic_tasks=False,
        )
        async with worker:
            await worker.run_forever()

    def _task(self) -> Callable[[str], Awaitable[None]]:
        async def answer_run(run_id: str) -> None:
            if self._perform is not None:
                await self._perform(UUID(run_id))

        return answer_run
