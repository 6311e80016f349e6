"""A TCP proxy that does what networks do, when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from types import TracebackType
from typing import Self

from ._conditions import Conditions, Direction
from ._losses import Loss, Tracker

_CHUNK = 65536
_CONNECT_TIMEOUT = 5.0
_BACKLOG = 1024


class FaultProxy:
    """Passes TCP connections on to a server, and injects faults.

    Use it inside ``async with``; on the way out every connection is cut. asyncio only.

    ``to_server`` and ``to_client`` are the two directions of the line: set latency, jitter,
    bandwidth or slicing there, hold bytes back, or cut after so many bytes. Faults are in force for
    all connections. On one that speaks the Redis protocol, single commands can lose their request
    or their reply.

    Args:
        host: the server's host.
        port: the server's port.
        seed: of everything random, so that a run can be repeated.

    Attributes:
        to_server: the line from the clients to the server.
        to_client: the line from the server to the clients.
        accepted: connections accepted so far.
        commands: how many of each Redis command came from the clients, by name in capitals.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._target = (host, port)
        self._rng = random.Random(seed)  # noqa: S311 - faults need a seed, not secrecy
        self._listener: socket.socket | None = None
        self._port = 0
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._losses: list[Loss] = []
        self.to_server = Conditions(self._rng)
        self.to_client = Conditions(self._rng)
        self.accepted = 0
        self.commands: Counter[str] = Counter()

    @property
    def host(self) -> str:
        """The address to connect to."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The port to connect to; the same while the proxy lives, also when it is down."""
        return self._port

    @property
    def open_connections(self) -> int:
        """Connections from clients that are open now."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        links, tasks = tuple(self._links), tuple(self._tasks)
        self.reset_peer()
        await self.down()
        self.heal()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in links:
            await link.wait_closed()

    async def up(self) -> None:
        """Accept connections (again)."""
        if self._listener is None:
            self._listener = socket.create_server((self.host, self._port), backlog=_BACKLOG)
            self._listener.setblocking(False)
            self._port = self._listener.getsockname()[1]
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def down(self) -> None:
        """Cut every connection and refuse new ones until ``up``."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self.cut()

    def lead_to(self, host: str, port: int) -> None:
        """Pass new connections on to another server, as an address does that moves; those that stand stay."""
        self._target = (host, port)

    def cut(self) -> None:
        """Close every connection now, on both sides; what is under way is lost."""
        for link in tuple(self._links):
            link.close()

    def reset_peer(self) -> None:
        """Break every connection with a TCP reset (RST), on both sides."""
        for link in tuple(self._links):
            link.close(reset=True)

    def blackhole(self) -> None:
        """Swallow all bytes in both directions and tell nobody, until ``heal``.

        A connection that has lost bytes stays silent for ever after, as TCP would have it: nothing can come through
        that was sent behind them. Those that had nothing to lose, and new ones, work again.
        """
        self.to_server.swallow = self.to_client.swallow = True

    def heal(self) -> None:
        """Take every fault away except ``down``: conditions, holds, and losses of commands."""
        self.to_server.heal()
        self.to_client.heal()
        for loss in self._losses:
            loss.stop()
        self._losses.clear()

    def drop_reply(self, command: str, *, argument: str | None = None, nth: int = 1, keep: int = 0) -> Loss:
        """Let the server execute the command, lose its reply, and cut the connection.

        Args:
            command: its name as it is on the wire, such as ``XADD``.
            argument: only commands with this first argument: a key, or a script's SHA1.
            nth: which one from now, over all connections: 1 is the next.
            keep: how many bytes of the reply still arrive: a cut in the middle of it.
        """
        return self._add(Loss.once(command, argument, "to_client", nth=nth, keep=keep))

    def drop_replies(self, command: str, *, argument: str | None = None, odds: float) -> Loss:
        """Like ``drop_reply``, for each such command with the given odds (0 to 1)."""
        rng = random.Random(self._rng.random())  # noqa: S311 - as above
        return self._add(Loss.often(command, argument, "to_client", odds=odds, rng=rng))

    def drop_request(self, command: str, *, argument: str | None = None, nth: int = 1, keep: int = 0) -> Loss:
        """Let the command never reach the server whole, and cut the connection.

        Args:
            command: its name as it is on the wire, such as ``XADD``.
            argument: only commands with this first argument: a key, or a script's SHA1.
            nth: which one from now, over all connections: 1 is the next.
            keep: how many of its bytes are still sent; keep it below the command's length.
        """
        return self._add(Loss.once(command, argument, "to_server", nth=nth, keep=keep))

    def _add(self, loss: Loss) -> Loss:
        self._losses.append(loss)
        return loss

    def _accept(self, listener: socket.socket) -> None:
        # By hand: asyncio's server leaks a connection that it accepts while it is being closed (CPython 3.11).
        try:
            connection, _ = listener.accept()
            # asyncio does it for connections that it makes or accepts itself. Without it small replies wait for 40 ms.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            return  # it went away before it was looked at
        self.accepted += 1
        link = _Link(connection, self._links)
        task = asyncio.create_task(self._serve(link), name="fault proxy connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, link: _Link) -> None:
        try:
            reader, writer = await link.open()
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                server_reader, server_writer = await asyncio.open_connection(*self._target)
            link.attach(server_writer)
            tracker = Tracker(self._losses, self.commands)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, server_writer, link, tracker, direction="to_server"))
                group.create_task(self._pump(server_reader, writer, link, tracker, direction="to_client"))
        except (OSError, TimeoutError):
            pass  # the server is away, or the link was cut before it stood: the client sees its connection closed
        finally:
            link.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: _Link,
        tracker: Tracker,
        *,
        direction: Direction,
    ) -> None:
        line = self.to_server if direction == "to_server" else self.to_client
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if line.swallow or link.holed:
                    link.holed = True
                    tracker.stop()
                    line.swallowed += len(data)
                    continue
                cut = tracker.cut_in(data, direction)
                for piece in line.pieces(data[:cut]):
                    await line.delay(len(piece))
                    if link.closed:
                        return
                    allowed = line.allow(len(piece))
                    writer.write(piece[:allowed])
                    line.passed += len(piece[:allowed])
                    await writer.drain()
                    if allowed is not None:
                        link.close()
                        return
                if cut is not None:
                    await line.delay(0)
                    link.close()
                    return
            if not writer.is_closing():
                writer.write_eof()
            return
        link.close()


class _Link:
    """The two sockets of one passed-on connection; a member of ``links`` while it is open."""

    def __init__(self, client: socket.socket, links: set[_Link]) -> None:
        self._client: socket.socket | None = client
        self._writers: list[asyncio.StreamWriter] = []
        self._links = links
        self.closed = False
        self.holed = False
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # asyncio does it for its own sockets only
        links.add(self)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Take the client's side into service; raises `OSError` when it was cut before."""
        client, self._client = self._client, None
        if client is None:
            raise ConnectionAbortedError
        reader, writer = await asyncio.open_connection(sock=client)
        self.attach(writer)
        return reader, writer

    def attach(self, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self.closed:
            self.close()

    async def wait_closed(self) -> None:
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def close(self, *, reset: bool = False) -> None:
        self.closed = True
        self._links.discard(self)
        if self._client is not None:
            _linger(self._client, reset=reset)
            self._client.close()
            self._client = None
        for writer in self._writers:
            if reset:
                _linger(writer.get_extra_info("socket"), reset=True)
                writer.transport.abort()
            else:
                writer.close()


def _linger(connection: socket.socket | None, *, reset: bool) -> None:
    if reset and connection is not None and connection.fileno() >= 0:
        # A zero linger time turns the close into an RST.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
