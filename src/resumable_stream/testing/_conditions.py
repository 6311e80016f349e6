"""What one direction of the proxy does to the bytes that pass."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["to_server", "to_client"]


class Conditions:
    """The line in one direction; set at any time, in force for the next bytes of every connection.

    Attributes:
        latency: seconds that each piece of data waits.
        jitter: up to so many seconds more or less than ``latency``, from the proxy's seed.
        bandwidth: bytes per second of each connection; ``None`` for no limit.
        slice_size: bytes are passed on in pieces of at most this size; ``None`` for as they come.
        swallow: bytes are read and dropped, as in a black hole.
        passed: bytes passed on so far.
        swallowed: bytes swallowed so far.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._open = asyncio.Event()
        self._cut_in: int | None = None
        self.passed = 0
        self.swallowed = 0
        self.heal()

    def heal(self) -> None:
        """Take every fault away, also a pending ``cut_after`` and a hold."""
        self.latency = 0.0
        self.jitter = 0.0
        self.bandwidth: float | None = None
        self.slice_size: int | None = None
        self.swallow = False
        self._cut_in = None
        self._open.set()

    def hold(self) -> None:
        """Keep bytes back, in order, until ``release``; connections stay open."""
        self._open.clear()

    def release(self) -> None:
        """Pass on what was held, and what follows."""
        self._open.set()

    def cut_after(self, count: int) -> None:
        """Pass ``count`` more bytes, over all connections, and cut the one that carries the last of them.

        With 0 the next byte cuts its connection and does not pass. It happens once.
        """
        self._cut_in = count

    def allow(self, size: int) -> int | None:
        """Return how many of ``size`` bytes pass before the cut; ``None`` when nothing is cut."""
        if self._cut_in is None:
            return None
        if size < self._cut_in:
            self._cut_in -= size
            return None
        allowed, self._cut_in = self._cut_in, None
        return allowed

    async def delay(self, size: int) -> None:
        """Wait as long as a piece of ``size`` bytes has to."""
        seconds = self.latency + self._rng.uniform(-self.jitter, self.jitter)
        if self.bandwidth is not None:
            seconds += size / self.bandwidth
        if seconds > 0:
            await asyncio.sleep(seconds)
        await self._open.wait()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Split the data into the pieces that are passed on one by one."""
        size = self.slice_size or len(data)
        if self.bandwidth is not None:
            # A twentieth of a second's worth at a time: a slow line drips, it does not burst.
            size = max(1, min(size, int(self.bandwidth / 20)))
        for at in range(0, len(data), max(1, size)):
            yield data[at : at + size]
