"""Nodes of a cluster are promoted, killed and halted while streams run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from redis.asyncio import RedisCluster

from core.cluster_nodes import Node, Nodes, cluster_nodes
from core.streams import drain, ended_as, is_dense, log_key, read_all, text_of
from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamProducer,
    StreamWriter,
    _buffer,
    _cluster,
    _links,
    _replicas,
    _wire,
)
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until

PATIENCE = 40.0
"""Seconds for what takes a server a few."""


@pytest.fixture(scope="module")
def started() -> Iterator[Nodes]:
    with cluster_nodes(replicas=1, timeout=1000) as nodes:
        yield nodes


@pytest.fixture
async def nodes(started: Nodes, no_tasks_left: None) -> AsyncIterator[Nodes]:
    started.clear()
    yield started
    await wait_until(started.nothing_left, what="every connection of the test is closed")


@pytest.fixture
def redis(nodes: Nodes) -> RedisCluster:
    return nodes.client()


def pair(nodes: Nodes) -> tuple[Node, Node]:
    """The primary that has a replica now, and the replica."""
    first, second = nodes.all[0], nodes.all[3]
    return (first, second) if first.is_primary else (second, first)


async def in_step(nodes: Nodes, *, keys: int | None = None) -> tuple[Node, Node]:
    """Wait until the replica has all that its primary has, and every node sees all."""
    await wait_until(lambda: all(node.says()["cluster_state"] == "ok" for node in nodes.all), timeout=PATIENCE)

    def same() -> bool:
        primary, replica = pair(nodes)
        mine, its = primary.admin.info("replication"), replica.admin.info("replication")
        return its.get("master_link_status") == "up" and mine["master_repl_offset"] == its["slave_repl_offset"]

    await wait_until(same, timeout=PATIENCE, what="the replica is in step")
    return pair(nodes)


async def test_a_failover_by_hand_loses_nothing(nodes: Nodes, redis: RedisCluster) -> None:
    """Between two servers that both live: the old primary waits for the new one to have everything."""
    primary, replica = await in_step(nodes)
    name = nodes.name_on(primary)
    gate, later = Gate(), Gate()
    got: list[StreamEvent] = []
    tokens = numbered(300)
    async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=3600) as producer:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                script: list[Step] = [*tokens[:100], gate, *tokens[100:200], later, *tokens[200:]]
                group.start_soon(producer.run, name, ScriptedSource(script))
                await gate.reached()
                group.start_soon(drain, consumer.events(name), got)
                await wait_until(lambda: len(got) == 100)
                replica.ask("CLUSTER", "FAILOVER")
                gate.open()
                await wait_until(lambda: replica.is_primary)
                await later.reached()
                later.open()
            assert await read_all(consumer, name) == got
    assert text_of(got) == "".join(tokens)
    assert is_dense(got)
    assert ended_as(got) is Status.COMPLETED


async def test_a_client_that_was_told_of_a_replica_finds_the_primaries(nodes: Nodes) -> None:
    """As with one address for all nodes: whoever answers knows where everything is.

    Fails without asking replicas for the map too (`_wire.py`).
    """
    _, replica = await in_step(nodes)
    client = RedisCluster(host="127.0.0.1", port=replica.port)
    async with StreamConsumer(client) as consumer, StreamProducer(client) as producer:
        with anyio.fail_after(PATIENCE):
            for node in (pair(nodes)[0], nodes.all[1]):
                name = nodes.name_on(node)
                await producer.run(name, ScriptedSource(["a"]))
                assert text_of(await read_all(consumer, name)) == "a"


async def test_a_stream_goes_on_at_the_replica_when_its_primary_has_died(nodes: Nodes, redis: RedisCluster) -> None:
    """What the replica had is there once, what comes after follows; streams of other nodes are not held up. Who did
    nothing meanwhile finds his way too.

    Fails without a command's second try after a lost connection (`_cluster.py`).
    """
    primary, replica = await in_step(nodes)
    name, other = nodes.name_on(primary), nodes.name_on(nodes.all[1])
    gate, bystander = Gate(), StreamProducer(redis)
    assert not await bystander.cancel(name)
    got: list[StreamEvent] = []
    tokens = numbered(200)
    async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=30) as producer:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(producer.run, name, ScriptedSource([*tokens[:100], gate, *tokens[100:]]))
                await gate.reached()
                group.start_soon(drain, consumer.events(name), got)
                await wait_until(lambda: len(got) == 100)
                await in_step(nodes)
                primary.server.kill()
                gate.open()
                await producer.run(other, ScriptedSource(numbered(100)))
                assert text_of(await read_all(consumer, other)) == "".join(numbered(100))
                assert not replica.is_primary, "the other stream was done before"
            assert await read_all(consumer, name) == got
            assert not await bystander.cancel(name)
    assert text_of(got) == "".join(tokens)
    assert is_dense(got)
    assert ended_as(got) is Status.COMPLETED
    primary.server.start()


async def test_what_a_failover_loses_is_told(
    nodes: Nodes, redis: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica was cut off after 6 of 10 events, which the producer does not know any more. A reader who had them
    all starts over, and finds a gap; so do those who come later, and those who resume inside of it."""
    monkeypatch.setattr(_buffer, "TAIL_BYTES", 0)
    primary, _ = await in_step(nodes)
    name = nodes.name_on(primary)
    async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=3600) as producer:
        with anyio.fail_after(PATIENCE):
            async with producer.open(name) as stream:
                await send_ten(nodes, stream, cut_off_after=6)
                reader = consumer.events(name)
                had = await _take(reader, 10)
                primary.server.kill()
                again = await _take(reader, 7)
                assert [event.type for event in again] == ["reset", *["text"] * 6]
                assert again[1:] == had[:6]
                await stream.send("next")
            rest = [event async for event in reader]
            assert [event.type for event in rest] == ["gap", "text", "end"]
            assert rest[0].data == {"missed": 4}
            assert await read_all(consumer, name) == [*again[1:], *rest]
            resumed = await read_all(consumer, name, after=had[7].id)
            assert [event.type for event in resumed] == ["gap", "text", "end"]
            assert resumed[0].data == {"missed": 2}
    primary.server.start()


