"""The queue to worker processes: what a worker takes, and what it leaves to others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import anyio
import pytest
from redis import Redis

from app.serving import eventually
from resumable_stream.runs import Run, RunQueue
from resumable_stream.runs._errors import Unavailable
from resumable_stream.testing import FaultProxy
from support import wait_until


@pytest.fixture
async def server(valkey_url: str, redis_admin: Redis, no_tasks_left: None) -> AsyncIterator[str]:
    """Docket's own keys stay: they are the queue."""
    redis_admin.flushall()
    yield valkey_url
    redis_admin.flushall()


@dataclass(slots=True)
class Work:
    """What a worker was given; each run lasts until it is released."""

    begun: list[UUID] = field(default_factory=list)
    release: anyio.Event = field(default_factory=anyio.Event)

    async def perform(self, run_id: UUID) -> None:
        self.begun.append(run_id)
        await self.release.wait()


def run_of(run_id: UUID) -> Run:
    return Run(
        id=run_id,
        number=1,
        thread_id=uuid4(),
        owner="ann",
        stream_id=f"run:{run_id}",
        message="",
        message_id=str(uuid4()),
    )


async def put(queue: RunQueue) -> UUID:
    """Put a run in as the janitor does: again, where that did not work."""
    run = run_of(uuid4())

    async def is_in() -> bool:
        try:
            return await queue.put(run)
        except Unavailable:
            return False

    await eventually(is_in)
    return run.id


async def test_a_worker_that_lost_its_connection_takes_new_runs_while_an_old_one_goes_on(server: str) -> None:
    """Otherwise a short outage of Redis would stop each worker for as long as its longest answer takes.

    Fails without the independence of runs from docket (`runs/_queue.py`).
    """
    work = Work()
    address = urlsplit(server)
    async with FaultProxy(address.hostname or "", address.port or 0) as proxy, anyio.create_task_group() as tasks:
        queue = RunQueue(f"redis://{proxy.host}:{proxy.port}", perform=work.perform, concurrency=5)
        tasks.start_soon(queue.keep_open)
        first = await put(queue)
        await wait_until(lambda: work.begun == [first], what="the first run has begun")
        proxy.cut()
        second = await put(queue)
        await wait_until(lambda: second in work.begun, what="the second run has begun")
        work.release.set()
        tasks.cancel_scope.cancel()
    assert work.begun == [first, second]


async def test_a_worker_takes_no_more_runs_than_it_may_perform_at_once(server: str) -> None:
    """What it has no room for is left for others."""
    busy, idle = Work(), Work()
    async with anyio.create_task_group() as tasks:
        one = RunQueue(server, perform=busy.perform, concurrency=2)
        tasks.start_soon(one.keep_open)
        first = [await put(one), await put(one)]
        await wait_until(lambda: sorted(busy.begun) == sorted(first), what="the first worker is full")
        rest = [await put(one) for _ in range(3)]
        other = RunQueue(server, perform=idle.perform, concurrency=3)
        tasks.start_soon(other.keep_open)
        await wait_until(lambda: sorted(idle.begun) == sorted(rest), what="the second worker has the rest")
        busy.release.set()
        again = await put(other)
        await wait_until(lambda: again in busy.begun, what="the first worker has room again")
        tasks.cancel_scope.cancel()


async def test_many_runs_at_once_are_all_begun_at_once(server: str, caplog: pytest.LogCaptureFixture) -> None:
    """More than redis-py opens connections by itself: it would raise, and the queue would begin anew."""
    work = Work()
    async with anyio.create_task_group() as tasks:
        web = RunQueue(server)
        tasks.start_soon(web.keep_open)
        await wait_until(lambda: web.is_open)
        runs = [run_of(uuid4()) for _ in range(300)]
        async with anyio.create_task_group() as posts:
            for run in runs:
                posts.start_soon(web.put, run)
        tasks.start_soon(RunQueue(server, perform=work.perform, concurrency=300).keep_open)
        await wait_until(lambda: len(work.begun) >= len(runs), what="all runs have begun")
        work.release.set()
        tasks.cancel_scope.cancel()
    assert sorted(work.begun) == sorted(run.id for run in runs)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_a_run_that_could_not_be_begun_is_taken_again_when_it_is_put_in_again(server: str) -> None:
    """Postgres may be away just then; the janitor finds the run."""
    calls: list[UUID] = []

    async def perform(run_id: UUID) -> None:
        calls.append(run_id)
        raise Unavailable("postgres")

    async with anyio.create_task_group() as tasks:
        queue = RunQueue(server, perform=perform, concurrency=1)
        tasks.start_soon(queue.keep_open)
        run = run_of(await put(queue))

        async def taken_again() -> bool:
            await queue.put(run)
            return len(calls) >= 3

        await eventually(taken_again)
        tasks.cancel_scope.cancel()
