"""The access rules that the operations page names are enough."""

from __future__ import annotations

import re

import anyio
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from docs.pages import ROOT
from resumable_stream import Status, StreamConsumer, StreamProducer
from resumable_stream.testing import Gate, ScriptedSource


async def test_a_user_with_the_documented_rules_can_do_everything(redis: Redis, redis_admin: SyncRedis) -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = page.partition("## What Redis has to allow")[2].partition("\n## ")[0]
    names = re.findall(r"`([A-Z]+)`", section)
    redis_admin.acl_setuser(
        "limited",
        enabled=True,
        passwords=["+secret"],
        keys=["rs1:*"],
        channels=["rs1:*"],
        commands=[f"+{name.lower()}" for name in names],
        reset=True,
    )
    try:
        options = redis.connection_pool.connection_kwargs
        async with Redis(host=options["host"], port=options["port"], username="limited", password="secret") as limited:
            await _use_everything(limited)
    finally:
        redis_admin.acl_deluser("limited")


async def _use_everything(redis: Redis) -> None:
    async with StreamProducer(redis, lease=0.3) as producer, StreamConsumer(redis) as consumer:
        gate = Gate()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(producer.run, "s", ScriptedSource(["one", gate]))
                await gate.reached()
                assert await producer.cancel("s")
            assert [event.data async for event in consumer.events("s")] == ["one", {"status": "cancelled"}]
            assert (await consumer.status("s")).status is Status.CANCELLED
            assert await producer.delete("s")
