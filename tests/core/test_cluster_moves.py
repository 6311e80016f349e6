"""Slots are moved from node to node while their streams are written and read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from redis.asyncio import RedisCluster

from core.cluster_nodes import Nodes, cluster_nodes
from core.streams import DEADLINE, drain, ended_as, is_dense, read_all, take, text_of
from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamNotFound,
    StreamProducer,
    StreamResult,
    _cluster,
    _fanout,
    _waiting,
)
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until

LEASE = 3600
"""So long that nothing makes a reader look at the log but what it is told."""


@pytest.fixture(scope="module")
def started() -> Iterator[Nodes]:
    with cluster_nodes() as nodes:
        yield nodes


@pytest.fixture
async def nodes(started: Nodes, no_tasks_left: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    monkeypatch.setattr(_fanout, "SWEEP", LEASE)
    started.clear()
    yield started
    await wait_until(started.nothing_left, what="every connection of the test is closed")


@pytest.fixture
def redis(nodes: Nodes) -> RedisCluster:
    return nodes.client()


async def test_a_stream_is_written_and_read_in_every_state_of_a_move(nodes: Nodes, redis: RedisCluster) -> None:
    """One event before, one in each state between, one after; the reader who is there from the start gets each at once,
    though the old owner does not hear what is published at the new one, and a reader who comes then gets them all.

    Fails without the word to those who listen at the old owner (`_cluster.py`), `ASKING` (`_links.py`).
    """
    source = nodes.owner("s")
    target = nodes.other(source)
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=LEASE) as producer:
            async with producer.open("s") as stream:
                reader = consumer.events("s")

                async def told(token: str) -> None:
                    await stream.send(token)
                    await stream.flush()
                    assert text_of(await take(reader, 1)) == token
                    async with StreamConsumer(redis) as other:
                        now = await take(other.events("s"), stream.last_id.sequence if stream.last_id else 0)
                    assert text_of(now).endswith(token)
                    assert is_dense(now)

                await told("before ")
                nodes.begin_move("s", target)
                await told("open ")
                nodes.move_keys("s", source, target, "log")
                refused = source.refusals("TRYAGAIN")
                await stream.send("half ")
                await wait_until(lambda: source.refusals("TRYAGAIN") > refused)
                nodes.move_keys("s", source, target, "state")
                assert text_of(await take(reader, 1)) == "half "
                await told("gone ")
                await told("still gone ")
                nodes.end_move("s", source, target)
                await told("moved ")
                await told("after")
            assert [event.terminal for event in await take(reader, 1)] == [True]
            assert text_of(await read_all(consumer, "s")) == "before open half gone still gone moved after"


async def test_streams_begin_and_end_in_a_slot_that_is_being_moved(nodes: Nodes, redis: RedisCluster) -> None:
    """However long it takes: the server refuses commands with two keys that it does not have, and keeps to that.

    Fails without the scripts with one key (`_cluster.py`), deleting key by key (`_scripts.py`).
    """
    source = nodes.begin_move("s", target := nodes.other(nodes.owner("s")))
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=LEASE) as producer:
            with pytest.raises(StreamNotFound):
                await consumer.status("s")
            with pytest.raises(StreamNotFound):
                await read_all(consumer, "s")
            assert not await producer.cancel("s")
            assert not await producer.delete("s")
            gate = Gate()
            got: list[StreamEvent] = []
            async with anyio.create_task_group() as group:
                group.start_soon(_wait_and_drain, consumer, "s", got)
                group.start_soon(producer.run, "s", ScriptedSource(["a", gate, "b"]))
                await gate.reached()
                await wait_until(lambda: got)
                assert (await consumer.status("s")).status is Status.ACTIVE
                gate.open()
            assert text_of(got) == "ab"
            assert ended_as(got) is Status.COMPLETED
            assert (source.keys(), target.keys()) == (0, 2)
            assert await producer.delete("s")
            await producer.run("s", ScriptedSource(["c"]))
            nodes.end_move("s", source, target)
            assert text_of(await read_all(consumer, "s")) == "c"


async def _wait_and_drain(consumer: StreamConsumer, stream_id: str, into: list[StreamEvent]) -> None:
    await drain(consumer.events(stream_id, wait=DEADLINE), into)


async def test_a_stop_and_a_deletion_pass_through_a_move(nodes: Nodes, redis: RedisCluster) -> None:
    """The producer listens at the old owner, and is silent: it renews its lease in an hour."""
    async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=LEASE) as producer:
        for moved in (False, True):
            name = f"s{moved}"
            source = nodes.owner(name)
            target = nodes.other(source)
            gate = Gate()
            got: list[StreamEvent] = []
            with anyio.fail_after(DEADLINE):
                async with anyio.create_task_group() as group:
                    group.start_soon(producer.run, name, ScriptedSource(["a", gate]))
                    await gate.reached()
                    group.start_soon(drain, consumer.events(name), got)
                    await wait_until(lambda: got)  # noqa: B023 - awaited in the loop
                    nodes.begin_move(name, target)
                    nodes.move_keys(name, source, target, "log", "state")
                    if moved:
                        nodes.end_move(name, source, target)
                    assert await StreamProducer(redis).cancel(name)
                assert ended_as(got) is Status.CANCELLED
                if not moved:
                    nodes.end_move(name, source, target)


async def test_a_run_that_waits_for_anothers_end_is_told_across_a_move(
    nodes: Nodes, redis: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_waiting, "SWEEP", LEASE)
    results: list[StreamResult] = []
    gate, unused = Gate(), ScriptedSource(["never"])

    async def attach() -> None:
        results.append(await StreamProducer(redis, lease=LEASE).run("s", unused, attach=True))

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(StreamProducer(redis, lease=LEASE).run, "s", ScriptedSource(["a", gate]))
            await gate.reached()
            group.start_soon(attach)
            await wait_until(lambda: unused.closed)
            nodes.move("s", nodes.other(nodes.owner("s")))
            gate.open()
    assert [(result.status, result.attached) for result in results] == [(Status.COMPLETED, True)]


async def test_a_slot_that_goes_back_and_forth_loses_nothing(nodes: Nodes, redis: RedisCluster) -> None:
    """A source that never pauses, a reader that stays and one that comes back again and again."""
    stop = False
    sent: list[str] = []

    def tokens() -> Iterator[Step]:
        for token in numbered(100_000):
            if stop:
                return
            sent.append(token)
            yield token
            yield anyio.lowlevel.checkpoint

    got: list[StreamEvent] = []
    resumed: list[StreamEvent] = []

    async def come_back(consumer: StreamConsumer) -> None:
        while not resumed or not resumed[-1].terminal:
            events = consumer.events("s", after=resumed[-1].id if resumed else None)
            async for event in events:
                resumed.append(event)
                if len(resumed) % 50 == 0:
                    break
            await events.aclose()

    with anyio.fail_after(60):
        async with (
            StreamConsumer(redis) as consumer,
            StreamProducer(redis, lease=LEASE) as producer,
            anyio.create_task_group() as group,
        ):
            group.start_soon(producer.run, "s", ScriptedSource(tokens()))
            await wait_until(lambda: len(sent) > 20)
            group.start_soon(drain, consumer.events("s"), got)
            group.start_soon(come_back, consumer)
            for _ in range(6):
                source = nodes.owner("s")
                target = nodes.other(source)
                nodes.begin_move("s", target)
                for part in ("log", "state"):
                    await _more(sent, 20)
                    nodes.move_keys("s", source, target, part)
                await _more(sent, 20)
                nodes.end_move("s", source, target)
                await wait_until(lambda: len(got) > len(sent) - 20)
            stop = True
    for events in (got, resumed):
        assert text_of(events) == "".join(sent)
        assert is_dense(events)
        assert ended_as(events) is Status.COMPLETED


async def _more(sent: list[str], count: int) -> None:
    before = len(sent)
    await wait_until(lambda: len(sent) >= before + count)


async def test_slots_moved_at_one_stroke_lose_nothing(nodes: Nodes, redis: RedisCluster) -> None:
    """Valkey 9's own migration, which copies as a replica does and hands over when both have all."""
    names = nodes.names_on(nodes.all[0], 10)
    source = nodes.all[0]
    target = nodes.all[1]
    gates = [Gate() for _ in names]
    got: list[list[StreamEvent]] = [[] for _ in names]
    if not any("MIGRATESLOTS" in line for line in source.ask("CLUSTER", "HELP")):
        pytest.skip("this server moves slots key by key only")
    with anyio.fail_after(60):
        async with (
            StreamConsumer(redis) as consumer,
            StreamProducer(redis, lease=LEASE) as producer,
            anyio.create_task_group() as group,
        ):
            for name, gate, events in zip(names, gates, got, strict=True):
                group.start_soon(producer.run, name, ScriptedSource(["a", gate, "b"]))
                await gate.reached()
                group.start_soon(drain, consumer.events(name), events)
            await wait_until(lambda: all(got))
            ranges = [slot for name in names for slot in [nodes.slot(name)] * 2]
            source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *ranges, "NODE", target.id)
            for gate in gates[:5]:
                gate.open()
            await wait_until(lambda: all(nodes.owner(name) is target for name in names))
            for gate in gates[5:]:
                gate.open()
    for events in got:
        assert text_of(events) == "ab"
        assert is_dense(events)
        assert ended_as(events) is Status.COMPLETED


