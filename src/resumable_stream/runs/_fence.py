"""Whether an attempt may still write its thread: asked, or made sure of in the transaction that writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from psycopg import AsyncCursor
from psycopg.rows import DictRow

from ._database import Database, Pool, Query
from ._errors import Unavailable
from ._values import Run

_HELD: Final = (
    "SELECT 1 FROM resumable_stream_runs AS run"
    " JOIN resumable_stream_threads AS thread ON thread.active_run_id = run.id"
    " WHERE run.id = %(id)s AND run.attempts = %(attempt)s"
    " AND thread.id = %(thread)s AND thread.deleted_time IS NULL"
)

_END_WRITES: Final = (
    "SELECT pg_terminate_backend(writer.pid) FROM resumable_stream_runs AS run"
    " JOIN pg_locks AS lock ON lock.locktype = 'transactionid' AND lock.transactionid = run.xmax AND lock.granted"
    " JOIN pg_stat_activity AS writer ON writer.pid = lock.pid"
    " WHERE run.id = %(id)s AND run.attempts = %(known)s"
    " AND writer.wait_event = 'ClientRead' AND writer.usename = current_user"
)
"""Ends the session of a process that holds the run's row, and stands still: it has not sent the rest.

Not where the run has been begun since the caller knows of it: that attempt is alive.
"""


class Fence:
    """Lets the newest attempt of a run write its thread, as long as the run holds that; no other.

    Attributes:
        pool: leads to the database in which this is known.
    """

    def __init__(self, database: Database, run: Run) -> None:
        self.pool: Pool = database.pool
        self._database = database
        self._values = {"thread": run.thread_id, "id": run.id, "attempt": run.attempt}

    async def __call__(self) -> bool:
        """Whether the attempt may write. While Postgres cannot tell, it cannot be written to either."""
        try:
            return await self._database.fetch_one(_HELD, self._values) is not None
        except Unavailable:
            return True

    async def enter(self, cursor: AsyncCursor[Any]) -> None:
        """Lock the run's row in the transaction of a cursor that is about to write.

        An attempt that begins meanwhile waits for the end of that, and sees whose it is: should the process stand
        still, PostgreSQL would wait for ever.
        """
        await cursor.execute("SELECT 1 FROM resumable_stream_runs WHERE id = %(id)s FOR SHARE", self._values)

    async def check(self, cursor: AsyncCursor[Any]) -> None:
        """Make the transaction of a cursor fail unless the attempt may write. It has entered, so that this stays so.

        Meant for the end of what is sent in one pipeline: nobody waits for the answer here.

        Raises:
            psycopg.errors.DivisionByZero: here or at the end of the pipeline: it may not.
        """
        await cursor.execute(f"SELECT 1 / count(*) FROM ({_HELD}) AS held", self._values)  # noqa: S608 - all ours


async def write(database: Database, run: Run, query: Query, values: Mapping[str, Any]) -> DictRow | None:
    """Write a run. Trying again helps where a process that has it no more stands still in a write of its own.

    Raises:
        Unavailable: as `Database.transaction`.
    """
    try:
        return await database.fetch_one(query, values)
    except Unavailable:
        await database.fetch(_END_WRITES, {"id": run.id, "known": run.attempts})
        raise
