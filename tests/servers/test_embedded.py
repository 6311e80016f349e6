"""The embedded servers: real processes, started, stopped, killed and found again."""

import psycopg
from redis.asyncio import Redis


async def test_a_client_talks_to_the_embedded_valkey(redis: Redis) -> None:
    await redis.set("a", "1", ex=10)
    assert await redis.get("a") == b"1"


def test_each_test_gets_a_database_of_its_own(database_url: str) -> None:
    with psycopg.connect(database_url) as c:
        c.execute("create table x(a int)")


def test_each_test_gets_a_database_of_its_own2(database_url: str) -> None:
    with psycopg.connect(database_url) as c:
        c.execute("create table x(a int)")
