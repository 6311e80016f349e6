"""A cluster of three primaries: every stream is written and read where its slot is, over few connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis, RedisCluster

from core.cluster_nodes import Nodes, cluster_nodes
from core.streams import DEADLINE, drain, ended_as, faulty, is_dense, read_all, take, text_of
from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamExists,
    StreamLost,
    StreamNotFound,
    StreamProducer,
    _cluster,
)
from resumable_stream.testing import FaultProxy, Gate, ScriptedSource, numbered
from support import wait_until


@pytest.fixture(scope="module")
def started() -> Iterator[Nodes]:
    with cluster_nodes() as nodes:
        yield nodes


@pytest.fixture
async def nodes(started: Nodes, no_tasks_left: None) -> AsyncIterator[Nodes]:
    started.clear()
    yield started
    await wait_until(started.nothing_left, what="every connection of the test is closed")


@pytest.fixture
async def redis(nodes: Nodes) -> AsyncIterator[RedisCluster]:
    async with nodes.client() as client:
        yield client


async def test_streams_on_all_nodes_share_two_connections_to_each(nodes: Nodes, redis: RedisCluster) -> None:
    """60 streams, each written and followed and read again; per primary two connections of a producer's, two of a
    consumer's. Each of the two asks once where everything is.

    Fails without telling our own unsubscriptions from the server's (`_nodes.py`).
    """
    names = [nodes.name_on(nodes.all[number % 3], f"s{number}-") for number in range(60)]
    gates = [Gate() for _ in names]
    got: list[list[StreamEvent]] = [[] for _ in names]
    before = [node.connections() for node in nodes.all]
    asked = nodes.calls_of("cluster|slots")
    with anyio.fail_after(60):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis) as producer:
            async with anyio.create_task_group() as group:
                for name, gate, events in zip(names, gates, got, strict=True):
                    source = ScriptedSource([*numbered(5), gate, *numbered(10)[5:]])
                    group.start_soon(producer.run, name, source)
                    await gate.reached()
                    group.start_soon(drain, consumer.events(name), events)
                await wait_until(lambda: all(len(events) == 5 for events in got))
                assert [node.connections() - other for node, other in zip(nodes.all, before, strict=True)] == [4, 4, 4]
                for gate in gates:
                    gate.open()
            for name, events in zip(names, got, strict=True):
                assert text_of(events) == "".join(numbered(10))
                assert is_dense(events)
                assert await read_all(consumer, name) == events
                assert await read_all(consumer, name, after=events[3].id) == events[4:]
    assert nodes.calls_of("cluster|slots") - asked == 2


async def test_only_the_nodes_that_have_the_streams_are_connected_to(nodes: Nodes, redis: RedisCluster) -> None:
    node = nodes.all[1]
    others = [nodes.all[0], nodes.all[2]]
    before = [other.connections() for other in others]
    async with StreamProducer(redis) as producer:
        await producer.run(nodes.name_on(node), ScriptedSource(["a"]))
        assert node.connections() >= 2
        assert [other.connections() for other in others] == before


SETTINGS: dict[str, dict[str, Any]] = {
    "RESP3": {"protocol": 3},
    "decoded": {"decode_responses": True},
    "decoded RESP3": {"decode_responses": True, "protocol": 3},
    "reads from replicas": {"read_from_replicas": True},
    "one connection": {"max_connections": 1},
    "short timeouts": {"socket_timeout": 0.5},
    "another startup": {"dynamic_startup_nodes": False, "reinitialize_steps": 0},
}


@pytest.mark.filterwarnings("ignore:Call to '__init__' function with deprecated usage")  # of read_from_replicas
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
async def test_a_client_with_any_settings_works(nodes: Nodes, settings: dict[str, Any]) -> None:
    """Fails without taking `READONLY` out of the settings (`_nodes.py`)."""
    gate = Gate()
    got: list[StreamEvent] = []
    client = nodes.client(**settings)
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(client) as consumer, StreamProducer(client) as producer:
            async with anyio.create_task_group() as group:
                group.start_soon(producer.run, "s", ScriptedSource(["é", gate, "\x00"]))
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                gate.open()
            assert text_of(got) == "é\x00"
            flags = [client["flags"] for client in nodes.owner("s").admin.client_list()]
            assert not any("r" in own for own in flags), "a connection that a replica would serve with old data"
            assert await producer.delete("s")
    await client.aclose()


async def test_a_client_in_use_is_borrowed_and_its_own_connections_are_left_alone(
    nodes: Nodes, redis: RedisCluster
) -> None:
    await redis.set("own", "x", ex=60)
    pools = {node.name: list(node._connections) for node in redis.get_nodes()}
    async with StreamConsumer(redis) as consumer, StreamProducer(redis) as producer:
        for node in nodes.all:
            name = nodes.name_on(node)
            await producer.run(name, ScriptedSource(["a"]))
            assert text_of(await read_all(consumer, name)) == "a"
    assert {node.name: list(node._connections) for node in redis.get_nodes()} == pools
    assert await redis.get("own") == b"x"


async def test_a_bare_producer_remembers_the_map_and_keeps_no_connection(nodes: Nodes) -> None:
    """Fails without the map that outlives connections (`_log.py`)."""
    producer = StreamProducer(nodes.client())
    await producer.run("s", ScriptedSource(["a"]))
    await wait_until(nodes.nothing_left)
    asked = nodes.calls_of("cluster|slots")
    for _ in range(5):
        assert not await producer.cancel("s")
        with pytest.raises(StreamExists):
            await producer.run("s", ScriptedSource(["b"]))
    assert nodes.calls_of("cluster|slots") == asked


async def test_a_producer_can_be_used_in_one_event_loop_after_the_other(nodes: Nodes) -> None:
    """The map outlives the loop in which it was asked for; nothing else does."""
    client = nodes.client()
    producer = StreamProducer(client)

    def in_a_loop_of_its_own(name: str) -> Status:
        return anyio.run(producer.run, name, ScriptedSource(["a"])).status

    for number in range(2):
        assert await anyio.to_thread.run_sync(in_a_loop_of_its_own, f"s{number}") is Status.COMPLETED


async def test_a_stop_and_a_deletion_reach_producers_and_readers_on_every_node(
    nodes: Nodes, redis: RedisCluster
) -> None:
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=3600) as producer:
            for node in nodes.all:
                stopped, deleted = nodes.name_on(node, "stopped"), nodes.name_on(node, "deleted")
                async with producer.open(stopped) as stream:
                    await stream.send("a")
                    reader = consumer.events(stopped)
                    assert text_of(await take(reader, 1)) == "a"
                    assert await StreamProducer(redis).cancel(stopped)
                    await anyio.sleep_forever()
                assert ended_as([event async for event in reader]) is Status.CANCELLED
                gate = Gate()
                async with anyio.create_task_group() as group:
                    group.start_soon(_lose, producer, deleted, ScriptedSource(["a", gate]))
                    await gate.reached()
                    reader = consumer.events(deleted)
                    assert text_of(await take(reader, 1)) == "a"
                    assert await StreamProducer(redis).delete(deleted)
                assert ended_as([event async for event in reader]) is Status.LOST
                with pytest.raises(StreamNotFound):
                    await consumer.status(deleted)


async def _lose(producer: StreamProducer, stream_id: str, source: ScriptedSource) -> None:
    with pytest.raises(StreamLost):
        await producer.run(stream_id, source)


async def test_the_addresses_that_the_client_maps_are_used(nodes: Nodes) -> None:
    """Behind a proxy for each node, as in a container network: nothing goes past them, redirections included.

    Fails without the mapping of addresses (`_slots.py`).
    """
    async with (
        FaultProxy("127.0.0.1", nodes.all[0].port) as first,
        FaultProxy("127.0.0.1", nodes.all[1].port) as second,
        FaultProxy("127.0.0.1", nodes.all[2].port) as third,
    ):
        proxies = dict(zip((node.port for node in nodes.all), (first, second, third), strict=True))

        def remap(address: tuple[str, int]) -> tuple[str, int]:
            return proxies[address[1]].host, proxies[address[1]].port

        client = RedisCluster(host=first.host, port=first.port, address_remap=remap)
        async with StreamConsumer(client) as consumer, StreamProducer(client) as producer:
            for node in nodes.all:
                name = nodes.name_on(node)
                await producer.run(name, ScriptedSource(["a"]))
                assert text_of(await read_all(consumer, name)) == "a"
            moved = nodes.name_on(nodes.all[0])
            nodes.move(moved, nodes.all[1])
            assert text_of(await read_all(consumer, moved)) == "a"
            assert all(node.connections() == proxies[node.port].open_connections > 0 for node in nodes.all[:2])
        nodes.move(moved, nodes.all[0])


async def test_a_user_with_the_documented_permissions_is_enough(nodes: Nodes) -> None:
    """The list of docs/operations.md, and a password."""
    commands = (
        "evalsha eval xadd xdel xrange xrevrange hmget hset hdel xlen exists del pexpire time ssubscribe sunsubscribe "
        "spublish cluster|slots asking client"
    )
    rules = ["on", ">secret", "resetkeys", "~rs1:*", "resetchannels", "&rs1:*", "nocommands"]
    for node in nodes.all:
        node.ask("ACL", "SETUSER", "app", "reset", *rules, *(f"+{command}" for command in commands.split()))
    client = nodes.client(username="app", password="secret")
    gate = Gate()
    got: list[StreamEvent] = []
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(client) as consumer, StreamProducer(client) as producer:
            async with anyio.create_task_group() as group:
                group.start_soon(producer.run, "s", ScriptedSource(["a", gate, "b"]))
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                await wait_until(lambda: got)
                source = nodes.begin_move("s", target := nodes.other(nodes.owner("s")))
                nodes.move_keys("s", source, target, "log", "state")
                gate.open()
            nodes.end_move("s", source, target)
    assert text_of(got) == "ab"
    assert ended_as(got) is Status.COMPLETED


async def test_a_plain_client_of_one_node_is_told_what_to_pass(nodes: Nodes) -> None:
    async with Redis(port=nodes.all[0].port) as client, StreamConsumer(client) as consumer:
        name = nodes.name_on(nodes.all[1])
        with pytest.raises(LogUnavailable, match="RedisCluster"):
            await consumer.status(name)
        with pytest.raises(LogUnavailable, match="RedisCluster"):
            await StreamProducer(client).run(name, ScriptedSource(["a"]))


async def test_a_cluster_that_is_away_or_is_none_is_an_error_soon(
    nodes: Nodes, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cluster, "PATIENCE", 0.3)
    async with faulty(valkey_url) as (proxy, _):
        client = RedisCluster(host=proxy.host, port=proxy.port)
        async with StreamConsumer(client) as consumer:
            with anyio.fail_after(DEADLINE), pytest.raises(LogUnavailable):
                await consumer.status("s")  # no cluster
            await proxy.down()
            with anyio.fail_after(DEADLINE), pytest.raises(LogUnavailable):
                await StreamProducer(client).run("s", ScriptedSource(["a"]))
