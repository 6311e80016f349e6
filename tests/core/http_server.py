"""A real server for one ASGI app, and a client that sees every byte of the answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from core.streams import DEADLINE
from resumable_stream import JSON, StreamConsumer
from resumable_stream.asgi import EventStreamResponse, Receive, Scope, Send
from support import wait_until


class StreamApp:
    """``GET /<stream id>`` is that stream; ``?format=json`` for the other dialect.

    Attributes:
        options: of `EventStreamResponse`; may be changed between requests.
        closing: what a server's shutdown sets.
        responses: how many are under way.
    """

    def __init__(self, consumer: StreamConsumer, **options: Any) -> None:
        self._consumer = consumer
        self.options = options
        self.closing = asyncio.Event()
        self.responses = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        options = dict(self.options)
        query = parse_qs(scope["query_string"].decode())
        if query.get("format") == ["json"]:
            options["dialect"] = JSON
        stream_id = scope["path"].removeprefix("/")
        response = EventStreamResponse(self._consumer, stream_id, closing=self.closing, **options)
        self.responses += 1
        try:
            await response(scope, receive, send)
        finally:
            self.responses -= 1


class Served:
    """An app on a port of 127.0.0.1."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self._server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def connections(self) -> int:
        """Connections from clients that are open now."""
        return len(self._server.server_state.connections)


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[Served]:
    """Run uvicorn in this loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # as where uvicorn opens the port itself
    port: int = listener.getsockname()[1]
    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await wait_until(lambda: server.started)
        yield Served(server, port)
    finally:
        server.should_exit = True
        await task
        listener.close()


class Response:
    """An answer, byte by byte.

    Attributes:
        status: the status code.
        headers: names in lower case.
        body: what was read so far, without the chunks' framing.
        complete: whether the last chunk came: a clean end.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False

    async def read_head(self) -> None:
        """Read the status and the headers."""
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            assert name.lower() not in self.headers, "a header was sent twice"
            self.headers[name.lower()] = value

    async def read_some(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        if self.headers.get("transfer-encoding") != "chunked":
            size = int(self.headers.get("content-length", 0)) - len(self.body)
            chunk = await self._reader.readexactly(size) if size > 0 else b""
            self.complete = True
        else:
            try:
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                chunk = (await self._reader.readexactly(size + 2))[:-2]
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""
            self.complete = size == 0
        self.body += chunk
        return chunk

    async def read_until(self, wanted: bytes) -> bytes:
        """Read on until the body has these bytes."""
        async with asyncio.timeout(DEADLINE):
            while wanted not in self.body:
                assert await self.read_some(), f"the body ended without {wanted!r}"
        return self.body

    async def read_all(self) -> bytes:
        """Read to the end."""
        async with asyncio.timeout(DEADLINE):
            while await self.read_some():
                pass
        return self.body

    def cut(self) -> None:
        """Close the connection at once, as a phone does that has lost its network."""
        self._writer.transport.abort()


@asynccontextmanager
async def request(
    port: int, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Response]:
    """Send a request and read the answer's head; the connection is cut on leaving."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        lines = [f"{method} {path} HTTP/1.1", "Host: test"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        response = Response(reader, writer)
        async with asyncio.timeout(DEADLINE):
            await response.read_head()
        yield response
    finally:
        writer.transport.abort()
