"""The servers under load: web processes, workers, Valkey and PostgreSQL; and what takes the place of the dead."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from redis.asyncio import Redis

from app.processes import ServerProcess, command
from benchmarks.children import environment
from resumable_stream.embedded import EmbeddedPostgres, EmbeddedValkey
from resumable_stream.runs._queue import NAME
from support import free_port, wait_until

Role = Literal["web", "worker"]
_APP = "benchmarks.conversations.app:app"
_STOP_SECONDS = 30.0
"""What a process may take to end when it is told to: the app's grace and drain, and a busy machine."""


class Member:
    """A place in the stack: the process that fills it now."""

    def __init__(self, role: Role, number: int, port: int | None) -> None:
        self.role = role
        self.name = f"{role} {number}"
        self.port = port
        self.process: ServerProcess | None = None
        self.pid = 0
        self.ready = False


class Stack:
    """Starts and replaces the processes.

    Attributes:
        members: the places.
        pids: all processes that ever were, with the name of their place.
        stuck: processes that did not end when they were told to.
    """

    def __init__(self, valkey: EmbeddedValkey, postgres: EmbeddedPostgres, folder: Path, settings: dict[str, str]):
        self.valkey = valkey
        self.postgres = postgres
        self._folder = folder
        self._settings = settings
        self.members = [Member("web", number, free_port()) for number in (1, 2)]
        self.members += [Member("worker", number, None) for number in (1, 2)]
        self.pids: dict[int, str] = {valkey.pid: "Valkey", postgres.pid: "PostgreSQL", os.getpid(): "this process"}
        self.stuck: list[str] = []

    @property
    def ports(self) -> list[int]:
        """Where the web processes listen; a replacement takes the port over."""
        return [member.port for member in self.members if member.port is not None]

    async def start(self, member: Member) -> None:
        """Start a process in a place, and wait until it works."""
        if member.port is not None:
            arguments = command("uvicorn", member.port, 1, _APP)
        else:
            arguments = ["-c", "import sys; from resumable_stream.cli import main; sys.exit(main())"]
            arguments += ["worker", "--app", _APP, "--concurrency", "2000"]
        given = {
            **environment(),
            "REDIS_URL": self.valkey.url,
            "DATABASE_URL": self.postgres.dsn,
            "RUN_EXECUTOR": "worker",
            **self._settings,
        }
        with (self._folder / f"{member.name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                env=given,
                start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        member.process = ServerProcess(process, member.port or 0)
        member.pid = process.pid
        self.pids[process.pid] = member.name
        if member.port is not None:
            await member.process.ready()
        else:
            await self._enlisted(member)
        member.ready = True

    async def _enlisted(self, member: Member) -> None:
        """Wait until the queue knows a worker."""
        name = f"{socket.gethostname()}#{member.pid}"
        async with Redis.from_url(self.valkey.url) as redis:

            async def known() -> bool:
                assert member.process is not None
                if not member.process.running:
                    raise RuntimeError(f"{member.name} has ended")
                return await redis.zscore(f"{NAME}:workers", name) is not None

            await wait_until(known, timeout=60, what=f"{member.name} works")

    async def replace(self, member: Member, end: signal.Signals) -> None:
        """End the process of a place and start another: a worker's at once, a web process's when the port is free."""
        process = member.process
        assert process is not None
        member.ready = False
        process.signal(end)
        ending = asyncio.create_task(self._gone(member.name, process))
        if member.port is not None:
            await ending
        await self.start(member)
        await ending

    async def _gone(self, name: str, process: ServerProcess) -> None:
        try:
            await process.wait(_STOP_SECONDS)
        except TimeoutError:
            self.stuck.append(name)
            await process.kill()

    async def stop(self) -> None:
        """Kill what is left."""
        for member in self.members:
            if member.process is not None:
                await member.process.kill()

    def log_lines(self) -> list[str]:
        """All that the processes wrote."""
        return [line for path in sorted(self._folder.glob("*.log")) for line in path.read_text("utf-8").splitlines()]


@asynccontextmanager
async def stack(folder: Path, **settings: object) -> AsyncIterator[Stack]:
    """Start everything; afterwards nothing of it is left.

    Args:
        folder: for the logs of the processes.
        settings: of the app, as in its environment.
    """
    with (
        EmbeddedValkey(settings={"maxclients": "10000"}) as valkey,
        EmbeddedPostgres(durable=False, settings={"max_connections": "400"}) as postgres,
    ):
        given = {name.upper(): str(value) for name, value in settings.items()}
        made = Stack(valkey, postgres, folder, given)
        try:
            await asyncio.gather(*(made.start(member) for member in made.members))
            yield made
        finally:
            await made.stop()
