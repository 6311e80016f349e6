"""Promises 5 and 6: lost replies, connections that are cut, a server that stands still, dies and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import DEADLINE, drain, ended_as, faulty, is_dense, log_of, read_all
from promises.matrix import Variant, in_corners, in_pairs, program_of
from resumable_stream import (
    Status,
    StreamConsumer,
    StreamEvent,
    StreamProducer,
    _scripts,
)
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until

APPEND = _scripts.APPEND.sha.decode()


async def log_equals(redis: Redis, tokens: list[str]) -> None:
    """The log is the source, token for token, with an end: nothing twice, nothing missing, no number left out."""
    entries = await log_of(redis, "s")
    assert [data for _, kind, data in entries if kind == "text"] == tokens
    assert [int(entry_id.split("-")[1]) for entry_id, _, _ in entries] == list(range(1, len(tokens) + 2))
    assert entries[-1][1:] == ("end/json", '{"status":"completed"}')


def equals(events: list[StreamEvent], tokens: list[str]) -> None:
    """A reader has got the source, and its end."""
    assert [event.data for event in events[:-1]] == tokens
    assert is_dense(events)
    assert ended_as(events) is Status.COMPLETED


@pytest.mark.promise(number=5)
@in_pairs
async def test_replies_that_are_lost_double_nothing_and_lose_nothing(
    redis: Redis, client: Redis, valkey_url: str, variant: Variant
) -> None:
    """The proxy forwards every append and drops the reply to one in twenty; the log equals the source.

    Fails without the meaning of a repeated id (`_scripts.py`).
    """
    tokens = numbered(600)
    got: list[StreamEvent] = []
    async with (
        faulty(valkey_url, seed=1, **variant.settings) as (proxy, shaky),
        StreamProducer(shaky) as producer,
        StreamConsumer(client) as consumer,
        anyio.create_task_group() as group,
    ):
        await producer.run("warm-up", ScriptedSource([]))
        loss = proxy.drop_replies("EVALSHA", argument=APPEND, odds=0.05)
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                group.start_soon(drain, consumer.events("s"), got)
                for token in tokens:
                    await stream.send(token)
                    await stream.flush()
    assert loss.struck > 10
    await log_equals(redis, tokens)
    equals(got, tokens)


@pytest.mark.promise(number=6)
@in_pairs
async def test_commands_and_replies_that_are_cut_in_the_middle_change_nothing(
    redis: Redis, client: Redis, valkey_url: str, variant: Variant
) -> None:
    """The connection of the producer ends within a request, or within a reply, at ever other places.

    Fails without the end of calls with their connection (`_links.py`).
    """
    tokens = numbered(24)
    async with faulty(valkey_url, **variant.settings) as (proxy, shaky), StreamProducer(shaky) as producer:
        await producer.run("warm-up", ScriptedSource([]))
        with anyio.fail_after(DEADLINE):
            async with producer.open("s") as stream:
                for index, token in enumerate(tokens):
                    if index % 2:
                        loss = proxy.drop_request("EVALSHA", argument=APPEND, keep=15 * index)
                    else:
                        loss = proxy.drop_reply("EVALSHA", argument=APPEND, keep=index // 2)
                    await stream.send(token)
                    await stream.flush()
                    assert loss.struck == 1
    await log_equals(redis, tokens)


@pytest.mark.promise(number=6)
@in_pairs
async def test_a_history_that_is_cut_anywhere_is_read_again(
    redis: Redis, client: Redis, valkey_url: str, variant: Variant
) -> None:
    """It arrives in a few long replies: cut at growing places, twice in a row, a reader that has begun gets all.

    Fails without the patience of a reader that has begun (`_fanout.py`).
    """
    await StreamProducer(client).run("s", ScriptedSource(numbered(2500)))
    async with StreamConsumer(client) as consumer:
        whole = await read_all(consumer, "s")
    async with faulty(valkey_url, **variant.settings) as (proxy, shaky):
        for count in (1, 10, 500, 2_000, 10_000):
            async with StreamConsumer(shaky) as consumer, await consumer.attach("s", after=whole[0].id) as viewer:
                losses = [proxy.drop_reply("XRANGE", keep=count) for _ in range(2)]
                got: list[StreamEvent] = []
                with anyio.fail_after(DEADLINE):
                    while (span := await viewer.advance()) is not None:
                        got += span.events
                assert got == whole[1:]
                assert [loss.struck for loss in losses] == [1, 1]


@pytest.fixture
async def own_server(tmp_path: Path, redis: Redis, variant: Variant) -> AsyncIterator[EmbeddedValkey]:
    """A server that the test may stop. What it has confirmed is in its append-only file."""
    settings = {"appendfsync": "always"}  # with "everysec" it confirms up to two seconds before it writes
    binary = program_of(variant.server)
    async with EmbeddedValkey(tmp_path, appendonly=True, settings=settings, binary=binary) as server:
        yield server


@pytest.mark.promise(number=6)
@in_corners
async def test_a_server_that_stands_still_is_left_and_found_again(
    own_server: EmbeddedValkey, variant: Variant, impatient: float
) -> None:
    """SIGSTOP for 8 s at a tenth of the size: a connection is given up after 0.5 s of silence instead of 5.

    It lasts until the silent connections were given up and others were made, which nobody accepts either.

    Fails without the meaning of a repeated id (`_scripts.py`).
    """
    tokens = numbered(200)
    gate = Gate()
    got: list[StreamEvent] = []
    async with (
        faulty(own_server.url, **variant.settings) as (proxy, shaky),
        StreamConsumer(shaky) as consumer,
        anyio.create_task_group() as group,
    ):
        with anyio.fail_after(DEADLINE):
            script: list[Step] = [*tokens[:100], gate, *tokens[100:]]
            group.start_soon(StreamProducer(shaky, lease=30).run, "s", ScriptedSource(script))
            await gate.reached()
            group.start_soon(drain, consumer.events("s"), got)
            await wait_until(lambda: len(got) == 100)
            before = proxy.accepted
            own_server.suspend()
            try:
                gate.open()
                over = anyio.current_time() + 0.8
                await wait_until(lambda: proxy.accepted >= before + 4 and anyio.current_time() > over)
            finally:
                own_server.resume()
    async with Redis.from_url(own_server.url) as looking:
        await log_equals(looking, tokens)
    equals(got, tokens)


@pytest.mark.promise(number=6)
@in_corners
async def test_a_server_that_is_killed_and_restarted_loses_nothing(
    own_server: EmbeddedValkey, variant: Variant
) -> None:
    """SIGKILL in the middle of writing and reading, three times; what was confirmed is in the append-only file.

    Fails without the repetition of an append (`_committer.py`).
    """
    tokens = numbered(900)
    got: list[StreamEvent] = []

    async def kill_and_restart(index: int) -> None:
        await wait_until(lambda: len(got) > index - 100)
        own_server.kill()
        await anyio.to_thread.run_sync(own_server.restart)

    claimed = anyio.Event()
    script: list[Step] = [claimed.set]
    for index, token in enumerate(tokens):
        script.append(token)
        if index in (200, 450, 700):
            script.append(partial(kill_and_restart, index))
    async with Redis.from_url(own_server.url, **variant.settings) as client, StreamConsumer(client) as consumer:
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as group:
                group.start_soon(StreamProducer(client).run, "s", ScriptedSource(script))
                await claimed.wait()
                group.start_soon(drain, consumer.events("s"), got)
        later = await read_all(consumer, "s")
    async with Redis.from_url(own_server.url) as looking:
        await log_equals(looking, tokens)
    equals(got, tokens)
    assert later == got
