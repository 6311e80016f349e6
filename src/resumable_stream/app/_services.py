"""Everything that the sub-app opens for its life, in the order in which it must close again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from redis.asyncio import Redis

from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.runs import (
    Database,
    Executor,
    Janitor,
    Resuming,
    Run,
    RunManager,
    RunObserver,
    RunQueue,
    RunStore,
    Settler,
    StreamFinder,
    ThreadService,
    ThreadStore,
    attempts_of,
)

from ._agents import AgentPlan
from ._limits import OpenStreams, OwnerLimits
from ._readiness import ReadinessProbe
from ._routes import ChatRoutes
from ._settings import Settings
from ._signals import set_by_signals, set_on_signals
from ._stream import StreamRoute
from ._telemetry import observe, shared_telemetry

Listen = Callable[[asyncio.Event], AbstractContextManager[None]]

if TYPE_CHECKING:
    from resumable_stream.telemetry import Telemetry

_CLOSE_SECONDS: Final = 12.0
"""What an active run gets to end beyond its lease when its thread is deleted: the core lets a source close for 10 s."""
_JANITOR_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 10.0
"""For a piece of work in Postgres that no request waits for."""


@dataclass(frozen=True, slots=True)
class Services:
    """What requests are served with.

    Attributes:
        closing: set when the process is about to stop.
    """

    chat: ChatRoutes
    stream: StreamRoute
    readiness: ReadinessProbe
    closing: asyncio.Event


@dataclass(frozen=True, slots=True)
class _Behind:
    """What is used behind the requests: by runs, and by the janitor. It has more patience with Postgres."""

    runs: RunStore
    threads: ThreadStore
    settler: Settler


@dataclass(frozen=True, slots=True)
class _Rooms:
    """What web processes and workers have in common."""

    database: Database
    producer: StreamProducer
    consumer: StreamConsumer
    runs: RunStore
    threads: ThreadStore
    settler: Settler
    behind: _Behind
    service: ThreadService
    executor: Executor
    observer: RunObserver
    closing: asyncio.Event


@asynccontextmanager
async def open_services(
    settings: Settings,
    plan: AgentPlan,
    limits: OwnerLimits,
    *,
    telemetry: Telemetry | None,
    refused: Mapping[tuple[int, str], int],
) -> AsyncIterator[Services]:
    """Open all that is needed. Neither Redis nor Postgres has to be up: they are found when they come.

    On the way out streams are closed first, then runs get their grace period and are handed over or
    end as ``lost``, then connections close.
    """
    patience = settings.shutdown_grace_seconds + settings.drain_seconds + _CLOSE_SECONDS
    async with (
        _open_rooms(
            settings,
            plan,
            max_active=limits.active_runs,
            listen=partial(set_on_signals, patience=patience),
            telemetry=telemetry,
            refused=refused,
        ) as rooms,
        anyio.create_task_group() as tasks,
    ):
        queue = _queue(settings)
        if queue is not None:
            tasks.start_soon(queue.keep_open)

        async def dispatch(run: Run) -> bool:
            return rooms.executor.launch(run) if queue is None else await queue.put(run)

        tasks.start_soon(_until, rooms.closing, _janitor(settings, rooms, dispatch).work)
        manager = RunManager(
            dispatch=dispatch,
            producer=rooms.producer,
            runs=rooms.runs,
            threads=rooms.threads,
            settler=rooms.settler,
            observer=rooms.observer,
            queue_seconds=settings.run_queue_seconds,
        )
        finder = StreamFinder(runs=rooms.runs, consumer=rooms.consumer)
        readiness = ReadinessProbe(consumer=rooms.consumer, database=rooms.database, queue=queue, closing=rooms.closing)
        try:
            async with aclosing(readiness), manager:
                yield Services(
                    chat=ChatRoutes(
                        manager=manager,
                        resuming=Resuming(manager=manager, runs=rooms.runs, threads=rooms.service),
                        threads=rooms.service,
                        closing=rooms.closing,
                    ),
                    stream=StreamRoute(
                        settings=settings,
                        finder=finder,
                        consumer=rooms.consumer,
                        streams=OpenStreams(limits.open_streams),
                        closing=rooms.closing,
                    ),
                    readiness=readiness,
                    closing=rooms.closing,
                )
        finally:
            await _close(settings, rooms)
            tasks.cancel_scope.cancel()


async def work(settings: Settings, plan: AgentPlan, *, concurrency: int, telemetry: Telemetry | None) -> None:
    """Execute runs of the queue until the process is told to stop, or the call is cancelled."""
    async with (
        _open_rooms(settings, plan, max_active=None, listen=set_by_signals, telemetry=telemetry) as rooms,
        anyio.create_task_group() as tasks,
    ):
        queue = RunQueue(settings.redis_url.get_secret_value(), perform=rooms.executor.perform, concurrency=concurrency)
        # What is taken while the process ends would only be left to others again.
        tasks.start_soon(_until, rooms.closing, queue.keep_open)
        tasks.start_soon(_until, rooms.closing, _janitor(settings, rooms, queue.put).work)
        try:
            await rooms.closing.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await _close(settings, rooms)
            tasks.cancel_scope.cancel()


async def _until(closing: asyncio.Event, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Work until the process is about to stop."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await closing.wait()
        tasks.cancel_scope.cancel()


async def _close(settings: Settings, rooms: _Rooms) -> None:
    """Begin nothing new, and give active runs their time."""
    rooms.closing.set()
    await rooms.executor.drain(grace=settings.shutdown_grace_seconds, seconds=settings.drain_seconds)


def _queue(settings: Settings) -> RunQueue | None:
    return RunQueue(settings.redis_url.get_secret_value()) if settings.run_executor == "worker" else None


def _janitor(settings: Settings, rooms: _Rooms, adopt: Callable[[Run], Awaitable[bool]]) -> Janitor:
    return Janitor(
        database=rooms.database,
        runs=rooms.behind.runs,
        threads=rooms.behind.threads,
        service=rooms.service,
        settler=rooms.behind.settler,
        interval=min(settings.stream_lease_seconds / 3, _JANITOR_SECONDS),
        adopt=adopt,
    )


@asynccontextmanager
async def _open_rooms(
    settings: Settings,
    plan: AgentPlan,
    *,
    max_active: int | None,
    listen: Listen,
    telemetry: Telemetry | None,
    refused: Mapping[tuple[int, str], int] | None = None,
) -> AsyncIterator[_Rooms]:
    closing = asyncio.Event()
    database = Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        prepare=settings.database_prepare_statements,
        set_up=plan.set_up,
    )
    agent = plan.build(database.pool)
    async with AsyncExitStack() as stack:
        if settings.handle_signals:
            stack.enter_context(listen(closing))
        redis = Redis.from_url(settings.redis_url.get_secret_value())
        stack.push_async_callback(redis.aclose)
        await stack.enter_async_context(database)
        lease = settings.stream_lease_seconds
        attempts = attempts_of(agent, settings.run_max_attempts)
        producer = await stack.enter_async_context(
            StreamProducer(
                redis,
                lease=lease,
                retention=settings.stream_ttl_seconds,
                takeover=settings.run_takeover_seconds if attempts > 1 else 0.0,
            )
        )
        consumer = await stack.enter_async_context(StreamConsumer(redis))
        observer = observe(
            telemetry or shared_telemetry(),
            plan,
            database=database,
            producer=producer,
            consumer=consumer,
            refused={} if refused is None else refused,
        )
        runs, threads = RunStore(database, max_active=max_active), ThreadStore(database)

        def settling(runs: RunStore) -> Settler:
            return Settler(
                agent=agent,
                runs=runs,
                producer=producer,
                consumer=consumer,
                max_attempts=attempts,
                lease=lease,
                queue_seconds=settings.run_queue_seconds,
            )

        settler = settling(runs)
        patient = database.patient(_PATIENCE_SECONDS)
        unhurried = RunStore(patient)
        behind = _Behind(unhurried, ThreadStore(patient), settling(unhurried))
        service = ThreadService(
            agent=agent,
            producer=producer,
            consumer=consumer,
            runs=runs,
            threads=threads,
            settler=settler,
            end_timeout=lease + _CLOSE_SECONDS,
        )
        executor = await stack.enter_async_context(
            Executor(
                agent=agent,
                producer=producer,
                consumer=consumer,
                runs=behind.runs,
                threads=behind.threads,
                settler=behind.settler,
                max_attempts=attempts,
                closing=closing,
                observer=observer,
            )
        )
        yield _Rooms(
            database=database,
            producer=producer,
            consumer=consumer,
            runs=runs,
            threads=threads,
            settler=settler,
            behind=behind,
            service=service,
            executor=executor,
            observer=observer,
            closing=closing,
        )
