"""The connection to Postgres: one pool, tables set up as soon as the server is there, every wait bounded."""

from __future__ import annotations

import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from types import TracebackType
from typing import Any, Final, Literal, LiteralString, Self

import anyio
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from resumable_stream.logs import get_logger

from ._errors import DatabaseFault, Unavailable
from ._patience import Turns
from ._schema import set_up

logger = get_logger("resumable_stream.app")

Connection = AsyncConnection[DictRow]
Pool = AsyncConnectionPool[Connection]

Query = LiteralString
SetUp = Callable[[Pool], Awaitable[None]]
DatabaseState = Literal["ok", "unavailable", "read_only", "not_set_up"]
"""What a look at Postgres finds; ``read_only`` is a standby, ``not_set_up`` lacks tables yet."""

_RETRY_SECONDS: Final = 0.5
_QUEUE_SECONDS: Final = 10.0
"""How long a piece of work waits for its turn while Postgres answers others."""
_CLOSE_SECONDS: Final = 2.0
_POOL_SECONDS: Final = 10.0
_PASSING: Final = ("08", "25006", "53", "57")
"""SQL states that pass by themselves: lost connections, a standby, no resources left, a server that restarts."""
_SET_UP_SECONDS: Final = 30.0


class Database:
    """A pool of connections that may be opened before Postgres is up, and that finds it again when it comes back.

    Entering starts the pool and a task that sets up the tables, and waits for neither.

    Args:
        dsn: where Postgres is, ``postgresql://user:password@host:5432/name``.
        pool_size: the most connections that are opened.
        timeout: seconds for one piece of work, from its turn to the commit; and in which Postgres must have answered
            somebody, for those who wait for their turn. Time in which this process was too busy to look hardly counts.
        set_up: what else is to be set up before the first use, such as the tables of an agent's memory.
        prepare: whether statements are prepared on the server; not behind a PgBouncer that pools transactions.
    """

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int = 10,
        timeout: float = 1.5,
        prepare: bool = True,
        set_up: Sequence[SetUp] = (),
    ) -> None:
        self._timeout = timeout
        self._more = tuple(set_up)
        self._ready = anyio.Event()
        self._turns = Turns(pool_size, longest=_QUEUE_SECONDS)
        self._stack = AsyncExitStack()
        self.pool: Pool = AsyncConnectionPool(
            dsn,
            connection_class=AsyncConnection[DictRow],
            min_size=1,
            max_size=pool_size,
            open=False,
            name="resumable_stream",
            timeout=_POOL_SECONDS,
            # A failed attempt is given up soon: the next caller starts another, so recovery takes about a second.
            reconnect_timeout=2.0,
            check=_check,
            kwargs={
                "autocommit": True,
                # libpq would wait for ever for a server that accepts and says nothing.
                "connect_timeout": 2,
                "prepare_threshold": 0 if prepare else None,
                "row_factory": dict_row,
            },
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self.pool.open(wait=False)
            stack.push_async_callback(self._close_pool)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(self._set_up)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def patient(self, seconds: float) -> Database:
        """The same connections, with another time for one piece of work.

        For work that no request waits for. On a busy machine the short time runs out although Postgres is well, and
        what was broken off costs its connection, which makes everything slower still.
        """
        made = copy(self)
        made._timeout = seconds  # noqa: SLF001 - its own
        return made

    async def _close_pool(self) -> None:
        with anyio.CancelScope(shield=True):  # else a cancelled app would leave its connections to the server
            await self.pool.close(_CLOSE_SECONDS)

    @property
    def is_set_up(self) -> bool:
        """Whether the tables are there."""
        return self._ready.is_set()

    async def fetch(self, query: Query, values: Mapping[str, Any]) -> list[DictRow]:
        """Run one statement and commit it; its rows, none for a statement without any.

        Raises:
            Unavailable: as `transaction`.
        """
        async with self._connection() as connection:
            cursor = await connection.execute(query, values)
            return await cursor.fetchall() if cursor.description is not None else []

    async def fetch_one(self, query: Query, values: Mapping[str, Any]) -> DictRow | None:
        """Run one statement and commit it; its first row.

        Raises:
            Unavailable: as `transaction`.
        """
        rows = await self.fetch(query, values)
        return rows[0] if rows else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction on a connection of its own.

        Raises:
            Unavailable: when Postgres cannot be reached, breaks off, or does not answer in time. Whether a commit that
                was under way has happened is then unknown.
            DatabaseFault: when Postgres refuses.
        """
        async with self._connection() as connection, connection.transaction():
            yield connection

    async def check(self) -> None:
        """Ask Postgres for a sign of life, and whether it can be written to.

        Raises:
            Unavailable: when there is none, or it is a standby.
        """
        row = await self.fetch_one("SELECT current_setting('transaction_read_only') AS read_only", {})
        if row is None or row["read_only"] == "on":
            raise Unavailable("postgres")

    async def state(self, *, seconds: float) -> DatabaseState:
        """Look whether Postgres can be used, for at most so long; tables that are being set up are waited for."""
        answers = False
        try:
            with anyio.fail_after(seconds):
                async with self.pool.connection() as connection:
                    row = await one(connection, "SELECT current_setting('transaction_read_only') AS read_only", {})
                if row is None or row["read_only"] == "on":
                    return "read_only"
                answers = True
                await self._ready.wait()
        except (TimeoutError, psycopg.Error):
            return "not_set_up" if answers else "unavailable"
        return "ok"

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection that commits each statement, for as long as one piece of work may take."""
        piece = self._turns.piece(self._timeout)
        try:
            with piece.scope:
                async with self._turns.places:
                    piece.begin()
                    await self._ready.wait()
                    async with self.pool.connection() as connection:
                        yield connection
                    self._turns.done += 1
            if piece.scope.cancelled_caught:
                raise TimeoutError
        except (TimeoutError, psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise Unavailable("postgres") from error
        except psycopg.Error as error:
            if (error.sqlstate or "").startswith(_PASSING):
                raise Unavailable("postgres") from error
            raise DatabaseFault(error.sqlstate) from None
        finally:
            piece.close()

    async def _set_up(self) -> None:
        told = ""
        while True:
            try:
                with anyio.fail_after(_SET_UP_SECONDS):
                    # Each request for a connection makes the pool try; a long wait would be one try.
                    async with self.pool.connection(timeout=1.0) as connection:
                        await set_up(connection)
                for more in self._more:
                    await more(self.pool)
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody may put it right
                kind = f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".strip()
                if kind != told:
                    logger.warning("Postgres is not ready (%s); trying again until it is", kind)
                    told = kind
                await anyio.sleep(_RETRY_SECONDS)
            else:
                if told:
                    logger.info("Postgres is ready")
                self._ready.set()
                return


async def _check(connection: Connection) -> None:
    """Raise when a connection is not alive.

    The server is asked only where it has something to say, as it has when it ends, or when its process is gone. To ask
    it each time would double the round trips, and tell no more about one that is silent.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        heard = selector.select(0)
    if heard:
        await AsyncConnectionPool.check_connection(connection)


async def one(connection: Connection, query: Query, values: Mapping[str, Any]) -> DictRow | None:
    """The first row of a query, or nothing."""
    cursor = await connection.execute(query, values)
    return await cursor.fetchone()
