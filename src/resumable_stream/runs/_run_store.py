"""Runs in Postgres: which run holds a thread, and which run an idempotency key stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Json

from ._database import Database, one
from ._errors import IdempotencyMismatch, ThreadNotFound, TooManyRuns
from ._fence import Fence, write
from ._limits import check_active_runs
from ._values import NewMessage, Run


@dataclass(frozen=True, slots=True)
class Repeated:
    """The idempotency key has this run already."""

    run: Run


@dataclass(frozen=True, slots=True)
class Held:
    """Another run holds the thread."""

    run_id: UUID


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Another attempt at the run has begun in the meantime."""


class _KeyTaken(Exception):
    """Rolls a transaction back after another one has used the idempotency key first."""


class RunStore:
    """Reads and writes runs. Every method raises ``Unavailable`` when Postgres cannot be reached.

    Args:
        database: where they are.
        max_active: how many active runs one owner may have, over all processes; ``None`` for any number.
    """

    def __init__(self, database: Database, *, max_active: int | None = None) -> None:
        self._database = database
        self._max_active = max_active

    async def accept(self, message: NewMessage, run: Run) -> Run | Repeated | Held:
        """Record the run and give it its thread, both or neither. The thread is made when it is not there.

        The row of the thread is locked meanwhile, so of any number of calls for one thread, one gets it.

        Returns:
            The run with its number; or what stands in its way.

        Raises:
            ThreadNotFound: when the thread is somebody else's, or deleted.
            IdempotencyMismatch: when the key stands for another message.
            TooManyRuns: when the owner has as many active runs as one may have.
        """
        try:
            async with self._database.transaction() as connection:
                return await _accept(connection, message, run, self._max_active)
        except _KeyTaken:
            found = await self.by_key(message)
            if found is None:  # the other run's thread has been deleted in between
                raise ThreadNotFound from None
            return Repeated(found)
        except TooManyRuns:
            found = await self.by_key(message)  # the last place may be this message's own
            if found is None:
                raise
            return Repeated(found)

    async def by_key(self, message: NewMessage) -> Run | None:
        """The run that the message's idempotency key stands for.

        Raises:
            IdempotencyMismatch: when it stands for another message.
        """
        if message.idempotency_key is None:
            return None
        return _unless_mismatched(await self._database.fetch_one(_BY_KEY, _key_of(message)), message)

    async def get(self, owner: str, run_id: UUID) -> Run | None:
        """The owner's run, unless its thread is deleted."""
        row = await self._database.fetch_one(
            "SELECT run.* FROM resumable_stream_runs AS run"
            " JOIN resumable_stream_threads AS thread ON thread.id = run.thread_id"
            " WHERE run.id = %(id)s AND run.owner = %(owner)s AND thread.deleted_time IS NULL",
            {"id": run_id, "owner": owner},
        )
        return None if row is None else as_run(row)

    async def holder(self, owner: str, thread_id: UUID) -> Run | None:
        """The run that holds a thread; ``None`` when none does, or the thread is not there yet.

        Raises:
            ThreadNotFound: when the thread is somebody else's, or deleted.
        """
        row = await self._database.fetch_one(
            "SELECT run.*, thread.owner AS holder, thread.deleted_time"
            " FROM resumable_stream_threads AS thread"
            " LEFT JOIN resumable_stream_runs AS run ON run.id = thread.active_run_id"
            " WHERE thread.id = %(id)s",
            {"id": thread_id},
        )
        if row is None:
            return None
        if row["holder"] != owner or row["deleted_time"] is not None:
            raise ThreadNotFound
        return None if row["id"] is None else as_run(row)

    async def newest(self, owner: str, thread_id: UUID, *, limit: int) -> list[Run]:
        """The newest runs of the owner's thread, the newest first.

        Raises:
            ThreadNotFound: when the thread is not there, not theirs, or deleted.
        """
        rows = await self._database.fetch(
            "SELECT run.*, extract(epoch FROM clock_timestamp() - run.ended_time) AS ended_ago"
            " FROM resumable_stream_threads AS thread"
            " LEFT JOIN resumable_stream_runs AS run ON run.thread_id = thread.id"
            " WHERE thread.id = %(id)s AND thread.owner = %(owner)s"
            " AND thread.deleted_time IS NULL ORDER BY run.number DESC LIMIT %(limit)s",
            {"id": thread_id, "owner": owner, "limit": limit},
        )
        if not rows:
            raise ThreadNotFound
        return [as_run(row) for row in rows if row["id"] is not None]

    async def release(self, run: Run, *, unless_in_repair: bool = False) -> bool:
        """Let the thread go when this run still holds it; ``False`` when it did not.

        Args:
            run: the run.
            unless_in_repair: leave it to who is repairing the thread just now.
        """
        row = await write(
            self._database,
            run,
            "WITH released AS ("  # noqa: S608 - all ours
            "UPDATE resumable_stream_threads SET active_run_id = NULL, repair_until = NULL"
            " WHERE id = %(thread)s AND active_run_id = %(id)s"
            + _NEWEST
            + " AND (NOT %(polite)s OR repair_until IS NULL OR repair_until < clock_timestamp()) RETURNING id)"
            " UPDATE resumable_stream_runs SET ended_time = clock_timestamp()"
            " WHERE id = %(id)s AND EXISTS (SELECT 1 FROM released) RETURNING id",
            {**_who(run), "polite": unless_in_repair},
        )
        return row is not None

    async def retract(self, run: Run) -> bool:
        """Forget a run that has not begun, if it was accepted: its message is free to be sent again.

        Returns:
            ``False`` when a process has found and begun it; it stays then.
        """
        values = {"thread": run.thread_id, "id": run.id}
        async with self._database.transaction() as connection:
            # The thread's row first, as everywhere. It is not written: a run may begin just now.
            await one(connection, "SELECT 1 FROM resumable_stream_threads WHERE id = %(thread)s FOR UPDATE", values)
            await connection.execute("DELETE FROM resumable_stream_runs WHERE id = %(id)s AND attempts = 0", values)
            await connection.execute(
                "UPDATE resumable_stream_threads SET active_run_id = NULL, repair_until = NULL"
                " WHERE id = %(thread)s AND active_run_id = %(id)s"
                " AND NOT EXISTS (SELECT 1 FROM resumable_stream_runs WHERE id = %(id)s)",
                values,
            )
            return await one(connection, "SELECT 1 FROM resumable_stream_runs WHERE id = %(id)s", values) is None

    async def holds(self, run: Run) -> bool:
        """Whether the run holds its thread. One that is deleted is held by none."""
        row = await self._database.fetch_one(
            "SELECT 1 FROM resumable_stream_threads"
            " WHERE id = %(thread)s AND active_run_id = %(id)s AND deleted_time IS NULL",
            {"thread": run.thread_id, "id": run.id},
        )
        return row is not None

    async def waits(self, run: Run, *, seconds: float) -> bool:
        """Whether the run holds its thread, was accepted within so many seconds, and no process has begun it."""
        row = await self._database.fetch_one(
            "SELECT 1 FROM resumable_stream_runs AS run"
            " JOIN resumable_stream_threads AS thread ON thread.active_run_id = run.id"
            " WHERE run.id = %(id)s AND run.attempts = 0 AND thread.deleted_time IS NULL"
            " AND run.created_time > clock_timestamp() - make_interval(secs => %(seconds)s)",
            {"id": run.id, "seconds": seconds},
        )
        return row is not None

    async def gone_for(self, run: Run) -> float:
        """Note that the run's stream is gone, and say for how many seconds that is known."""
        row = await self._database.fetch_one(
            "UPDATE resumable_stream_threads SET gone_time = coalesce(gone_time, clock_timestamp())"
            " WHERE id = %(thread)s AND active_run_id = %(id)s"
            " RETURNING extract(epoch FROM clock_timestamp() - gone_time) AS seconds",
            {"thread": run.thread_id, "id": run.id},
        )
        return 0.0 if row is None else float(row["seconds"])

    async def begin_repair(self, run: Run, *, seconds: float) -> bool:
        """Take the right to repair what a dead run left, for so many seconds.

        Returns:
            ``False`` when another has it, or the run does not hold its thread any more.
        """
        row = await self._database.fetch_one(
            "UPDATE resumable_stream_threads"  # noqa: S608 - all ours
            " SET repair_until = clock_timestamp() + make_interval(secs => %(seconds)s)"
            " WHERE id = %(thread)s AND active_run_id = %(id)s AND deleted_time IS NULL"
            + _NEWEST
            + " AND (repair_until IS NULL OR repair_until < clock_timestamp()) RETURNING id",
            {**_who(run), "seconds": seconds},
        )
        return row is not None

    async def end_repair(self, run: Run) -> None:
        """Give the right to repair back, without letting the thread go."""
        await self._database.fetch(
            "UPDATE resumable_stream_threads SET repair_until = NULL"  # noqa: S608 - all ours
            " WHERE id = %(thread)s AND active_run_id = %(id)s" + _NEWEST,
            _who(run),
        )

    async def mark_followed(self, run: Run) -> None:
        """Note that a reader has asked for the run's stream."""
        await self._database.fetch(
            "UPDATE resumable_stream_runs SET followed = true WHERE id = %(id)s AND NOT followed",
            {"id": run.id},
        )

    async def begin(self, run: Run, token: UUID) -> Run | Overtaken | None:
        """Count one more attempt to answer; from now on only this one may touch the thread.

        It is counted only where none has been since the run was read, which must have been before its stream was
        claimed: so no process can begin that stood still while another one took the stream and began.

        Args:
            run: as it was read.
            token: of this attempt. Asked again with it, the attempt is counted once.

        Returns:
            The run with the number of the attempt; ``None`` when it does not hold its thread any more.
        """
        row = await write(
            self._database,
            run,
            "UPDATE resumable_stream_runs AS run SET begun_by = %(token)s,"
            " attempts = %(known)s + 1 FROM resumable_stream_threads AS thread"
            " WHERE run.id = %(id)s AND thread.active_run_id = run.id AND thread.deleted_time IS NULL"
            " AND (run.attempts = %(known)s OR run.begun_by = %(token)s)"
            " RETURNING run.*, thread.chat_name IS NULL AS names_thread,"
            " extract(epoch FROM clock_timestamp() - run.created_time)::float8 AS age",
            {"id": run.id, "known": run.attempts, "token": token},
        )
        if row is None:
            return Overtaken() if await self.holds(run) else None
        return replace(as_run(row), names_thread=row["names_thread"], attempt=row["attempts"])

    async def hand_over(self, run: Run) -> None:
        """Note that an attempt was passed on in order, and was no crash. Asked again, it is counted once."""
        await self._database.fetch(
            "UPDATE resumable_stream_runs SET handovers = %(known)s + 1 WHERE id = %(id)s AND attempts = %(attempt)s",
            {**_who(run), "known": run.handovers},
        )

    def fence(self, run: Run) -> Fence:
        """What lets the run's attempt write its thread while it is the newest, and the run holds it."""
        return Fence(self._database, run)

    async def load(self, run_id: UUID) -> Run | None:
        """All of a run; ``None`` when it is gone."""
        row = await self._database.fetch_one("SELECT * FROM resumable_stream_runs WHERE id = %(id)s", {"id": run_id})
        return None if row is None else as_run(row)

    async def unsettled(self, *, limit: int) -> list[Run]:
        """Runs that hold a thread, those first whose threads were quiet longest; without what they answer.

        Those are left out that were accepted just now: the process that took the message is about to begin them.
        """
        rows = await self._database.fetch(
            "SELECT run.id, run.number, run.thread_id, run.owner, run.stream_id, run.message_id, run.followed,"
            " run.attempts, run.handovers, '' AS message, NULL AS answers"
            " FROM resumable_stream_threads AS thread"
            " JOIN resumable_stream_runs AS run ON run.id = thread.active_run_id"
            " WHERE thread.deleted_time IS NULL"
            " AND (run.attempts > 0 OR run.created_time < clock_timestamp() - make_interval(secs => %(young)s))"
            " ORDER BY thread.last_activity_time LIMIT %(limit)s",
            {"limit": limit, "young": _YOUNG_SECONDS},
        )
        return [as_run(row) for row in rows]


