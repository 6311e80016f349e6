"""Whether an attempt may still write its thread: asked, or made sure of in the transaction that writes."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncCursor

from ._database import Database, Pool
from ._errors import Unavailable
from ._values import Run

_HELD: Final = (
    "SELECT 1 FROM resumable_stream_runs AS run"
    " JOIN resumable_stream_threads AS thread ON thread.active_run_id = run.id"
    " WHERE run.id = %(id)s AND run.attempts = %(attempt)s"
    " AND thread.id = %(thread)s AND thread.deleted_time IS NULL"
)


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

    async def hold(self, cursor: AsyncCursor[Any]) -> None:
        """Make the transaction of a cursor fail unless the attempt may write, and keep that so until its end.

        Meant for the end of what is sent in one pipeline: nobody waits for the answer here. An attempt that begins at
        the same moment waits for the commit.

        Raises:
            psycopg.errors.DivisionByZero: here or at the end of the pipeline: it may not.
        """
        await cursor.execute(
            f"WITH held AS ({_HELD} FOR SHARE OF run) SELECT 1 / count(*) FROM held",  # noqa: S608 - all ours
            self._values,
        )
