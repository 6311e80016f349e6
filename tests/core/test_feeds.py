"""What readers of a process share: who reads the log for whom, what stays in memory, and what is cleaned up."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from core.streams import DEADLINE, abandon, drain, ended_as, eventually, faulty, read_all, take, text_of
from resumable_stream import (
    JSON,
    ConsumerClosed,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamExists,
    StreamNotFound,
    StreamProducer,
    StreamResult,
    _fanout,
    _hub,
    _window,
)
from resumable_stream._log import Peek
from resumable_stream._names import Names
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until


async def overtaken(
    redis: Redis, consumer: StreamConsumer, group: anyio.abc.TaskGroup, readers: int = 1
) -> list[_hub.Viewer]:
    """Viewers that have read one event of a stream whose window has moved on. It has ended with 2,001 events more."""
    gate = Gate()
    group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["0 ", gate, *numbered(2000)]))
    await gate.reached()
    viewers = [await consumer.attach("s") for _ in range(readers)]
    for viewer in viewers:
        span = await viewer.advance()
        assert span is not None
        assert text_of(span.events) == "0 "
    gate.open()
    await drain(consumer.events("s"), [])
    viewers[0]._feed.pages.forget()  # pages that the other reader may have needed
    return viewers


async def rest_of(viewer: _hub.Viewer) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    async with viewer:
        while (span := await viewer.advance()) is not None:
            events += span.events
    return events


async def test_viewers_that_lag_together_share_the_pages_that_they_read_again(
    redis: Redis, redis_admin: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_window, "WINDOW_BYTES", 1)
    got: list[list[StreamEvent]] = []

    async def read(viewer: _hub.Viewer) -> None:
        got.append(await rest_of(viewer))

    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
            viewers = await overtaken(redis, consumer, group, readers=50)
            redis_admin.config_resetstat()
            async with anyio.create_task_group() as readers:
                for viewer in viewers:
                    readers.start_soon(read, viewer)
    assert [text_of(events) for events in got] == ["".join(numbered(2000))] * 50
    assert redis_admin.info("commandstats")["cmdstat_xrange"]["calls"] <= 6


async def test_a_viewer_that_lags_waits_for_redis_and_goes_on(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page cannot be read now: it is kept alive, and has everything in the end."""
    monkeypatch.setattr(_window, "WINDOW_BYTES", 1)
    with anyio.fail_after(DEADLINE):
        async with (
            faulty(valkey_url) as (proxy, client),
            StreamConsumer(client) as consumer,
            anyio.create_task_group() as group,
        ):
            (viewer,) = await overtaken(redis, consumer, group)
            await proxy.down()
            for _ in range(5):
                assert await viewer.advance(anyio.current_time() + 0.05) is _hub.IDLE
            group.start_soon(proxy.up)
            assert text_of(await rest_of(viewer)) == "".join(numbered(2000))


async def test_a_consumer_that_closes_tells_a_viewer_in_the_middle_of_a_page(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, not cancelled: nobody has cancelled its task."""
    monkeypatch.setattr(_window, "WINDOW_BYTES", 1)
    outcomes: list[type[BaseException]] = []

    async def read(viewer: _hub.Viewer) -> None:
        try:
            await rest_of(viewer)
        except BaseException as error:
            outcomes.append(type(error))
            raise

    with anyio.fail_after(DEADLINE):
        async with (
            faulty(valkey_url) as (proxy, client),
            anyio.create_task_group() as group,
            StreamConsumer(client) as consumer,
        ):
            (viewer,) = await overtaken(redis, consumer, group)
            before = proxy.to_server.passed
            proxy.to_client.hold()

            async def closed() -> None:
                with pytest.raises(ConsumerClosed):
                    await read(viewer)

            group.start_soon(closed)
            await wait_until(lambda: proxy.to_server.passed > before)
    assert outcomes == [ConsumerClosed]


async def test_a_stream_is_forgotten_some_time_after_its_last_reader(
    redis: Redis, redis_admin: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither memory nor a subscription stays for what nobody watches."""
    monkeypatch.setattr(_hub, "LINGER", 0.05)
    async with StreamConsumer(redis) as consumer:
        async with StreamProducer(redis).open("s") as stream:
            await stream.send("a")
            reader = consumer.events("s")
            await take(reader, 1)
            assert redis_admin.pubsub_shardnumsub("rs1:{s}:events") == [(b"rs1:{s}:events", 1)]
            await reader.aclose()
            await wait_until(lambda: redis_admin.pubsub_shardnumsub("rs1:{s}:events") == [(b"rs1:{s}:events", 0)])
            assert consumer._hub is not None
            assert not consumer._hub._feeds
        assert text_of(await read_all(consumer, "s")) == "a"


async def test_a_reader_that_comes_back_at_once_finds_its_stream_in_memory(
    redis: Redis, redis_admin: SyncRedis
) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(numbered(10)))
    async with StreamConsumer(redis) as consumer:
        whole = await read_all(consumer, "s")
        redis_admin.config_resetstat()
        for event in whole:
            await read_all(consumer, "s", after=event.id)
        assert "cmdstat_xrange" not in redis_admin.info("commandstats")


