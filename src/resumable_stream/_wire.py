"""One connection to Redis: how commands are packed, how replies are read, and how it is made.

redis-py finds the server, does TLS and authenticates (also through Sentinel); after the handshake the socket is
ours, and hiredis reads it. That leaves the caller's pool alone, keeps redis-py 8's silent retries and its 5 s
socket timeout away from a log that does its own retrying, and costs a tenth of its per-command time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import anyio
import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ._counts import Counts
from ._errors import LogUnavailable
from ._primary import in_a_task, is_replica

CONNECT_TIMEOUT: Final = 5.0
_NOTHING: Final = object()
_DROPPED: Final = ("maint", "orig_", "oss_", "himport")


class ServerError(Exception):
    """An error reply of the server, as a value."""


def bulk(value: bytes) -> bytes:
    """One string in RESP."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def pack(*args: bytes) -> bytes:
    """One command in RESP."""
    return b"*%d\r\n" % len(args) + b"".join(map(bulk, args))


class Receiver(Protocol):
    """Who waits for a reply; a future is one. What is not a future is called at once when the reply comes."""

    def done(self) -> bool:
        """Whether it does not want to know any more."""

    def set_result(self, result: Any, /) -> None:
        """Take the reply; must not raise."""

    def set_exception(self, exception: Exception, /) -> None:
        """Hear that there will be none; must not raise."""


class Wire(asyncio.Protocol):
    """What the socket of one connection calls: replies go to one function, the end to another."""

    def __init__(
        self, on_reply: Callable[[Any], None], on_lost: Callable[[BaseException | None], None], counts: Counts
    ) -> None:
        self._reader = hiredis.Reader(replyError=ServerError, notEnoughData=_NOTHING)
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._counts = counts
        self._connected = False
        self.heard = 0.0
        """When something came last, in loop time."""
        self.address = ("", 0)
        self.question = pack(b"HELLO")
        """What to ask for a sign of life, and the role where the server tells it."""
        self.transport: asyncio.Transport
        self.writer: asyncio.StreamWriter  # kept: some versions of Python close the socket with it

    def data_received(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
        reader = self._reader
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not _NOTHING:
                self._on_reply(reply)
        except hiredis.HiredisError:  # a garbled reply: nothing after it can be trusted
            self.transport.abort()

    def on_dial(self) -> None:
        """Somebody tries to connect."""
        self._counts.dials += 1

    def on_connected(self) -> None:
        """The connection is made."""
        self._connected = True
        self._counts.connected += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        self._counts.disconnected += self._connected
        self._on_lost(exc)


def _connection_of(redis: Redis) -> AbstractConnection:
    pool = redis.connection_pool
    settings = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith(_DROPPED)}
    settings |= {
        "socket_timeout": CONNECT_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,
    }
    connection: AbstractConnection = pool.connection_class(**settings)
    return connection


async def dial(redis: Redis, wire: Wire, *hello: str) -> None:
    """Connect, let redis-py do the handshake, change to a protocol where the server knows it, and take the socket over.

    Raises:
        LogUnavailable: when there is no connection after `CONNECT_TIMEOUT` seconds, or it leads to a replica.
    """
    wire.on_dial()
    connection = _connection_of(redis)
    try:
        with anyio.fail_after(CONNECT_TIMEOUT):
            reply = await in_a_task(_greet(connection, *hello))
        if reply is None:
            wire.question = pack(b"PING")
        elif is_replica(reply):
            raise LogUnavailable("the server is a replica")
        wire.address = (
            getattr(connection, "host", "") or getattr(connection, "path", ""),
            getattr(connection, "port", 0),
        )
        # redis-py has no public way to hand a socket on; these attributes are as old as its asyncio support. Without
        # them its object is a connection that was closed.
        wire.writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        reader = cast("asyncio.StreamReader", connection._reader)  # noqa: SLF001
        connection._writer = connection._reader = None  # noqa: SLF001
        wire.transport = cast("asyncio.Transport", wire.writer.transport)
        wire.transport.set_protocol(wire)
        if wire.transport.is_closing() or reader.at_eof():  # its end may have been told to the protocol before
            wire.transport.abort()
            raise ConnectionResetError("the server closed the connection")
        wire.on_connected()
    except BaseException as exc:
        with anyio.CancelScope(shield=True), contextlib.suppress(RedisError, OSError):
            await connection.disconnect(nowait=True)
        if isinstance(exc, Exception):  # also what a credential provider of the caller raises
            raise LogUnavailable("Redis cannot be reached") from exc
        raise


async def _greet(connection: AbstractConnection, *hello: str) -> Any:
    """Connect. Returns what the server says of itself; ``None`` where it cannot be asked, as behind some proxies."""
    await connection.connect()  # type: ignore[no-untyped-call] # redis-py has not annotated it
    await connection.send_command("HELLO", *hello)
    try:
        return await connection.read_response()
    except ResponseError:
        return None


async def ask(redis: Redis, *command: str) -> Any:
    """Send one command on a connection of its own and return the reply. A replica will do.

    Raises:
        LogUnavailable: there is no server, or no reply, or it is an error.
    """
    connection = _connection_of(redis)
    try:
        return await in_a_task(_question(connection, *command))
    except Exception as exc:
        raise LogUnavailable("Redis cannot be reached") from exc
    finally:
        with anyio.CancelScope(shield=True), contextlib.suppress(RedisError, OSError):
            await connection.disconnect(nowait=True)


async def _question(connection: AbstractConnection, *command: str) -> Any:
    await connection.connect()  # type: ignore[no-untyped-call] # redis-py has not annotated it
    await connection.send_command(*command)
    return await connection.read_response()
