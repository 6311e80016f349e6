"""Accepted runs on their way to worker processes: a queue of docket's, in the Redis that holds the streams.

The queue is the quick way, not the sure one. A run that does not come through it, because Redis was away or its worker
died, is found by a janitor, which puts it in again; a run that comes twice is claimed once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import anyio
from anyio.abc import TaskGroup
from redis.exceptions import RedisError

from resumable_stream.logs import get_logger

from ._answer import where
from ._errors import Unavailable
from ._liveness import asking_redis
from ._values import Run

if TYPE_CHECKING:
    from docket import Docket, Worker

logger = get_logger("resumable_stream.app")

Perform = Callable[[UUID], Awaitable[None]]
"""Executes a run to its end."""

T = TypeVar("T")

NAME: Final = "resumable-stream"
"""What docket's keys begin with."""
_MORE_CONNECTIONS: Final = 100
"""What docket may open beside one for each run: it uses one for each command that is under way."""
_PUTS: Final = 50
"""How many runs are put in at once."""
_RETRY_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 3.0
_REDELIVERY_SECONDS: Final = 5.0
"""After which docket passes a message on whose worker died between taking it and beginning the run."""


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
        self._url = _with_connections(url, concurrency + _MORE_CONNECTIONS)
        self._puts = anyio.CapacityLimiter(_PUTS)
        self._perform = perform
        self._concurrency = concurrency
        self._docket: Docket | None = None
        self._worker: Worker | None = None
        self._tasks: TaskGroup
        self._performing = 0

    @property
    def is_open(self) -> bool:
        """Whether runs can be put in now."""
        return self._docket is not None

    async def workers(self) -> int:
        """How many processes work the queue off: those that have said so in the last ten seconds.

        Raises:
            Unavailable: the queue cannot be reached.
        """
        with self._asking() as docket:
            return len(await docket.workers())

    async def put(self, run: Run) -> bool:
        """Have a run executed by whichever worker is free. Putting it in again while it waits changes nothing.

        Raises:
            Unavailable: the queue cannot be reached.
        """
        async with self._puts:
            with self._asking() as docket:
                # After an attempt that died docket believes for a while that it is at work: so the number.
                await docket.add("answer_run", key=f"{run.id}-{run.attempts}")(run_id=str(run.id))
        return True

    @contextmanager
    def _asking(self) -> Iterator[Docket]:
        """The queue, for questions inside the block.

        Raises:
            Unavailable: it cannot be reached, or takes too long.
        """
        if self._docket is None:
            raise Unavailable("redis")
        with asking_redis():
            try:
                yield self._docket
            except (OSError, RedisError) as error:
                raise Unavailable("redis") from error

    async def keep_open(self) -> None:
        """Keep the queue open, and work it off where runs are performed. Redis may come and go.

        Cancelled, it takes no more runs, and waits for none that have begun.
        """
        async with anyio.create_task_group() as self._tasks:
            while True:
                try:
                    async with _closed_in_peace(self._docket_package.Docket(NAME, self._url)) as docket:
                        docket.register(self._task())
                        self._docket = docket
                        if self._perform is None:
                            await anyio.sleep_forever()
                        await self._work(docket)
                except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
                    logger.warning("the queue of runs is not available: %s", where(error))
                finally:
                    self._docket = self._worker = None
                await anyio.sleep(_RETRY_SECONDS)

    async def _work(self, docket: Docket) -> None:
        self._worker = self._docket_package.Worker(
            docket,
            concurrency=self._free,
            redelivery_timeout=timedelta(seconds=_REDELIVERY_SECONDS),
            reconnection_delay=timedelta(seconds=_RETRY_SECONDS),
            minimum_check_interval=timedelta(milliseconds=50),
            schedule_automatic_tasks=False,
        )
        async with _closed_in_peace(self._worker) as worker:
            working = asyncio.create_task(worker.run_forever(), name="queue of runs")
            try:
                await asyncio.wait([working])
            finally:
                working.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait([working], timeout=_CLOSE_SECONDS)
            await working

    @property
    def _free(self) -> int:
        """How many runs may be taken now."""
        return self._concurrency - self._performing

    def _count(self, change: int) -> None:
        self._performing += change
        if self._worker is not None:
            self._worker.concurrency = self._free  # looked at before each taking

    def _task(self) -> Callable[[str], Awaitable[None]]:
        async def answer_run(run_id: str) -> None:
            # Not waited for: a worker of docket's that has lost its connection takes nothing new until all that it has
            # taken is done. If this process dies, the log says so, sooner than docket would.
            self._count(1)
            self._tasks.start_soon(self._perform_one, UUID(run_id), name=f"perform {run_id}")

        return answer_run

    async def _perform_one(self, run_id: UUID) -> None:
        try:
            if self._perform is not None:
                await self._perform(run_id)
        except Exception as error:  # noqa: BLE001 - the janitor puts it in again
            logger.warning("run %s was not begun: %s", run_id, where(error))
        finally:
            self._count(-1)


@asynccontextmanager
async def _closed_in_peace(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Leave a context of docket's also when cancelled: a scope of anyio's would cut off each step of its closing."""
    entered = await manager.__aenter__()
    try:
        yield entered
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await manager.__aexit__(None, None, None)


def _with_connections(url: str, count: int) -> str:
    """The address with a limit of connections, unless it has one: redis-py raises at its limit, which is 100."""
    parts = urlsplit(url)
    if "max_connections" in parts.query:
        return url
    return parts._replace(query="&".join(filter(None, [parts.query, f"max_connections={count}"]))).geturl()
