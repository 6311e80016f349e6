"""P1 and P7: what a producer costs, alone."""

from __future__ import annotations

import asyncio
import cProfile
import random
import string
import time
from collections.abc import AsyncIterator

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from benchmarks.cases import BARE, OURS, PLAIN, Case, Figures, Results, Row, Settings, at_least, at_most, ratios
from benchmarks.children import use_of
from benchmarks.sources import at_once, paced
from resumable_stream import StreamConsumer, StreamProducer

TOKENS = 50_000
PLAIN_TOKENS = 3_000
PIPELINE = 64
ANSWERS = (200, 500, 2_000)
INTERVALS = (0.0, 0.02, 0.1)


def produce(case: Case, settings: Settings) -> Figures:
    """Write tokens as fast as they come, in this process."""
    count = settings.scaled(case.count)
    with Redis.from_url(settings.url) as redis:
        used, cpu = use_of(redis), time.process_time()
        profiler = cProfile.Profile() if settings.profile is not None else None
        seconds = asyncio.run(_produce(case.way, settings.url, count, profiler))
        cpu = time.process_time() - cpu
        use = use_of(redis).since(used)
        assert redis.xlen("rs1:{stream}:log" if case.way == OURS else "stream") >= count
    if profiler is not None and settings.profile is not None:
        profiler.dump_stats(settings.profile)
    return {
        "tokens": count / seconds,
        "cpu": cpu / count * 1e6,
        "redis cpu": use.cpu / count * 1e6,
        "sent": use.sent / count,
        "executed": use.executed / count,
    }


async def _produce(way: str, url: str, count: int, profiler: cProfile.Profile | None) -> float:
    async with AsyncRedis.from_url(url) as redis, StreamProducer(redis) as producer:
        await redis.ping()
        if profiler is not None:
            profiler.enable()
        start = time.monotonic()
        match way:
            case "ours":
                await producer.run("stream", at_once(count))
            case "plain":
                async for token in at_once(count):
                    await redis.xadd("stream", {"text": token})
                    await redis.expire("stream", 900)
            case _:
                pipeline = redis.pipeline(transaction=False)
                async for token in at_once(count):
                    pipeline.xadd("stream", {"text": token})
                    if len(pipeline) == PIPELINE:
                        await pipeline.execute()
                await pipeline.execute()
        seconds = time.monotonic() - start
        if profiler is not None:
            profiler.disable()
        return seconds


def p1_cases() -> list[Case]:
    counts = {OURS: TOKENS, PLAIN: PLAIN_TOKENS, BARE: TOKENS}
    return [Case("produce", way, count=count) for way, count in counts.items()]


def p1_rows(results: Results) -> list[Row]:
    ours, plain, bare = p1_cases()
    limit = f"redis-py pipeline of {PIPELINE}"
    tokens = {case.way: results[case, "tokens"] for case in (ours, plain, bare)}
    executed = {case.way: results[case, "executed"] for case in (ours, plain, bare)}
    return [
        Row(
            scenario="P1", figure="50,000 tokens (plain: 3,000): tokens/s", cells=tokens, limit=limit,
            judged=ratios(tokens[OURS], tokens[PLAIN]), target="≥ 60 x plain",
            reached=at_least(60), factor=True,
        ),
        Row(
            scenario="P1", figure="the same, beside the pipeline", cells={OURS: tokens[OURS], BARE: tokens[BARE]},
            limit=limit, judged=ratios(tokens[OURS], tokens[BARE]), target="≥ 1.5 x the pipeline",
            reached=at_least(1.5), factor=True,
        ),
        Row(
            scenario="P1", figure="Redis commands a token, executed, inside scripts too", cells=executed, limit=limit,
            digits=3, judged=executed[OURS], target="≤ 1.05", reached=at_most(1.05),
        ),
        Row(
            scenario="P1", figure="Redis commands a token, sent", digits=3, limit=limit,
            cells={case.way: results[case, "sent"] for case in (ours, plain, bare)},
        ),
        *(
            Row(
                scenario="P1", figure=f"{words}, µs/token", digits=1, limit=limit,
                cells={case.way: results[case, name] for case in (ours, plain, bare)},
            )
            for name, words in (("cpu", "producer CPU"), ("redis cpu", "Redis CPU"))
        ),
    ]  # fmt: skip


