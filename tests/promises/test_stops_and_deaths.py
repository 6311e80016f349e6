"""Promises 1 to 4: what a stop, a SIGKILL and a SIGSTOP of the producer do. Each producer is a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis

from core.processes import ProducerProcess, producer_process
from core.streams import (
    DEADLINE,
    drain,
    ended_as,
    ends_in_log,
    eventually,
    ids_of,
    is_dense,
    lease_is_over,
    lease_left,
    log_of,
    milliseconds,
    read_all,
    text_in_log,
    text_of,
)
from promises.matrix import in_corners
from resumable_stream import Status, StreamConsumer, StreamEvent, StreamProducer
from resumable_stream._log import GRACE
from resumable_stream.testing import numbered
from support import wait_until

_STOP = Path(__file__).with_name("stop_process.py")


async def stop_from_another_process(url: str, stream_id: str) -> bool:
    """Press stop in process B."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_STOP), url, stream_id, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE):
        output, _ = await process.communicate()
    answer: bool = json.loads(output)
    return answer


async def holds(redis: Redis, text: str, stream_id: str = "s") -> bool:
    return await text_in_log(redis, stream_id) == text


@pytest.mark.promise(number=1)
@in_corners
async def test_a_stop_from_another_process_ends_a_silent_model(redis: Redis, client: Redis, client_url: str) -> None:
    """The source is closed at once, every reader gets `cancelled` once, the partial answer stays, a second stop is
    harmless.

    The model says nothing for longer than any deadline of the test, and the next sign of life, at which a stop would be
    seen anyway, is further away too. So it must be the notification that ends it.

    Fails without the notification of a stop (`_scripts.py`), and without the interruption of the source
    (`_producer.py`).
    """
    attached: list[list[StreamEvent]] = [[], [], []]
    async with (
        StreamConsumer(client) as consumer,
        producer_process(client_url, "s", lease=DEADLINE * 6) as model,
        anyio.create_task_group() as group,
    ):
        await model.send("partial ", "answer")
        await eventually(lambda: holds(redis, "partial answer"))
        for events in attached:
            group.start_soon(drain, consumer.events("s"), events)
        await wait_until(lambda: all(attached))
        assert await stop_from_another_process(client_url, "s") is True
        assert await model.says() == "closed"
        assert await model.says() == "cancelled"
        later = await read_all(consumer, "s")
        assert await stop_from_another_process(client_url, "s") is False
        assert await read_all(consumer, "s") == later
    assert text_of(later) == "partial answer"
    assert ended_as(later) is Status.CANCELLED
    assert attached == [later, later, later]
    assert await ends_in_log(redis, "s") == ['{"status":"cancelled"}']


@pytest.mark.promise(number=2)
@in_corners
async def test_after_a_kill_all_readers_get_what_was_said_and_the_same_end(
    redis: Redis, client: Redis, client_url: str
) -> None:
    """SIGKILL after k tokens: exactly k tokens, then `lost` under one id, for attached and for later readers.

    Not before the lease and the grace are over; the deadline is the promised one and what a busy machine may need.

    Fails without the burial by whoever notices (`_fanout.py`).
    """
    lease, counts = 1.0, (0, 1, 17)
    attached: dict[int, list[StreamEvent]] = {count: [] for count in counts}
    async with StreamConsumer(client) as consumer, StreamConsumer(client) as elsewhere, AsyncExitStack() as stack:
        models = [
            await stack.enter_async_context(producer_process(client_url, f"s{count}", lease=lease)) for count in counts
        ]
        for count, model in zip(counts, models, strict=True):
            await model.send(*numbered(count))
            await eventually(lambda count=count: holds(redis, "".join(numbered(count)), f"s{count}"))  # type: ignore[misc] # bound early
        with anyio.fail_after(lease + 2 + DEADLINE / 2):
            async with anyio.create_task_group() as group:
                for count, events in attached.items():
                    group.start_soon(drain, consumer.events(f"s{count}"), events)
                await wait_until(lambda: all(len(events) == count for count, events in attached.items()))
                for model in models:
                    await model.kill()
        for count, events in attached.items():
            assert text_of(events) == "".join(numbered(count))
            assert ended_as(events) is Status.LOST
            assert is_dense(events)
            assert len(events) == count + 1
            assert await read_all(elsewhere, f"s{count}") == events
            assert await ends_in_log(redis, f"s{count}") == ['{"status":"lost"}']


