"""Who holds a thread: decided by one row, whoever asks at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import anyio
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from resumable_stream.runs import (
    Database,
    IdempotencyMismatch,
    NewMessage,
    Run,
    RunStore,
    ThreadNotFound,
    ThreadStore,
    Unavailable,
)
from resumable_stream.runs._run_store import Held, Repeated
from resumable_stream.runs._titles import clean_title
from support import wait_until


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url, timeout=10.0) as opened:
        yield opened


async def test_a_database_that_is_cancelled_leaves_no_connection(database_url: str) -> None:
    """As a task group does with an app when another of its tasks fails. (The fixture looks at the server.)"""
    opened: Database | None = None
    with anyio.CancelScope() as scope:
        async with Database(database_url, timeout=10.0) as opened:
            await opened.check()
            scope.cancel()
            await anyio.sleep_forever()
    assert opened is not None
    assert opened.pool.closed


async def test_a_long_queue_is_no_outage(database_url: str) -> None:
    """Each has its time once it is its turn. When Postgres falls silent, nobody waits for long."""
    async with Database(database_url, pool_size=1, timeout=0.5) as database:
        await wait_until(lambda: database.is_set_up)
        with anyio.fail_after(30):
            done = 0

            async def work(seconds: float) -> None:
                nonlocal done
                await database.fetch("SELECT pg_sleep(%(seconds)s)", {"seconds": seconds})
                done += 1

            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(work, 0.05)
            assert done == 20
            results = await asyncio.gather(*(work(3) for _ in range(5)), return_exceptions=True)
            assert [type(result) for result in results] == [Unavailable] * 5


async def test_connections_that_the_server_has_closed_are_not_used(database_url: str, postgres_dsn: str) -> None:
    async with Database(database_url, pool_size=3, timeout=10) as database:
        await wait_until(lambda: database.is_set_up)
        for _ in range(3):
            pids = {
                row["pid"]
                for rows in await asyncio.gather(
                    *(database.fetch("SELECT pg_backend_pid() AS pid, pg_sleep(0.05)", {}) for _ in range(3))
                )
                for row in rows
            }
            async with await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as admin:
                await admin.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) AS pid", (list(pids),)
                )
            row = await database.fetch_one("SELECT pg_backend_pid() AS pid", {})
            assert row is not None
            assert row["pid"] not in pids


async def test_work_that_nobody_waits_for_has_more_patience(database_url: str) -> None:
    """With the same connections: agents' memory takes them too, and does not queue."""
    async with Database(database_url, pool_size=1, timeout=0.5) as database:
        await wait_until(lambda: database.is_set_up)
        patient = database.patient(10)
        async with database.pool.connection():
            waiting = asyncio.create_task(patient.fetch_one("SELECT 1 AS one", {}))
            with pytest.raises(Unavailable):
                await database.fetch_one("SELECT 1 AS one", {})
        assert await waiting == {"one": 1}


@pytest.fixture
def runs(database: Database) -> RunStore:
    return RunStore(database)


@pytest.fixture
def threads(database: Database) -> ThreadStore:
    return ThreadStore(database)


def message(thread_id: UUID | None = None, *, owner: str = "ann", key: str | None = None) -> NewMessage:
    return NewMessage(owner=owner, text="hello", thread_id=thread_id, idempotency_key=key)


def run_for(asked: NewMessage) -> Run:
    run_id = uuid4()
    return Run(
        id=run_id,
        number=0,
        thread_id=asked.thread_id or uuid4(),
        owner=asked.owner,
        stream_id=f"run:{run_id}",
        message=asked.text,
        message_id=str(uuid4()),
    )


async def accepted(runs: RunStore, asked: NewMessage) -> Run:
    outcome = await runs.accept(asked, run_for(asked))
    assert isinstance(outcome, Run)
    return outcome


async def test_of_many_runs_one_gets_the_thread(runs: RunStore) -> None:
    asked = message(uuid4())
    outcomes: list[object] = []

    async def one() -> None:
        outcomes.append(await runs.accept(asked, run_for(asked)))

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(one)
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    assert [outcome for outcome in outcomes if not isinstance(outcome, Run)] == [Held(winner.id)] * 11


