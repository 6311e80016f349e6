"""What an acknowledged append survives, measured: ``make durability``.

Events are written to many streams, each waited for until it is acknowledged; then the Redis process is killed, and what
was acknowledged is looked for in the server that takes its place.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio import to_thread
from redis.asyncio import Redis

from benchmarks.cases import spread
from benchmarks.children import environment
from core.replication import follow, in_step
from core.streams import log_of
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import FaultProxy
from support import wait_until

PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run Redis, and one way to lose it.

    Attributes:
        name: for the table.
        fault: for the table.
        settings: of the server.
        replica: whether a replica takes over; else the same server is started again from its files.
        cut: seconds that the replica is cut off before the fault.
        confirmed: how many replicas must have an event, for its producer.
        survives: whether the producer outlives the primary.
    """

    name: str
    fault: str
    settings: Mapping[str, str] = field(default_factory=dict)
    replica: bool = False
    cut: float = 0.0
    confirmed: int = 0
    survives: bool = False


AOF = {"appendonly": "yes"}
KILLED = "process killed and started again"
BEHIND = "killed after its replica was cut off for 1 s; the replica takes over"
MODES = [
    Mode("no persistence", KILLED),
    Mode("AOF, everysec", KILLED, AOF | {"appendfsync": "everysec"}),
    Mode("AOF, always", KILLED, AOF | {"appendfsync": "always"}),
    Mode("a replica", "killed; the replica takes over", replica=True),
    Mode("a replica", BEHIND, replica=True, cut=1.0),
    Mode("a replica, the producer lives", BEHIND, replica=True, cut=1.0, survives=True),
    Mode(
        "a replica, `min-replicas-to-write 1`",
        BEHIND,
        {"min-replicas-to-write": "1", "min-replicas-max-lag": "1"},
        replica=True,
        cut=1.0,
    ),
    Mode("a replica, `replicas=1`", BEHIND, replica=True, cut=1.0, confirmed=1),
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run: events that were acknowledged, how many of them are gone, how many came a second."""

    acknowledged: int
    lost: int
    rate: float


class Writer:
    """The process that writes, and what it was told by Redis."""

    def __init__(self, url: str, streams: int, confirmed: int) -> None:
        command = [sys.executable, "-m", "benchmarks.acknowledging", url, str(streams), str(confirmed)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
        self.newest: Counter[int] = Counter()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, sequence = line.split()
            self.newest[int(number)] = int(sequence)

    def kill(self) -> None:
        """End it; what it had said before is known."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@asynccontextmanager
async def servers(
    mode: Mode, binary: Path | None
) -> AsyncIterator[tuple[EmbeddedValkey, EmbeddedValkey | None, FaultProxy]]:
    """A primary, its replica where there is one, and the line between them."""
    async with AsyncExitStack() as stack:
        settings = {"repl-diskless-sync-delay": "0", **mode.settings}
        later = {name: settings.pop(name) for name in tuple(settings) if name.startswith("min-replicas")}
        primary = await stack.enter_async_context(EmbeddedValkey(binary=binary, settings=settings))
        line = await stack.enter_async_context(FaultProxy("127.0.0.1", primary.port))
        replica = None
        async with Redis.from_url(primary.url) as admin:
            if mode.replica:
                replica = await stack.enter_async_context(EmbeddedValkey(binary=binary, settings=settings))
                await follow(replica, primary, port=line.port)
            for name, value in later.items():
                await admin.config_set(name, value)
        yield primary, replica, line


async def run(mode: Mode, streams: int, seconds: float, binary: Path | None) -> Outcome:
    """Write, break, take over, count."""
    async with servers(mode, binary) as (primary, replica, line), FaultProxy("127.0.0.1", primary.port) as way:
        writer = Writer(f"redis://127.0.0.1:{way.port}", streams, mode.confirmed)
        try:
            await wait_until(lambda: len(writer.newest) == streams, timeout=PATIENCE)
            if replica is not None:
                await in_step(primary)  # a stream of which nothing has arrived there would be lost to its producer
            before, started = writer.newest.total(), time.monotonic()
            await anyio.sleep(seconds)
            rate = (writer.newest.total() - before) / (time.monotonic() - started)
            if mode.cut:
                line.blackhole()
                await anyio.sleep(mode.cut)
            primary.kill()
            if not mode.survives:
                writer.kill()
            acknowledged = Counter(writer.newest)
            successor = replica or primary
            if replica is None:
                await to_thread.run_sync(primary.start)
            async with Redis.from_url(successor.url) as redis:
                if replica is not None:
                    await redis.replicaof("NO", "ONE")
                if mode.survives:
                    way.lead_to("127.0.0.1", successor.port)
                    await wait_until(
                        lambda: all(writer.newest[n] > acknowledged[n] for n in acknowledged), timeout=PATIENCE
                    )
                lost = [newest - await found(redis, number, newest) for number, newest in acknowledged.items()]
            return Outcome(acknowledged.total(), sum(lost), rate)
        finally:
            with suppress(OSError):
                writer.kill()


async def found(redis: Redis, number: int, newest: int) -> int:
    """How many of the first events of a stream are there."""
    entries = await log_of(redis, f"s{number}")
    return sum(int(entry_id.partition("-")[2]) <= newest for entry_id, _, _ in entries)


def row(mode: Mode, outcomes: list[Outcome]) -> str:
    """A line of the table."""
    cells = [
        mode.name,
        mode.fault,
        spread([outcome.rate for outcome in outcomes], 0),
        spread([float(outcome.acknowledged) for outcome in outcomes], 0),
        spread([float(outcome.lost) for outcome in outcomes], 0),
    ]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| Redis runs with | what happens | events/s | acknowledged | of these lost |
|---|---|---|---|---|"""


async def main(options: argparse.Namespace) -> None:
    """Run every mode in turn, round by round, and print one table."""
    outcomes: dict[int, list[Outcome]] = {index: [] for index in range(len(MODES))}
    for number in range(options.rounds):
        for index, mode in enumerate(MODES):
            outcome = await run(mode, options.streams, options.seconds, options.server)
            outcomes[index].append(outcome)
            print(f"round {number + 1}: {mode.name}, {mode.fault}: {outcome}", file=sys.stderr, flush=True)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.streams} streams, ", end="")
    print(f"{options.rounds} rounds of {options.seconds:g} s, medians (lowest-highest).\n")
    print(HEAD)
    for index, mode in enumerate(MODES):
        print(row(mode, outcomes[index]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make durability", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--server", type=Path, help="a Redis server program, instead of the embedded Valkey")
    asyncio.run(main(parser.parse_args()))
