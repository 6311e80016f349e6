"""What an ended stream takes in Redis for as long as it is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from core.streams import abandon, ended_as, eventually, is_dense, log_key, read_all, text_of
from resumable_stream import EventID, Status, StreamConsumer, StreamProducer
from resumable_stream.testing import ScriptedSource, numbered

ROOM = 4096
"""Bytes that Redis sets aside for the entries to come when a log begins."""


async def weight(redis: Redis, stream_id: str) -> int:
    return int(await redis.memory_usage(log_key(stream_id), samples=0) or 0)


async def test_a_log_gives_back_the_room_for_more_entries_when_it_ends(redis: Redis) -> None:
    """Without ``fit()`` in the script that appends, a short answer takes 4 KiB and more until it expires."""
    tokens = numbered(20)
    async with StreamProducer(redis) as producer, StreamConsumer(redis) as consumer:
        async with producer.open("s") as stream:
            for token in tokens:
                await stream.send(token)
            await stream.flush()
            assert await weight(redis, "s") > ROOM
        assert await weight(redis, "s") < 1500
        assert await redis.pttl(log_key("s")) > 0
        events = await read_all(consumer, "s")
        assert (text_of(events), ended_as(events)) == ("".join(tokens), Status.COMPLETED)
        assert is_dense(events)
        info = await redis.xinfo_stream(log_key("s"))
        assert EventID.parse(info["last-generated-id"]) == events[-1].id
    assert sorted(await redis.keys()) == [b"rs1:{s}:log", b"rs1:{s}:state"]


async def test_a_buried_log_gives_it_back_too(redis: Redis, valkey_url: str) -> None:
    """Without ``fit()`` in the script that buries."""
    await abandon(valkey_url, "s", "a", "b")

    async def buried() -> bool:
        return (await consumer.status("s")).status is Status.LOST

    async with StreamConsumer(redis) as consumer:
        await eventually(buried)
        assert await weight(redis, "s") < 1500
        assert text_of(await read_all(consumer, "s")) == "ab"


@asynccontextmanager
async def limited_user(redis: Redis, admin: SyncRedis, *rules: str) -> AsyncIterator[Redis]:
    admin.acl_setuser(
        "limited", enabled=True, passwords=["+secret"], keys=["rs1:*"], channels=["rs1:*"], commands=["+@all", *rules]
    )
    settings = redis.connection_pool.connection_kwargs
    try:
        async with Redis(host=settings["host"], port=settings["port"], username="limited", password="secret") as client:
            yield client
    finally:
        admin.acl_deluser("limited")


@pytest.mark.parametrize("denied", ["copy", "rename"])
async def test_a_user_who_may_not_copy_ends_streams_all_the_same(
    redis: Redis, empty_redis: SyncRedis, denied: str
) -> None:
    """With ``call`` in place of ``pcall`` in ``fit`` the append would fail after it was made."""
    async with limited_user(redis, empty_redis, f"-{denied}") as client, StreamConsumer(client) as consumer:
        result = await StreamProducer(client).run("s", ScriptedSource(["a", "b"]))
        events = await read_all(consumer, "s")
    assert (result.status, text_of(events), ended_as(events)) == (Status.COMPLETED, "ab", Status.COMPLETED)
    assert sorted(await redis.keys()) == [b"rs1:{s}:log", b"rs1:{s}:state"]
