"""Running this folder's programs as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from resumable_stream import StreamEvent
from resumable_stream.agent import Turn
from support import wait_until

HERE = Path(__file__).parent
START = 60.0


@asynccontextmanager
async def child(program: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has said that it is ready. It is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / program),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])},
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), START) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def go(process: asyncio.subprocess.Process, line: str = "") -> None:
    """Send a line to a process that is ready, and so let it begin."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())


class Attempt:
    """A turn that another process is at.

    Attributes:
        events: what it has said so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[StreamEvent] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            kind, data = json.loads(line)
            self.events.append(StreamEvent(kind, data))

    async def said(self, kind: str, data: Any = None) -> None:
        """Wait for an event."""
        await wait_until(
            lambda: any(event.type == kind and data in (None, event.data) for event in self.events), timeout=START
        )

    def drain(self) -> None:
        """Ask it to stop at the next step."""
        go(self.process)

    async def killed(self) -> list[StreamEvent]:
        """Kill it. Returns all that it said."""
        self.process.kill()
        await self.ended()
        return self.events

    async def ended(self) -> None:
        """Wait until it is over, in whatever way."""
        await asyncio.wait_for(asyncio.shield(self._reading), START)


@asynccontextmanager
async def attempt(
    database_url: str, wire_url: str, provider: str, turn: Turn, *, pause: bool = False, approval: tuple[str, ...] = ()
) -> AsyncIterator[Attempt]:
    """Another process that answers a turn. It is killed at the end if it still runs."""
    fields = asdict(replace(turn, drain=None))
    del fields["drain"]
    order = {"turn": fields, "pause": pause, "approval": approval}
    async with child("child_run.py", database_url, wire_url, provider) as process:
        go(process, json.dumps(order, default=sorted))
        one = Attempt(process)
        try:
            yield one
        finally:
            await one.killed() if process.returncode is None else await one.ended()
