"""Promises 10 and 21: streams on which nothing happens, for longer than anything has patience."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import anyio
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from core.http_server import StreamApp, request, served
from core.sse_parser import Message, parse
from core.streams import DEADLINE, drain, ended_as, eventually, lease_is_over, log_key, milliseconds, state_key, text_of
from promises.matrix import EVERY, SERVERS, Server, Variant, in_corners
from resumable_stream import Status, StreamConsumer, StreamEvent, StreamProducer, _fanout
from resumable_stream.testing import Gate, ScriptedSource
from support import connections_of_this_process, wait_until

VIEWERS = 150
IDLE = 12


@pytest.mark.promise(number=10)
async def test_idle_streams_with_150_viewers_each_leave_the_client_free(
    every_server: dict[Server, SyncRedis],
    address_of: Callable[[Server], str],
    no_tasks_left: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """12 s, where redis-py gives up after 5: no error, no reconnect, and the caller's own commands find a connection.

    The clients have default settings but for what the matrix varies. The whole matrix waits at once, on a client for
    each combination, whose pool of a hundred connections would not do for its viewers.

    Fails without the sign of life on an idle connection (`_links.py`).
    """
    got = {one: [list[StreamEvent]() for _ in range(VIEWERS)] for one in EVERY if one.server in every_server}
    over = anyio.Event()
    turn = anyio.Lock()  # all together they would be hundreds of connections at one moment

    async def use(variant: Variant) -> None:
        gate = Gate()
        async with (
            Redis.from_url(address_of(variant.server), **variant.settings) as client,
            StreamConsumer(client) as consumer,
            StreamProducer(client) as producer,
            anyio.create_task_group() as group,
        ):
            group.start_soon(producer.run, str(variant), ScriptedSource(["a", gate, "b"]))
            await gate.reached()
            for events in got[variant]:
                group.start_soon(drain, consumer.events(str(variant)), events)
            await over.wait()
            async with turn:
                assert all(await asyncio.gather(*[client.set(f"own-{number}", "x", ex=60) for number in range(90)]))
            gate.open()

    def received() -> list[int]:
        return [int(admin.info("stats")["total_connections_received"]) for admin in every_server.values()]

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for variant in got:
                group.start_soon(use, variant)
            await wait_until(lambda: all(all(streams) for streams in got.values()))
            for admin in every_server.values():
                assert len(connections_of_this_process(admin)) <= 4 * 4
            before = received()
            idle_until = anyio.current_time() + IDLE
            await wait_until(lambda: anyio.current_time() >= idle_until, timeout=IDLE * 2)
            assert received() == before
            over.set()
    for streams in got.values():
        assert all(text_of(events) == "ab" and ended_as(events) is Status.COMPLETED for events in streams)
    assert [record for record in caplog.records if record.name == "resumable_stream"] == []
    if len(every_server) < len(SERVERS):
        pytest.skip("kept on Valkey; there is no redis-server to test on as well")


async def _is_past(redis: Redis, moment: float) -> bool:
    return await milliseconds(redis) > moment


@pytest.mark.promise(number=21)
@in_corners
async def test_a_silent_model_costs_keep_alives_only_and_then_its_token_arrives(
    redis: Redis, valkey_url: str, variant: Variant, impatient: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token for three times as long as every timeout there is, made small: the longest is the retention of 1 s.

    A client whose connection ends at its age comes back all the while.

    Fails without the time to live that a sign of life gives (`_scripts.py`), and without the keep-alive
    (`_consumer.py`).
    """
    for limit in ("SWEEP", "LINGER"):
        monkeypatch.setattr(_fanout, limit, impatient)
    retention = 1.0
    gate = Gate()
    got: list[StreamEvent] = []
    bodies: list[bytes] = []
    aged: list[Message] = []
    ages = 0

    async def watch(port: int) -> None:
        async with request(port, "/s") as response:
            bodies.append(await response.read_all())

    async def come_back(port: int) -> None:
        nonlocal ages
        while not aged or aged[-1].data != "end":
            headers = {"Last-Event-ID": aged[-1].last_event_id} if aged else {}
            async with request(port, "/s", headers=headers) as response:
                aged.extend(parse(await response.read_all()))
                ages += 1

    async with (
        Redis.from_url(valkey_url, socket_timeout=impatient, **variant.settings) as client,
        StreamConsumer(client) as consumer,
        served(StreamApp(consumer, keep_alive=0.1, max_age=None, send_timeout=0.5)) as server,
        served(StreamApp(consumer, keep_alive=0.1, max_age=0.5, send_timeout=0.5)) as aging,
        StreamProducer(client, lease=0.6, retention=retention, outage_timeout=0.5) as producer,
    ):
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(producer.run, "s", ScriptedSource(["a", gate, "b"]))
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                group.start_soon(watch, server.port)
                group.start_soon(come_back, aging.port)
                over = await milliseconds(redis) + 3 * retention * 1000
                await eventually(lambda: _is_past(redis, over))
                assert text_of(got) == "a"
                assert (await consumer.status("s")).status is Status.ACTIVE
                assert not await lease_is_over(redis, "s")
                assert await redis.exists(log_key("s"), state_key("s")) == 2
                gate.open()
    assert text_of(got) == "ab"
    assert ended_as(got) is Status.COMPLETED
    frame = rb"id: \d+-%d\nevent: %b\ndata: %b\n\n"
    wire = rb"(: ka\n)+retry: \d+\n%b(: ka\n){10,}%b(: ka\n)*%b" % (
        frame % (1, b"chunk", b"a"),
        frame % (2, b"chunk", b"b"),
        frame % (3, b"system", b"end"),
    )
    assert re.fullmatch(wire, bodies[0])
    assert [message.data for message in aged] == ["a", "b", "end"]
    assert ages > 3
