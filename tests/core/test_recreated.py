"""A stream that is deleted and made again under its readers: they get one end, and nothing of the new stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise

import anyio
import anyio.abc
import pytest
from redis.asyncio import Redis

from core.streams import DEADLINE, drain, ended_as, faulty, ids_of, is_dense, read_all, take, text_of
from resumable_stream import (
    Status,
    StreamConsumer,
    StreamEvent,
    StreamFenced,
    StreamLost,
    StreamProducer,
    _fanout,
    _hub,
    _window,
)
from resumable_stream._log import Log
from resumable_stream._names import Names
from resumable_stream.testing import Gate, ScriptedSource, numbered
from support import wait_until


@pytest.fixture
async def producer(redis: Redis) -> AsyncIterator[StreamProducer]:
    async with StreamProducer(redis) as producer:
        yield producer


async def run_until_lost(producer: StreamProducer, source: ScriptedSource) -> None:
    with pytest.raises((StreamLost, StreamFenced)):  # the latter when the other stream is there already
        await producer.run("s", source)


async def make_again(producer: StreamProducer) -> None:
    """Put another stream in the place of ``s``, longer than what is read at once."""
    assert await producer.delete("s")
    await producer.run("s", ScriptedSource([f"new {number} " for number in range(300)]))


async def wait_until_claimed(redis: Redis, events: int) -> None:
    """Until ``s`` is there, and has so many events."""
    names = Names.of("s")

    async def claimed() -> bool:
        return bool(await redis.exists(names.state)) and await redis.xlen(names.log) == events

    await wait_until(claimed)


async def rest_of(viewer: _hub.Viewer) -> list[StreamEvent]:
    """What a viewer still gets, after a look for more behind its end."""
    events: list[StreamEvent] = []
    with anyio.fail_after(DEADLINE):
        while (span := await viewer.advance()) is not None:
            events += span.events
        assert await viewer.advance() is None
    return events


@pytest.mark.parametrize("noticed", [False, True], ids=["at once", "after the loss was seen"])
async def test_a_reader_that_was_not_reading_gets_an_end(
    redis: Redis, producer: StreamProducer, *, noticed: bool
) -> None:
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
            group.start_soon(run_until_lost, producer, ScriptedSource(["old", Gate()]))
            async with await consumer.attach("s", wait=DEADLINE) as viewer:
                span = await viewer.advance()
                assert span is not None
                assert text_of(span.events) == "old"
                if noticed:
                    await producer.delete("s")
                    await wait_until(lambda: viewer._feed.vanished)
                    await producer.run("s", ScriptedSource(["new"]))
                else:
                    await make_again(producer)
                assert [(event.type, event.status) for event in await rest_of(viewer)] == [("end", Status.LOST)]


async def lagging_viewer(producer: StreamProducer, consumer: StreamConsumer, go_on: Gate, at_end: Gate) -> _hub.Viewer:
    """A viewer that has read one event while the window moved on to the 2001st."""
    with anyio.fail_after(DEADLINE):
        await go_on.reached()
        viewer = await consumer.attach("s")
        span = await viewer.advance()
        assert span is not None
        go_on.open()
        await at_end.reached()
        await wait_until(lambda: viewer._feed.head is not None and viewer._feed.head.sequence == 2001)
        assert viewer._feed.first > 2
    return viewer


async def test_a_reader_whose_page_is_of_the_new_stream_gets_an_end(
    producer: StreamProducer, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lags behind the window, and nobody has told the feed yet when it reads the log again."""
    monkeypatch.setattr(_window, "WINDOW_BYTES", 1)
    go_on, at_end = Gate(), Gate()
    async with (
        faulty(valkey_url) as (proxy, client),
        StreamConsumer(client) as consumer,
        anyio.create_task_group() as group,
    ):
        group.start_soon(run_until_lost, producer, ScriptedSource(["0 ", go_on, *numbered(2000), at_end]))
        viewer = await lagging_viewer(producer, consumer, go_on, at_end)
        viewer._feed.pages.forget()
        proxy.to_client.hold()
        await make_again(producer)
        pages = proxy.commands["XRANGE"]
        async with viewer, anyio.create_task_group() as readers:
            events: list[StreamEvent] = []

            async def read() -> None:
                events.extend(await rest_of(viewer))

            readers.start_soon(read)
            await wait_until(lambda: proxy.commands["XRANGE"] > pages)
            proxy.to_client.release()
    assert [(event.type, event.status) for event in events] == [("end", Status.LOST)]


