"""A reader gets the whole stream, whenever it comes and however slowly it reads."""

from __future__ import annotations

from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    drain,
    ended_as,
    eventually,
    faulty,
    is_dense,
    read_all,
    take,
    text_in_log,
    text_of,
)
from resumable_stream import (
    ConsumerClosed,
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamNotFound,
    StreamProducer,
    _fanout,
    _pages,
    _segment,
    _window,
)
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered

RUBBISH = (
    b"",
    b"?",
    b":1\r\n",
    b"*0\r\n",
    b"*1\r\n$3\r\n1-1\r\n",
    b"*2\r\n$3\r\n1-1\r\n$4\r\ntext\r\n",
    b"*3\r\n$1\r\nx\r\n$4\r\ntext\r\n$1\r\ny\r\n",
    b"*3\r\n$3\r\n9-2\r\n$4\r\ntext\r\n$6\r\nforged\r\n",
    b"\xff" * 100,
)


async def test_an_event_arrives_while_the_source_is_still_silent(redis: Redis) -> None:
    """Each token is there before the next one is made."""
    gates = [Gate() for _ in range(5)]
    script: list[Step] = []
    for number, gate in enumerate(gates):
        script += [str(number), gate]
    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(script))
        await gates[0].reached()
        events = consumer.events("s")
        for number, gate in enumerate(gates):
            assert [event.data for event in await take(events, 1)] == [str(number)]
            gate.open()
        assert [event.type for event in await take(events, 1)] == ["end"]
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_every_kind_of_event_arrives_as_it_was_sent(redis: Redis) -> None:
    script = [
        StreamEvent("message_start", {"message_id": "m"}),
        StreamEvent("text", "plain"),
        StreamEvent("reasoning", "because \ud83d"),
        StreamEvent("tool_call", {"id": "1", "name": "search", "args": {"q": ["é", None, 1.5, True]}}),
        StreamEvent("tool_result", {"id": "1", "content": "x" * 1000, "status": "success"}),
        StreamEvent("own_kind_2", ["a", {"b": []}]),
        StreamEvent("empty"),
        StreamEvent("empty_json", {}),
    ]
    await StreamProducer(redis).run("s", ScriptedSource(script))
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
    assert [(event.type, event.data) for event in events[:-1]] == [(event.type, event.data) for event in script]


async def test_an_unknown_stream_is_not_found(redis: Redis) -> None:
    async with StreamConsumer(redis) as consumer:
        with pytest.raises(StreamNotFound):
            await anext(consumer.events("s"))
        with pytest.raises(StreamNotFound):
            await anext(consumer.frames("s"))
        with pytest.raises(StreamNotFound) as caught:
            await consumer.status("s")
        assert caught.value.stream_id == "s"
        await StreamProducer(redis).run("s", ScriptedSource(["a"]))
        assert text_of(await read_all(consumer, "s")) == "a"
    assert await redis.exists("rs1:{t}:log") == 0


async def test_a_consumer_works_only_inside_its_block(redis: Redis) -> None:
    consumer = StreamConsumer(redis)
    with pytest.raises(ConsumerClosed, match="async with"):
        await anext(consumer.events("s"))
    async with consumer:
        with pytest.raises(ConsumerClosed):
            await consumer.__aenter__()
    with pytest.raises(ConsumerClosed):
        await consumer.attach("s")
    async with consumer:
        with pytest.raises(StreamNotFound):
            await consumer.attach("s")


async def test_readers_of_a_consumer_that_closes_are_told(redis: Redis) -> None:
    """They do not wait for ever on a stream that nobody follows any more."""
    consumer = StreamConsumer(redis)
    async with StreamProducer(redis).open("s") as stream:
        async with consumer:
            events = consumer.events("s")
            await stream.send("a")
            await take(events, 1)
        with anyio.fail_after(DEADLINE), pytest.raises(ConsumerClosed):
            await anext(events)


