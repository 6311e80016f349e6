"""Commands of many streams, gathered into few writes."""

from __future__ import annotations

import asyncio
from typing import Final

GATHER: Final = 0.001
"""Seconds that a command may wait for others, at most."""

GATHER_BYTES: Final = 64 * 1024
"""Bytes of commands that do not wait any more."""


class Outbox:
    """What goes out on one connection. A write that wakes a sleeping server costs more than all else about a command.

    A command that finds nothing under way goes out at once. While replies are outstanding commands gather, until all
    have come or `GATHER` is over: so streams that tick in turn share writes, and the server's reads, and none of them
    waits for longer than a round trip.
    """

    __slots__ = ("_due", "_gathered", "_loop", "_outstanding", "_size", "_timer", "_transport")

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        self._size = 0
        self._outstanding = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, command: bytes) -> None:
        """Send a command, soon and behind those before it."""
        if not self._outstanding:
            self._outstanding = 1
            self._transport.write(command)
            return
        if not self._gathered:
            self._due = self._loop.time() + GATHER
            if self._timer is None:
                self._timer = self._loop.call_at(self._due, self._ring)
        self._gathered.append(command)
        self._size += len(command)
        if self._size >= GATHER_BYTES:
            self._flush()

    def answered(self) -> None:
        """Say that a reply has come."""
        self._outstanding -= 1
        if not self._outstanding and self._gathered:
            self._flush()

    def _ring(self) -> None:
        # Most are gone when it rings: it is moved then, which costs less than a timer for each.
        self._timer = None
        if self._gathered:
            if self._loop.time() >= self._due:
                self._flush()
            else:
                self._timer = self._loop.call_at(self._due, self._ring)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._outstanding += len(gathered)
        self._size = 0
        self._transport.write(b"".join(gathered))

    def close(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._gathered.clear()
