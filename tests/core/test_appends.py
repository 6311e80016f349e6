"""What is sent is what the log holds: once each, in order, whatever happens to the connection."""

from __future__ import annotations

import hashlib

import anyio
import anyio.lowlevel
import pytest
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    eventually,
    faulty,
    is_dense,
    log_key,
    log_of,
    read_all,
    state_key,
    text_in_log,
    text_of,
)
from resumable_stream import (
    EventTooLarge,
    Status,
    StreamClosed,
    StreamConsumer,
    StreamEvent,
    StreamLost,
    StreamProducer,
    _scripts,
)
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until

APPEND = hashlib.sha1(_scripts.APPEND.source).hexdigest()


async def test_every_token_is_one_event_with_the_next_number(redis: Redis) -> None:
    tokens = numbered(500)
    result = await StreamProducer(redis).run("s", ScriptedSource(tokens))
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
    assert [event.data for event in events[:-1]] == tokens
    assert is_dense(events)
    assert len({event.id.generation for event in events if event.id}) == 1
    assert (result.status, result.last_id) == (Status.COMPLETED, events[-1].id)
    assert not result.attached


async def test_a_lost_reply_to_the_end_leaves_one_end(redis: Redis, valkey_url: str) -> None:
    async with faulty(valkey_url) as (proxy, client), StreamProducer(client) as producer:
        await producer.run("warm-up", ScriptedSource([]))
        async with producer.open("s") as stream:
            await stream.send("a")
            await stream.flush()
            loss = proxy.drop_reply("EVALSHA", argument=APPEND)
        assert loss.struck == 1
        assert stream.status is Status.COMPLETED
    assert [kind for _, kind, _ in await log_of(redis, "s")] == ["text", "end/json"]


async def test_tokens_gather_while_a_round_trip_is_under_way(redis: Redis, valkey_url: str) -> None:
    """Group commit: what came while the line was busy goes in one command, and the first waits for nothing."""
    async with faulty(valkey_url) as (proxy, client), StreamProducer(client) as producer:
        await producer.run("warm-up", ScriptedSource([]))
        async with producer.open("s") as stream:
            await stream.send("first ")
            await stream.flush()
            before = proxy.commands["EVALSHA"]
            proxy.to_client.hold()
            for token in numbered(200):
                await stream.send(token)
                await anyio.lowlevel.checkpoint()
            proxy.to_client.release()
            await stream.flush()
            assert proxy.commands["EVALSHA"] - before <= 4
    assert await text_in_log(redis, "s") == "first " + "".join(numbered(200))


async def test_a_full_buffer_stops_the_source_and_nothing_is_dropped(redis: Redis, valkey_url: str) -> None:
    """While Redis does not answer, the source is pulled to the bound and no further."""
    async with faulty(valkey_url) as (proxy, client), anyio.create_task_group() as group:
        producer = StreamProducer(client, buffer_bytes=20_000)
        async with producer:
            await producer.run("warm-up", ScriptedSource([]))
            script: list[Step] = [proxy.to_client.hold]
            script += ["x" * 1000] * 1000
            source = ScriptedSource(script)
            group.start_soon(producer.run, "s", source)
            with anyio.fail_after(DEADLINE):
                await source.wait_yielded(15)
                for _ in range(200):
                    await anyio.lowlevel.checkpoint()
                assert source.yielded < 60
                proxy.to_client.release()
                await wait_until(lambda: source.ended)

                async def whole() -> bool:
                    return len(await text_in_log(redis, "s")) == 1_000_000

                await eventually(whole)


async def test_with_a_flush_interval_text_is_merged_and_stays_equal(redis: Redis) -> None:
    """Fewer entries, the same text; other events keep their places between the texts."""
    tool = StreamEvent("tool_call", {"id": "1", "name": "search", "args": {}})
    script: list[Step] = [*numbered(300), tool, *numbered(300, start=301)]
    await StreamProducer(redis, flush_interval=0.05).run("s", ScriptedSource(script))
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
    assert text_of(events) == "".join(numbered(600))
    assert len(events) < 20
    kinds = [event.type for event in events]
    assert text_of(events[: kinds.index("tool_call")]) == "".join(numbered(300))
    assert is_dense(events)


async def test_with_a_flush_interval_the_first_token_and_a_flush_do_not_wait(
    redis: Redis,
) -> None:
    """The interval is far longer than the test's patience."""
    with anyio.fail_after(DEADLINE):
        async with StreamProducer(redis, flush_interval=3600).open("s") as stream:
            await stream.send("first")
            await eventually(lambda: text_in_log(redis, "s"))
            await stream.send(" second")
            await stream.flush()
            assert await text_in_log(redis, "s") == "first second"
            await stream.send(" third")
    assert await text_in_log(redis, "s") == "first second third"


async def test_with_a_flush_interval_tokens_that_come_one_by_one_gather(redis: Redis) -> None:
    """The committing task waits for more, until the interval is over or the buffer is full."""
    async with StreamProducer(redis, flush_interval=0.02, buffer_bytes=2000) as producer:
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                await stream.send("first ")
                await stream.flush()
                for token in numbered(300):
                    await stream.send(token)
                    await anyio.lowlevel.checkpoint()
                await stream.send("rest")
                await eventually(lambda: _ends_with(redis, "rest"), what="the interval is over, without a flush")
    assert await text_in_log(redis, "s") == "first " + "".join(numbered(300)) + "rest"
    assert await redis.xlen(log_key("s")) < 100


