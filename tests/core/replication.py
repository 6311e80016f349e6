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


@asynccontextmanager
async def primary_and_replica(**settings: str) -> AsyncIterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
    """Two servers, the second in step with the first. A setting ``a_b`` is the directive ``a-b`` of both."""
    common = {name.replace("_", "-"): value for name, value in settings.items()} | {"repl-diskless-sync-delay": "0"}
    async with EmbeddedValkey(binary=BINARY, settings=common) as primary:
        following = common | {"replicaof": f"127.0.0.1 {primary.port}"}
        async with EmbeddedValkey(binary=BINARY, settings=following) as replica:
            await in_step(primary)
            yield primary, replica


async def in_step(primary: EmbeddedValkey) -> None:
    """Wait until the replica has what is written now. An up line is not enough: Redis 7.0 may send a second later."""

    async def arrives() -> bool:
        await redis.set("in step", "x", px=1000)
        return bool(await redis.wait(1, 1000))

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
        EmbeddedValkey(binary=BINARY, settings={"repl-diskless-sync-delay": "0"}) as primary,
        FaultProxy("127.0.0.1", primary.port) as line,
        FaultProxy("127.0.0.1", primary.port) as way,
        EmbeddedValkey(binary=BINARY, settings={"replicaof": f"127.0.0.1 {line.port}"}) as replica,
    ):
        await in_step(primary)
        yield Pair(primary, replica, line, way)
