"""Promises of the chat app: a Valkey and a database for each file, whose server processes stay up for all its tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from redis import Redis

from agent.provider_wire import ProviderWire, provider_wire
from app.processes import ServerProcess, server
from promises.chat.servers import Pair, Start
from resumable_stream.embedded import EmbeddedValkey
from support import fresh_database, keys_without_ttl


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    """The address of a server that nobody else uses; afterwards every key that is left must have a TTL."""
    with EmbeddedValkey() as server, Redis.from_url(server.url) as admin:
        yield server.url
        assert keys_without_ttl(admin) == [], "keys were left that never expire"


@pytest.fixture(scope="module")
def redis_admin(valkey_url: str) -> Iterator[Redis]:
    """A blocking client of it, for looking at it from outside."""
    with Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture(scope="module")
def database_url(postgres_dsn: str) -> Iterator[str]:
    """A fresh database; afterwards no connection to it may be left open."""
    with fresh_database(postgres_dsn) as url:
        yield url


@pytest.fixture(scope="module")
async def other(valkey_url: str, database_url: str) -> AsyncIterator[ServerProcess]:
    """A server process that nothing happens to."""
    async with server(valkey_url, database_url) as process:
        await process.ready()
        yield process


@pytest.fixture(scope="module")
async def pair(valkey_url: str, database_url: str) -> AsyncIterator[Pair]:
    """Two server processes on the same data."""
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(server(valkey_url, database_url)) for _ in range(2)]
        await asyncio.gather(here.ready(), there.ready())
        yield Pair(here, there)


@pytest.fixture(scope="module")
def module_wire() -> Iterator[ProviderWire]:
    """The wires of the providers, for server processes that serve a whole file."""
    with provider_wire() as wire:
        yield wire


@pytest.fixture(scope="module")
def start(valkey_url: str, database_url: str, postgres_dsn: str, module_wire: ProviderWire) -> Iterator[Start]:
    """Starts a server process whose models are behind the wire."""
    with fresh_database(postgres_dsn) as other_url:

        def start(**settings: object) -> AbstractAsyncContextManager[ServerProcess]:
            given = {"wire_url": module_wire.url, "anthropic_database_url": other_url, "stream_lease_seconds": 1}
            return server(valkey_url, database_url, app="app.provider_process:app", **(given | settings))  # type: ignore[arg-type]  # none is for `server` itself

        yield start


@pytest.fixture
def wire(module_wire: ProviderWire) -> Iterator[ProviderWire]:
    """The same for a test, which must use all that it scripts."""
    module_wire._steps.clear()  # what a test before that failed has left
    yield module_wire
    assert module_wire.left == 0, "the model was asked less often than expected"