async def test_many_moves_cost_few_questions_for_the_map(nodes: Nodes, redis: RedisCluster) -> None:
    """40 streams change their node, one by one, under 40 producers and 40 readers: each is redirected a few times, and
    each of the two asks for the map no more often than it may.

    Fails without the pause between two questions for the map (`_cluster.py`).
    """
    names = nodes.names_on(nodes.all[2], 40)
    gates = [Gate() for _ in names]
    got: list[list[StreamEvent]] = [[] for _ in names]
    with anyio.fail_after(60):
        async with (
            StreamConsumer(redis) as consumer,
            StreamProducer(redis, lease=LEASE) as producer,
            anyio.create_task_group() as group,
        ):
            for name, gate, events in zip(names, gates, got, strict=True):
                group.start_soon(producer.run, name, ScriptedSource(["a", gate, "b"]))
                await gate.reached()
                group.start_soon(drain, consumer.events(name), events)
            await wait_until(lambda: all(got))
            asked, redirected = nodes.calls_of("cluster|slots"), nodes.all[2].refusals("MOVED")
            began = anyio.current_time()
            for name, gate, events in zip(names, gates, got, strict=True):
                nodes.move(name, nodes.all[0])
                gate.open()
                await wait_until(lambda: events[-1].terminal)  # noqa: B023 - awaited in the loop
            intervals = (anyio.current_time() - began) / _cluster.MAP_INTERVAL
            assert nodes.calls_of("cluster|slots") - asked <= 2 * (intervals + 2)
            assert nodes.all[2].refusals("MOVED") - redirected <= 4 * len(names)
    for events in got:
        assert text_of(events) == "ab"
        assert is_dense(events)


