"""A primary and its replica, for tests of what a failover does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from core.streams import eventually
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import FaultProxy

BINARY = os.environ.get("TEST_REDIS_SERVER")
AT_ONCE = {"repl-diskless-sync": "no", "hz": "100"}
"""Settings with which a replica is in step in milliseconds; by default that is only looked after once a second."""


@asynccontextmanager
async def primary_and_replica() -> AsyncIterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
    """Two servers, the second in step with the first."""
    async with (
        EmbeddedValkey(binary=BINARY, settings=AT_ONCE) as primary,
        EmbeddedValkey(binary=BINARY, settings=AT_ONCE) as replica,
    ):
        await follow(replica, primary)
        yield primary, replica


async def follow(replica: EmbeddedValkey, primary: EmbeddedValkey, *, port: int | None = None) -> None:
    """Make one server the replica of another, and wait until it is in step.

    Told in its configuration, a server would begin a second later.

    Args:
        replica: the one.
        primary: the other.
        port: where it is reached, if not at its own.
    """
    async with Redis.from_url(replica.url) as told:
        await told.replicaof("127.0.0.1", str(port or primary.port))
    await in_step(primary)


async def in_step(primary: EmbeddedValkey) -> None:
    """Wait until the replica has all that is written now. An up line is not enough: Redis 7.0 may send later."""

    async def arrives() -> bool:
        await redis.set("in step", "x", px=1000)
        return bool(await redis.wait(1, 50))

    async with Redis.from_url(primary.url) as redis:
        await eventually(arrives, what="the replica is in step")


@dataclass
class Pair:
    """A primary, its replica, and two ways that can fail: from one to the other, and of clients to the primary."""

    primary: EmbeddedValkey
    replica: EmbeddedValkey
    line: FaultProxy
    way: FaultProxy

    async def fail_over(self) -> None:
        """Kill the primary and let the replica take its place, and its address."""
        self.primary.kill()
        async with Redis.from_url(self.replica.url) as redis:
            await redis.replicaof("NO", "ONE")
        self.way.lead_to("127.0.0.1", self.replica.port)


@asynccontextmanager
async def lagging_pair() -> AsyncIterator[Pair]:
    """A primary and a replica whose line can be made to swallow what it should carry."""
    async with (
        EmbeddedValkey(binary=BINARY, settings=AT_ONCE) as primary,
        FaultProxy("127.0.0.1", primary.port) as line,
        FaultProxy("127.0.0.1", primary.port) as way,
        EmbeddedValkey(binary=BINARY, settings=AT_ONCE) as replica,
    ):
        await follow(replica, primary, port=line.port)
        yield Pair(primary, replica, line, way)
