"""P6: thousands of viewers on streams that are alive and silent."""

from __future__ import annotations

import time
from contextlib import ExitStack

from redis import Redis

from benchmarks.cases import BARE, OURS, PLAIN, Case, Figures, Results, Row, Settings, at_most, ratios
from benchmarks.children import Child, server, use_of, wait_for

STREAMS = 200
FEW, MANY = 2_000, 10_000
SETTLE = 2.0


def idle(case: Case, settings: Settings) -> Figures:
    """Attach viewers to silent streams and see what they take."""
    streams, viewers = settings.scaled(case.streams), settings.scaled(case.viewers)
    spec = {"way": case.way, "url": settings.url, "streams": streams, "viewers": viewers, "rate": 0, "count": 0}
    paths = [f"/s{number % streams}" for number in range(viewers)]
    with Redis.from_url(settings.url) as redis, ExitStack() as stack:
        clients = use_of(redis).clients
        load = stack.enter_context(Child("load"))
        serving, port = stack.enter_context(server(spec))
        rss = serving.rss
        load.ask("connect", port=port, paths=paths, sample=1)
        start = time.monotonic()
        wait_for(start + SETTLE * min(1, settings.seconds))
        grown = serving.rss - rss
        start, used, cpu = time.monotonic(), use_of(redis), serving.cpu
        wait_for(start + 2 * settings.seconds)  # a few signs of life of every producer
        use, seconds = use_of(redis).since(used), time.monotonic() - start
        return {
            "memory": grown / viewers / 1024,
            "connections": used.clients - clients,
            "sent": use.sent / seconds,
            "executed": use.executed / seconds,
            "cpu": (serving.cpu - cpu) / seconds * 100,
        }


def _case(way: str, viewers: int) -> Case:
    return Case("idle", way, streams=STREAMS, viewers=viewers)


def p6_cases() -> list[Case]:
    return [_case(OURS, FEW), _case(PLAIN, FEW), _case(BARE, FEW), _case(OURS, MANY), _case(BARE, MANY)]


def p6_rows(results: Results) -> list[Row]:
    rows = []
    for viewers in (FEW, MANY):
        cases = {case.way: case for case in p6_cases() if case.viewers == viewers}
        shown = {way: results[case, "memory"] for way, case in cases.items()}
        what = f"{viewers:,} idle viewers"
        ours = cases.pop(OURS)
        rows.append(
            Row(
                scenario="P6", figure=f"{what}: memory of the server, KB a viewer", cells=shown, digits=1,
                judged=ratios(shown[OURS], shown[BARE]), target="≤ 1.4 x bare ASGI",
                reached=at_most(1.4), factor=True,
            )
        )  # fmt: skip
        cases = {OURS: ours, **({PLAIN: cases[PLAIN]} if PLAIN in cases else {})}
        for name, words, most in (
            ("connections", "Redis connections", 9),
            ("sent", "Redis commands a second, sent", 99),
            ("executed", "Redis commands a second, executed, inside scripts too", 0),
        ):
            rows.append(
                Row(
                    scenario="P6", figure=f"{what}: {words}",
                    cells={way: results[case, name] for way, case in cases.items()},
                    judged=results[ours, name] if most else None, target=f"≤ {most}" if most else "",
                    reached=at_most(most),
                )
            )  # fmt: skip
        busy = {way: results[case, "cpu"] for way, case in cases.items()}
        rows.append(Row(scenario="P6", figure=f"{what}: CPU of the server, %", cells=busy, digits=1))
    return rows
