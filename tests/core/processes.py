"""Real producer processes, to be stopped and killed by tests."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types of its own

from core.streams import DEADLINE
from support import wait_until

_PROGRAM = Path(__file__).with_name("producer_process.py")


class ProducerProcess:
    """A process that produces one stream; see ``producer_process.py``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def send(self, *tokens: str) -> None:
        """Have the source yield these, one after the other."""
        await self._write(*tokens)

    async def finish(self) -> None:
        """Let the source come to its end."""
        await self._write(None)

    async def says(self) -> Any:
        """The next thing that the process tells; ``None`` when it has ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            line = await self._process.stdout.readline()
        return json.loads(line) if line else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; it is delivered, not awaited."""
        self._process.send_signal(number)

    async def pause(self) -> None:
        """Stop the process (SIGSTOP) and wait until it stands still."""
        self.signal(signal.SIGSTOP)
        process = psutil.Process(self._process.pid)
        await wait_until(lambda: process.status() == psutil.STATUS_STOPPED)

    def proceed(self) -> None:
        """Let a stopped process go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _write(self, *values: str | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"".join(json.dumps(value).encode() + b"\n" for value in values))
        await self._process.stdin.drain()


@asynccontextmanager
async def producer_process(url: str, stream_id: str, **settings: float) -> AsyncIterator[ProducerProcess]:
    """Start a process that has claimed the stream and waits for tokens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_PROGRAM),
        url,
        stream_id,
        json.dumps(settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    producer = ProducerProcess(process)
    try:
        assert await producer.says() == "claimed"
        yield producer
    finally:
        await producer.kill()
