"""What tests of several rooms share: waiting with a deadline, ports, looking for leftovers."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from inspect import isawaitable
from typing import Any, TypeVar, overload
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]  # it has no types of its own
import psycopg
from psycopg import sql
from redis import Redis

from resumable_stream.embedded import free_port

__all__ = [
    "alive",
    "connections_of_this_process",
    "descendants",
    "free_port",
    "fresh_database",
    "keys_without_ttl",
    "no_connections_left",
    "no_tasks_left",
    "processes_naming",
    "wait_until",
    "wait_until_sync",
]

T = TypeVar("T")


@overload
async def wait_until(predicate: Callable[[], Awaitable[T]], *, timeout: float = 10.0, what: str = "") -> T: ...


@overload
async def wait_until(predicate: Callable[[], T], *, timeout: float = 10.0, what: str = "") -> T: ...


async def wait_until(predicate: Callable[[], Any], *, timeout: float = 10.0, what: str = "") -> Any:
    """Return the first true value of ``predicate``, called again and again.

    Args:
        predicate: a plain or an async function. ``AssertionError`` in it counts as "not yet".
        timeout: seconds.
        what: what is waited for, for the message.

    Raises:
        AssertionError: when the time is over, from the last assertion where there was one.
    """
    deadline = time.monotonic() + timeout
    while True:
        failed: AssertionError | None = None
        try:
            result = predicate()
            value = await result if isawaitable(result) else result
        except AssertionError as error:
            failed = error
        else:
            if value:
                return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or predicate}") from failed
        await asyncio.sleep(0.01)


def wait_until_sync(predicate: Callable[[], T], *, timeout: float = 10.0, what: str = "") -> T:
    """As ``wait_until``, for tests without an event loop."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() <= deadline, f"not within {timeout} s: {what or predicate}"
        time.sleep(0.01)
    return value


def keys_without_ttl(admin: Redis) -> list[bytes]:
    """The keys that would stay for ever."""
    return [key for key in admin.scan_iter(count=1000) if admin.pttl(key) == -1]


_SESSIONS = "SELECT application_name, query FROM pg_stat_activity WHERE datname = %s"


@contextmanager
def fresh_database(dsn: str) -> Iterator[str]:
    """The address of a new database; afterwards no connection to it may be left open."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(dsn)._replace(path=f"/{name}").geturl()
            wait_until_sync(
                lambda: not admin.execute(_SESSIONS, (name,)).fetchall(),
                what="every connection of the test to PostgreSQL is closed",
            )
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@asynccontextmanager
async def no_tasks_left(*, timeout: float = 10.0) -> AsyncIterator[None]:
    """Afterwards no asyncio task is left that was not there before."""
    before = asyncio.all_tasks()

    def nothing_left() -> bool:
        # anyio's runner drives each fixture and test from a task of its own.
        left = [
            task
            for task in asyncio.all_tasks() - before
            if not getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")
        ]
        assert left == [], "tasks were left running"
        return True

    yield
    await wait_until(nothing_left, timeout=timeout, what="every task has ended")


@contextmanager
def no_connections_left(admin: Redis, *, timeout: float = 10.0) -> Iterator[None]:
    """Afterwards nobody is connected to the server, from no process, but ``admin``."""
    yield
    wait_until_sync(
        lambda: len(admin.client_list()) == 1, timeout=timeout, what="every connection to the server is closed"
    )


def connections_of_this_process(admin: Redis) -> dict[str, str]:
    """The server's clients that are sockets of this process: id and a line for people. Not
    ``admin`` itself.

    Clients of other processes do not count: a server that serves a whole module opens connections
    when it likes.
    """
    own = _local_ports()
    me = str(admin.client_id())
    return {
        client["id"]: f"{client['addr']} name={client['name']!r} last command {client['cmd']!r}"
        for client in admin.client_list()
        if client["id"] != me and int(client["addr"].rpartition(":")[2]) in own
    }


def _local_ports() -> set[int]:
    return {entry.laddr.port for entry in psutil.Process().net_connections("tcp") if entry.laddr}


def alive(pid: int) -> bool:
    """Whether a process is there and does something; one that only waits to be reaped is not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def processes_naming(text: str) -> list[int]:
    """The processes with this text in their command line, such as a data folder; not this one."""
    running = psutil.process_iter(["cmdline"])
    found = [one.pid for one in running if text in " ".join(one.info["cmdline"] or ())]
    return [pid for pid in found if pid != os.getpid() and alive(pid)]


def descendants(pid: int) -> set[int]:
    """The children of a process, and theirs."""
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}