async def test_a_reader_that_stands_still_holds_nobody_up(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window moves past it; when it goes on it reads the log, and has everything."""
    monkeypatch.setattr(_window, "WINDOW_BYTES", 50_000)
    tokens = numbered(5000)
    fast: list[StreamEvent] = []
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(60):
            gate = Gate()
            async with anyio.create_task_group() as group:
                group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["0 ", gate, *tokens]))
                await gate.reached()
                slow = consumer.events("s")
                got = await take(slow, 1)
                gate.open()
                await drain(consumer.events("s"), fast)
            got += [event async for event in slow]
    assert text_of(fast) == text_of(got) == "0 " + "".join(tokens)
    assert is_dense(got)


async def test_memory_is_bounded_by_the_window_and_not_by_the_stream(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_window, "WINDOW_BYTES", 50_000)
    await StreamProducer(redis).run("s", ScriptedSource(["x" * 100] * 20_000))
    async with StreamConsumer(redis) as consumer, await consumer.attach("s") as viewer:
        feed = viewer._feed
        while (span := await viewer.advance()) is not None:
            assert sum(segment.cost for segment in feed.window.segments) < 50_000 + 600 * _segment.SEGMENT
            assert len(feed.pages) <= _pages.COLD_PAGES
            assert len(span.events) <= _fanout.PAGE


async def test_a_storm_of_readers_reads_the_history_once(redis: Redis, redis_admin: SyncRedis) -> None:
    """200 readers of one stream in one process, from the beginning: a handful of reads of the log."""
    await StreamProducer(redis).run("s", ScriptedSource(numbered(900)))
    redis_admin.config_resetstat()
    got: list[list[StreamEvent]] = []

    async def read(consumer: StreamConsumer) -> None:
        got.append(await read_all(consumer, "s"))

    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(read, consumer)
    assert len(got) == 200
    assert all(events == got[0] for events in got)
    assert text_of(got[0]) == "".join(numbered(900))
    assert redis_admin.info("commandstats")["cmdstat_xrange"]["calls"] <= 4


async def test_what_is_too_big_for_a_notification_is_read_from_the_log(redis: Redis) -> None:
    big = "x" * (300 * 1024)
    gate = Gate()
    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["a", gate, big, "b"]))
        await gate.reached()
        events = consumer.events("s")
        await take(events, 1)
        gate.open()
        assert text_of(await take(events, 3)) == big + "b"


async def test_a_notification_from_a_stranger_delivers_nothing(redis: Redis) -> None:
    """What is delivered is the log's; rubbish on the channel costs a look at it."""
    channel = "rs1:{s}:events"
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE):
            async with StreamProducer(redis).open("s") as stream:
                await stream.send("a")
                events = consumer.events("s")
                got = await take(events, 1)
                for rubbish in RUBBISH:
                    await redis.spublish(channel, rubbish)
                await stream.send("b")
            got += [event async for event in events]
    assert text_of(got) == "ab"
    assert ended_as(got) is Status.COMPLETED


async def test_the_status_says_what_a_stream_is_doing(redis: Redis) -> None:
    async with StreamConsumer(redis) as consumer:
        async with StreamProducer(redis).open("s") as stream:
            info = await consumer.status("s")
            assert (info.stream_id, info.status, info.last_id) == ("s", Status.ACTIVE, None)
            await stream.send("a")
            await stream.flush()
            info = await consumer.status("s")
            assert (info.status, info.last_id) == (Status.ACTIVE, stream.last_id)
        info = await consumer.status("s")
        assert (info.status, info.last_id) == (Status.COMPLETED, stream.last_id)
        assert (info.code, info.message, info.stop_requested) == (None, None, False)


async def test_without_redis_a_reader_is_told_within_two_seconds(valkey_url: str, redis: Redis) -> None:
    """Refused, silent and half-open: each ends as `LogUnavailable`, and works again afterwards."""
    await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    async with faulty(valkey_url) as (proxy, client), StreamConsumer(client) as consumer:
        await proxy.down()
        with anyio.fail_after(4), pytest.raises(LogUnavailable):
            await anext(consumer.events("s"))
        with anyio.fail_after(4), pytest.raises(LogUnavailable):
            await consumer.status("s")
        await proxy.up()
        assert text_of(await read_all(consumer, "s")) == "a"
    async with faulty(valkey_url) as (proxy, client), StreamConsumer(client) as consumer:
        proxy.blackhole()
        with anyio.fail_after(4), pytest.raises(LogUnavailable):
            await anext(consumer.events("s"))
        proxy.heal()
        proxy.cut()

        async def readable() -> bool:
            with suppress(LogUnavailable):
                return text_of(await read_all(consumer, "s")) == "a"
            return False

        await eventually(readable)


async def test_a_reader_can_be_cancelled_anywhere_and_another_is_not_disturbed(redis: Redis) -> None:
    gate = Gate()
    other: list[StreamEvent] = []
    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["a", gate, "b"]))
        await eventually(lambda: text_in_log(redis, "s"))
        group.start_soon(drain, consumer.events("s"), other)
        for steps in range(25):
            async with anyio.create_task_group() as doomed:
                doomed.start_soon(drain, consumer.events("s"), [])
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                doomed.cancel_scope.cancel()
        gate.open()
    assert text_of(other) == "ab"