async def test_a_stream_that_is_made_anew_is_not_answered_from_memory(redis: Redis) -> None:
    """The old one lingers in the process; it is closed with the consumer all the same."""
    producer = StreamProducer(redis)
    async with StreamConsumer(redis) as consumer:
        await producer.run("s", ScriptedSource(["old"]))
        assert text_of(await read_all(consumer, "s")) == "old"
        await producer.delete("s")

        async def gone() -> bool:
            try:
                async with await consumer.attach("s"):
                    return False
            except StreamNotFound:
                return True

        await eventually(gone)
        await producer.run("s", ScriptedSource(["new"]))
        assert text_of(await read_all(consumer, "s")) == "new"


async def test_a_lost_notification_costs_time_and_no_data(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that nobody is told of are found by the next look at the log."""
    monkeypatch.setattr(_fanout, "SWEEP", 0.05)
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE):
            async with StreamProducer(redis).open("s") as stream:
                await stream.send("a")
                reader = consumer.events("s")
                (first,) = await take(reader, 1)
                assert first.id is not None
                await redis.xadd("rs1:{s}:log", {"text": "b"}, id=str(first.id._replace(sequence=2)))
                assert text_of(await take(reader, 1)) == "b"
                await reader.aclose()


async def test_a_user_without_channels_reads_by_looking(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused subscription is logged and tried again; meanwhile the slow sweep delivers."""
    monkeypatch.setattr(_fanout, "SWEEP", 0.05)
    await redis.acl_setuser("blind", enabled=True, nopass=True, keys=["*"], commands=["+@all"], reset_channels=True)
    try:
        async with (
            Redis.from_url(valkey_url, username="blind", password="x") as client,
            StreamConsumer(client) as consumer,
            anyio.create_task_group() as group,
        ):
            with anyio.fail_after(DEADLINE):
                gate = Gate()
                got: list[StreamEvent] = []
                group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["a", gate, "b"]))
                await gate.reached()
                group.start_soon(drain, consumer.events("s"), got)
                await wait_until(lambda: got)
                gate.open()
    finally:
        await redis.acl_deluser("blind")
    assert text_of(got) == "ab"
    assert caplog.text.count("refuses sharded subscriptions") == 1  # it is tried again, not said again
    assert "blind" not in caplog.text


@pytest.mark.parametrize("dialect", [None, JSON])
async def test_frames_keep_a_silent_stream_alive_and_leave_out_what_is_hidden(redis: Redis, dialect: object) -> None:
    gate = Gate()
    script: list[Step] = [StreamEvent("reasoning", "hm"), gate, "a"]
    async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
        group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(script))
        await gate.reached()
        options = {"dialect": dialect} if dialect else {}
        frames = consumer.frames("s", keep_alive=0.01, **options)  # type: ignore[arg-type] # a dialect or nothing
        with anyio.fail_after(DEADLINE):
            got = [await anext(frames) for _ in range(4)]
            gate.open()
            got += [frame async for frame in frames]
    assert got.count(b": ka\n") >= 3
    data = [frame for frame in got if frame != b": ka\n"]
    assert len(data) == (3 if dialect else 2)
    assert all(frame.endswith(b"\n\n") for frame in data)


async def test_frames_end_at_their_age_and_are_resumed(redis: Redis) -> None:
    async with StreamConsumer(redis) as consumer, StreamProducer(redis).open("s") as stream:
        await stream.send("a")
        with anyio.fail_after(DEADLINE):
            frames = [frame async for frame in consumer.frames("s", max_age=0.05, keep_alive=10)]
    assert len(frames) == 1
    assert frames[0].endswith(b"data: a\n\n")


async def test_a_reader_may_come_before_the_producer(redis: Redis) -> None:
    """It waits as long as it says, and no longer."""
    got: list[StreamEvent] = []
    async with StreamConsumer(redis) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(drain, consumer.events("s", wait=DEADLINE), got)
                await wait_until(lambda: consumer._hub is not None and consumer._hub._feeds)
                await StreamProducer(redis).run("s", ScriptedSource(["a"]))
            with pytest.raises(StreamNotFound):
                await anext(consumer.events("never", wait=0.05))
            with pytest.raises(StreamNotFound):
                await anext(consumer.frames("never"))
    assert text_of(got) == "a"


