"""Real servers for all tests, and a look at what a test leaves behind.

Environment:
    TEST_REDIS_URL: use this server instead of the embedded Valkey. Its database is flushed before
    each test!
    TEST_REDIS_SERVER: start this program instead of the embedded Valkey, such as
    ``/usr/bin/redis-server``.
    TEST_DATABASE_URL: use this PostgreSQL server (a postgresql:// URL); the role must be allowed
    to create databases.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

import support
from resumable_stream.embedded import EmbeddedPostgres, EmbeddedValkey
from support import connections_of_this_process, fresh_database, keys_without_ttl, wait_until


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The address of a Redis-compatible server for the whole run; ``DEBUG`` is allowed on it."""
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
        return
    binary = os.environ.get("TEST_REDIS_SERVER")
    with EmbeddedValkey(binary=binary, settings={"enable-debug-command": "local"}) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_admin(valkey_url: str) -> Iterator[SyncRedis]:
    """A blocking client of the same server, for looking at it from outside."""
    with SyncRedis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def empty_redis(redis_admin: SyncRedis) -> Iterator[SyncRedis]:
    """The server without any key; afterwards every key that is left must have a TTL."""
    redis_admin.flushall()
    yield redis_admin
    assert keys_without_ttl(redis_admin) == [], "keys were left that never expire"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other accounts can enter, as they cannot pytest's own.

    Started by root, PostgreSQL runs as another account.
    """
    # A server whose parent was killed may be at its last writes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    """Afterwards no asyncio task is left that was not there before."""
    async with support.no_tasks_left():
        yield


@pytest.fixture
async def redis(valkey_url: str, empty_redis: SyncRedis, no_tasks_left: None) -> AsyncIterator[Redis]:
    """A client with default settings on an empty server; afterwards its connections must be the
    only ones left.

    It also brings ``empty_redis`` and ``no_tasks_left``.
    """
    before = connections_of_this_process(empty_redis)
    client = Redis.from_url(valkey_url)
    yield client
    await client.aclose()

    def nothing_left() -> bool:
        after = connections_of_this_process(empty_redis)
        left = [line for client_id, line in after.items() if client_id not in before]
        assert left == [], "connections to Redis were left open"
        return True

    await wait_until(nothing_left, what="every Redis connection of the test is closed")


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """The address of a PostgreSQL server for the whole run; its role may create databases."""
    if dsn := os.environ.get("TEST_DATABASE_URL"):
        yield dsn
        return
    with EmbeddedPostgres(durable=False, settings={"max_connections": "300"}) as server:
        yield server.dsn


@pytest.fixture
def database_url(postgres_dsn: str) -> Iterator[str]:
    """A fresh database; afterwards no connection to it may be left open."""
    with fresh_database(postgres_dsn) as url:
        yield url