async def test_what_a_failover_loses_is_written_again_where_it_is_known(nodes: Nodes, redis: RedisCluster) -> None:
    """The same, but the producer has the four events still: everybody gets all there is, whole."""
    primary, _ = await in_step(nodes)
    name = nodes.name_on(primary)
    async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=3600) as producer:
        with anyio.fail_after(PATIENCE):
            async with producer.open(name) as stream:
                await send_ten(nodes, stream, cut_off_after=6)
                reader = consumer.events(name)
                had = await _take(reader, 10)
                primary.server.kill()
                await stream.send("next")
            got = [*had, *[event async for event in reader]]
            seen = [event.type for event in got]
            if "reset" in seen:  # he looked before the producer did
                got = got[seen.index("reset") + 1 :]
            assert await read_all(consumer, name) == got
            assert await read_all(consumer, name, after=had[7].id) == got[8:]
    assert text_of(got) == "".join([*numbered(10), "next"])
    assert is_dense(got)
    primary.server.start()


async def send_ten(nodes: Nodes, stream: StreamWriter, *, cut_off_after: int) -> None:
    """Have ten events acknowledged, of which the replica gets the first few only, and no more after that."""
    primary, _ = pair(nodes)
    for token in numbered(cut_off_after):
        await stream.send(token)
    await stream.flush()
    await in_step(nodes)
    primary.ask("ACL", "SETUSER", "default", "-psync", "-sync")
    primary.ask("CLIENT", "KILL", "TYPE", "replica")
    for token in numbered(10)[cut_off_after:]:
        await stream.send(token)
    await stream.flush()


async def _take(events: AsyncIterator[StreamEvent], count: int) -> list[StreamEvent]:
    return [await anext(events) for _ in range(count)]


