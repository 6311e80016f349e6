"""Everything that the sub-app opens for its life, in the order in which it must close again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
from redis.asyncio import Redis

from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.runs import (
    Database,
    Janitor,
    RunManager,
    RunStore,
    Settler,
    StreamFinder,
    ThreadService,
    ThreadStore,
)

from ._agents import AgentPlan
from ._limits import OpenStreams, OwnerLimits
from ._readiness import ReadinessProbe
from ._routes import ChatRoutes
from ._settings import Settings
from ._signals import set_on_signals
from ._stream import StreamRoute

_CLOSE_SECONDS: Final = 12.0
"""What an active run gets to end beyond its lease when its thread is deleted: the core lets a source close for 10 s."""
_JANITOR_SECONDS: Final = 1.0


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


@asynccontextmanager
async def open_services(settings: Settings, plan: AgentPlan, limits: OwnerLimits) -> AsyncIterator[Services]:
    """Open all that is needed. Neither Redis nor Postgres has to be up: they are found when they come.

    On the way out streams are closed first, then runs get their grace period and end as ``lost``,
    then connections close.
    """
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
            stack.enter_context(set_on_signals(closing))
        redis = Redis.from_url(settings.redis_url.get_secret_value())
        stack.push_async_callback(redis.aclose)
        await stack.enter_async_context(database)
        lease = settings.stream_lease_seconds
        producer = await stack.enter_async_context(
            StreamProducer(redis, lease=lease, retention=settings.stream_ttl_seconds)
        )
        consumer = await stack.enter_async_context(StreamConsumer(redis))
        runs, threads = RunStore(database, max_active=limits.active_runs), ThreadStore(database)
        settler = Settler(agent=agent, runs=runs, consumer=consumer, lease=lease)
        service = ThreadService(
            agent=agent,
            producer=producer,
            consumer=consumer,
            runs=runs,
            threads=threads,
            settler=settler,
            end_timeout=lease + _CLOSE_SECONDS,
        )
        janitor = Janitor(
            database=database,
            runs=runs,
            threads=threads,
            service=service,
            settler=settler,
            interval=min(lease / 3, _JANITOR_SECONDS),
        )
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(janitor.work)
        manager = await stack.enter_async_context(
            RunManager(
                agent=agent,
                producer=producer,
                consumer=consumer,
                runs=runs,
                threads=threads,
                settler=settler,
            )
        )
        readiness = ReadinessProbe(consumer=consumer, database=database, closing=closing)
        stack.push_async_callback(readiness.aclose)
        finder = StreamFinder(runs=runs, consumer=consumer)
        try:
            yield Services(
                chat=ChatRoutes(manager=manager, threads=service, closing=closing),
                stream=StreamRoute(
                    settings=settings,
                    finder=finder,
                    consumer=consumer,
                    streams=OpenStreams(limits.open_streams),
                    closing=closing,
                ),
                readiness=readiness,
                closing=closing,
            )
        finally:
            closing.set()
            await manager.wait_idle(seconds=settings.shutdown_grace_seconds)
