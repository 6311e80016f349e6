"""P8: a producer that is far from Redis."""

from __future__ import annotations

import asyncio
import statistics
import time
from urllib.parse import urlsplit

from redis.asyncio import Redis

from benchmarks.cases import BARE, OURS, Case, Figures, Results, Row, Settings, at_least, at_most, ratios
from benchmarks.sources import paced
from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.testing import FaultProxy

ROUND_TRIP = 0.005
TOKENS, RATE = 2_000, 200
FIRSTS = 20


def travel(case: Case, settings: Settings) -> Figures:
    """Write a stream through a line that is slow in both directions."""
    return asyncio.run(_travel(settings.url, settings.scaled(case.count), case.rate))


async def _travel(url: str, count: int, rate: float) -> Figures:
    server = urlsplit(url)
    async with FaultProxy(server.hostname or "", server.port or 0) as proxy:
        proxy.to_server.latency = proxy.to_client.latency = ROUND_TRIP / 2
        async with Redis(host=proxy.host, port=proxy.port) as redis, StreamProducer(redis) as producer:
            trips = [await _timed(redis) for _ in range(FIRSTS)]
            firsts = [await _first(producer, f"first-{number}") for number in range(FIRSTS)]
            start = time.monotonic()
            async for _ in paced(count, rate, 0.0):
                pass
            alone = time.monotonic() - start
            start = time.monotonic()
            await producer.run("stream", paced(count, rate, 0.0))
            written = time.monotonic() - start
    async with Redis.from_url(url) as redis, StreamConsumer(redis) as consumer:
        made = [float(str(event.data)) async for event in consumer.events("stream") if event.type == "text"]
    return {
        "trip": statistics.median(trips) * 1e3,
        "first": statistics.median(firsts) * 1e3,
        "alone": alone,
        "written": written,
        "ordered": float(len(made) == count and made == sorted(made)),
    }


async def _timed(redis: Redis) -> float:
    start = time.monotonic()
    await redis.ping()
    return time.monotonic() - start


async def _first(producer: StreamProducer, stream: str) -> float:
    """How long the first token of a claimed stream takes until Redis has acknowledged it."""
    async with producer.open(stream) as writer:
        start = time.monotonic()
        await writer.send("token")
        await writer.flush()
        return time.monotonic() - start


CASE = Case("travel", OURS, rate=RATE, count=TOKENS)


def p8_cases() -> list[Case]:
    return [CASE]


def p8_rows(results: Results) -> list[Row]:
    trip, first, alone, written = (results[CASE, name] for name in ("trip", "first", "alone", "written"))
    return [
        Row(
            scenario="P8", figure="first token until its acknowledgement, ms", digits=2,
            cells={OURS: first, BARE: trip}, limit="PING", judged=ratios(first, trip),
            target="one round trip (≤ 1.25 x PING)", reached=at_most(1.25), factor=True,
        ),
        Row(
            scenario="P8", figure=f"{TOKENS:,} tokens at {RATE}/s, from the claim to the end written: s", digits=3,
            cells={OURS: written, BARE: alone}, limit="the source alone", judged=ratios(written, alone),
            target="≤ 1.05 x the source alone", reached=at_most(1.05), factor=True,
        ),
        Row(
            scenario="P8", figure="all in order at the reader (1: yes)", cells={OURS: results[CASE, "ordered"]},
            judged=results[CASE, "ordered"], target="yes", reached=at_least(1),
        ),
    ]  # fmt: skip
