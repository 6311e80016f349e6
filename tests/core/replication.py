"""A primary and its replica, for tests of what a failover does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from core.streams import eventually
from resumable_stream.embedded import EmbeddedValkey

BINARY = os.environ.get("TEST_REDIS_SERVER")


@asynccontextmanager
async def primary_and_replica(**settings: str) -> AsyncIterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
    """Two servers, the second in step with the first. A setting ``a_b`` is the directive ``a-b`` of both."""
    common = {name.replace("_", "-"): value for name, value in settings.items()} | {"repl-diskless-sync-delay": "0"}
    async with EmbeddedValkey(binary=BINARY, settings=common) as primary:
        following = common | {"replicaof": f"127.0.0.1 {primary.port}"}
        async with EmbeddedValkey(binary=BINARY, settings=following) as replica:
            async with Redis.from_url(replica.url) as redis:
                await eventually(lambda: _in_step(redis), what="the replica is in step")
            yield primary, replica


async def _in_step(replica: Redis) -> bool:
    return bool((await replica.info("replication"))["master_link_status"] == "up")
