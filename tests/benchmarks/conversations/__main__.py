"""Conversations under load, with processes killed at random: ``make load``.

Smaller: ``make load ARGS="--conversations 200 --minutes 1 --kills 6"``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from benchmarks.conversations.report import report
from benchmarks.conversations.run import Load, run
from benchmarks.serving import raise_file_limit


def main() -> None:
    """Run it and print the tables. The exit status is 1 where anything was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--conversations", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kills", type=int, help="processes that are ended (default: 3 a minute)")
    parser.add_argument("--pace", type=float, default=3.0, help="tokens a second of one answer (%(default)s)")
    parser.add_argument("--pause", type=float, default=90.0, help="mean seconds between turns (%(default)s)")
    parser.add_argument("--clients", type=int, default=2, help="client processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lease", type=float, default=10.0, help="STREAM_LEASE_SECONDS (%(default)s)")
    parser.add_argument("--retention", type=float, default=60.0, help="STREAM_TTL_SECONDS (%(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for the logs, and for what was found, as JSON")
    options = parser.parse_args()
    load = Load(
        conversations=options.conversations,
        seconds=60 * options.minutes,
        pause=options.pause,
        pace=options.pace,
        kills=round(3 * options.minutes) if options.kills is None else options.kills,
        seed=options.seed,
        clients=options.clients,
        settings={
            "stream_lease_seconds": options.lease,
            "stream_ttl_seconds": options.retention,
            "database_pool_size": 40,
            "run_max_attempts": 10,  # a long answer at this pace may see several processes die
        },
    )
    raise_file_limit()  # the servers inherit it
    start = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - start:.0f}] {line}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(run(load, folder, interval=2.0, say=say))
        if options.keep:
            found = {
                "load": asdict(load),
                "faults": outcome.verdict.faults,
                "blows": [asdict(blow) for blow in outcome.blows],
                "reports": outcome.reports,
            }
            (folder / "found.json").write_text(json.dumps(found))
    print(f"Python {platform.python_version()}, {load}\n")
    for line in report(outcome.verdict, outcome.reports, outcome.blows, outcome.meter, load.seconds):
        print(line)
    kinds = Counter(
        line.partition(":")[0] for line in outcome.log if line.startswith(("WARNING", "ERROR", "Traceback"))
    )
    print(f"\nThe servers' logs: {len(outcome.log)} lines, {dict(kinds)}")
    sys.exit(1 if outcome.verdict.faults else 0)


if __name__ == "__main__":
    main()
