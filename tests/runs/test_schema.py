"""The tables: made once, by any number of processes at the same moment."""

from __future__ import annotations

import anyio
import psycopg
import pytest
from psycopg.rows import dict_row

from resumable_stream.runs import Database, DatabaseFault, Pool, Unavailable
from resumable_stream.runs._schema import MIGRATIONS, set_up
from support import wait_until

DEADLINE = 20.0


async def connect(dsn: str) -> psycopg.AsyncConnection[dict[str, object]]:
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row)


async def test_ten_at_once_set_up_an_empty_database(database_url: str) -> None:
    async def one() -> None:
        async with await connect(database_url) as connection:
            await set_up(connection)

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(one)
    async with await connect(database_url) as connection:
        rows = await (await connection.execute("SELECT version FROM resumable_stream_schema")).fetchall()
    assert [row["version"] for row in rows] == list(range(1, len(MIGRATIONS) + 1))


async def test_a_newer_database_is_left_as_it_is(database_url: str) -> None:
    async with await connect(database_url) as connection:
        await set_up(connection)
        await connection.execute("INSERT INTO resumable_stream_schema (version) VALUES (%s)", (len(MIGRATIONS) + 1,))
        await connection.execute("REVOKE ALL ON SCHEMA public FROM public")
        await set_up(connection)


async def test_what_else_is_to_be_set_up_is_done_before_the_first_use(database_url: str) -> None:
    done = anyio.Event()

    async def more(pool: Pool) -> None:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1 FROM resumable_stream_threads")
        done.set()

    with anyio.fail_after(DEADLINE):
        async with Database(database_url, set_up=[more]) as database:
            await database.check()
            assert done.is_set()
            assert database.is_set_up


async def test_a_database_that_refuses_is_told_without_its_text_and_asked_again(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = database_url.rpartition("/")[0] + "/no_such_database"
    async with Database(wrong, timeout=0.2) as database:
        with pytest.raises(Unavailable):
            await database.check()
        await wait_until(lambda: "Postgres is not ready" in caplog.text)
        assert not database.is_set_up


async def test_work_that_takes_too_long_is_given_up_and_rolled_back(database_url: str) -> None:
    async with Database(database_url, timeout=2.0) as database:
        await database.check()

        async def work() -> None:
            async with database.transaction() as connection:
                await connection.execute("CREATE TABLE half_done (id int)")
                await connection.execute("SELECT pg_sleep(4)")

        with pytest.raises(Unavailable):
            await work()
        async with database.transaction() as connection:
            found = await (await connection.execute("SELECT to_regclass('half_done') AS found")).fetchone()
            assert found == {"found": None}


async def test_what_postgres_refuses_is_told_by_its_code_alone(database_url: str) -> None:
    async with Database(database_url, timeout=10.0) as database:
        with pytest.raises(DatabaseFault) as caught:
            await database.fetch("SELECT 'a secret' FROM no_such_table", {})
    assert caught.value.sqlstate == "42P01"
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
