"""A producer that lives keeps its stream; one that has died is buried, once, by whoever notices."""

from __future__ import annotations

import anyio
from redis.asyncio import Redis

from core.processes import producer_process
from core.streams import (
    DEADLINE,
    abandon,
    drain,
    ended_as,
    ends_in_log,
    eventually,
    faulty,
    lease_is_over,
    log_key,
    log_of,
    read_all,
    state_key,
    text_in_log,
    text_of,
)
from resumable_stream import Status, StreamConsumer, StreamEvent, StreamProducer
from resumable_stream.testing import Gate, ScriptedSource


async def milliseconds(redis: Redis) -> float:
    """The server's clock."""
    seconds, micros = await redis.time()
    return float(seconds) * 1000 + float(micros) / 1000


async def lease_left(redis: Redis, stream_id: str) -> float:
    """Milliseconds until the producer counts as dead."""
    return float(await redis.hget(state_key(stream_id), "l") or 0) - await milliseconds(redis)


async def test_after_a_kill_attached_and_later_readers_get_the_tokens_and_the_same_end(
    redis: Redis, valkey_url: str
) -> None:
    """SIGKILL after k tokens: exactly k tokens, then `lost`, with one id for everybody."""
    attached: list[StreamEvent] = []
    async with (
        StreamConsumer(redis) as consumer,
        StreamConsumer(redis) as elsewhere,
        producer_process(valkey_url, "s", lease=1) as process,
    ):
        await process.send("one ", "two ", "three")
        await eventually(lambda: text_in_log(redis, "s"))
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(drain, consumer.events("s"), attached)
                await eventually(lambda: _says(redis, "one two three"))
                await process.kill()
        later = await read_all(elsewhere, "s")
    assert text_of(attached) == "one two three"
    assert ended_as(attached) is Status.LOST
    assert later == attached
    assert attached[-1].id is not None
    assert len(await ends_in_log(redis, "s")) == 1


async def _says(redis: Redis, text: str) -> bool:
    return await text_in_log(redis, "s") == text


async def test_a_pause_shorter_than_the_lease_changes_nothing(redis: Redis, valkey_url: str) -> None:
    """SIGSTOP over a missed heartbeat, then SIGCONT."""
    async with StreamConsumer(redis) as consumer, producer_process(valkey_url, "s", lease=4) as process:
        await process.send("a")
        await eventually(lambda: _says(redis, "a"))
        await process.pause()

        async def a_heartbeat_was_missed() -> bool:
            return await lease_left(redis, "s") < 2000

        await eventually(a_heartbeat_was_missed)
        process.proceed()
        await process.send("b")
        await process.finish()
        assert await process.says() == "completed"
        events = await read_all(consumer, "s")
    assert [event.type for event in events] == ["text", "text", "end"]


async def test_a_pause_longer_than_the_lease_that_nobody_noticed_changes_nothing(redis: Redis, valkey_url: str) -> None:
    """Without a reader or another claim nobody has taken the stream: the producer goes on."""
    async with producer_process(valkey_url, "s", lease=0.5) as process:
        await process.send("a")
        await eventually(lambda: _says(redis, "a"))
        await process.pause()
        await eventually(lambda: lease_is_over(redis, "s"))
        process.proceed()
        await process.send("b")
        await process.finish()
        assert await process.says() == "completed"
    assert await text_in_log(redis, "s") == "ab"


async def test_a_producer_that_wakes_after_a_new_claim_is_fenced(redis: Redis, valkey_url: str) -> None:
    """No event of the old generation stands after the first of the new one."""
    async with producer_process(valkey_url, "s", lease=0.5) as process:
        await process.send("old ")
        await eventually(lambda: text_in_log(redis, "s"))
        await process.pause()
        await process.send("too late")
        await eventually(lambda: lease_is_over(redis, "s"))
        async with StreamProducer(redis).open("s") as stream:
            await stream.send("new")
            await stream.flush()
            process.proceed()
            assert await process.says() == "closed"
            assert await process.says() == "StreamFenced"
    generations = [int(entry_id.split("-")[0]) for entry_id, _, _ in await log_of(redis, "s")]
    assert generations == sorted(generations)
    assert await text_in_log(redis, "s") == "old new"


