"""The core beside the plain way of doing it and beside the limits, in one run: ``make bench``.

For a part of it: ``make bench ARGS="P2 P4 --rounds 1 --seconds 3 --only ours,bare"``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn
from redis import Redis
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from benchmarks import answering, distance, following, idling, producing, replaying
from benchmarks.cases import HEAD, OURS, WAYS, Case, Figures, Results, Row, Settings
from resumable_stream.embedded import EmbeddedValkey

KINDS: dict[str, Callable[[Case, Settings], Figures]] = {
    "follow": following.follow,
    "wake": following.wake,
    "replay": replaying.replay,
    "idle": idling.idle,
    "produce": producing.produce,
    "store": producing.store,
    "travel": distance.travel,
    "answer": answering.answer,
}

SCENARIOS: dict[str, tuple[Callable[[], list[Case]], Callable[[Results], list[Row]]]] = {
    "P1": (producing.p1_cases, producing.p1_rows),
    "P2": (following.p2_cases, following.p2_rows),
    "P3": (following.p3_cases, following.p3_rows),
    "P4": (following.p4_cases, following.p4_rows),
    "P5": (replaying.p5_cases, replaying.p5_rows),
    "P6": (idling.p6_cases, idling.p6_rows),
    "P7": (producing.p7_cases, producing.p7_rows),
    "P8": (distance.p8_cases, distance.p8_rows),
    "P9": (answering.p9_cases, answering.p9_rows),
}


SATURATED = 0.9
"""A load process that is busier than this measures itself."""


def measure(scenarios: list[str], ways: list[str], rounds: int, settings: Settings) -> list[Row]:
    """Run the cases of the scenarios, the ways of one beside each other, round by round; warn where figures mislead."""
    results = Results()
    cases = list(dict.fromkeys(case for name in scenarios for case in SCENARIOS[name][0]() if case.way in ways))
    with Redis.from_url(settings.url) as redis:
        for number in range(rounds):
            for case in cases:
                redis.flushall()
                figures = KINDS[case.kind](case, settings)
                results.add(case, figures)
                said = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
                print(f"round {number + 1}: {case}: {said}", file=sys.stderr, flush=True)
                if figures.get("busy", 0.0) > SATURATED:
                    print(f"The load process was saturated, in round {number + 1}: {case}\n", flush=True)
    return [row for name in scenarios for row in SCENARIOS[name][1](results)]


def main() -> None:
    """Run what the arguments name and print one table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="P1", help=f"of {', '.join(SCENARIOS)}; all when none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="that paced scenarios are measured")
    parser.add_argument("--only", default=",".join(WAYS), help="ways, with commas between: ours,plain,bare")
    parser.add_argument("--profile", type=Path, help="write our server process's cProfile here; for one case")
    parser.add_argument("--server", type=Path, help="a Redis server program, instead of the embedded Valkey")
    options = parser.parse_args()
    scenarios = options.scenarios or list(SCENARIOS)
    if unknown := [name for name in scenarios if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    ways = [OURS] if options.profile else options.only.split(",")
    maxclients = {"maxclients": "15000"}
    with EmbeddedValkey(binary=options.server, settings=maxclients) as valkey, Redis.from_url(valkey.url) as redis:
        settings = Settings(valkey.url, options.seconds, profile=options.profile)
        rows = measure(scenarios, ways, options.rounds, settings)
        info = redis.info("server")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, ", end="")
    print(f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}, ", end="")
    loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    print(f"uvicorn {uvicorn.__version__} ({AutoHTTPProtocol.__name__}, {loop}), ", end="")
    print(f"{options.rounds} rounds, medians (lowest-highest); x is ours to the other, of the same round.\n")
    print(HEAD)
    for row in rows:
        print(row.line())


if __name__ == "__main__":
    main()
