"""Clients that Sentinel gives out: producers and readers find the new primary, whatever became of the old one.

Streams run while it happens, and what the old primary acknowledged alone is written again at the new one.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis, Sentinel
from redis.exceptions import RedisError

from core.replication import AT_ONCE, BINARY, follow
from core.streams import drain, ended_as, eventually, is_dense, read_all, since_reset, text_in_log, text_of
from resumable_stream import LogUnavailable, Status, StreamConsumer, StreamEvent, StreamProducer, _links
from resumable_stream.embedded import EmbeddedValkey, free_port
from resumable_stream.embedded._valkey import _wheel_binary
from resumable_stream.testing import ScriptedSource, Step
from support import wait_until

PASSWORD = "secret"
CONFIG = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor main 127.0.0.1 {primary} 1
sentinel auth-user main watcher
sentinel auth-pass main secret
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 3000
"""


@dataclass
class Watched:
    """A primary, its replica, and the Sentinel that watches them and is asked for the primary."""

    primary: EmbeddedValkey
    replica: EmbeddedValkey
    sentinel: Redis
    redis: Redis

    async def replica_is_primary(self) -> bool:
        """Whether Sentinel has made it so, and says so."""
        address = await self.sentinel.sentinel_get_master_addr_by_name("main")
        return bool(address == ("127.0.0.1", self.replica.port))


@asynccontextmanager
async def sentinel_process(folder: Path, primary: int) -> AsyncIterator[int]:
    """One Sentinel that watches a primary; yields its port."""
    binary = BINARY or str(_wheel_binary())
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


@pytest.fixture
async def watched(tmp_path: Path, no_tasks_left: None) -> AsyncIterator[Watched]:
    """Ready for a failover. The user that Sentinel is can be taken away from it."""
    settings = AT_ONCE | {
        "masterauth": PASSWORD,
        "user": f"watcher on >{PASSWORD} ~* &* +@all",
    }
    async with (
        EmbeddedValkey(binary=BINARY, password=PASSWORD, settings=settings) as primary,
        EmbeddedValkey(binary=BINARY, password=PASSWORD, settings=settings) as replica,
    ):
        await follow(replica, primary)
        async with sentinel_process(tmp_path, primary.port) as port, Redis(port=port, decode_responses=True) as asked:
            await eventually(lambda: knows_replica(asked), what="Sentinel has found the replica")
            sentinel = Sentinel([("127.0.0.1", port)])  # type: ignore[no-untyped-call] # redis-py has not annotated it
            try:
                async with sentinel.master_for("main", password=PASSWORD) as redis:
                    yield Watched(primary, replica, asked, redis)
            finally:
                for client in sentinel.sentinels:
                    await client.aclose()


async def knows_replica(sentinel: Redis) -> bool:
    """Whether the Sentinel could fail over now."""
    try:
        replicas = await sentinel.sentinel_slaves("main")
    except RedisError:
        return False
    return any(replica["master-link-status"] == "ok" for replica in replicas)


async def killed(watched: Watched) -> None:
    """The primary is gone."""
    watched.primary.kill()


async def asked(watched: Watched) -> None:
    """Sentinel is told to fail over; the old primary lives, and is told only seconds later."""
    await watched.sentinel.sentinel_failover("main")


async def stopped(watched: Watched) -> None:
    """The primary stands still, and its connections with it."""
    os.kill(watched.primary.pid, signal.SIGSTOP)


async def hidden(watched: Watched) -> None:
    """Sentinel does not get through to the primary any more; everybody else does, and it takes writes as before."""
    async with Redis.from_url(watched.primary.url) as admin:
        await admin.acl_deluser("watcher")


async def _unchanged(watched: Watched) -> None:
    """The old primary knows nothing: it would still serve all who had stayed."""
    async with Redis.from_url(watched.primary.url) as admin:
        assert (await admin.info("replication"))["role"] == "master"


async def _proceeds(watched: Watched) -> None:
    os.kill(watched.primary.pid, signal.SIGCONT)


async def _nothing(watched: Watched) -> None:
    pass


@pytest.mark.parametrize(
    ("fault", "aftermath"),
    [(killed, _nothing), (asked, _unchanged), (stopped, _proceeds), (hidden, _unchanged)],
    ids=["killed", "asked", "stopped", "hidden"],
)
async def test_streams_go_on_at_the_new_primary(
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Watched], Awaitable[None]],
    aftermath: Callable[[Watched], Awaitable[None]],
) -> None:
    """The writer is at work all the while; one reader follows it, another comes when it is over.

    Fails without the question to Sentinel (`moved` in `_links.py`): asked, hidden. Fails without the producer's tail
    (`_buffer.py`): the same.
    """
    monkeypatch.setattr(_links, "CHECK_INTERVAL", 0.2)
    monkeypatch.setattr(_links, "REPLY_TIMEOUT", 1.0)
    monkeypatch.setattr(_links, "SENTINEL_INTERVAL", 0.5)
    over = anyio.Event()
    tokens: list[str] = []

    def endless() -> Iterator[Step]:
        while not over.is_set():
            tokens.append(f"{len(tokens)} ")
            yield tokens[-1]
            yield partial(anyio.sleep, 0.002)  # the pace of a model

    got: list[StreamEvent] = []
    source = ScriptedSource(endless())
    with anyio.fail_after(60):
        async with StreamConsumer(watched.redis) as consumer, anyio.create_task_group() as group:
            group.start_soon(StreamProducer(watched.redis, lease=60).run, "s", source)
            await source.wait_yielded(20)
            group.start_soon(drain, consumer.events("s"), got)
            await wait_until(lambda: len(got) >= 20)
            await fault(watched)
            await eventually(watched.replica_is_primary, what="Sentinel has made the replica the primary")
            async with Redis.from_url(watched.replica.url) as new:
                await eventually(lambda: _grows(new), what="the stream goes on at the new primary")
                await aftermath(watched)
                over.set()
                await wait_until(lambda: got[-1].terminal)
                assert await text_in_log(new, "s") == "".join(tokens)
        async with StreamConsumer(watched.redis) as elsewhere:
            await eventually(lambda: answers(elsewhere), what="Sentinel is sure of the new primary")
            later = await read_all(elsewhere, "s")
    for events in (since_reset(got), later):
        assert text_of(events) == "".join(tokens)
        assert is_dense(events)
        assert ended_as(events) is Status.COMPLETED


async def answers(consumer: StreamConsumer) -> bool:
    """Whether a new reader would be let in."""
    try:
        await consumer.status("s")
    except LogUnavailable:
        return False
    return True


async def _grows(redis: Redis) -> bool:
    """Whether events come in here, and not from another server."""
    if (await redis.info("replication"))["role"] != "master":
        return False
    before = await text_in_log(redis, "s")
    await eventually(lambda: _longer(redis, before))
    return True


async def _longer(redis: Redis, text: str) -> bool:
    return len(await text_in_log(redis, "s")) > len(text)
