"""What is measured of producers and consumers is what they have done."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack, suppress

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    abandon,
    ended_as,
    eventually,
    faulty,
    lease_is_over,
    log_key,
    log_of,
    read_all,
    take,
)
from resumable_stream import EventID, Status, StreamConsumer, StreamEvent, StreamLost, StreamProducer
from resumable_stream.telemetry import Instrument
from resumable_stream.telemetry import _instruments as all_
from resumable_stream.testing import Gate, ScriptedSource, numbered
from support import wait_until
from telemetry.collected import Collected


async def test_events_bytes_and_round_trips_are_those_of_the_log(redis: Redis, collected: Collected) -> None:
    async with StreamProducer(redis) as producer:
        collected.telemetry.observe(producer)
        async with producer.open("s") as stream:
            for item in ("a", "zwei", StreamEvent("tool_call", {"name": "x"})):
                await stream.send(item)
                await stream.flush()
            assert collected.value(all_.ACTIVE_STREAMS) == 1
            assert collected.value(all_.EVENTS) == 3
            assert collected.value(all_.APPENDS) == 3
            before = collected.value(all_.IO)
        assert collected.value(all_.ACTIVE_STREAMS) == 0
        assert collected.value(all_.EVENTS) == 4  # and the end
        assert collected.value(all_.APPENDS) == 4
        sent = [f"${len(part.encode())}\r\n{part}\r\n" for _, *entry in await log_of(redis, "s") for part in entry]
        assert collected.value(all_.IO) == len("".join(sent)) > before
        assert collected.value(all_.CLAIMS, False) == 1
        assert collected.value(all_.CLAIMS, True) == 0
        assert collected.value(all_.ENDED_STREAMS, "completed") == 1
        assert collected.value(all_.STREAM_DURATION, "completed") == 1


async def test_a_fast_source_takes_fewer_round_trips_than_it_has_tokens(redis: Redis, collected: Collected) -> None:
    producer = StreamProducer(redis)
    collected.telemetry.observe(producer, producer)
    await producer.run("s", ScriptedSource(numbered(2000)))
    assert collected.value(all_.EVENTS) == 2001
    assert 1 < collected.value(all_.APPENDS) < 200


async def test_an_append_that_renews_the_lease_is_timed(redis: Redis, collected: Collected) -> None:
    async with StreamProducer(redis, lease=0.3) as producer:
        collected.telemetry.observe(producer)
        async with producer.open("s") as stream:
            await wait_until(lambda: collected.value(all_.APPEND_DURATION) >= 2, what="two signs of life were answered")
            (point,) = collected.points(all_.APPEND_DURATION).values()
            assert 0 < point.min <= point.max < DEADLINE
            assert point.explicit_bounds == all_.MOMENTS
            assert collected.value(all_.APPENDS) == 0  # nothing was written
            await stream.send("a")


@pytest.mark.parametrize("ending", ["failed", "cancelled", "none"])
async def test_each_way_to_end_is_told_apart(redis: Redis, collected: Collected, ending: str) -> None:
    async def work() -> None:
        async with producer.open("s") as stream:
            await stream.send("a")
            await stream.flush()
            if ending == "failed":
                raise ValueError("no")
            if ending == "cancelled":
                assert await producer.cancel("s")
            else:
                await producer.delete("s")
            await anyio.sleep_forever()

    async with StreamProducer(redis) as producer:
        collected.telemetry.observe(producer)
        with anyio.fail_after(DEADLINE), suppress(ValueError, StreamLost):
            await work()
        assert collected.value(all_.ENDED_STREAMS, ending) == 1
        assert len(collected.points(all_.ENDED_STREAMS)) == 1
        assert collected.value(all_.STOPS) == (ending == "cancelled")


async def test_viewers_are_counted_while_they_are_there_and_what_was_there_for_them_is_a_replay(
    redis: Redis, collected: Collected
) -> None:
    gate = Gate()
    async with (
        StreamProducer(redis) as producer,
        StreamConsumer(redis) as consumer,
        AsyncExitStack() as stack,
        anyio.create_task_group() as tasks,
    ):
        collected.telemetry.observe(producer, consumer)
        tasks.start_soon(producer.run, "s", ScriptedSource([*numbered(5), gate, "last"]))
        events = await take(consumer.events("s", wait=DEADLINE), 5)
        before = Seen(collected)
        viewers = [
            await stack.enter_async_context(await consumer.attach("s", after=after))
            for after in (None, events[1].id, events[4].id)
        ]
        assert before.more(all_.ATTACHED_VIEWERS, False) == 1
        assert before.more(all_.ATTACHED_VIEWERS, True) == 2
        assert before.more(all_.REPLAYS) == 2
        assert before.more(all_.REPLAYED_EVENTS) == 5 + 3
        assert collected.value(all_.FOLLOWED_STREAMS) == 1
        gc.collect()  # the iterator that was left above holds a viewer
        await wait_until(lambda: collected.value(all_.ACTIVE_VIEWERS) == len(viewers), what="three viewers are left")
        await stack.aclose()
        assert collected.value(all_.ACTIVE_VIEWERS) == 0
        gate.open()
    assert collected.value(all_.FOLLOWED_STREAMS) == 0


class Seen:
    """The numbers as they were."""

    def __init__(self, collected: Collected) -> None:
        self._collected = collected
        self._before = {name: metric.data.data_points for name, metric in collected.metrics().items()}

    def more(self, instrument: Instrument, *attributes: object) -> float:
        """How much a number has grown."""
        wanted = dict(zip(instrument.attributes, attributes, strict=True))
        points = self._before.get(instrument.name, ())
        before = sum(point.value for point in points if dict(point.attributes or {}) == wanted)  # type: ignore[union-attr,misc] # numbers
        return self._collected.value(instrument, *attributes) - before


async def test_what_readers_are_told_of_losses_is_counted(redis: Redis, collected: Collected) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(numbered(10)))
    async with StreamConsumer(redis) as consumer:
        collected.telemetry.observe(consumer)
        events = await read_all(consumer, "s")
        assert collected.value(all_.READS) == 1
        assert collected.value(all_.READ_EVENTS) == 11
    await redis.xdel(log_key("s"), str(events[4].id), str(events[5].id))
    async with StreamConsumer(redis) as consumer:
        collected.telemetry.observe(consumer)
        assert "gap" in {event.type for event in await read_all(consumer, "s")}
        assert collected.value(all_.GAPS) == 1
        assert collected.value(all_.MISSED_EVENTS) == 2
        stranger = EventID(1, 4)
        assert (await read_all(consumer, "s", after=stranger))[0].type == "reset"
        assert collected.value(all_.RESETS) == 1
        assert collected.value(all_.ATTACHED_VIEWERS, True) == 0, "a cursor that fits nothing resumes nothing"


async def test_a_stream_whose_producer_died_is_counted_as_lost_once(
    redis: Redis, valkey_url: str, collected: Collected
) -> None:
    await abandon(valkey_url, "s", "a", "b")
    await eventually(lambda: lease_is_over(redis, "s"))
    async with StreamConsumer(redis) as first, StreamConsumer(redis) as second:
        collected.telemetry.observe(first, second)
        for consumer in (first, second):
            assert ended_as(await read_all(consumer, "s")) is Status.LOST
        assert collected.value(all_.LOST_STREAMS, "died") == 1
        assert collected.value(all_.LOST_STREAMS, "vanished") == 0


async def test_a_stream_that_vanishes_under_its_viewers_is_counted_as_lost(redis: Redis, collected: Collected) -> None:
    async def work() -> None:
        async with producer.open("s") as stream:
            await stream.send("a")
            events = consumer.events("s")
            await take(events, 1)
            await producer.delete("s")
            assert ended_as(await take(events, 1)) is Status.LOST
            await events.aclose()
            await anyio.sleep_forever()

    async with StreamProducer(redis) as producer, StreamConsumer(redis) as consumer:
        collected.telemetry.observe(consumer)
        with anyio.fail_after(DEADLINE), pytest.raises(StreamLost):
            await work()
        assert collected.value(all_.LOST_STREAMS, "vanished") == 1
        assert collected.value(all_.LOST_STREAMS, "died") == 0


async def test_a_stream_that_is_taken_over_is_told_from_a_new_one(
    redis: Redis, valkey_url: str, collected: Collected
) -> None:
    await abandon(valkey_url, "s", "a")
    await eventually(lambda: lease_is_over(redis, "s"))
    async with StreamProducer(redis) as producer:
        collected.telemetry.observe(producer)
        await producer.run("s", ScriptedSource(["b"]))
        assert collected.value(all_.CLAIMS, True) == 1
        assert collected.value(all_.CLAIMS, False) == 0


async def test_an_outage_shows_in_connections_and_in_appends_that_are_repeated(
    redis: Redis, valkey_url: str, collected: Collected
) -> None:
    async with faulty(valkey_url) as (proxy, distant), StreamProducer(distant) as producer:
        collected.telemetry.observe(producer)
        async with producer.open("s") as stream:
            await stream.send("a")
            await stream.flush()
            await wait_until(lambda: collected.value(all_.CONNECTIONS) == 2, what="both connections are there")
            assert collected.value(all_.OPENED) == collected.value(all_.ATTEMPTS) == 2
            assert collected.value(all_.CLOSED) == 0
            await proxy.down()
            await stream.send("b")
            await wait_until(lambda: collected.value(all_.STALLED_STREAMS) == 1, what="the append is repeated")
            await wait_until(lambda: collected.value(all_.ATTEMPTS) > 4, what="it tries to connect")
            assert collected.value(all_.CONNECTIONS) == 0
            assert collected.value(all_.CLOSED) == 2
            await proxy.up()
            with anyio.fail_after(DEADLINE):
                await stream.flush()
            assert collected.value(all_.STALLED_STREAMS) == 0
            assert collected.value(all_.REPEATED_APPENDS) >= 1
            assert collected.value(all_.EVENTS) == 2
    assert collected.value(all_.CONNECTIONS) == 0


async def test_what_was_done_stays_when_who_did_it_is_gone(redis: Redis, collected: Collected) -> None:
    for number in range(3):
        producer = StreamProducer(redis)
        collected.telemetry.observe(producer)
        await producer.run(str(number), ScriptedSource(["a", "b"]))
        del producer
    gc.collect()
    assert len(collected.telemetry._sources.now()) == 1
    assert collected.value(all_.EVENTS) == 9
    assert collected.value(all_.ENDED_STREAMS, "completed") == 3
    assert collected.value(all_.CONNECTIONS) == 0


async def test_the_numbers_of_a_stream_never_shrink_when_it_ends(redis: Redis, collected: Collected) -> None:
    """A reader in another thread, as an exporter has it, sums while streams end."""
    seen: list[float] = []
    done = anyio.Event()

    def watch() -> None:
        while not anyio.from_thread.run_sync(done.is_set):
            seen.append(collected.value(all_.EVENTS))

    async with StreamProducer(redis) as producer, anyio.create_task_group() as tasks:
        collected.telemetry.observe(producer)
        tasks.start_soon(anyio.to_thread.run_sync, watch)
        for number in range(100):
            await producer.run(str(number), ScriptedSource(numbered(9)))
        done.set()
    assert seen == sorted(seen)
    assert collected.value(all_.EVENTS) == 1000