_YOUNG_SECONDS: Final = 1.0

_NEWEST: Final = (
    " AND (%(attempt)s = 0 OR EXISTS (SELECT 1 FROM resumable_stream_runs AS mine"
    " WHERE mine.id = %(id)s AND mine.attempts = %(attempt)s))"
)
"""Refuses what an attempt does after a newer one has begun. Who has no attempt has seen the run's end."""


def _who(run: Run) -> dict[str, Any]:
    return {"thread": run.thread_id, "id": run.id, "attempt": run.attempt}


_BY_KEY: Final = "SELECT * FROM resumable_stream_runs WHERE owner = %(owner)s AND idempotency_key = %(key)s"


def _key_of(message: NewMessage) -> dict[str, Any]:
    return {"owner": message.owner, "key": message.idempotency_key}


def _unless_mismatched(row: DictRow | None, message: NewMessage) -> Run | None:
    if row is None:
        return None
    if bytes(row["digest"]) != message.digest:
        raise IdempotencyMismatch
    return as_run(row)


async def _accept(
    connection: AsyncConnection[DictRow], message: NewMessage, run: Run, max_active: int | None
) -> Run | Repeated | Held:
    await connection.execute(
        "INSERT INTO resumable_stream_threads (id, owner) VALUES (%(id)s, %(owner)s) ON CONFLICT (id) DO NOTHING",
        {"id": run.thread_id, "owner": run.owner},
    )
    thread = await one(
        connection,
        "SELECT * FROM resumable_stream_threads WHERE id = %(id)s FOR UPDATE",
        {"id": run.thread_id},
    )
    if thread is None or thread["owner"] != run.owner or thread["deleted_time"] is not None:
        raise ThreadNotFound
    if message.idempotency_key is not None and await one(connection, _BY_KEY, _key_of(message)) is not None:
        raise _KeyTaken  # a thread that was made above must not stay
    if thread["active_run_id"] is not None:
        return Held(thread["active_run_id"])
    await check_active_runs(connection, run.owner, max_active)
    row = await one(
        connection,
        "INSERT INTO resumable_stream_runs (id, thread_id, owner, stream_id,"
        " idempotency_key, digest, message, message_id, answers, trace)"
        " VALUES (%(id)s, %(thread)s, %(owner)s, %(stream)s,"
        " %(key)s, %(digest)s, %(message)s, %(message_id)s, %(answers)s, %(trace)s)"
        " ON CONFLICT DO NOTHING RETURNING number",
        {
            "id": run.id,
            "thread": run.thread_id,
            "owner": run.owner,
            "stream": run.stream_id,
            "key": message.idempotency_key,
            "digest": message.digest,
            "message": run.message,
            "message_id": run.message_id,
            "answers": None if run.answers is None else Json(dict(run.answers)),
            "trace": run.trace,
        },
    )
    if row is None:
        raise _KeyTaken
    await connection.execute(
        "UPDATE resumable_stream_threads SET active_run_id = %(id)s, repair_until = NULL, gone_time = NULL,"
        " last_activity_time = clock_timestamp() WHERE id = %(thread)s",
        {"id": run.id, "thread": run.thread_id},
    )
    return replace(run, number=row["number"], names_thread=thread["chat_name"] is None)


def as_run(row: dict[str, Any]) -> Run:
    """The run that a row, or its JSON form, describes."""
    return Run(
        id=row["id"] if isinstance(row["id"], UUID) else UUID(row["id"]),
        number=row["number"],
        thread_id=row["thread_id"] if isinstance(row["thread_id"], UUID) else UUID(row["thread_id"]),
        owner=row["owner"],
        stream_id=row["stream_id"],
        message=row["message"],
        message_id=row["message_id"],
        ended_ago=None if row.get("ended_ago") is None else float(row["ended_ago"]),
        followed=row["followed"],
        answers=row["answers"],
        attempts=row["attempts"],
        handovers=row["handovers"],
        trace=row.get("trace"),
        age=row.get("age", 0.0),
    )
