"""P5: a long stream that has ended, read from its first event by one viewer, then by fifty at once."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from benchmarks.cases import BARE, OURS, PLAIN, WAYS, Case, Figures, Results, Row, Settings, at_least, at_most, ratios
from benchmarks.children import Child, server, use_of
from benchmarks.sources import at_once
from resumable_stream import StreamProducer

EVENTS = 20_000
CROWD = 50
PATIENCE = 15.0
"""Seconds after which a way is stopped and judged by what it has sent; the plain way would take minutes."""


def replay(case: Case, settings: Settings) -> Figures:
    """Have a fresh server process send one stream to a viewer, and another to many at once."""
    count, viewers = settings.scaled(case.count), max(2, settings.scaled(case.viewers))
    spec = {"way": case.way, "url": settings.url, "streams": 0, "viewers": viewers, "rate": 0, "count": 0}
    if settings.profile is not None:
        spec["profile"] = str(settings.profile)
    if case.way != BARE:
        for stream in ("one", "many"):
            asyncio.run(_fill(case.way, settings.url, stream, count))
    with Redis.from_url(settings.url) as redis, ExitStack() as stack:
        first, second = stack.enter_context(Child("load")), stack.enter_context(Child("load"))
        serving, port = stack.enter_context(server(spec))
        if case.way == BARE:
            for stream in ("one", "many"):
                serving.ask("fill", stream=stream, count=count)
        serving.ask("go")
        used = use_of(redis)
        one = first.ask("replay", port=port, path="/one", viewers=1, seconds=PATIENCE)
        reads = use_of(redis).since(used).commands
        before = serving.restart_peak()
        used = use_of(redis)
        many = second.ask("replay", port=port, path="/many", viewers=viewers, seconds=PATIENCE)
        more_reads = use_of(redis).since(used).commands
        return {
            "one": one["frames"] / one["seconds"],
            "many": many["frames"] / many["seconds"],
            "all": float(one["ended"] == 1 and many["ended"] == viewers and many["least"] == count + 1 == many["most"]),
            "reads": reads.get("xrange", 0) + reads.get("xread", 0),
            "more reads": more_reads.get("xrange", 0) + more_reads.get("xread", 0),
            "growth": (serving.peak - before) / 2**20,
            "busy": many["busy"],
        }


async def _fill(way: str, url: str, stream: str, count: int) -> None:
    """Write a stream to its end, from this process: the server has never seen it."""
    async with AsyncRedis.from_url(url) as redis:
        if way == OURS:
            await StreamProducer(redis).run(stream, at_once(count))
            return
        pipeline = redis.pipeline(transaction=False)
        async for token in at_once(count):
            pipeline.xadd(stream, {"text": token})
        pipeline.xadd(stream, {"end": ""})
        await pipeline.execute()


def p5_cases() -> list[Case]:
    return [Case("replay", way, viewers=CROWD, count=EVENTS) for way in WAYS]


def p5_rows(results: Results) -> list[Row]:
    ours, plain, bare = p5_cases()
    rows = []
    for name, words, least in (("one", "1 viewer, cold", 8), ("many", f"{CROWD} viewers at once", 50)):
        shown = {case.way: results[case, name] for case in (ours, plain, bare)}
        rows.append(
            Row(
                scenario="P5", figure=f"{words}: events/s", cells=shown, judged=ratios(shown[OURS], shown[PLAIN]),
                target=f"≥ {least} x plain", reached=at_least(least), factor=True,
            )
        )  # fmt: skip
    fewer = ratios(results[ours, "more reads"], results[ours, "reads"])
    reads = {OURS: results[ours, "reads"], PLAIN: results[plain, "reads"]}
    more_reads = {OURS: results[ours, "more reads"], PLAIN: results[plain, "more reads"]}
    return [
        *rows,
        Row(
            scenario="P5", figure=f"{CROWD} viewers: all events to all viewers (1: yes)",
            cells={OURS: results[ours, "all"]}, judged=results[ours, "all"], target="yes",
            reached=at_least(1),
        ),
        Row(scenario="P5", figure="1 viewer: XRANGE or XREAD calls", cells=reads),
        Row(
            scenario="P5", figure=f"{CROWD} viewers: XRANGE or XREAD calls", cells=more_reads, judged=fewer,
            target="one viewer's", reached=at_most(1), factor=True,
        ),
        Row(
            scenario="P5", figure=f"{CROWD} viewers: growth of memory at its peak, MB", digits=1,
            cells={case.way: results[case, "growth"] for case in (ours, plain, bare)},
            judged=results[ours, "growth"], target="≤ 30", reached=at_most(30),
        ),
        Row(
            scenario="P5", figure=f"{CROWD} viewers: CPU of the load process, %",
            cells={case.way: [100 * value for value in results[case, "busy"]] for case in (ours, plain, bare)},
        ),
    ]  # fmt: skip
