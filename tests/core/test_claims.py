"""A stream has one producer at a time; whoever is overtaken is fenced."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import (
    DEADLINE,
    abandon,
    ends_in_log,
    eventually,
    faulty,
    is_dense,
    lease_is_over,
    log_key,
    log_of,
    read_all,
    state_key,
    text_in_log,
    text_of,
)
from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamExists,
    StreamFenced,
    StreamIDError,
    StreamProducer,
)
from resumable_stream._log import Log
from resumable_stream._names import Names
from resumable_stream.testing import Gate, ScriptedSource


async def test_not_even_a_producer_that_dies_at_once_leaves_a_key_for_ever(redis: Redis) -> None:
    """The claim itself sets the TTLs, and not the first sign of life."""
    async with Log(redis) as log:
        await log.claim(Names.of("s"), stream_id="s", lease=5, retention=60)
    for key in (log_key("s"), state_key("s")):
        assert 60_000 < await redis.pttl(key) <= 65_000


async def test_a_stream_with_a_living_producer_cannot_be_claimed(redis: Redis) -> None:
    """`StreamExists`, and the source that was offered is closed without being pulled."""
    producer = StreamProducer(redis)
    async with producer.open("s") as stream:
        with pytest.raises(StreamExists) as caught:
            async with StreamProducer(redis).open("s"):
                pass
        assert caught.value.stream_id == "s"
        source = ScriptedSource(["never"])
        with pytest.raises(StreamExists):
            await producer.run("s", source)
        assert (source.pulled, source.closed) == (0, True)
        await stream.send("mine")
    assert await text_in_log(redis, "s") == "mine"


async def test_a_stream_that_has_ended_cannot_be_claimed(redis: Redis) -> None:
    producer = StreamProducer(redis)
    await producer.run("s", ScriptedSource(["a"]))
    with pytest.raises(StreamExists):
        await producer.run("s", ScriptedSource(["b"]))
    assert await text_in_log(redis, "s") == "a"


async def test_of_twenty_claims_at_once_exactly_one_wins(redis: Redis) -> None:
    outcomes: Counter[str] = Counter()
    everyone_tried = anyio.Event()

    async def claim() -> None:
        try:
            async with StreamProducer(redis).open("s"):
                outcomes["won"] += 1
                await everyone_tried.wait()
        except StreamExists:
            outcomes["refused"] += 1
            if outcomes["refused"] == 19:
                everyone_tried.set()

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(claim)
    assert outcomes == {"won": 1, "refused": 19}


async def test_a_stream_left_behind_is_taken_over_and_says_so(redis: Redis, valkey_url: str) -> None:
    """A `restarted` event stands between the two attempts, and the numbers go on without a hole."""
    await abandon(valkey_url, "s", "first ")
    await eventually(lambda: lease_is_over(redis, "s"))
    await StreamProducer(redis).run("s", ScriptedSource(["second"]))
    async with StreamConsumer(redis) as consumer:
        events = await read_all(consumer, "s")
    assert [event.type for event in events] == ["text", "restarted", "text", "end"]
    assert is_dense(events)
    assert [event.id for event in events] == sorted(event.id for event in events if event.id)
    assert text_of(events) == "first second"


async def test_a_producer_that_was_overtaken_writes_nothing_more(redis: Redis, valkey_url: str) -> None:
    """Its appends arrive after the newer claim: refused whole, and its source is closed."""
    gate = Gate()
    source = ScriptedSource(["old ", gate, "too ", "late ", anyio.Event()])
    errors: list[BaseException] = []

    async def old(client: Redis) -> None:
        try:
            await StreamProducer(client, lease=0.3).run("s", source)
        except StreamFenced as error:
            errors.append(error)

    async with faulty(valkey_url) as (proxy, slow), anyio.create_task_group() as group:
        with anyio.fail_after(DEADLINE):
            group.start_soon(old, slow)
            await eventually(lambda: text_in_log(redis, "s"))
            proxy.to_server.hold()
            gate.open()
            await source.wait_yielded(3)
            await eventually(lambda: lease_is_over(redis, "s"))
            async with StreamProducer(redis).open("s") as stream:
                await stream.send("new")
                await stream.flush()
                proxy.to_server.release()
                await source.wait_closed()
            group.cancel_scope.deadline = anyio.current_time() + DEADLINE
    assert len(errors) == 1
    assert [kind for _, kind, _ in await log_of(redis, "s")] == [
        "text",
        "restarted",
        "text",
        "end/json",
    ]
    assert await text_in_log(redis, "s") == "old new"


async def test_a_claim_whose_reply_is_lost_is_still_a_claim(redis: Redis, valkey_url: str) -> None:
    """The producer asks again and finds the claim its own; it does not lock itself out."""
    await StreamProducer(redis).run("warm-up", ScriptedSource([]))
    async with faulty(valkey_url) as (proxy, client):
        loss = proxy.drop_reply("EVALSHA")
        await StreamProducer(client).run("s", ScriptedSource(["a"]))
        assert loss.struck == 1
    assert [kind for _, kind, _ in await log_of(redis, "s")] == ["text", "end/json"]


async def test_a_claim_without_redis_fails_and_closes_the_source(redis: Redis, valkey_url: str) -> None:
    source = ScriptedSource(["never"])
    async with faulty(valkey_url) as (proxy, client):
        await proxy.down()
        with anyio.fail_after(DEADLINE), pytest.raises(LogUnavailable) as caught:
            await StreamProducer(client).run("s", source)
    assert (source.pulled, source.closed) == (0, True)
    assert str(proxy.port) not in str(caught.value)


async def test_a_generation_is_above_the_one_before_though_the_clock_went_back(
    redis: Redis,
) -> None:
    """After a failover the server's clock may be behind; ids must grow all the same."""
    future = 4_000_000_000_000
    await redis.hset(state_key("s"), mapping={"g": future, "l": 1, "ld": 1, "t": 1})
    await redis.pexpire(state_key("s"), 60_000)
    await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    assert [entry_id for entry_id, _, _ in await log_of(redis, "s")] == [
        f"{future + 1}-1",
        f"{future + 1}-2",
    ]


