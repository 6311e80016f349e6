"""A client that Sentinel gives out: producers and readers find the new primary by themselves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from redis.asyncio import Redis, Sentinel
from redis.exceptions import RedisError

from core.streams import drain, ended_as, eventually, is_dense, text_in_log, text_of
from resumable_stream import Status, StreamConsumer, StreamEvent, StreamProducer
from resumable_stream.embedded import EmbeddedValkey, free_port
from resumable_stream.embedded._valkey import _wheel_binary
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until

CONFIG = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor main 127.0.0.1 {primary} 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 3000
"""


@asynccontextmanager
async def sentinel_process(folder: Path, primary: int) -> AsyncIterator[int]:
    """One Sentinel that watches a primary; yields its port."""
    binary = os.environ.get("TEST_REDIS_SERVER") or str(_wheel_binary())
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(CONFIG.format(port=port, folder=folder, primary=primary))
    process = await asyncio.create_subprocess_exec(
        binary, str(config), "--sentinel", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.kill()
        await process.wait()


async def knows_replica(sentinel: Redis) -> bool:
    """Whether the Sentinel could fail over now."""
    try:
        replicas = await sentinel.sentinel_slaves("main")
    except RedisError:
        return False
    return any(replica["master-link-status"] == "ok" for replica in replicas)


async def test_a_stream_goes_on_at_the_new_primary_when_the_old_one_has_died(
    tmp_path: Path, no_tasks_left: None
) -> None:
    """What was replicated before is there once, and what comes after it follows without a hole."""
    binary = os.environ.get("TEST_REDIS_SERVER")
    tokens = numbered(200)
    gate = Gate()
    script: list[Step] = [*tokens[:100], gate, *tokens[100:]]
    got: list[StreamEvent] = []
    async with (
        EmbeddedValkey(binary=binary) as primary,
        EmbeddedValkey(binary=binary, settings={"replicaof": f"127.0.0.1 {primary.port}"}) as replica,
        sentinel_process(tmp_path, primary.port) as port,
        Redis(port=port, decode_responses=True) as asked,
    ):
        await eventually(lambda: knows_replica(asked), what="Sentinel has found the replica")
        sentinel = Sentinel([("127.0.0.1", port)])  # type: ignore[no-untyped-call] # redis-py has not annotated it
        with anyio.fail_after(60):
            async with (
                sentinel.master_for("main") as redis,
                StreamConsumer(redis) as consumer,
                anyio.create_task_group() as group,
            ):
                group.start_soon(StreamProducer(redis, lease=30).run, "s", ScriptedSource(script))
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                await wait_until(lambda: len(got) == 100)
                async with Redis(port=replica.port) as copy:
                    await eventually(lambda: _has_all(copy, "".join(tokens[:100])), what="the replica has everything")
                primary.kill()
                gate.open()
        for client in sentinel.sentinels:
            await client.aclose()
        async with Redis(port=replica.port) as copy:
            assert await text_in_log(copy, "s") == "".join(tokens)
    assert text_of(got) == "".join(tokens)
    assert is_dense(got)
    assert ended_as(got) is Status.COMPLETED


async def _has_all(redis: Redis, text: str) -> bool:
    return await text_in_log(redis, "s") == text
