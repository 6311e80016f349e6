"""What every test of a promise runs on, and what must not be left behind.

Fixtures have the names that they have in `tests/conftest.py`, and are for the server of the test's `Variant`. The
library gets ``client``, which has the variant's settings; ``redis`` is for looking.

Environment:
    REQUIRE_SERVERS: fail where a server of the matrix is missing, instead of skipping.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from promises.matrix import SERVERS, Server, Variant, program_of
from resumable_stream import _links, _wire
from resumable_stream.embedded import EmbeddedValkey
from support import keys_without_ttl, no_connections_left


@pytest.fixture(scope="session")
def address_of() -> Iterator[Callable[[Server], str]]:
    """The address of a server, which is started when it is asked for first, and which nobody else uses."""
    with ExitStack() as servers:

        @cache
        def address(server: Server) -> str:
            return servers.enter_context(EmbeddedValkey(binary=program_of(server))).url

        yield address


@pytest.fixture
def variant(request: pytest.FixtureRequest) -> Variant:
    """The combination that the test runs on, by the marks of `matrix`."""
    variant: Variant = request.param
    program_of(variant.server)
    return variant


@pytest.fixture
def valkey_url(variant: Variant, address_of: Callable[[Server], str]) -> str:
    """The address of the server."""
    return address_of(variant.server)


@pytest.fixture
def redis_admin(valkey_url: str) -> Iterator[SyncRedis]:
    """A blocking client of the server, for looking at it from outside."""
    with SyncRedis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def empty_redis(redis_admin: SyncRedis) -> Iterator[SyncRedis]:
    """Afterwards no key is left that does not expire, and no connection of any process. See promise 24."""
    with looked_after(redis_admin):
        yield redis_admin


@pytest.fixture
def every_server(address_of: Callable[[Server], str]) -> Iterator[dict[Server, SyncRedis]]:
    """Clients of all servers that are there, empty and looked after, for a test of the whole matrix at once."""
    servers: dict[Server, SyncRedis] = {}
    with ExitStack() as stack:
        for server in SERVERS:
            with suppress(pytest.skip.Exception):
                servers[server] = stack.enter_context(SyncRedis.from_url(address_of(server)))
                stack.enter_context(looked_after(servers[server]))
        yield servers


@contextmanager
def looked_after(admin: SyncRedis) -> Iterator[None]:
    """Empty the server; afterwards nobody is connected and no key is there for ever."""
    admin.flushall()
    with no_connections_left(admin):
        yield
    assert keys_without_ttl(admin) == [], "keys were left that never expire"


@pytest.fixture
async def redis(valkey_url: str, empty_redis: SyncRedis, no_tasks_left: None) -> AsyncIterator[Redis]:
    """A client for looking at the server while the test runs. It also brings what looks after the test."""
    async with Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
async def client(redis: Redis, valkey_url: str, variant: Variant) -> AsyncIterator[Redis]:
    """The client that the user of the library passes in, on an empty server."""
    async with Redis.from_url(valkey_url, **variant.settings) as client:
        yield client


@pytest.fixture
def client_url(redis: Redis, valkey_url: str, variant: Variant) -> str:
    """The same for other processes."""
    return variant.url(valkey_url)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Connections to Redis are given up after half a second of silence, a tenth of what it is."""
    for module, limit in ((_links, "REPLY_TIMEOUT"), (_links, "CHECK_INTERVAL"), (_wire, "CONNECT_TIMEOUT")):
        monkeypatch.setattr(module, limit, 0.5)
    return 0.5
