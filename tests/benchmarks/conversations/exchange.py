"""HTTP as cheaply as Python can, so that a thousand open streams leave the processor to the servers.

A connection for each request, and no task that wakes up for each token: what comes is handed on as it comes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

Headers = Mapping[str, str]
_SECONDS = 60.0


class BrokenOff(OSError):
    """The connection ended before the response did."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response whose body was waited for."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error; empty where there is none."""
        try:
            return str(self.json["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return ""


Take = Callable[["Exchange", bytes], None]
"""Gets the parts of a body as they come."""


class Exchange(asyncio.Protocol):
    """One request and its response.

    Args:
        request: the bytes to send.
        take: gets the parts of the body as they come.

    Attributes:
        status: of the response, once `head` is done.
        head: is done with the headers' arrival.
        end: is done with the end of the body; its result says whether the body was whole.
    """

    def __init__(self, request: bytes, take: Take) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._take = take
        self._buffer = b""
        self._left: int | None = None  # None: chunks
        self._transport: asyncio.Transport | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head: asyncio.Future[None] = loop.create_future()
        self.end: asyncio.Future[bool] = loop.create_future()

    @classmethod
    async def begin(
        cls, port: int, method: str, target: str, take: Take, *, body: Any = None, headers: Headers | None = None
    ) -> Self:
        """Send a request, and wait for the head of its response.

        Raises:
            OSError: there is no connection, or it ended before the head.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(payload)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        request = "\r\n".join([*lines, "", ""]).encode() + payload
        loop = asyncio.get_running_loop()
        _, exchange = await loop.create_connection(lambda: cls(request, take), "127.0.0.1", port)
        try:
            await exchange.head
        except BaseException:
            exchange.cut()
            raise
        return exchange

    def cut(self) -> None:
        """End the connection without a farewell."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.head.done() and not self._read_head():
            return
        if self._left is None:
            self._read_chunks()
        else:
            self._give(self._buffer[: self._left])
            self._left -= len(self._buffer)
            self._buffer = b""
            if self._left <= 0:
                self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(BrokenOff("no response"))
        if not self.end.done():
            self.end.set_result(False)

    def _read_head(self) -> bool:
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ", 2)[1])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        self._buffer = rest
        if self.headers.get("transfer-encoding") != "chunked":
            self._left = int(self.headers.get("content-length", 0))
        if not self.head.done():
            self.head.set_result(None)
        return True

    def _read_chunks(self) -> None:
        whole: list[bytes] = []
        while True:
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                break
            size = int(line, 16)
            if len(rest) < size + 2:
                break
            self._buffer = rest[size + 2 :]
            if not size:
                self._give(b"".join(whole))
                self._finish()
                return
            whole.append(rest[:size])
        self._give(b"".join(whole))

    def _give(self, data: bytes) -> None:
        if data:
            self._take(self, data)

    def _finish(self) -> None:
        if not self.end.done():
            self.end.set_result(True)
        self.cut()


async def call(port: int, method: str, target: str, *, body: Any = None, headers: Headers | None = None) -> Reply:
    """Send a request and wait for all of its response.

    Raises:
        OSError: there is no connection, it ended too early, or nothing came in time.
    """
    parts: list[bytes] = []
    async with asyncio.timeout(_SECONDS):
        exchange = await Exchange.begin(
            port, method, target, lambda _, part: parts.append(part), body=body, headers=headers
        )
        try:
            if not await exchange.end:
                raise BrokenOff("half a response")
        finally:
            exchange.cut()
    return Reply(exchange.status, exchange.headers, b"".join(parts))
