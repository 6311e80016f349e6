"""Commands of many streams, gathered into few writes."""

from __future__ import annotations

import asyncio
from typing import Final

GATHER: Final = 0.001
"""Seconds that a command may wait for others, at most, while replies to earlier ones are outstanding."""

GATHER_BYTES: Final = 64 * 1024
"""Bytes of commands that do not wait any more."""


class Outbox:
    """What goes out on one connection. A write that wakes a sleeping server costs more than all else about a command.

    A command that finds nothing under way goes out with those of the same turn of the event loop. While replies are
    outstanding commands gather, until all have come or `GATHER` is over: so streams that tick in turn share writes,
    and the server's reads, without waiting longer than a round trip to it.
    """

    __slots__ = ("_gathered", "_handle", "_loop", "_outstanding", "_size", "_transport")

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        self._size = 0
        self._outstanding = 0
        self._handle: asyncio.Handle | None = None

    def write(self, command: bytes) -> None:
        """Send a command, soon and behind those before it."""
        self._gathered.append(command)
        self._size += len(command)
        if self._size >= GATHER_BYTES:
            self._flush()
        elif self._handle is None:
            if self._outstanding:
                self._handle = self._loop.call_later(GATHER, self._flush)
            else:
                self._handle = self._loop.call_soon(self._flush)

    def answered(self) -> None:
        """Say that a reply has come."""
        self._outstanding -= 1
        if not self._outstanding and self._gathered:
            self._flush()

    def _flush(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        gathered, self._gathered = self._gathered, []
        self._outstanding += len(gathered)
        self._size = 0
        self._transport.write(b"".join(gathered))

    def close(self) -> None:
        """Send nothing more."""
        if self._handle is not None:
            self._handle.cancel()
        self._gathered.clear()
