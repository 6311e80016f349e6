"""The server process: uvicorn with its usual settings and one way of serving, told what to do by lines of JSON."""

from __future__ import annotations

import asyncio
import cProfile
import json
import logging
import resource
import socket
import sys
from typing import Any

import uvicorn

from benchmarks.cases import BARE, OURS, PLAIN
from benchmarks.server_bare import Bare
from benchmarks.server_ours import Ours
from benchmarks.server_plain import Plain
from support import wait_until

_BACKLOG = 4096
_LINE = 2**20


def raise_file_limit() -> None:
    """Allow as many sockets as this account may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _server(spec: dict[str, Any]) -> Ours | Plain | Bare:
    """The way that a specification names."""
    ways: dict[str, type[Ours | Plain | Bare]] = {OURS: Ours, PLAIN: Plain, BARE: Bare}
    return ways[spec["way"]](spec)


def _tell(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def _commands() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _serve(spec: dict[str, Any], config: uvicorn.Config, listener: socket.socket) -> None:
    profiler = cProfile.Profile() if spec.get("profile") else None
    commands = await _commands()
    async with _server(spec) as app:
        config.app = app
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await wait_until(lambda: server.started)
        _tell({"port": listener.getsockname()[1]})
        while line := await commands.readline():
            command = json.loads(line)
            match command["do"]:
                case "go":
                    if profiler is not None:
                        profiler.enable()
                    await app.go()
                case "fill" if isinstance(app, Bare):
                    await app.fill(command["stream"], command["count"])
                case "stop":
                    break
            _tell({})
        if profiler is not None:
            profiler.disable()
            profiler.dump_stats(spec["profile"])
        server.should_exit = server.force_exit = True
        await task


def main() -> None:
    """Serve until told to stop, or until the one who tells is gone."""
    raise_file_limit()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # viewers leave
    spec = json.loads(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # as where uvicorn opens the port itself
    config = uvicorn.Config(app=None, lifespan="off", log_level="critical", access_log=False)  # type: ignore[arg-type]
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(spec, config, listener))


if __name__ == "__main__":
    main()
