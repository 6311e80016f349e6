"""The fault proxy: passes bytes on unharmed, and does each fault when it is told to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.lowlevel
import pytest

from resumable_stream.testing import FaultProxy


class EchoServer:
    """Sends back what it gets, and counts it."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.errors: list[OSError] = []
        self.changed = asyncio.Condition()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                async with self.changed:
                    self.received += data
                    self.changed.notify_all()
                writer.write(data)
                await writer.drain()
        except OSError as error:
            self.errors.append(error)
        finally:
            writer.close()

    async def wait_received(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.received) >= count)


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    echo = EchoServer()
    async with await asyncio.start_server(echo.serve, "127.0.0.1", 0) as server:
        echo.port = server.sockets[0].getsockname()[1]
        yield echo


@pytest.fixture
async def proxy(echo: EchoServer) -> AsyncIterator[FaultProxy]:
    async with asyncio.timeout(20), FaultProxy("127.0.0.1", echo.port, seed=7) as proxy:
        yield proxy


@asynccontextmanager
async def connected(
    proxy: FaultProxy,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_the_proxy_holds_no_small_piece_back(proxy: FaultProxy) -> None:
    """TCP_NODELAY on both sides: Nagle's algorithm and delayed ACKs together would make 40 ms of a round trip."""
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        (link,) = proxy._links
        sockets = [one.get_extra_info("socket") for one in link._writers]
        assert len(sockets) == 2
        assert all(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets)


async def test_bytes_pass_unharmed_both_ways_and_are_counted(proxy: FaultProxy) -> None:
    blob = bytes(range(256)) * 4096
    async with connected(proxy) as (reader, writer):
        writer.write(blob)
        assert await reader.readexactly(len(blob)) == blob
        assert (proxy.accepted, proxy.open_connections) == (1, 1)
    assert proxy.to_server.passed == proxy.to_client.passed == len(blob)


async def test_an_end_of_input_is_passed_on(proxy: FaultProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"last words"


async def test_slices_latency_and_bandwidth_change_no_byte(proxy: FaultProxy) -> None:
    proxy.to_server.slice_size = 1
    proxy.to_server.latency, proxy.to_server.jitter = 0.001, 0.001
    proxy.to_client.bandwidth = 10_000
    async with connected(proxy) as (reader, writer):
        loop = asyncio.get_running_loop()
        start = loop.time()
        writer.write(b"0123456789" * 10)
        assert await reader.readexactly(100) == b"0123456789" * 10
        # A lower bound holds on any machine: 100 bytes at 10,000 a second.
        assert loop.time() - start >= 0.01


async def test_down_cuts_and_refuses_until_up_on_the_same_port(proxy: FaultProxy) -> None:
    port = proxy.port
    async with connected(proxy) as (reader, _):
        await proxy.down()
        assert await reader.read() == b""
    with pytest.raises(OSError, match=r"Connect call failed|refused"):
        await asyncio.open_connection(proxy.host, port)
    await proxy.up()
    await proxy.up()
    assert proxy.port == port
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"


async def test_cut_closes_every_connection_and_accepts_new_ones(proxy: FaultProxy) -> None:
    async with connected(proxy) as (one, first), connected(proxy) as (two, second):
        for reader, writer in ((one, first), (two, second)):
            writer.write(b"x")
            await reader.readexactly(1)
        proxy.cut()
        assert await one.read() == await two.read() == b""
        assert proxy.open_connections == 0
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"


async def test_reset_peer_is_seen_as_a_reset(proxy: FaultProxy, echo: EchoServer) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.reset_peer()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)


@pytest.mark.parametrize("count", [0, 1, 5, 11])
async def test_a_cut_after_n_bytes_to_the_client_lets_exactly_n_through(proxy: FaultProxy, count: int) -> None:
    proxy.to_client.cut_after(count)
    async with connected(proxy) as (reader, writer):
        writer.write(b"hello world!")
        assert await reader.read() == b"hello world!"[:count]
    async with connected(proxy) as (reader, writer):
        writer.write(b"once only")
        assert await reader.readexactly(9) == b"once only"


async def test_a_cut_after_n_bytes_to_the_server_lets_exactly_n_through(proxy: FaultProxy, echo: EchoServer) -> None:
    proxy.to_server.cut_after(5)
    async with connected(proxy) as (reader, writer):
        writer.write(b"hello world!")
        await echo.wait_received(5)
        await reader.read()
    assert bytes(echo.received) == b"hello"


async def test_a_blackhole_swallows_and_keeps_the_connection(proxy: FaultProxy, echo: EchoServer) -> None:
    """As TCP does, nothing comes through behind bytes that were lost; who had nothing to lose goes on."""
    async with connected(proxy) as (_, writer), connected(proxy) as (idle_reader, idle_writer):
        proxy.blackhole()
        writer.write(b"lost")
        await writer.drain()
        while proxy.to_server.swallowed < 4:
            await anyio.lowlevel.checkpoint()
        proxy.heal()
        writer.write(b"lost too")
        await writer.drain()
        while proxy.to_server.swallowed < 12:
            await anyio.lowlevel.checkpoint()
        idle_writer.write(b"kept")
        assert await idle_reader.readexactly(4) == b"kept"
        assert proxy.open_connections == 2
    async with connected(proxy) as (new_reader, new_writer):
        new_writer.write(b"new")
        assert await new_reader.readexactly(3) == b"new"
    assert bytes(echo.received) == b"keptnew"


async def test_held_bytes_arrive_in_order_after_the_release(proxy: FaultProxy, echo: EchoServer) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.to_client.hold()
        writer.write(b"one ")
        await echo.wait_received(4)
        writer.write(b"two")
        await echo.wait_received(7)
        assert proxy.to_client.passed == 0
        proxy.to_client.release()
        assert await reader.readexactly(7) == b"one two"


async def test_a_server_that_is_away_closes_the_client() -> None:
    gone = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = gone.sockets[0].getsockname()[1]
    gone.close()
    await gone.wait_closed()
    async with (
        asyncio.timeout(5),
        FaultProxy("127.0.0.1", port) as proxy,
        connected(proxy) as (reader, _),
    ):
        assert await reader.read() == b""


async def test_leaving_the_proxy_frees_connections_that_are_held(echo: EchoServer) -> None:
    async with asyncio.timeout(5):
        async with FaultProxy("127.0.0.1", echo.port) as proxy:
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            proxy.to_client.hold()
            writer.write(b"x")
            await echo.wait_received(1)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.transport.abort()
        assert proxy.open_connections == 0