async def test_of_many_runs_with_one_key_one_is_made_and_no_thread_too_many(
    runs: RunStore, threads: ThreadStore
) -> None:
    asked = message(key="k")
    outcomes: list[object] = []

    async def one() -> None:
        outcomes.append(await runs.accept(asked, run_for(asked)))

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(one)
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    repeated = [outcome.run.id for outcome in outcomes if isinstance(outcome, Repeated)]
    assert repeated == [winner.id] * 11
    assert len(await threads.page("ann", limit=50, after=None)) == 1


async def test_a_key_for_another_message_is_refused(runs: RunStore) -> None:
    await accepted(runs, message(key="k"))
    other = NewMessage(owner="ann", text="other", idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        await runs.by_key(other)
    with pytest.raises(IdempotencyMismatch):
        await runs.accept(other, run_for(other))


async def test_a_released_thread_is_free_and_only_its_holder_releases_it(runs: RunStore) -> None:
    asked = message(uuid4())
    first = await accepted(runs, asked)
    assert await runs.holds(first)
    assert await runs.release(first)
    assert not await runs.release(first)
    second = await accepted(runs, asked)
    assert not await runs.release(first)
    assert await runs.holds(second)
    assert [run.id for run in await runs.newest("ann", first.thread_id, limit=5)] == [second.id, first.id]
    newest, oldest = await runs.newest("ann", first.thread_id, limit=5)
    assert newest.ended_ago is None
    assert oldest.ended_ago is not None


async def test_the_right_to_repair_is_given_once_at_a_time_and_runs_out(runs: RunStore) -> None:
    run = await accepted(runs, message())
    assert await runs.begin_repair(run, seconds=60)
    assert not await runs.begin_repair(run, seconds=60)
    await runs.end_repair(run)
    assert await runs.begin_repair(run, seconds=0)
    assert await runs.begin_repair(run, seconds=60), "it had run out"
    await runs.release(run)
    assert not await runs.begin_repair(run, seconds=60)


async def test_a_run_that_ends_does_not_take_its_thread_from_who_repairs_it(runs: RunStore) -> None:
    run = await accepted(runs, message(uuid4()))
    assert await runs.begin_repair(run, seconds=60.0)
    assert not await runs.release(run, unless_in_repair=True)
    assert await runs.holds(run)
    assert await runs.release(run)


async def test_a_run_that_has_never_begun_gives_thread_and_key_back(runs: RunStore) -> None:
    asked = message(uuid4(), key="k")
    lost = await accepted(runs, asked)
    await runs.retract(lost)
    assert await runs.by_key(asked) is None
    assert (await accepted(runs, asked)).id != lost.id


async def test_a_standby_is_not_ready_and_what_it_refuses_passes(database: Database, runs: RunStore) -> None:
    async with database.pool.connection() as connection:
        name = (await (await connection.execute("SELECT current_database() AS name")).fetchone() or {})["name"]
        await connection.execute(
            SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(Identifier(name))
        )
    await database.check()  # this connection is from before
    await database.pool.drain()
    with pytest.raises(Unavailable):
        await database.check()
    with pytest.raises(Unavailable):
        await runs.accept(message(uuid4()), run_for(message()))


async def test_a_deleted_thread_takes_no_run_and_tells_nobody(runs: RunStore, threads: ThreadStore) -> None:
    run = await accepted(runs, message(key="k"))
    assert [found.id for found in await threads.mark_deleted("ann", run.thread_id)] == [run.id]
    asked = message(run.thread_id)
    with pytest.raises(ThreadNotFound):
        await runs.accept(asked, run_for(asked))
    with pytest.raises(ThreadNotFound):
        await runs.holder("ann", run.thread_id)
    with pytest.raises(ThreadNotFound):
        await threads.rename("ann", run.thread_id, "x")
    assert await runs.get("ann", run.id) is None
    assert not await threads.entitle(run.thread_id, "title")
    assert not await runs.begin_repair(run, seconds=1), "nothing is saved into it"
    assert await threads.is_deleted(run.thread_id)
    await threads.mark_purged(run.thread_id)
    with pytest.raises(ThreadNotFound):
        await threads.mark_deleted("ann", run.thread_id)
    with pytest.raises(ThreadNotFound):
        await runs.accept(asked, run_for(asked))


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (" Two\n words ", "Two words"),
        ("", None),
        ("\0 \t", None),
        ("x" * 500, "x" * 200),
        ("half \ud83d gone", "half  gone"),
    ],
)
def test_a_title_becomes_one_short_line(made: str, kept: str | None) -> None:
    assert clean_title(made) == kept