def words(count: int, seed: int) -> list[str]:
    """Tokens as a model makes them: about four and a half characters, most with the space before the word."""
    rng = random.Random(seed)
    return [
        (" " if rng.random() < 0.8 else "") + "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 6)))
        for _ in range(count)
    ]


async def _spoken(tokens: list[str], rate: float) -> AsyncIterator[str]:
    ticks = paced(len(tokens), rate, 0.0)
    for token in tokens:
        await anext(ticks)
        yield token


def store(case: Case, settings: Settings) -> Figures:
    """Write answers at the pace of a model, all at the same time, and weigh them in Redis."""
    return asyncio.run(_store(case, settings))


async def _store(case: Case, settings: Settings) -> Figures:
    figures: Figures = {}
    async with AsyncRedis.from_url(settings.url) as redis, StreamConsumer(redis) as consumer:

        async def one(count: int, interval: float | None) -> None:
            stream, tokens = f"{count}-{interval}", words(settings.scaled(count), count)
            source = _spoken(tokens, case.rate)
            if interval is None:
                async for token in source:
                    await redis.xadd(stream, {"text": token})
                    await redis.expire(stream, 900)
                keys = [stream]
            else:
                await StreamProducer(redis, flush_interval=interval).run(stream, source)
                seen = [event.data async for event in consumer.events(stream) if event.type == "text"]
                figures[f"{stream} entries"] = len(seen) / len(tokens)
                figures[f"{stream} same"] = float("".join(map(str, seen)) == "".join(tokens))
                keys = [f"rs1:{{{stream}}}:{part}" for part in ("log", "state")]
            weights = [await redis.memory_usage(key, samples=0) or 0 for key in keys]
            figures[f"{stream} bytes"] = sum(weights) / len(tokens)

        async with asyncio.TaskGroup() as group:
            for count in ANSWERS:
                for interval in (None, *INTERVALS):
                    group.create_task(one(count, interval))
    return figures


STORED = Case("store", OURS, rate=100)


def p7_cases() -> list[Case]:
    return [STORED]


def p7_rows(results: Results) -> list[Row]:
    rows = []
    for count in ANSWERS:
        what = f"{count:,} tokens at 100/s"
        plain, single, *joined = (results[STORED, f"{count}-{interval} bytes"] for interval in (None, *INTERVALS))
        rows.append(
            Row(
                scenario="P7", figure=f"{what}, an entry each: bytes a token", digits=1,
                cells={OURS: single, PLAIN: plain},
            )
        )  # fmt: skip
        for interval, less in zip(INTERVALS[1:], joined, strict=True):
            words = f"{what}, joined for {interval * 1000:.0f} ms"
            stream = f"{count}-{interval}"
            for base, name in ((single, "of ours with an entry each"), (plain, "of plain")):
                rows.append(
                    Row(
                        scenario="P7", figure=f"{words}: bytes a token", digits=1, cells={OURS: less, PLAIN: plain},
                        judged=ratios(less, base), target=f"≤ 0.4 x that {name}", reached=at_most(0.4), factor=True,
                    )
                )  # fmt: skip
            same = results[STORED, f"{stream} same"]
            rows += [
                Row(
                    scenario="P7", figure=f"{words}: entries a token", digits=2,
                    cells={OURS: results[STORED, f"{stream} entries"]},
                ),
                Row(
                    scenario="P7", figure=f"{words}: the same text at the viewer (1: yes)", cells={OURS: same},
                    judged=same, target="yes", reached=at_least(1),
                ),
            ]  # fmt: skip
    return rows
