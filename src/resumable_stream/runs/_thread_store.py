"""Threads in Postgres. A deleted thread stays as a row without content, so that its id never comes to life again."""

from __future__ import annotations

from uuid import UUID

from psycopg.rows import DictRow

from ._database import Database
from ._errors import ThreadNotFound
from ._run_store import as_run
from ._values import Run, Thread, ThreadCursor


class ThreadStore:
    """Reads and writes threads. Every method raises ``Unavailable`` when Postgres cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, owner: str, thread_id: UUID) -> Thread:
        """The owner's thread.

        Raises:
            ThreadNotFound: when it is not there, not theirs, or deleted.
        """
        row = await self._database.fetch_one(
            "SELECT * FROM resumable_stream_threads WHERE id = %(id)s AND owner = %(owner)s AND deleted_time IS NULL",
            {"id": thread_id, "owner": owner},
        )
        if row is None:
            raise ThreadNotFound
        return _as_thread(row)

    async def page(self, owner: str, *, limit: int, after: ThreadCursor | None) -> list[tuple[Thread, Run | None]]:
        """The owner's threads, newest activity first, each with the run that holds it."""
        start = "" if after is None else " AND (thread.last_activity_time, thread.id) < (%(time)s, %(id)s)"
        rows = await self._database.fetch(
            "SELECT row_to_json(run) AS run, thread.* FROM resumable_stream_threads AS thread"  # noqa: S608 - all ours
            " LEFT JOIN resumable_stream_runs AS run ON run.id = thread.active_run_id"
            " WHERE thread.owner = %(owner)s AND thread.deleted_time IS NULL"
            + start
            + " ORDER BY thread.last_activity_time DESC, thread.id DESC LIMIT %(limit)s",
            {
                "owner": owner,
                "limit": limit,
                "id": None if after is None else after.id,
                "time": None if after is None else after.last_activity_time,
            },
        )
        return [(_as_thread(row), as_run(row["run"]) if row["run"] else None) for row in rows]

    async def rename(self, owner: str, thread_id: UUID, chat_name: str) -> None:
        """Give the thread a name that no title replaces.

        Raises:
            ThreadNotFound: as ``get``.
        """
        row = await self._database.fetch_one(
            "UPDATE resumable_stream_threads SET chat_name = %(name)s, named_by_owner = true"
            " WHERE id = %(id)s AND owner = %(owner)s AND deleted_time IS NULL RETURNING id",
            {"id": thread_id, "owner": owner, "name": chat_name},
        )
        if row is None:
            raise ThreadNotFound

    async def entitle(self, thread_id: UUID, title: str) -> bool:
        """Write a title that was made up; ``False`` when the owner has named or deleted the thread meanwhile."""
        row = await self._database.fetch_one(
            "UPDATE resumable_stream_threads SET chat_name = %(title)s"
            " WHERE id = %(id)s AND NOT named_by_owner AND deleted_time IS NULL RETURNING id",
            {"id": thread_id, "title": title},
        )
        return row is not None

    async def mark_deleted(self, owner: str, thread_id: UUID) -> list[Run]:
        """Make the thread invisible for good, and name the runs whose streams are to be removed, the newest first.

        Raises:
            ThreadNotFound: when it is not there, not theirs, or deleted with everything that belonged to it.
        """
        row = await self._database.fetch_one(
            "UPDATE resumable_stream_threads"
            " SET deleted_time = coalesce(deleted_time, clock_timestamp()), chat_name = NULL"
            " WHERE id = %(id)s AND owner = %(owner)s AND purged_time IS NULL RETURNING id",
            {"id": thread_id, "owner": owner},
        )
        if row is None:
            raise ThreadNotFound
        # No run is accepted from here on, so this list is complete.
        runs = await self._database.fetch(
            "SELECT * FROM resumable_stream_runs WHERE thread_id = %(id)s ORDER BY number DESC",
            {"id": thread_id},
        )
        return [as_run(found) for found in runs]

    async def is_deleted(self, thread_id: UUID) -> bool:
        """Whether the thread was deleted."""
        row = await self._database.fetch_one(
            "SELECT 1 FROM resumable_stream_threads WHERE id = %(id)s AND deleted_time IS NOT NULL",
            {"id": thread_id},
        )
        return row is not None

    async def mark_purged(self, thread_id: UUID) -> None:
        """Forget a deleted thread's runs; its id and owner stay as a mark that it is gone."""
        async with self._database.transaction() as connection:
            # The thread's row first, as everywhere: two orders of locking would meet in a deadlock.
            await connection.execute(
                "UPDATE resumable_stream_threads SET purged_time = clock_timestamp(), active_run_id = NULL"
                " WHERE id = %(id)s AND deleted_time IS NOT NULL",
                {"id": thread_id},
            )
            await connection.execute("DELETE FROM resumable_stream_runs WHERE thread_id = %(id)s", {"id": thread_id})

    async def half_deleted(self, *, limit: int) -> list[tuple[str, UUID]]:
        """Owners and ids of threads whose deletion began a minute ago or more and was not finished."""
        rows = await self._database.fetch(
            "SELECT owner, id FROM resumable_stream_threads"
            " WHERE deleted_time < clock_timestamp() - interval '1 minute' AND purged_time IS NULL"
            " LIMIT %(limit)s",
            {"limit": limit},
        )
        return [(row["owner"], row["id"]) for row in rows]


def _as_thread(row: DictRow) -> Thread:
    return Thread(
        id=row["id"],
        owner=row["owner"],
        chat_name=row["chat_name"],
        created_time=row["created_time"],
        last_activity_time=row["last_activity_time"],
        active_run_id=row["active_run_id"],
    )
