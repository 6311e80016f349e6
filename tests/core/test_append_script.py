"""The script that appends, called as a producer calls it when an earlier attempt got half through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from core.streams import log_of
from resumable_stream import EventID
from resumable_stream._buffer import entry
from resumable_stream._log import Claim, Log
from resumable_stream._names import Names

NAMES = Names.of("s")
ENTRIES = [entry(b"text", b"%d" % number) for number in range(1, 7)]


@asynccontextmanager
async def claimed(redis: Redis) -> AsyncIterator[tuple[Log, Claim]]:
    async with Log(redis) as log:
        yield log, await log.claim(NAMES, stream_id="s", lease=10, retention=60)


@pytest.mark.parametrize("written", [0, 1, 3, 6])
@pytest.mark.parametrize("bound", [0, 100])
async def test_what_an_earlier_attempt_wrote_is_kept_and_the_rest_follows_it(
    redis: Redis, written: int, bound: int
) -> None:
    """An attempt ends in the middle when Redis runs out of memory there. In the script ``counts`` must be set only
    by an entry that was written: set by one that was there already, the repetition doubles the rest."""
    async with claimed(redis) as (log, claim):
        first = EventID(claim.generation, 1)
        if written:
            await log.append(NAMES, first, ENTRIES[:written], max_events=bound)
        appended = await log.append(NAMES, first, ENTRIES, max_events=bound)
        assert appended.outcome == "ok"
    assert [(entry_id, data) for entry_id, _, data in await log_of(redis, "s")] == [
        (f"{claim.generation}-{number}", f"{number}") for number in range(1, 7)
    ]


async def test_the_numbers_go_on_over_many_appends(redis: Redis) -> None:
    """Also behind a takeover, whose own event has a number too."""
    async with claimed(redis) as (log, claim):
        for start in (1, 3, 5):
            await log.append(NAMES, EventID(claim.generation, start), ENTRIES[start - 1 : start + 1])
        await redis.hset("rs1:{s}:state", "l", "0")  # the producer is dead
        async with claimed(redis) as (other, later):
            await other.append(NAMES, EventID(later.generation, later.head + 1), ENTRIES)
    entries = await log_of(redis, "s")
    assert [int(entry_id.partition("-")[2]) for entry_id, _, _ in entries] == list(range(1, 14))
    assert [kind for _, kind, _ in entries] == ["text"] * 6 + ["restarted"] + ["text"] * 6
