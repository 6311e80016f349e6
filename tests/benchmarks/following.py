"""P2, P3 and P4: tokens that are followed as they come, with one viewer a stream and with hundreds."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from benchmarks.cases import BARE, OURS, PLAIN, WAYS, Case, Figures, Results, Row, Settings, at_least, at_most, ratios
from benchmarks.children import Child, server, use_of, wait_for

LATE = 3.0
"""Seconds that the last frames may take; who needs more does not hold the rate."""


def follow(case: Case, settings: Settings) -> Figures:
    """Serve paced streams to viewers for some seconds."""
    streams, viewers = settings.scaled(case.streams), settings.scaled(case.viewers)
    count = int(case.rate * (settings.warm + settings.seconds + settings.after))
    spec = {
        "way": case.way, "url": settings.url, "streams": streams, "viewers": viewers, "rate": case.rate, "count": count,
        "profile": str(settings.profile) if settings.profile is not None and case.way == OURS else None,
    }  # fmt: skip
    paths = [f"/s{number}" for number in range(streams) for _ in range(viewers)]
    with Redis.from_url(settings.url) as redis, ExitStack() as stack:
        clients = use_of(redis).clients
        load = stack.enter_context(Child("load"))
        serving, port = stack.enter_context(server(spec))
        load.ask("connect", port=port, paths=paths, sample=max(1, len(paths) // 50) if viewers > 1 else 1)
        serving.ask("go")
        start = time.monotonic()
        wait_for(start + settings.warm)
        used, cpu = use_of(redis), serving.cpu
        load.ask("begin")
        wait_for(start + settings.warm + settings.seconds)
        seen = load.ask("end")
        cpu = serving.cpu - cpu
        use = use_of(redis).since(used)
        end = load.ask("finish", seconds=settings.after + LATE)
        rss = serving.rss
    events = max(1, seen["frames"])
    tokens = case.rate * streams * seen["seconds"]
    return {
        "events": events / seen["seconds"],
        "due": case.rate * len(paths),
        "all": float(end["ended"] == len(paths) and end["least"] == count + 1 == end["most"]),
        "p50": seen["p50"] * 1e3,
        "p99": seen["p99"] * 1e3,
        "cpu": cpu / events * 1e6,
        "server busy": cpu / seen["seconds"],
        "redis cpu": use.cpu / events * 1e6,
        "sent": use.sent / tokens,
        "executed": use.executed / tokens,
        "connections": used.clients - clients,
        "busy": seen["busy"],
        "rss": rss,
    }


def wake(case: Case, settings: Settings) -> Figures:
    """How long after an ``XADD`` was begun a blocked ``XREAD`` has returned, in one process that does nothing else."""
    return asyncio.run(_wake(settings.url, settings.scaled(case.count)))


async def _wake(url: str, count: int) -> Figures:
    rng = random.Random(1)
    delays: list[float] = []
    async with AsyncRedis.from_url(url) as writer, AsyncRedis.from_url(url) as reader:
        last = b"0"
        await writer.ping()
        for _ in range(count):
            reading: asyncio.Future[Any] = asyncio.ensure_future(reader.xread({"wake": last}, block=4000))
            await asyncio.sleep(rng.uniform(0.002, 0.006))
            started = time.monotonic()
            await writer.xadd("wake", {"text": "token"})
            reply = await reading
            delays.append(time.monotonic() - started)
            entries = reply[b"wake"][0] if isinstance(reply, dict) else reply[0][1]
            last = entries[-1][0]
    cuts = statistics.quantiles(delays, n=100)
    return {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


WAKE = Case("wake", BARE, count=500)


def few(way: str, rate: float = 100) -> Case:
    """50 streams with a viewer each."""
    return Case("follow", way, streams=50, rate=rate)


def many(way: str) -> Case:
    """1,000 streams with a viewer each: as many events a second."""
    return Case("follow", way, streams=1000, rate=5)


def crowd(way: str, rate: float, viewers: int = 500) -> Case:
    """One stream with many viewers."""
    return Case("follow", way, viewers=viewers, rate=rate)


def cells(results: Results, cases: Sequence[Case], name: str) -> dict[str, list[float]]:
    """One figure of the ways of a case."""
    return {case.way: results[case, name] for case in cases}


def _rate_rows(scenario: str, what: str, results: Results, cases: Sequence[Case], target: float | None) -> list[Row]:
    ours = next(case for case in cases if case.way == OURS)
    due = results[ours, "due"]
    least = target if target is not None else 0.99 * (due[0] if due else 0)
    words = f"≥ {least:,.0f}" if target is not None else "all, at full rate"
    whole = [
        rate if everything else 0.0
        for rate, everything in zip(results[ours, "events"], results[ours, "all"], strict=True)
    ]
    busy = {case.way: [100 * value for value in results[case, "busy"]] for case in cases}
    return [
        Row(
            scenario=scenario, figure=f"{what}: events/s delivered", cells=cells(results, cases, "events"),
            judged=whole, target=words, reached=at_least(least),
        ),
        Row(scenario=scenario, figure=f"{what}: CPU of the load process, %", cells=busy),
    ]  # fmt: skip


def _factor(scenario: str, what: str, figure: str, results: Results, cases: Sequence[Case], most: float) -> Row:
    """A row on what ours costs in terms of the bare app."""
    shown = cells(results, cases, figure)
    return Row(
        scenario=scenario, figure=what, cells=shown, judged=ratios(shown[OURS], shown.get(BARE, [])),
        target=f"≤ {most:g} x bare ASGI", reached=at_most(most), factor=True,
    )  # fmt: skip


def p2_cases() -> list[Case]:
    return [*map(few, WAYS), few(OURS, 20), few(PLAIN, 20), WAKE]


def p2_rows(results: Results) -> list[Row]:
    cases = list(map(few, WAYS))
    slow = [few(OURS, 20), few(PLAIN, 20)]
    p50 = results[few(OURS), "p50"]
    at_slow = cells(results, slow, "p99")
    return [
        *_rate_rows("P2", "50 streams x 100/s", results, cases, None),
        Row(
            scenario="P2", figure="50 streams x 100/s: p50, ms", cells=cells(results, cases, "p50"), digits=2,
            judged=p50, target="≤ 1", reached=at_most(1),
        ),
        Row(scenario="P2", figure="50 streams x 100/s: p99, ms", cells=cells(results, cases, "p99"), digits=2),
        Row(
            scenario="P2", figure="XADD until a blocked XREAD returns: p50, ms",
            cells={BARE: results[WAKE, "p50"]}, limit="redis-py", digits=2,
        ),
        Row(
            scenario="P2", figure="XADD until a blocked XREAD returns: p99, ms",
            cells={BARE: results[WAKE, "p99"]}, limit="redis-py", digits=2,
        ),
        Row(scenario="P2", figure="50 streams x 20/s: events/s delivered", cells=cells(results, slow, "events")),
        Row(
            scenario="P2", figure="50 streams x 20/s: p99, ms", cells=at_slow, digits=2,
            judged=ratios(at_slow[OURS], at_slow[PLAIN]), target="≤ 0.5 x plain",
            reached=at_most(0.5), factor=True,
        ),
        _factor("P2", "50 streams x 100/s: server CPU, µs/event", "cpu", results, cases, 2),
        Row(
            scenario="P2", figure="50 streams x 100/s: Redis CPU, µs/event",
            cells=cells(results, cases[:2], "redis cpu"), digits=1,
        ),
        Row(
            scenario="P2", figure="50 streams x 100/s: Redis connections",
            cells=cells(results, cases[:2], "connections"),
        ),
    ]  # fmt: skip


def p3_cases() -> list[Case]:
    return [*map(many, WAYS), few(OURS)]


def p3_rows(results: Results) -> list[Row]:
    cases = list(map(many, WAYS))
    rows = _rate_rows("P3", "1,000 streams x 5/s", results, cases, None)
    for name, words in (("p50", "p50, ms"), ("p99", "p99, ms")):
        shown = cells(results, cases, name)
        rows.append(Row(scenario="P3", figure=f"1,000 streams x 5/s: {words}", cells=shown, digits=2))
    for name, words in (("cpu", "server CPU"), ("redis cpu", "Redis CPU")):
        shown = cells(results, cases if name == "cpu" else cases[:2], name)
        rows.append(
            Row(
                scenario="P3", figure=f"1,000 streams x 5/s: {words}, µs/event", cells=shown, digits=1,
                judged=ratios(shown[OURS], results[few(OURS), name]), target="≤ 1.3 x P2's",
                reached=at_most(1.3), factor=True,
            )
        )  # fmt: skip
    return rows


def p4_cases() -> list[Case]:
    slow, fast = [crowd(way, 100) for way in WAYS], [crowd(way, 400) for way in WAYS]
    return [*slow, *fast, crowd(OURS, 100, viewers=1)]


def p4_rows(results: Results) -> list[Row]:
    rows = []
    for rate, least in ((100, 49_500), (400, 190_000)):
        what = f"500 viewers x {rate}/s"
        cases = [crowd(way, rate) for way in WAYS]
        rows += _rate_rows("P4", what, results, cases, least)
        rows.append(Row(scenario="P4", figure=f"{what}: p50, ms", cells=cells(results, cases, "p50"), digits=2))
        rows.append(Row(scenario="P4", figure=f"{what}: p99, ms", cells=cells(results, cases, "p99"), digits=2))
        rows.append(_factor("P4", f"{what}: server CPU, µs/event", "cpu", results, cases, 1.3))
    one, all_of_them = crowd(OURS, 100, viewers=1), crowd(OURS, 100)
    for name, words in (("sent", "sent"), ("executed", "executed, inside scripts too")):
        rows.append(
            Row(
                scenario="P4", figure=f"1 viewer: Redis commands a token, {words}",
                cells={OURS: results[one, name]}, digits=2,
            )
        )  # fmt: skip
        rows.append(
            Row(
                scenario="P4", figure=f"500 viewers: Redis commands a token, {words}",
                cells={OURS: results[all_of_them, name], PLAIN: results[crowd(PLAIN, 100), name]}, digits=2,
                judged=ratios(results[all_of_them, name], results[one, name]), target="as with 1 viewer",
                reached=at_most(1.02), factor=True,
            )
        )  # fmt: skip
    return rows
