"""Running the examples as their readers would: as programs of their own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile

import anyio
import httpx

from support import free_port, wait_until

ROOT = Path(__file__).parents[2]


async def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end, with the repository as working directory, and return what it printed.

    Raises:
        AssertionError: when it fails.
    """
    with anyio.fail_after(30):
        done = await anyio.run_process(
            command, check=False, cwd=ROOT, env={**os.environ, **(env or {})}, stderr=subprocess.STDOUT
        )
    output = done.stdout.decode()
    assert done.returncode == 0, output
    return output


@asynccontextmanager
async def serve(app: str, env: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Run an example with uvicorn until the block is left; gives a client with its address as base.

    It must end on SIGTERM and log no error.
    """
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--timeout-graceful-shutdown", "5"]
    with TemporaryFile() as log:
        # A session of its own: Ctrl-C in this terminal is for the tests alone, which then stop it.
        process = await anyio.open_process(
            command, cwd=ROOT, env={**os.environ, **env}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:

                async def answers() -> bool:
                    assert process.returncode is None, "it ended"
                    try:
                        await client.get("/")
                    except httpx.TransportError:
                        return False
                    return True

                await wait_until(answers, timeout=60, what=f"{app} answers")
                yield client
            process.terminate()
            with anyio.fail_after(20):
                await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
            log.seek(0)
            output = log.read().decode()
            print(output)
    assert "ERROR" not in output
    assert "Traceback" not in output


def constant(path: str, name: str) -> str:
    """The text that an example gives a name to."""
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return str(ast.literal_eval(node.value))
    raise AssertionError(f"{path} has no {name}")