async def paused(redis: Redis, model: ProducerProcess, *, for_longer: bool) -> None:
    """SIGSTOP, until a sign of life was missed, or until the lease is over."""
    left = await lease_left(redis, "s")
    await model.pause()

    async def long_enough() -> bool:
        return await lease_is_over(redis, "s") if for_longer else await lease_left(redis, "s") < left / 2

    await eventually(long_enough)


@pytest.mark.promise(number=3)
@in_corners
async def test_pauses_shorter_than_the_lease_change_nothing(redis: Redis, client: Redis, client_url: str) -> None:
    """SIGSTOP over a missed sign of life, under the eyes of a reader, then SIGCONT; again and again, for longer in all
    than a lease and the grace.

    Fails without the renewal of the lease (`_scripts.py`).
    """
    lease = 1.2
    got: list[StreamEvent] = []
    async with StreamConsumer(client) as consumer, producer_process(client_url, "s", lease=lease) as model:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                await model.send("a")
                await eventually(lambda: holds(redis, "a"))
                group.start_soon(drain, consumer.events("s"), got)
                await wait_until(lambda: got)
                over = await milliseconds(redis) + (lease + GRACE) * 1000
                while await milliseconds(redis) < over:
                    await paused(redis, model, for_longer=False)
                    model.proceed()
                    await eventually(lambda: renewed(redis, lease))
                await model.send("b")
                await model.finish()
                assert await model.says() == "completed"
    assert [event.type for event in got] == ["text", "text", "end"]
    assert text_of(got) == "ab"
    assert len({event_id.generation for event_id in ids_of(got)}) == 1


async def renewed(redis: Redis, lease: float) -> bool:
    """Whether there was a sign of life lately, or the stream has ended."""
    return await lease_left(redis, "s") > lease * 500 or bool(await ends_in_log(redis, "s"))


@pytest.mark.promise(number=4)
@in_corners
async def test_a_producer_that_wakes_after_a_new_claim_is_fenced(redis: Redis, client: Redis, client_url: str) -> None:
    """No event of the old generation stands after the first of the new one, and the old producer stops its source.

    Fails without the comparison of generations (`_scripts.py`).
    """
    async with producer_process(client_url, "s", lease=0.5) as model:
        await model.send("old ")
        await eventually(lambda: holds(redis, "old "))
        await paused(redis, model, for_longer=True)
        await model.send("too late")
        async with StreamProducer(client).open("s") as stream:
            await stream.send("new")
            await stream.flush()
            model.proceed()
            assert await model.says() == "closed"
            assert await model.says() == "StreamFenced"
    assert [(kind, data) for _, kind, data in await log_of(redis, "s")][:3] == [
        ("text", "old "),
        ("restarted", ""),
        ("text", "new"),
    ]
    generations = [int(entry_id.split("-")[0]) for entry_id, _, _ in await log_of(redis, "s")]
    assert generations == sorted(generations)
    assert await ends_in_log(redis, "s") == ['{"status":"completed"}']
    async with StreamConsumer(client) as consumer:
        events = await read_all(consumer, "s")
    assert text_of(events) == "old new"
    assert is_dense(events)


@pytest.mark.promise(number=4)
@in_corners
async def test_a_producer_that_wakes_after_its_burial_is_fenced(redis: Redis, client: Redis, client_url: str) -> None:
    """A reader has noticed and ended the stream as `lost`: that is a new generation as well.

    Fails without the generation of a burial (`_scripts.py`).
    """
    async with StreamConsumer(client) as consumer, producer_process(client_url, "s", lease=0.5) as model:
        await model.send("a")
        await eventually(lambda: holds(redis, "a"))
        await model.pause()
        events = await read_all(consumer, "s")
        assert ended_as(events) is Status.LOST
        await model.send("too late")
        model.proceed()
        assert await model.says() == "closed"
        assert await model.says() == "StreamFenced"
        assert await read_all(consumer, "s") == events
    assert await ends_in_log(redis, "s") == ['{"status":"lost"}']


@pytest.mark.promise(number=4)
@in_corners
async def test_a_pause_that_nobody_noticed_changes_nothing(redis: Redis, client: Redis, client_url: str) -> None:
    """Longer than the lease, but no claim was made and no reader was there: the producer goes on.

    Fails without the patience with a lease that has run out (`_scripts.py`).
    """
    async with producer_process(client_url, "s", lease=0.5) as model:
        await model.send("a")
        await eventually(lambda: holds(redis, "a"))
        await paused(redis, model, for_longer=True)
        model.proceed()
        await model.send("b")
        await model.finish()
        assert await model.says() == "completed"
    assert [kind for _, kind, _ in await log_of(redis, "s")] == ["text", "text", "end/json"]
    assert await text_in_log(redis, "s") == "ab"