async def test_a_redirection_is_enough_to_follow_one_slot(
    nodes: Nodes, redis: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands and subscriptions go where the old owner says; the map may be asked for in an hour.

    Fails without asking again for a subscription that the server has dropped (`_nodes.py`), noting what `MOVED` says
    (`_cluster.py`), giving back a channel that is refused (`_nodes.py`).
    """
    monkeypatch.setattr(_cluster, "MAP_INTERVAL", 3600)
    async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=LEASE) as producer:
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                reader = consumer.events("s")
                await stream.send("a")
                assert text_of(await take(reader, 1)) == "a"
                nodes.move("s", nodes.other(nodes.owner("s")))
                await stream.send("b")
                assert text_of(await take(reader, 1)) == "b"
                await stream.send("c")
                assert text_of(await take(reader, 1)) == "c"
            await reader.aclose()
            async with StreamConsumer(redis) as other:  # no subscription tells it anything
                for _ in range(3):
                    assert (await other.status("s")).status is Status.COMPLETED
                    nodes.move("s", nodes.other(nodes.owner("s")))


async def test_a_node_that_has_no_slots_any_more_is_let_go(nodes: Nodes, redis: RedisCluster) -> None:
    """Nobody connects to it again, and readers and producers go on elsewhere.

    Fails without letting go of a node without slots (`_cluster.py`).
    """
    leaving = nodes.all[2]
    name = nodes.name_on(leaving)
    gate = Gate()
    got: list[StreamEvent] = []
    with anyio.fail_after(60):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=LEASE) as producer:
            async with anyio.create_task_group() as group:
                group.start_soon(producer.run, name, ScriptedSource(["a", gate, "b"]))
                await gate.reached()
                group.start_soon(drain, consumer.events(name), got)
                await wait_until(lambda: got)
                assert leaving.connections() == 4
                nodes.move(name, nodes.all[0])
                ranges = leaving.ranges()
                nodes.give(ranges, nodes.all[1])
                await wait_until(lambda: leaving.connections() == 0)
                gate.open()
            assert leaving.connections() == 0
    assert text_of(got) == "ab"
    nodes.give(ranges, leaving)


async def test_a_move_that_stops_half_way_is_waited_for_and_then_told(
    nodes: Nodes, redis: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key here, one there: nothing can be said about the stream. Its producer holds on; a question is refused after
    a while, and answered if the move goes on before.

    Fails without waiting where the server says `TRYAGAIN` (`_nodes.py`).
    """
    source = nodes.owner("s")
    target = nodes.other(source)
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=LEASE) as producer:
            async with producer.open("s") as stream:
                await stream.send("a")
                await stream.flush()
                nodes.begin_move("s", target)
                nodes.move_keys("s", source, target, "state")
                await stream.send("b")
                monkeypatch.setattr(_cluster, "PATIENCE", 0.2)
                with pytest.raises(LogUnavailable):
                    await consumer.status("s")
                monkeypatch.setattr(_cluster, "PATIENCE", DEADLINE)
                refused = source.refusals("TRYAGAIN")
                async with anyio.create_task_group() as group:
                    group.start_soon(consumer.status, "s")
                    await wait_until(lambda: source.refusals("TRYAGAIN") > refused + 1)
                    nodes.move_keys("s", source, target, "log")
                await stream.flush()
            nodes.end_move("s", source, target)
            assert text_of(await read_all(consumer, "s")) == "ab"