async def attached(redis: Redis, redis_admin: SyncRedis, group: anyio.abc.TaskGroup) -> list[StreamResult]:
    """Start a run that attaches to stream ``s``, and wait until it listens."""
    results: list[StreamResult] = []

    async def run() -> None:
        results.append(await StreamProducer(redis).run("s", ScriptedSource(["never"]), attach=True))

    group.start_soon(run)
    await wait_until(lambda: redis_admin.pubsub_shardnumsub("rs1:{s}:events") == [(b"rs1:{s}:events", 1)])
    return results


async def test_an_attached_run_reports_the_end_that_it_hears_of(redis: Redis, redis_admin: SyncRedis) -> None:
    """While tokens pass it by."""
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group, StreamProducer(redis).open("s") as stream:
            results = await attached(redis, redis_admin, group)
            for token in numbered(20):
                await stream.send(token)
                await stream.flush()
            assert results == []
    assert [(result.status, result.last_id, result.attached) for result in results] == [
        (Status.COMPLETED, stream.last_id, True)
    ]


async def test_an_attached_run_reports_a_stream_that_vanished_as_lost(redis: Redis, redis_admin: SyncRedis) -> None:
    gate = Gate()
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            task = partial(StreamProducer(redis).run, "s", ScriptedSource([gate, StreamExists("s", "")]))

            async def produce() -> None:
                with pytest.raises(Exception, match=r"gone"):
                    await task()

            group.start_soon(produce)
            await gate.reached()
            results = await attached(redis, redis_admin, group)
            await StreamProducer(redis).delete("s")
    assert [(result.status, result.last_id) for result in results] == [(Status.LOST, None)]


async def test_an_attached_run_buries_a_stream_whose_producer_dies(
    redis: Redis, valkey_url: str, redis_admin: SyncRedis
) -> None:
    """And waits out an outage of its own meanwhile."""
    await abandon(valkey_url, "s", "a", lease=1)
    results: list[StreamResult] = []
    async with faulty(valkey_url) as (proxy, client), anyio.create_task_group() as group:

        async def run() -> None:
            results.append(await StreamProducer(client).run("s", ScriptedSource(["never"]), attach=True))

        with anyio.fail_after(DEADLINE):
            group.start_soon(run)
            await wait_until(lambda: redis_admin.pubsub_shardnumsub("rs1:{s}:events") == [(b"rs1:{s}:events", 1)])
            await proxy.down()
            await anyio.lowlevel.checkpoint()
            await proxy.up()
    assert [result.status for result in results] == [Status.LOST]
    async with StreamConsumer(redis) as consumer:
        assert ended_as(await read_all(consumer, "s")) is Status.LOST


async def test_a_reader_of_a_silent_stream_asks_redis_nothing_while_its_producer_gives_signs_of_life(
    redis: Redis, redis_admin: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say what comes next: all before it is here. The look that was due is put off each time."""
    monkeypatch.setattr(_fanout, "SWEEP", 0.2)
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=0.3).open("s") as stream:
            await stream.send("a")
            reader = consumer.events("s")
            await take(reader, 1)
            assert consumer._hub is not None
            feed = consumer._hub._feeds["s"]
            peeks: list[float] = []
            peek = feed._log.peek

            async def counted(names: Names) -> Peek | None:
                peeks.append(anyio.current_time())
                return await peek(names)

            monkeypatch.setattr(feed._log, "peek", counted)
            said: list[float] = []
            for _ in range(20):
                before = feed._certain
                await wait_until(lambda: feed._certain > before)  # noqa: B023 - called here
                said.append(feed._certain)
            assert said[-1] - said[0] > 5 * 0.2
            assert len(peeks) <= 3  # one may be due when the machine stands still for long
            await reader.aclose()


async def test_a_sign_of_life_shows_that_a_notification_was_lost(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that nobody was told of are read when the next sign of life says a number that is too high."""
    monkeypatch.setattr(_fanout, "SWEEP", 3600)
    channel = "rs1:{s}:events"
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, StreamProducer(redis, lease=3600).open("s") as stream:
            await stream.send("a")
            reader = consumer.events("s")
            (first,) = await take(reader, 1)
            assert first.id is not None
            await redis.xadd("rs1:{s}:log", {"text": "b"}, id=str(first.id._replace(sequence=2)))
            due = str(first.id._replace(sequence=3))
            await redis.spublish(channel, f"*1\r\n${len(due)}\r\n{due}\r\n")
            assert text_of(await take(reader, 1)) == "b"
            await reader.aclose()
