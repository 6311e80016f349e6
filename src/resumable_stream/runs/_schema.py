"""The tables of the sub-app, and how a database comes to have them.

Each entry of ``MIGRATIONS`` is applied once, in order, in one transaction under an advisory lock, so any number of
processes may start on an empty database at the same moment. An entry that has been released is never changed.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

from psycopg import AsyncConnection

MIGRATIONS: Final[tuple[LiteralString, ...]] = (
    """
    CREATE TABLE resumable_stream_threads (
        id uuid PRIMARY KEY,
        owner text NOT NULL,
        chat_name text,
        named_by_owner boolean NOT NULL DEFAULT false,
        created_time timestamptz NOT NULL DEFAULT clock_timestamp(),
        last_activity_time timestamptz NOT NULL DEFAULT clock_timestamp(),
        active_run_id uuid,
        repair_until timestamptz,
        gone_time timestamptz,
        deleted_time timestamptz,
        purged_time timestamptz
    );
    CREATE INDEX resumable_stream_threads_by_activity
        ON resumable_stream_threads (owner, last_activity_time DESC, id DESC) WHERE deleted_time IS NULL;
    CREATE INDEX resumable_stream_threads_unsettled
        ON resumable_stream_threads (last_activity_time)
        WHERE active_run_id IS NOT NULL OR (deleted_time IS NOT NULL AND purged_time IS NULL);
    CREATE TABLE resumable_stream_runs (
        id uuid PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY,
        thread_id uuid NOT NULL REFERENCES resumable_stream_threads ON DELETE CASCADE,
        owner text NOT NULL,
        stream_id text NOT NULL,
        idempotency_key text,
        digest bytea NOT NULL,
        message text NOT NULL,
        message_id text NOT NULL,
        followed boolean NOT NULL DEFAULT false,
        created_time timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_time timestamptz
    );
    CREATE UNIQUE INDEX resumable_stream_runs_by_key
        ON resumable_stream_runs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
    CREATE TABLE resumable_stream_chores (
        name text PRIMARY KEY,
        next_time timestamptz NOT NULL
    );
    CREATE INDEX resumable_stream_runs_by_thread ON resumable_stream_runs (thread_id, number DESC);
    """,
    """
    CREATE INDEX resumable_stream_threads_active ON resumable_stream_threads (owner) WHERE active_run_id IS NOT NULL;
    """,
    """
    ALTER TABLE resumable_stream_runs
        ADD COLUMN answers json,
        ADD COLUMN attempts integer NOT NULL DEFAULT 0,
        ADD COLUMN handovers integer NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE resumable_stream_runs ADD COLUMN trace text;
    """,
    """
    ALTER TABLE resumable_stream_runs ADD COLUMN begun_by uuid;
    """,
)

_LOCK: Final = 0x7265_7375_6D65  # any number that no other program uses for its advisory locks


async def set_up(connection: AsyncConnection[Any]) -> None:
    """Bring the tables to this version; does nothing when they are there already.

    A database that a newer version has set up is left as it is: new versions only add.
    """
    if await _version(connection) >= len(MIGRATIONS):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS resumable_stream_schema"
            " (version integer PRIMARY KEY, applied_time timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        for number in range(await _version(connection), len(MIGRATIONS)):
            # Unprepared, since it is several statements.
            await connection.execute(MIGRATIONS[number], prepare=False)
            await connection.execute("INSERT INTO resumable_stream_schema (version) VALUES (%s)", (number + 1,))


async def _version(connection: AsyncConnection[Any]) -> int:
    """How many migrations the database has had."""
    found = await connection.execute("SELECT to_regclass('resumable_stream_schema') AS found")
    row = await found.fetchone()
    if row is None or row["found"] is None:
        return 0
    highest = await connection.execute("SELECT coalesce(max(version), 0) AS version FROM resumable_stream_schema")
    row = await highest.fetchone()
    return 0 if row is None else int(row["version"])