async def test_a_producer_that_wakes_after_its_burial_is_fenced(redis: Redis, valkey_url: str) -> None:
    async with StreamConsumer(redis) as consumer, producer_process(valkey_url, "s", lease=0.5) as process:
        await process.send("a")
        await eventually(lambda: text_in_log(redis, "s"))
        await process.pause()
        events = await read_all(consumer, "s")
        assert ended_as(events) is Status.LOST
        await process.send("too late")
        process.proceed()
        assert await process.says() == "closed"
        assert await process.says() == "StreamFenced"
        assert await read_all(consumer, "s") == events


async def test_a_silent_source_keeps_its_stream_and_its_keys(redis: Redis, valkey_url: str) -> None:
    """No token for several leases and longer than the retention: the token comes, nothing is lost."""
    gate = Gate()
    got: list[StreamEvent] = []
    started = await milliseconds(redis)

    async def long_silent() -> bool:
        return await milliseconds(redis) > started + 2500

    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        with anyio.fail_after(DEADLINE):
            group.start_soon(StreamProducer(redis, lease=0.6, retention=1).run, "s", ScriptedSource(["a", gate, "b"]))
            await gate.reached()
            group.start_soon(drain, consumer.events("s"), got)
            await eventually(long_silent)
            assert (await consumer.status("s")).status is Status.ACTIVE
            assert not await lease_is_over(redis, "s")
            assert await redis.exists(log_key("s"), state_key("s")) == 2
            gate.open()
    assert text_of(got) == "ab"
    assert ended_as(got) is Status.COMPLETED


async def test_asking_for_the_status_of_a_dead_stream_ends_it(redis: Redis, valkey_url: str) -> None:
    """`status` is enough: nobody needs to read the stream for it to be buried."""
    await abandon(valkey_url, "s", "a")
    async with StreamConsumer(redis) as consumer:

        async def lost() -> bool:
            return (await consumer.status("s")).status is Status.LOST

        await eventually(lost)
        info = await consumer.status("s")
    assert info.last_id is not None
    assert len(await ends_in_log(redis, "s")) == 1


async def test_many_readers_bury_a_stream_once(redis: Redis, valkey_url: str) -> None:
    await abandon(valkey_url, "s", "a")
    ends: list[StreamEvent] = []

    async def read() -> None:
        async with StreamConsumer(redis) as consumer:
            ends.append((await read_all(consumer, "s"))[-1])

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(read)
    assert len(ends) == 5
    assert len({end.id for end in ends}) == 1
    assert len(await ends_in_log(redis, "s")) == 1


async def test_a_stream_without_an_event_is_buried_too(redis: Redis, valkey_url: str) -> None:
    """A producer that died between its claim and its first token."""
    await abandon(valkey_url, "s")
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
    assert [(event.type, event.status) for event in events] == [("end", Status.LOST)]


async def test_a_producer_that_comes_back_in_time_is_not_buried(redis: Redis, valkey_url: str) -> None:
    """After an outage a reader only sets a date; a sign of life strikes it."""
    gate = Gate()
    got: list[StreamEvent] = []
    async with (
        faulty(valkey_url) as (proxy, client),
        StreamConsumer(redis) as consumer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            group.start_soon(StreamProducer(client, lease=0.5).run, "s", ScriptedSource(["a", gate, "b"]))
            await eventually(lambda: text_in_log(redis, "s"))
            group.start_soon(drain, consumer.events("s"), got)
            proxy.to_server.hold()
            await eventually(lambda: redis.hexists(state_key("s"), "b"), what="a reader has set the date")
            proxy.to_server.release()
            gate.open()
    assert text_of(got) == "ab"
    assert ended_as(got) is Status.COMPLETED


async def test_what_is_left_of_a_dead_stream_expires(redis: Redis, valkey_url: str) -> None:
    """Burial keeps the retention of the producer, and a log that lost its state gets the default one."""
    await abandon(valkey_url, "s", "a")
    async with StreamConsumer(redis) as consumer:
        await read_all(consumer, "s")
    assert 0 < await redis.pttl(log_key("s")) <= 900_000
    assert 0 < await redis.pttl(state_key("s")) <= 900_000
    await abandon(valkey_url, "t", "a")
    await redis.delete(state_key("t"))
    await redis.persist(log_key("t"))
    async with StreamConsumer(redis) as consumer:
        assert ended_as(await read_all(consumer, "t")) is Status.LOST
    assert 0 < await redis.pttl(log_key("t")) <= 900_000
