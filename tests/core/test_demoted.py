"""A server that is no primary any more is left for the one that is, also by those who only listen."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis

from core.replication import BINARY, primary_and_replica
from core.streams import DEADLINE, ended_as, eventually, faulty, is_dense, read_all, take, text_in_log, text_of
from resumable_stream import LogUnavailable, Status, StreamConsumer, StreamProducer, _links
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import ScriptedSource
from support import free_port, wait_until

LEASE = 3600
"""So long that nobody writes on the reader's behalf: a write would be refused, and so tell everything."""


async def has(redis: Redis, text: str) -> bool:
    return await text_in_log(redis, "s") == text


async def test_a_reader_leaves_a_server_that_became_a_replica(
    no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address leads to the new primary by then; the old one, cut off from it, would answer for ever.

    Fails without the question for the role (`is_replica` in `_links.py`).
    """
    monkeypatch.setattr(_links, "CHECK_INTERVAL", 0.2)
    async with (
        primary_and_replica() as (old, new),
        Redis.from_url(old.url) as at_old,
        Redis.from_url(new.url) as at_new,
        faulty(old.url) as (proxy, client),
        faulty(old.url) as (writing, writer),
        StreamConsumer(client) as consumer,
        StreamProducer(writer, lease=LEASE) as producer,
    ):
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                await stream.send("a")
                events = consumer.events("s")
                got = await take(events, 1)
                await eventually(lambda: has(at_new, "a"))
                await at_new.replicaof("NO", "ONE")
                proxy.lead_to("127.0.0.1", new.port)
                writing.lead_to("127.0.0.1", new.port)
                await at_old.replicaof("127.0.0.1", str(free_port()))
                await stream.send("b")
                got += await take(events, 1)
            got += [event async for event in events]
    assert text_of(got) == "ab"
    assert is_dense(got)
    assert ended_as(got) is Status.COMPLETED


async def test_an_old_primary_that_is_cut_off_from_its_replicas_is_left_when_it_refuses_to_write(
    no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `min-replicas-to-write`, an address that has moved is found though the old server takes itself for primary.

    Its readers find that out when they want to bury the stream.

    Fails without `NOREPLICAS` among the reasons to leave, and without the companion that leaves too (`_links.py`).
    """
    monkeypatch.setattr(_links, "CHECK_INTERVAL", 0.2)
    async with (
        primary_and_replica() as (old, new),
        Redis.from_url(old.url) as at_old,
        Redis.from_url(new.url) as at_new,
        faulty(old.url) as (proxy, client),
        StreamConsumer(client) as consumer,
        StreamProducer(client, lease=0.5) as producer,
    ):
        await at_old.config_set("min-replicas-to-write", 1)
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                await stream.send("a")
                events = consumer.events("s")
                got = await take(events, 1)
                await eventually(lambda: has(at_new, "a"))
                proxy.lead_to("127.0.0.1", new.port)
                await at_new.replicaof("NO", "ONE")
                await stream.send("b")
                got += await take(events, 1)
                await eventually(lambda: nobody_left(at_old), what="the listeners have come along")
            got += [event async for event in events]
    assert text_of(got) == "ab"
    assert is_dense(got)
    assert ended_as(got) is Status.COMPLETED


async def nobody_left(redis: Redis) -> bool:
    """Whether there is no client but this one."""
    return len(await redis.client_list()) == 1


async def test_a_replica_is_not_taken_for_the_primary(no_tasks_left: None) -> None:
    """It would answer, but what it says may be old; the cause says why.

    Fails without the look at the role after connecting (`is_replica` in `_wire.py`).
    """
    async with (
        primary_and_replica() as (primary, replica),
        Redis.from_url(primary.url) as redis,
        Redis.from_url(replica.url) as copy,
        StreamConsumer(copy) as consumer,
    ):
        await StreamProducer(redis).run("s", ScriptedSource(["a"]))
        await eventually(lambda: has(copy, "a"))
        with anyio.fail_after(DEADLINE), pytest.raises(LogUnavailable) as refused:
            await consumer.status("s")
        assert "replica" in "".join(str(cause) for cause in causes(refused.value))
        await copy.replicaof("NO", "ONE")
        assert (await consumer.status("s")).status is Status.COMPLETED


def causes(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *causes(error.__cause__)]


async def test_a_server_that_cannot_be_asked_for_its_role_is_asked_for_a_sign_of_life(
    tmp_path: Path, no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `HELLO` has been taken away: everything works, and a line that falls silent is still found out.

    Fails without the question that is asked instead (`_wire.py`), and without leaving who is silent (`_links.py`).
    """
    monkeypatch.setattr(_links, "CHECK_INTERVAL", 0.1)
    monkeypatch.setattr(_links, "REPLY_TIMEOUT", 0.3)
    async with (
        EmbeddedValkey(tmp_path, binary=BINARY, settings={"rename-command": 'HELLO ""'}) as server,
        faulty(server.url, protocol=2) as (proxy, client),
        Redis.from_url(server.url, protocol=2) as redis,
        StreamConsumer(client) as consumer,
    ):
        with anyio.fail_after(DEADLINE):
            async with StreamProducer(redis).open("s") as stream:
                await stream.send("a")
                events = consumer.events("s")
                await take(events, 1)
                asked = proxy.commands["PING"]
                await wait_until(lambda: proxy.commands["PING"] >= asked + 6)
                assert proxy.accepted == 2
                proxy.blackhole()
                await wait_until(lambda: proxy.accepted >= 4, timeout=4)  # sooner than one dial is given up
                proxy.heal()
                proxy.cut()
                await stream.send("b")
                assert text_of(await take(events, 1)) == "b"
            await events.aclose()
            assert text_of(await read_all(consumer, "s")) == "ab"
