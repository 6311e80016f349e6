"""One run of the load test, from the start of the servers to the verdict."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.children import environment
from benchmarks.conversations.chaos import Blow, rage
from benchmarks.conversations.conversation import PATIENCE
from benchmarks.conversations.judge import Verdict, judge
from benchmarks.conversations.meter import Meter
from benchmarks.conversations.stack import Stack, stack

_MORE_SECONDS = 60.0
"""What clients may take beyond an answer's patience, to end and to tell what they saw."""
_LINE = 2**30


@dataclass(frozen=True, slots=True)
class Load:
    """What is run.

    Attributes:
        seconds: in which conversations begin new turns.
        pause: mean seconds between an answer and the next message.
        pace: tokens a second of one answer.
        clients: processes that the conversations are spread over.
        kills: processes that are ended, two of them at once.
        settings: of the app.
    """

    conversations: int
    seconds: float
    pause: float
    pace: float
    kills: int
    seed: int
    clients: int
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def ramp(self) -> float:
        """Seconds in which all conversations have begun."""
        return min(self.seconds / 4, self.pause + 10.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has come to."""

    verdict: Verdict
    reports: list[dict[str, Any]]
    blows: list[Blow]
    meter: Meter
    log: list[str]


async def run(load: Load, folder: Path, *, interval: float, say: Callable[[str], None]) -> Outcome:
    """Run the load, end what was started, and judge.

    Args:
        load: what is run.
        folder: for the logs of the servers.
        interval: seconds between two looks at the processes.
        say: tells people how far it is.
    """
    settings = {"tokens_per_second": load.pace, **load.settings}
    async with AsyncExitStack() as opened:
        servers = await opened.enter_async_context(stack(folder, **settings))
        say("the servers work")
        clients = [await opened.enter_async_context(_client(load, number, servers)) for number in range(load.clients)]
        for one in clients:
            await _result(one)  # it has begun: what is killed from now on hurts
        meter = Meter(servers, {one.pid: "clients" for one in clients})
        watching = asyncio.create_task(meter.work(interval))
        telling = asyncio.create_task(_tell(servers, meter, say))
        try:
            chaos = asyncio.create_task(
                rage(
                    servers,
                    seed=load.seed,
                    count=load.kills,
                    begin=load.ramp / 2,
                    seconds=0.8 * load.seconds,
                    both=load.kills > 2,
                )
            )
            limit = load.seconds + PATIENCE + _MORE_SECONDS
            reports = await asyncio.wait_for(asyncio.gather(*(_result(one) for one in clients)), limit)
            say("all conversations are over")
            blows = await asyncio.wait_for(chaos, limit)
        finally:
            for task in (watching, telling):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        say("every process has been replaced; judging")
        verdict = await judge(reports, servers.ports, servers.valkey.url)
        verdict.problems += [f"{name} did not end when it was told to" for name in servers.stuck]
        return Outcome(verdict, reports, blows, meter, servers.log_lines())


@asynccontextmanager
async def _client(load: Load, number: int, servers: Stack) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with its share of the conversations."""
    first = load.conversations * number // load.clients
    spec = {
        "seed": load.seed,
        "first": first,
        "count": load.conversations * (number + 1) // load.clients - first,
        "ports": servers.ports,
        "seconds": load.seconds,
        "pause": load.pause,
        "ramp": load.ramp,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.conversations.clients",
        json.dumps(spec),
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _result(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a client process has ended without its report")
    found: dict[str, Any] = json.loads(line)
    return found


async def _tell(servers: Stack, meter: Meter, say: Callable[[str], None]) -> None:
    start = time.monotonic()
    while True:
        await asyncio.sleep(10)
        ready = sum(member.ready for member in servers.members)
        look = meter.storage[-1]
        say(
            f"{time.monotonic() - start:.0f} s: {ready} of 4 processes ready, machine {meter.busy[-1]:.0f} % busy,"
            f" Redis {look.redis_mb:.0f} MB, {look.redis_keys} keys, PostgreSQL {look.postgres_connections} connections"
        )
