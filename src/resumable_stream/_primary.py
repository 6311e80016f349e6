"""Whether a server is the one to talk to: the primary, and the one that Sentinel names.

A replica answers reads and passes notifications on for as long as it hears its primary, so a reader that was left on
one sees nothing wrong, and nothing new either once that line is cut. `HELLO` tells the role; unlike `ROLE` and `INFO`
it is refused to no user by an ACL, and after `HELLO 3` it may be asked on a connection that has subscriptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import anyio
from redis.asyncio import Redis
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError

T = TypeVar("T")

SENTINEL_TIMEOUT: Final = 5.0


def is_replica(hello: Any) -> bool:
    """Whether a reply to `HELLO` comes from a replica; any other reply tells nothing."""
    if isinstance(hello, list):
        hello = dict(zip(hello[::2], hello[1::2], strict=False))
    return isinstance(hello, dict) and hello.get(b"role") in (b"replica", b"slave")


async def moved(redis: Redis, address: tuple[str, int]) -> bool:
    """Whether Sentinel names another primary than the one at the address.

    An old primary that a partition hides from Sentinel goes on as if nothing had happened. ``False`` for clients
    without Sentinel, and while no Sentinel answers or knows a primary.
    """
    pool = redis.connection_pool
    if not isinstance(pool, SentinelConnectionPool) or not pool.is_master:
        return False
    try:
        with anyio.fail_after(SENTINEL_TIMEOUT):
            named = await in_a_task(pool.sentinel_manager.discover_master(pool.service_name))
    except (RedisError, OSError, TimeoutError):
        return False
    return tuple(named) != address


async def in_a_task(work: Coroutine[Any, Any, T]) -> T:
    """Await in a task of its own: redis-py uses `wait_for`, which may swallow a cancellation on Python 3.11."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()
