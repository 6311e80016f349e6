"""Sources of tokens: at a pace that is kept, out of step with each other, each token saying when it was made."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator


def stamp() -> str:
    """A token that says when it was made. The clock is the same in all processes of a machine."""
    return f"{time.monotonic():.6f}"


def phases(streams: int, rate: float, seed: int = 1) -> list[float]:
    """When each stream begins: at random within one period, so that they do not all tick at once."""
    rng = random.Random(seed)
    return [rng.random() / rate for _ in range(streams)]


async def paced(count: int, rate: float, phase: float) -> AsyncIterator[str]:
    """Tokens at a steady rate; what is late is made up for at once, as by a socket that has filled meanwhile."""
    loop = asyncio.get_running_loop()
    start = loop.time() + phase
    for number in range(count):
        if (early := start + number / rate - loop.time()) > 0:
            await asyncio.sleep(early)
        yield stamp()


async def at_once(count: int) -> AsyncIterator[str]:
    """Tokens without a pause."""
    for _ in range(count):
        yield "token"