async def test_an_idempotent_start_waits_for_the_stream_that_exists(redis: Redis) -> None:
    """``attach=True``: the same result, and the second source is closed unused."""
    gate = Gate()
    producer = StreamProducer(redis)
    second = ScriptedSource(["never"])
    statuses: list[tuple[Status, bool]] = []

    async def run(source: ScriptedSource) -> None:
        result = await producer.run("s", source, attach=True)
        statuses.append((result.status, result.attached))

    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as group:
            group.start_soon(run, ScriptedSource(["a", gate, "b"]))
            await gate.reached()
            group.start_soon(run, second)
            await second.wait_closed()
            gate.open()
    assert sorted(statuses) == [(Status.COMPLETED, False), (Status.COMPLETED, True)]
    assert second.pulled == 0
    result = await producer.run("s", ScriptedSource(["never"]), attach=True)
    assert (result.status, result.attached) == (Status.COMPLETED, True)
    assert await text_in_log(redis, "s") == "ab"
    assert len(await ends_in_log(redis, "s")) == 1


@pytest.mark.parametrize("stream_id", ["", "a b", "{a}", "a\n", "a\0", "é", "x" * 201, "a\x7f", None, b"s"])
async def test_an_unacceptable_stream_id_is_refused_everywhere(redis: Redis, stream_id: str) -> None:
    producer = StreamProducer(redis)
    source = ScriptedSource(["a"])
    with pytest.raises(StreamIDError):
        await producer.run(stream_id, source)
    for call in (producer.cancel, producer.delete):
        with pytest.raises(StreamIDError):
            await call(stream_id)
    async with StreamConsumer(redis) as consumer:
        with pytest.raises(StreamIDError):
            await read_all(consumer, stream_id)
        with pytest.raises(StreamIDError):
            await consumer.status(stream_id)
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("stream_id", ["x" * 200, "!", "a:b/c?d=e&f", "run-42|~", "\\\"'`"])
async def test_any_visible_ascii_without_braces_is_a_stream_id(redis: Redis, stream_id: str) -> None:
    await StreamProducer(redis).run(stream_id, ScriptedSource(["a"]))
    async with StreamConsumer(redis) as consumer:
        assert text_of(await read_all(consumer, stream_id)) == "a"


@pytest.mark.parametrize(
    "settings",
    [
        {"lease": 0},
        {"retention": 0},
        {"flush_interval": -1},
        {"buffer_bytes": 0},
        {"outage_timeout": -1},
        {"max_events": 0},
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least|negative|>="):
        StreamProducer(Redis(), **settings)


def test_what_is_no_asyncio_client_of_redis_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"redis\.asyncio"):
        StreamProducer("redis://localhost")  # type: ignore[arg-type]
