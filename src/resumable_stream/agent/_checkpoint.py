"""The memory of agents: LangGraph's Postgres checkpointer over a shared pool."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, LiteralString, Protocol, runtime_checkable

import anyio
import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import ERROR
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from ..logs import get_logger
from ._failures import describe

logger = get_logger(__name__)

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]

NULL_TASK_ID: Final = "00000000-0000-0000-0000-000000000000"
"""By which LangGraph files what comes from outside, not from a task."""
_LOCK: Final = 0x636865636B707473
"""Any number that no other program uses for its advisory locks."""
_LOOK_EVERY: Final = 0.05
_SETTLE: Final = 2.0
_DURABLE: Final = 30.0


def open_pool(
    dsn: str,
    *,
    min_size: int = 1,
    max_size: int = 10,
    timeout: float = 5.0,
    prepare: bool = True,
) -> Pool:
    """Make a pool that checkpointers can work with. It connects when it is entered.

    Use it with ``async with``. Entering does not wait for the server: it may come up later.

    Args:
        dsn: where Postgres is, ``postgresql://user:password@host:5432/name``.
        min_size: connections that are kept open.
        max_size: the most connections.
        timeout: seconds to wait for a free connection, before ``psycopg_pool.PoolTimeout``.
        prepare: whether statements are prepared on the server; not behind a PgBouncer that pools
            transactions.
    """
    return AsyncConnectionPool(
        dsn,
        connection_class=AsyncConnection[DictRow],
        min_size=min_size,
        max_size=max_size,
        timeout=timeout,
        open=False,
        # Otherwise a restart of the server makes as many calls fail as there are connections.
        check=AsyncConnectionPool.check_connection,
        kwargs={
            # The checkpointer makes indexes in a way that no transaction allows.
            "autocommit": True,
            "prepare_threshold": 0 if prepare else None,
            "row_factory": dict_row,
        },
    )


Guard = Callable[[], Awaitable[bool]]
"""Says whether a run may still write its thread."""


@runtime_checkable
class Fence(Protocol):
    """A guard that can do more where the thread is in its own database: make the writing transaction fail.

    Attributes:
        pool: leads to that database.
    """

    pool: Pool

    async def __call__(self) -> bool:
        """Whether the run may write."""
        ...

    async def enter(self, cursor: AsyncCursor[Any]) -> None:
        """Sent first in a transaction that writes: what `check` finds stays so until its end."""
        ...

    async def check(self, cursor: AsyncCursor[Any]) -> None:
        """Sent last in a transaction: has it fail with a division by zero, unless the run may write."""
        ...


class Superseded(Exception):
    """Another process goes on with the run; nothing more may be saved here."""


class RunSaver(AsyncPostgresSaver):
    """A checkpointer that knows whether what it was given is saved, and whether its run may save at all.

    LangGraph saves in the background, and what a cancelled task had written even after the run is over.
    """

    def __init__(self, pool: Pool, *, serde: SerializerProtocol, guard: Guard | None = None) -> None:
        super().__init__(pool, serde=serde)
        self._fence = guard if isinstance(guard, Fence) and guard.pool is pool else None
        self._guard = guard if self._fence is None else None
        self._writes: set[asyncio.Future[None]] = set()
        self._checkpoints: dict[str, asyncio.Future[None]] = {}
        self._failed: Exception | None = None

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint, which is therefore saved."""
        found = await super().aget_tuple(config)
        if found is not None:
            self._saved(found.checkpoint["id"])
        return found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint.

        Raises:
            Superseded: another process goes on with the run.
        """
        for parent in metadata.get("parents", {}).values():  # of the graphs around this one
            self._checkpoint(parent)
        try:
            async with self._allowed():
                return await super().aput(config, checkpoint, metadata, new_versions)
        except Exception as error:
            self._failed = error
            raise
        finally:
            self._saved(checkpoint["id"])

    def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> Coroutine[Any, Any, None]:
        """Save writes of a task. Counted from the call on, not from the first step of the coroutine.

        Of an error, only what is no text is saved: providers quote keys and prompts in theirs.
        """
        writes = [
            (channel, describe(value) if channel == ERROR and isinstance(value, BaseException) else value)
            for channel, value in writes
        ]
        done = asyncio.get_running_loop().create_future()
        self._writes.add(done)
        if task_id != NULL_TASK_ID:  # a thread's first input belongs to a checkpoint that is never saved
            self._checkpoint(config["configurable"]["checkpoint_id"])
        return self._counted(partial(super().aput_writes, config, writes, task_id, task_path), done)

    async def _counted(self, write: Callable[[], Awaitable[None]], done: asyncio.Future[None]) -> None:
        try:
            async with self._allowed():
                await write()
        except Exception as error:
            self._failed = error
            raise
        finally:
            self._writes.discard(done)
            done.set_result(None)

    @asynccontextmanager
    async def _allowed(self) -> AsyncIterator[None]:
        """Around one write. A guard that is no fence is asked before; a process may fall asleep between the two."""
        if self._guard is not None and not await self._guard():
            raise Superseded
        try:
            yield
        except psycopg.errors.DivisionByZero:
            raise Superseded from None

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        """LangGraph's, with which it writes whatever is one transaction in one pipeline."""
        fence = self._fence if pipeline else None
        async with super()._cursor(pipeline=pipeline) as cursor:
            if fence is not None:
                await fence.enter(cursor)
            yield cursor
            if fence is not None:
                await fence.check(cursor)

    def _checkpoint(self, checkpoint_id: str) -> asyncio.Future[None]:
        if checkpoint_id not in self._checkpoints:
            self._checkpoints[checkpoint_id] = asyncio.get_running_loop().create_future()
        return self._checkpoints[checkpoint_id]

    def _saved(self, checkpoint_id: str) -> None:
        saved = self._checkpoint(checkpoint_id)
        if not saved.done():
            saved.set_result(None)

    async def settled(self) -> None:
        """Wait until no write is under way."""
        while self._writes:
            await asyncio.wait(set(self._writes))

    async def durable(self) -> None:
        """Wait until all that tasks have written by now would outlive this process.

        Writes count only once the checkpoint that they belong to is saved too, which is a write of its own.

        Raises:
            psycopg.Error: it could not be saved, or not in time.
        """
        waited = {*self._writes, *(one for one in self._checkpoints.values() if not one.done())}
        if waited:
            with anyio.move_on_after(_DURABLE) as late:
                await asyncio.wait(waited)
            if late.cancelled_caught:
                raise psycopg.OperationalError(f"a checkpoint was not saved within {_DURABLE} s")
        if self._failed is not None:
            raise self._failed


