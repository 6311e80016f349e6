"""How many runs one owner may have at once, over all processes: counted in Postgres, where they are accepted."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection

from ._database import one
from ._errors import TooManyRuns

_LOCK: Final = 0x7275_6E73
"""The first half of an advisory lock's number, so that it is none of another program's; the owner is the second."""
_COUNT_AND_LOCK: Final = (
    "SELECT count(*) AS active,"
    " CASE WHEN count(*) < %(limit)s THEN pg_advisory_xact_lock(%(lock)s, hashtext(%(owner)s))::text END"
    " FROM resumable_stream_threads WHERE owner = %(owner)s AND active_run_id IS NOT NULL"
)
_COUNT: Final = (
    "SELECT count(*) AS active FROM resumable_stream_threads WHERE owner = %(owner)s AND active_run_id IS NOT NULL"
)
"""A statement of its own: it sees what was committed while the lock was waited for."""


async def check_active_runs(connection: AsyncConnection[Any], owner: str, limit: int | None) -> None:
    """Make sure that the owner may have one more active run. To be called in the transaction that accepts it.

    Transactions of one owner wait for each other here, so that of any number of them no two count the same runs. Who
    has too many already is told so without waiting: a flood of requests must not hold connections that others need.
    Runs whose process died count until they are settled.

    Args:
        connection: in a transaction, which already holds the row of the thread: every lock is taken in this order.
        owner: whose runs are counted.
        limit: how many they may have; ``None`` for any number, which costs nothing.

    Raises:
        TooManyRuns: they have so many already.
    """
    if limit is None:
        return
    values = {"lock": _LOCK, "owner": owner, "limit": limit}
    for statement in (_COUNT_AND_LOCK, _COUNT):
        found = await one(connection, statement, values)
        if found is not None and found["active"] >= limit:
            raise TooManyRuns