async def test_a_feed_in_the_middle_of_loading_ends_what_it_has(
    producer: StreamProducer, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of the new stream would go on, by number, where the old one's pages stop."""
    monkeypatch.setattr(_fanout, "FIRST_PAGE", 10)
    monkeypatch.setattr(_fanout, "PAGE", 10)
    await producer.run("s", ScriptedSource(numbered(250)))
    async with (
        faulty(valkey_url) as (proxy, client),
        StreamConsumer(client) as consumer,
        await consumer.attach("s") as viewer,
    ):
        proxy.to_client.hold()
        head = viewer._feed.head
        assert head is not None
        assert head.sequence < 200
        await make_again(producer)
        proxy.to_client.release()
        events = await rest_of(viewer)
    assert ended_as(events) is Status.LOST
    assert is_dense(events)
    assert len({event_id.generation for event_id in ids_of(events)}) == 1
    assert text_of(events) == "".join(numbered(len(events) - 1))


async def test_who_comes_next_reads_the_new_stream(redis: Redis, producer: StreamProducer) -> None:
    """Though others are still attached to the old one."""
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
            group.start_soon(run_until_lost, producer, ScriptedSource(["old", Gate()]))
            async with await consumer.attach("s", wait=DEADLINE) as viewer:
                await make_again(producer)
                await wait_until(lambda: viewer._feed.vanished)
                assert text_of(await take(consumer.events("s"), 1)) == "new 0 "
                await rest_of(viewer)


@pytest.fixture
def no_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer hears nothing of what happens: each notification is lost on the way."""
    monkeypatch.setattr(_fanout.Feed, "on_message", lambda feed, payload: None)


@pytest.mark.usefixtures("no_notification")
async def test_who_comes_after_the_claim_finds_the_stream_that_others_still_wait_for(
    redis: Redis, producer: StreamProducer
) -> None:
    """`Hub.attach` asks `Feed.is_current`: what the process knows may be older than what the reader's caller knows."""
    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        group.start_soon(partial(consumer.attach, "s", wait=DEADLINE))
        assert consumer._hub is not None
        feeds = consumer._hub._feeds
        await wait_until(lambda: "s" in feeds and feeds["s"].missing)
        await producer.run("s", ScriptedSource(["a"]))
        assert text_of(await take(consumer.events("s"), 1)) == "a"


@pytest.mark.usefixtures("no_notification")
@pytest.mark.parametrize("with_cursor", [False, True], ids=["from the start", "with an old cursor"])
async def test_who_comes_after_the_new_claim_reads_the_new_stream_though_nobody_has_noticed(
    redis: Redis, producer: StreamProducer, with_cursor: bool
) -> None:
    """Those who read the old one are still attached to it; `Feed.is_current` keeps the new ones away from there."""
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer:
            await producer.run("s", ScriptedSource(["old"]))
            async with await consumer.attach("s") as viewer:
                old = await rest_of(viewer)
                assert await producer.delete("s")
                await producer.run("s", ScriptedSource(["new"]))
                assert not viewer._feed.vanished
                got = await read_all(consumer, "s", after=old[0].id if with_cursor else None)
    assert [event.type for event in got] == [*(["reset"] if with_cursor else []), "text", "end"]
    assert text_of(got) == "new"


@pytest.mark.usefixtures("no_notification")
@pytest.mark.parametrize("what", ["peek", "read"])
async def test_who_comes_after_the_new_claim_reads_the_new_stream_though_the_first_reader_is_still_loading_the_old_one(
    redis: Redis, producer: StreamProducer, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """`Hub._settle`: a feed may get ready by a look that is older than the newcomer, or find what it looked at gone.

    An answer is held back on its way to the first reader: to its look at a stream that has no event yet, or to its
    reading of the events that it was told of.

    Fails without the second look at a feed that was not ready (`_hub.py`).
    """
    held, go_on = anyio.Event(), anyio.Event()
    ask = getattr(Log, what)

    async def late(log: Log, names: Names, **options: object) -> object:
        answer = None if what == "read" else await ask(log, names, **options)
        if not held.is_set():
            held.set()
            await go_on.wait()
        return answer if answer is not None else await ask(log, names, **options)

    got: list[list[StreamEvent]] = [[], []]
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
            source = ScriptedSource([Gate()] if what == "peek" else ["old", Gate()])
            async with anyio.create_task_group() as old:
                old.start_soon(run_until_lost, producer, source)
                await wait_until_claimed(redis, 1 if what == "read" else 0)
                monkeypatch.setattr(Log, what, late)
                group.start_soon(drain, consumer.events("s"), got[0])
                await held.wait()
                assert await producer.delete("s")
                await producer.run("s", ScriptedSource(["new"]))
            group.start_soon(drain, consumer.events("s"), got[1])
            assert consumer._hub is not None
            feed = consumer._hub._feeds["s"]
            await wait_until(lambda: feed.viewers == 2 and not feed._glances.tasks)
            go_on.set()
    assert ended_as(got[0]) is (Status.LOST if what == "peek" else Status.COMPLETED), "it had begun to read, or not"
    assert text_of(got[1]) == "new"


@pytest.mark.usefixtures("no_notification")
async def test_those_who_come_at_once_to_a_stream_that_is_followed_share_one_look(
    producer: StreamProducer, valkey_url: str
) -> None:
    """A storm of readers costs Redis one question."""
    await producer.run("s", ScriptedSource(["a"]))
    async with faulty(valkey_url) as (proxy, client), StreamConsumer(client) as consumer, await consumer.attach("s"):
        before = proxy.commands["EVALSHA"]
        got: list[StreamEvent] = []
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(drain, consumer.events("s"), got)
        assert len(got) == 40
        assert proxy.commands["EVALSHA"] == before + 1


async def test_a_stream_that_is_deleted_and_claimed_within_a_millisecond_has_another_generation(redis: Redis) -> None:
    """Else the old producer would not be fenced, and what the new one writes be taken for a repetition."""
    names = Names.of("s")
    generations: list[int] = []
    async with Log(redis) as log:
        for _ in range(300):  # most of them meet the millisecond of the claim before
            claim = await log.claim(names, stream_id="s", lease=10, retention=10)
            generations.append(claim.generation)
            await log.delete(names)
    assert all(after > before for before, after in pairwise(generations))
