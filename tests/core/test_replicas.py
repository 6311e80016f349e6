"""A producer that counts an event as written when a replica has it."""

from __future__ import annotations

import anyio
import pytest
from redis.asyncio import Redis

from core.replication import Pair, lagging_pair
from core.streams import DEADLINE, ended_as, eventually, log_key, read_all, text_in_log, text_of
from resumable_stream import LogUnavailable, Status, StreamConsumer, StreamProducer, _committer, _replicas
from resumable_stream.testing import ScriptedSource, numbered
from support import wait_until


async def test_a_flush_waits_until_the_replica_has_it(no_tasks_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over a connection that is lost meanwhile: what is asked on another one says nothing about what it wrote.

    Fails without the wait for what replicas have (`confirmed` in `_links.py`).
    """
    monkeypatch.setattr(_replicas, "WAIT_TIMEOUT", 0.1)
    async with (
        lagging_pair() as pair,
        Redis(port=pair.way.port) as redis,
        Redis.from_url(pair.replica.url) as copy,
        StreamProducer(redis, lease=60, replicas=1) as producer,
        anyio.create_task_group() as group,
    ):
        flushed = anyio.Event()
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                await stream.send("a")
                await stream.flush()
                assert await text_in_log(copy, "s") == "a"
                pair.line.to_client.hold()

                async def flush() -> None:
                    await stream.send("b")
                    await stream.flush()
                    flushed.set()

                group.start_soon(flush)
                await eventually(lambda: has(pair, "ab"))
                for _ in range(2):
                    before = pair.way.commands["WAIT"]
                    pair.way.cut()
                    await wait_until(lambda count=before: pair.way.commands["WAIT"] >= count + 2)  # type: ignore[misc]
                assert not flushed.is_set()
                assert str(stream.last_id).endswith("-1")
                pair.line.to_client.release()
                await flushed.wait()
                assert str(stream.last_id).endswith("-2")
                assert await text_in_log(copy, "s") == "ab"


async def has(pair: Pair, text: str) -> bool:
    async with Redis.from_url(pair.primary.url) as redis:
        return await text_in_log(redis, "s") == text


async def test_without_its_replica_a_stream_fails_as_in_an_outage(
    no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer gets `LogUnavailable`; readers got what was written, and an end that says so.

    Fails without the end that no replica is needed for (`self.error is None` in `_committer.py`).
    """
    monkeypatch.setattr(_replicas, "WAIT_TIMEOUT", 0.1)
    monkeypatch.setattr(_committer, "LAST_WORDS", 0.5)
    source = ScriptedSource(["a", anyio.Event()])
    async with lagging_pair() as pair, Redis(port=pair.way.port) as redis:
        pair.replica.kill()
        with anyio.fail_after(DEADLINE), pytest.raises(LogUnavailable) as failed:
            await StreamProducer(redis, outage_timeout=0.3, replicas=1).run("s", source)
        assert "replicas" in str(failed.value.__cause__)
        async with StreamConsumer(redis) as consumer:
            events = await read_all(consumer, "s")
    assert source.closed
    assert text_of(events) == "a"
    assert ended_as(events) is Status.FAILED


async def test_other_commands_go_on_beside_an_append_that_waits_for_a_replica(
    no_tasks_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds them up no longer than its own timeout: a stop gets through, and so does a claim.

    Fails without the look at the reply of an append that is not confirmed (`Unconfirmed` in `_committer.py`).
    """
    monkeypatch.setattr(_replicas, "WAIT_TIMEOUT", 0.2)
    source = ScriptedSource(["a", anyio.Event()])
    async with (
        lagging_pair() as pair,
        Redis(port=pair.way.port) as redis,
        StreamProducer(redis, lease=60, replicas=1) as producer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            pair.line.to_client.hold()
            group.start_soon(producer.run, "s", source)
            await source.wait_yielded(1)
            async with producer.open("t") as other:
                await other.send("b")
                await wait_until(lambda: pair.way.commands["WAIT"] >= 2)
                assert await producer.cancel("s")
                await source.wait_closed()
                assert other.last_id is None
                pair.line.to_client.release()


async def test_many_streams_share_the_waiting(no_tasks_left: None) -> None:
    """While one `WAIT` is under way the others gather for the next; all of it is at the replica in the end.

    Fails without the gathering (`_replicas.py`).
    """
    tokens = numbered(10)
    async with (
        lagging_pair() as pair,
        Redis(port=pair.way.port) as redis,
        Redis.from_url(pair.replica.url) as copy,
        StreamProducer(redis, lease=60, replicas=1) as producer,
    ):
        pair.line.to_server.latency = 0.01  # of what the replica confirms
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(write_each, producer, f"s{number}", tokens)
        assert pair.way.commands["WAIT"] < pair.way.commands["EVALSHA"] / 4
        async with StreamConsumer(redis) as consumer:
            for number in range(20):
                assert text_of(await read_all(consumer, f"s{number}")) == "".join(tokens)
                assert await copy.xlen(log_key(f"s{number}")) == len(tokens) + 1


async def write_each(producer: StreamProducer, name: str, tokens: list[str]) -> None:
    async with producer.open(name) as stream:
        for token in tokens:
            await stream.send(token)
            await stream.flush()


def test_a_negative_number_of_replicas_is_refused() -> None:
    with pytest.raises(ValueError, match="replicas"):
        StreamProducer(Redis(), replicas=-1)