async def test_a_halted_primary_is_left_and_not_believed_when_it_wakes_up(
    nodes: Nodes, redis: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections stand, it answers nothing, and would be waited for long: but its replica takes over, and the
    cluster is asked. The streams of other nodes never notice.

    Fails without asking the others when a node is silent (`_cluster.py`).
    """
    monkeypatch.setattr(_links, "REPLY_TIMEOUT", 3600)
    monkeypatch.setattr(_wire, "CONNECT_TIMEOUT", 3600)
    primary, replica = await in_step(nodes)
    name, other = nodes.name_on(primary), nodes.name_on(nodes.all[1])
    async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=3600) as producer:
        with anyio.fail_after(PATIENCE):
            async with producer.open(name) as stream, producer.open(other) as second:
                await stream.send("a")
                await stream.flush()
                reader = consumer.events(name)
                got = await _take(reader, 1)
                await in_step(nodes)
                primary.server.suspend()
                await stream.send("b")
                await second.send("c")
                reading = consumer.events(other)
                assert text_of(await _take(reading, 1)) == "c"
                got += await _take(reader, 1)
                assert replica.is_primary
                primary.server.resume()
                await wait_until(lambda: not primary.is_primary)
                await stream.send("d")
                got += await _take(reader, 1)
            got += [event async for event in reader]
            assert await read_all(consumer, name) == got
            await reading.aclose()
    assert text_of(got) == "abd"
    assert is_dense(got)
    assert ended_as(got) is Status.COMPLETED


async def test_an_event_is_acknowledged_when_a_replica_of_its_node_has_it(
    nodes: Nodes, redis: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that is asked for; streams of nodes without a replica fail as in an outage."""
    monkeypatch.setattr(_replicas, "WAIT_TIMEOUT", 0.1)
    primary, replica = await in_step(nodes)
    flushed = anyio.Event()
    async with (
        StreamProducer(redis, lease=3600, replicas=1) as producer,
        StreamProducer(redis, replicas=1, outage_timeout=0) as hasty,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(PATIENCE):
            async with producer.open(name := nodes.name_on(primary)) as stream:
                replica.server.suspend()

                async def write() -> None:
                    await stream.send("a")
                    await stream.flush()
                    flushed.set()

                group.start_soon(write)
                try:
                    with pytest.raises(LogUnavailable):
                        await hasty.run(nodes.name_on(nodes.all[1]), ScriptedSource(["b", anyio.Event()]))
                    assert primary.admin.xlen(log_key(name)) == 1
                    assert not flushed.is_set()
                finally:
                    replica.server.resume()
                await flushed.wait()


async def test_streams_of_a_node_without_a_replica_wait_for_it(
    nodes: Nodes, redis: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed and started again with its file: its streams stand still meanwhile, and those of the others do not. It
    says for two seconds that the cluster is down; whoever has the patience is answered after that.

    Fails without waiting where the server says `CLUSTERDOWN` (`_nodes.py`).
    """
    monkeypatch.setattr(_cluster, "PATIENCE", PATIENCE)
    node = nodes.all[1]
    name, unknown, other = nodes.name_on(node), nodes.name_on(node, "unknown"), nodes.name_on(nodes.all[2])
    async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=3600) as producer:
        with anyio.fail_after(PATIENCE):
            async with producer.open(name) as stream:
                await stream.send("a")
                await stream.flush()
                reader = consumer.events(name)
                got = await _take(reader, 1)
                node.server.kill()
                await stream.send("b")
                await producer.run(other, ScriptedSource(["c"]))
                assert text_of(await read_all(consumer, other)) == "c"
                await anyio.to_thread.run_sync(node.server.start)
                assert not await producer.cancel(unknown)
                got += await _take(reader, 1)
            got += [event async for event in reader]
    assert text_of(got) == "ab"
    assert is_dense(got)
    assert ended_as(got) is Status.COMPLETED
