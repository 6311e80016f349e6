"""The core beside the plain way of doing it, in one run on an embedded Valkey: ``make bench``.

The plain way, written here: ``XADD`` and ``EXPIRE`` awaited for each token, and a blocking ``XREAD`` with a connection
of its own for each viewer. Figures are medians of three runs with the lowest and highest beside them: ratios between
rows of one run mean something, absolute values only tell about the machine.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.asyncio import ConnectionPool, Redis

from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.embedded import EmbeddedValkey

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of one way came to."""

    per_second: float
    p50: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0
    connections: int = 0


async def tokens(count: int) -> AsyncIterator[str]:
    for number in range(count):
        yield f"token {number} "


async def timed_tokens(count: int, rate: float) -> AsyncIterator[str]:
    """Tokens at a steady rate, each saying when it was made."""
    start = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        yield repr(time.perf_counter())


async def produce_ours(redis: Redis, count: int) -> Sample:
    async with StreamProducer(redis) as producer:
        start = time.perf_counter()
        await producer.run("bench", tokens(count))
        return Sample(count / (time.perf_counter() - start))


async def produce_plain(redis: Redis, count: int) -> Sample:
    start = time.perf_counter()
    async for token in tokens(count):
        await redis.xadd("bench", {"text": token})
        await redis.expire("bench", 900)
    return Sample(count / (time.perf_counter() - start))


async def produce_pipeline(redis: Redis, count: int) -> Sample:
    """The limit of redis-py's own pipeline, in batches of 64."""
    start = time.perf_counter()
    pipeline = redis.pipeline(transaction=False)
    async for token in tokens(count):
        pipeline.xadd("bench", {"text": token})
        if len(pipeline) == 64:
            await pipeline.execute()
    await pipeline.execute()
    return Sample(count / (time.perf_counter() - start))


class Stopwatch:
    """Delays of tokens that say when they were made, and the CPU time meanwhile."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self._cpu = time.process_time()
        self._start = time.perf_counter()

    def saw(self, token: str) -> None:
        self.delays.append(time.perf_counter() - float(token))

    async def sample(self, redis: Redis) -> Sample:
        count = len(self.delays)
        cuts = statistics.quantiles(self.delays, n=100)
        info = await redis.info("clients")
        return Sample(
            count / (time.perf_counter() - self._start),
            cuts[49],
            cuts[98],
            (time.process_time() - self._cpu) / count,
            int(info["connected_clients"]) - 1,
        )


async def follow_ours(redis: Redis, streams: int, viewers: int, rate: float, seconds: float) -> Sample:
    async with StreamProducer(redis) as producer, StreamConsumer(redis) as consumer:
        watch = Stopwatch()
        seen = Sample(0)

        async def view(stream_id: str) -> None:
            async for event in consumer.events(stream_id):
                if event.type == "text" and isinstance(event.data, str):
                    watch.saw(event.data)

        async with asyncio.TaskGroup() as group:
            for number in range(streams):
                source = timed_tokens(int(rate * seconds), rate)
                group.create_task(producer.run(f"bench-{number}", source))
            async with asyncio.timeout(10):
                while await redis.dbsize() < 2 * streams:  # until all are claimed
                    pass
            readers = [group.create_task(view(f"bench-{n}")) for n in range(streams) for _ in range(viewers)]
            await asyncio.sleep(seconds / 2)
            seen = await watch.sample(redis)
            await asyncio.wait(readers)
        final = await watch.sample(redis)
        return Sample(final.per_second, final.p50, final.p99, final.cpu, seen.connections)


async def follow_plain(redis: Redis, streams: int, viewers: int, rate: float, seconds: float) -> Sample:
    kwargs = redis.connection_pool.connection_kwargs
    pool = ConnectionPool(max_connections=10_000, host=kwargs["host"], port=kwargs["port"])
    client = Redis(connection_pool=pool)
    watch = Stopwatch()
    seen = Sample(0)

    async def produce(key: str) -> None:
        async for token in timed_tokens(int(rate * seconds), rate):
            await client.xadd(key, {"text": token})
            await client.expire(key, 900)
        await client.xadd(key, {"end": ""})

    async def view(key: str) -> None:
        last = b"0"
        while True:
            reply: Any = await client.xread({key: last}, block=4000, count=100)
            for _, entries in reply:
                for entry_id, fields in entries:
                    last = entry_id
                    if b"end" in fields:
                        return
                    watch.saw(fields[b"text"].decode())

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(streams):
                group.create_task(produce(f"plain-{number}"))
            readers = [group.create_task(view(f"plain-{n}")) for n in range(streams) for _ in range(viewers)]
            await asyncio.sleep(seconds / 2)
            seen = await watch.sample(redis)
            await asyncio.wait(readers)
        final = await watch.sample(redis)
        return Sample(final.per_second, final.p50, final.p99, final.cpu, seen.connections)
    finally:
        await client.aclose()
        await pool.aclose()


Way = Callable[[Redis], Awaitable[Sample]]


def scenarios() -> list[tuple[str, str, Way]]:
    """What is compared: a scenario, a way of doing it, and the run."""
    table: list[tuple[str, str, Way]] = [
        ("50,000 tokens, flat out", "plain (3,000 of them)", lambda r: produce_plain(r, 3_000)),
        ("50,000 tokens, flat out", "redis-py pipeline of 64", lambda r: produce_pipeline(r, 50_000)),
        ("50,000 tokens, flat out", "resumable_stream", lambda r: produce_ours(r, 50_000)),
    ]
    for name, streams, viewers, rate in (
        ("50 streams x 20/s, 1 viewer", 50, 1, 20.0),
        ("50 streams x 100/s, 1 viewer", 50, 1, 100.0),
        ("500 streams x 5/s, 1 viewer", 500, 1, 5.0),
        ("1 stream x 20/s, 150 viewers", 1, 150, 20.0),
    ):
        for way, follow in (("plain", follow_plain), ("resumable_stream", follow_ours)):
            run = partial(follow, streams=streams, viewers=viewers, rate=rate, seconds=4.0)
            table.append((name, way, run))
    return table


def spread(values: list[float], unit: float, digits: int) -> str:
    """A median with the lowest and highest value."""
    low, middle, high = (
        format(v * unit, f",.{digits}f") for v in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low}-{high})" if any(values) else ""


def main() -> None:
    """Run every scenario, the ways of one beside each other, and print one table."""
    samples: dict[tuple[str, str], list[Sample]] = {}
    ways = scenarios()

    async def one(url: str, way: Way) -> Sample:
        async with Redis.from_url(url) as redis:
            await redis.flushall()
            return await way(redis)

    with EmbeddedValkey() as valkey:
        for _ in range(ROUNDS):
            for scenario, name, way in ways:
                samples.setdefault((scenario, name), []).append(asyncio.run(one(valkey.url, way)))
    print("| scenario | way | events/s | p50 ms | p99 ms | CPU µs/event | connections |")
    print("|---|---|---|---|---|---|---|")
    for (scenario, name), runs in samples.items():
        cells = [
            spread([s.per_second for s in runs], 1, 0),
            spread([s.p50 for s in runs], 1e3, 2),
            spread([s.p99 for s in runs], 1e3, 2),
            spread([s.cpu for s in runs], 1e6, 0),
            str(max(s.connections for s in runs) or ""),
        ]
        print("|", " | ".join([scenario, name, *cells]), "|")


if __name__ == "__main__":
    main()
