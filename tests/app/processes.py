"""Server processes, to be stopped and killed by tests."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

import httpx
import psutil  # type: ignore[import-untyped]  # it has no types of its own

from support import free_port, wait_until

_TESTS = Path(__file__).parent.parent
_START_SECONDS = 60.0

Kind: TypeAlias = Literal["uvicorn", "gunicorn", "gunicorn of uvicorn", "granian", "hypercorn", "hypercorn from Python"]


class ServerProcess:
    """A server with the sub-app, in a process group of its own.

    Attributes:
        url: its address.
        port: the port of that.
    """

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the process that was started; it is delivered, not awaited.

        Args:
            number: which one.
            group: to its workers as well, as a terminal does and, by default, systemd.
        """
        if group:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL to it and its workers, and wait for the end."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def pause(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self.signal(signal.SIGSTOP)
        process = psutil.Process(self._process.pid)
        await wait_until(lambda: process.status() == psutil.STATUS_STOPPED, what="the process stands still")

    async def wait(self, timeout: float) -> int:
        """Wait for the end of the process; its exit status."""
        return await asyncio.wait_for(self._process.wait(), timeout)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.returncode is None

    async def ready(self, path: str = "/readyz") -> None:
        """Wait until it serves; with ``/healthz``, until it answers at all."""
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        async with httpx.AsyncClient(base_url=self.url, timeout=5) as http:
            while True:
                with suppress(httpx.TransportError):
                    if (await http.get(path)).status_code == 200:
                        return
                assert self.running, "the server has ended"
                assert asyncio.get_running_loop().time() < deadline, "the server did not become ready"
                await asyncio.sleep(0.05)


def command(kind: Kind, port: int, workers: int, app: str) -> list[str]:
    """How the server is started, as ``docs/deployment.md`` has it, by Python."""
    options = [f"--workers={workers}", "--log-level=warning"]
    if kind == "uvicorn":
        return ["-m", "uvicorn", app, "--factory", f"--port={port}", "--timeout-graceful-shutdown=15", *options]
    if kind in ("gunicorn", "gunicorn of uvicorn"):
        worker = "asgi" if kind == "gunicorn" else "uvicorn_worker.UvicornWorker"
        options += [f"--bind=127.0.0.1:{port}", f"--worker-class={worker}", "--graceful-timeout=40"]
        return ["-m", "gunicorn", f"{app}()", *options]
    if kind == "granian":
        return ["-m", "granian", app, "--factory", f"--port={port}", "--interface=asgi", *options]
    if kind == "hypercorn":
        return ["-m", "hypercorn", f"{app}()", f"--bind=127.0.0.1:{port}", "--graceful-timeout=1", *options]
    return ["-m", "app.hypercorn_process", f"127.0.0.1:{port}"]


@asynccontextmanager
async def server(
    valkey_url: str,
    database_url: str,
    *,
    kind: Kind = "uvicorn",
    workers: int = 1,
    app: str = "app.server_process:app",
    tokens_per_second: float = 40,
    **settings: object,
) -> AsyncIterator[ServerProcess]:
    """Start a server; it is killed in the end."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_TESTS), str(_TESTS.parent), os.environ.get("PYTHONPATH", "")]),
        "REDIS_URL": valkey_url,
        "DATABASE_URL": database_url,
        "STREAM_LEASE_SECONDS": "2",
        "TOKENS_PER_SECOND": str(tokens_per_second),
        **{name.upper(): str(value) for name, value in settings.items()},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command(kind, port, workers, app), env=environment, start_new_session=True
    )
    started = ServerProcess(process, port)
    try:
        yield started
    finally:
        await started.kill()