async def durable(checkpointer: object) -> None:
    """Wait until what a run has written is safe, where the checkpointer can tell."""
    if isinstance(checkpointer, RunSaver):
        await checkpointer.durable()


@asynccontextmanager
async def settling(checkpointer: object) -> AsyncIterator[None]:
    """Leave the block only when a run's writes are done, or after some seconds; also when cancelled."""
    try:
        yield
    finally:
        if isinstance(checkpointer, RunSaver):
            with anyio.CancelScope(shield=True), anyio.move_on_after(_SETTLE) as late:
                await checkpointer.settled()
            if late.cancelled_caught:
                logger.warning("a checkpoint was still being written %s s after its run", _SETTLE)


def checkpoint_saver(pool: Pool, *, state_types: Iterable[type] = (), guard: Guard | None = None) -> RunSaver:
    """Make a checkpointer. It is cheap: make one for each run, since each does one thing at a time.

    What it loads is built from LangChain's messages and plain values only. A blob in the database
    that names anything else, as an attacker's would, comes back as plain data and is not called.

    Args:
        pool: as made by `open_pool`. It stays the caller's.
        state_types: other classes whose instances the graph keeps in its state.
        guard: asked before each write, which is refused when it says no.
    """
    allowed = [(kind.__module__, kind.__name__) for kind in state_types]
    serde = JsonPlusSerializer(allowed_msgpack_modules=allowed or None)
    return RunSaver(pool, serde=serde, guard=guard)


async def set_up_checkpoints(pool: Pool, *, timeout: float = 60.0) -> None:
    """Make the checkpointer's tables, or bring them up to date.

    Any number of processes may do it at the same time; one works, the others wait for it.

    Args:
        pool: as made by `open_pool`.
        timeout: seconds for all of it.

    Raises:
        TimeoutError: it was not done in time.
        psycopg.Error: what Postgres says.
    """
    with anyio.fail_after(timeout):
        async with pool.connection() as connection, _alone(connection):
            await AsyncPostgresSaver(connection).setup()


@asynccontextmanager
async def _alone(connection: AsyncConnection[DictRow]) -> AsyncIterator[None]:
    """Hold an advisory lock. It goes with the connection, should this process die."""
    # Asked for again and again, not waited for: CREATE INDEX CONCURRENTLY waits for every
    # statement that is under way, also for one that waits for this lock, and so for ever.
    while not await _flag(connection, "SELECT pg_try_advisory_lock(%s) AS flag"):  # noqa: ASYNC110 - as said
        await anyio.sleep(_LOOK_EVERY * (1 + random.random()))  # noqa: S311 - only spreads the load
    try:
        yield
    except BaseException:
        await connection.close()  # whatever state it is in, the lock goes with it
        raise
    await _flag(connection, "SELECT pg_advisory_unlock(%s) AS flag")


async def _flag(connection: AsyncConnection[DictRow], query: LiteralString) -> bool:
    cursor = await connection.execute(query, (_LOCK,))
    row = await cursor.fetchone()
    return bool(row and row["flag"])