async def _ends_with(redis: Redis, text: str) -> bool:
    return (await text_in_log(redis, "s")).endswith(text)


async def test_characters_split_over_tokens_arrive_whole(redis: Redis) -> None:
    """Bytes may end inside a character and str inside a surrogate pair; what is broken shows as U+FFFD."""
    smile = "😀"
    encoded = smile.encode()
    source = ScriptedSource(
        ["a", encoded[:1], encoded[1:3], encoded[3:], "\ud83d", "\ude00", b"caf\xc3", b"\xa9", b"\xff"]
    )
    await StreamProducer(redis).run("s", source)
    assert await text_in_log(redis, "s") == f"a{smile}{smile}café\ufffd"


async def test_half_a_character_at_the_end_is_not_swallowed(redis: Redis) -> None:
    await StreamProducer(redis).run("bytes", ScriptedSource(["a", "😀".encode()[:2]]))
    assert await text_in_log(redis, "bytes") == "a\ufffd"
    await StreamProducer(redis).run("str", ScriptedSource(["a", "\ud83d"]))
    assert await text_in_log(redis, "str") == "a\ud83d"
    event = StreamEvent("title", {"title": "x"})
    await StreamProducer(redis).run("event", ScriptedSource(["\ud83d", event, "\ude00"]))
    assert [(kind, data) for _, kind, data in await log_of(redis, "event")][:3] == [
        ("text", "\ud83d"),
        ("title/json", '{"title":"x"}'),
        ("text", "\ude00"),
    ]


async def test_empty_text_makes_no_event(redis: Redis) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(["", b"", "a", ""]))
    assert [kind for _, kind, _ in await log_of(redis, "s")] == ["text", "end/json"]


@pytest.mark.parametrize(
    "event",
    [
        StreamEvent("end", {"status": "completed"}),
        StreamEvent("gap"),
        StreamEvent("reset"),
        StreamEvent("restarted"),
        StreamEvent("Upper"),
        StreamEvent("a b"),
        StreamEvent("x" * 65),
        StreamEvent(""),
        StreamEvent("bad", {"x": float("nan")}),
        StreamEvent("bad", {"x": object()}),
        StreamEvent("text", {"x": 1}),
        StreamEvent("bad/json", "x"),
        3,
        None,
    ],
)
async def test_an_event_that_cannot_be_written_is_refused_and_the_stream_goes_on(
    redis: Redis, event: StreamEvent
) -> None:
    async with StreamProducer(redis).open("s") as stream:
        with pytest.raises(ValueError, match=r"."):
            await stream.send(event)
        await stream.send("a")
    assert [kind for _, kind, _ in await log_of(redis, "s")] == ["text", "end/json"]


async def test_an_event_of_eight_mebibytes_passes_and_one_byte_more_does_not(
    redis: Redis,
) -> None:
    limit = 8 * 1024 * 1024
    async with StreamProducer(redis).open("s") as stream:
        for large in ("x" * (limit + 1), b"x" * (limit + 1), "😀" * (limit // 4 + 1)):
            with pytest.raises(EventTooLarge):
                await stream.send(large)
        await stream.send("x" * limit)
    async with StreamConsumer(redis) as consumer:
        assert len(text_of(await read_all(consumer, "s"))) == limit


async def test_nothing_can_be_sent_after_the_end(redis: Redis) -> None:
    async with StreamProducer(redis).open("s") as stream:
        await stream.send("a")
    with pytest.raises(StreamClosed):
        await stream.send("b")
    assert await text_in_log(redis, "s") == "a"


async def test_only_the_newest_events_are_kept_when_a_bound_is_set(redis: Redis) -> None:
    await StreamProducer(redis, max_events=100).run("s", ScriptedSource(numbered(2000)))
    assert await redis.xlen(log_key("s")) < 400
    assert (await log_of(redis, "s"))[-1][1] == "end/json"


async def test_a_block_that_shields_itself_is_told_by_its_next_send(redis: Redis) -> None:
    """The interrupt cannot reach it; `send` and `flush` raise what happened to the stream."""
    with anyio.fail_after(DEADLINE), pytest.raises(StreamLost):  # noqa: PT012 - the block is what is tested
        async with StreamProducer(redis).open("s") as stream:
            with anyio.CancelScope(shield=True):
                assert stream.stream_id == "s"
                await stream.send("a")
                await stream.flush()
                await redis.delete(log_key("s"), state_key("s"))
                await stream.send("b")
                with pytest.raises(StreamLost):
                    await stream.flush()
                with pytest.raises(StreamLost):
                    await stream.send("c")
                with pytest.raises(StreamLost):
                    await stream.flush()


@pytest.mark.parametrize("what", ["log", "both"])
async def test_a_stream_that_vanished_is_not_reborn_by_its_producer(redis: Redis, what: str) -> None:
    """An expired or evicted log must not come back without its head: `StreamLost`, the source closed."""
    keys = [log_key("s")] if what == "log" else [log_key("s"), state_key("s")]
    gate = Gate()
    source = ScriptedSource(["a", gate, "b", anyio.Event()])

    async def vanish() -> None:
        await gate.reached()
        await eventually(lambda: text_in_log(redis, "s"))
        await redis.delete(*keys)
        gate.open()

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(vanish)
            with pytest.raises(StreamLost):
                await StreamProducer(redis).run("s", source)
    assert source.closed
    assert await redis.exists(log_key("s")) == 0
