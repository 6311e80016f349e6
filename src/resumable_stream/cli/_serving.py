"""Serving an app with uvicorn until somebody wants an end."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from ._errors import CommandError
from ._logging import LogFormat, log_config
from ._stopping import StopWish


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens already, so that nobody can take the port while the rest starts.

    Raises:
        CommandError: when the port is taken, or the address is not of this machine.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
        # For the connections, which inherit it: asyncio turns Nagle's algorithm off only where it made the listener.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} of {host} is in use. Stop what listens there, or give another --port."
        else:
            reason = f"cannot listen on port {port} of {host}: {error.strerror}."
        raise CommandError(reason) from error
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """The address for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - every address, so this one as well
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None], on_stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stopping = on_stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)


def serve_until_stopped(
    open_app: Callable[[], AbstractAsyncContextManager[ASGIApp]],
    *,
    listener: socket.socket,
    wish: StopWish,
    on_started: Callable[[], None],
    on_stopping: Callable[[], None] = lambda: None,
    quiet: bool,
    log_format: LogFormat = "text",
) -> None:
    """Serve one app. Open responses get a few seconds when the end is wished; then they are cut.

    Args:
        open_app: makes the app in the event loop that serves it.
        listener: from `listening`.
        wish: ends it.
        on_started: called once requests are answered.
        on_stopping: called before responses and runs get their time to end, which may be seconds.
        quiet: log warnings only.
        log_format: how lines look.

    Raises:
        CommandError: when the app did not start; its reason is in the log.
    """

    async def serve() -> None:
        async with open_app() as app:
            config = uvicorn.Config(
                app,
                log_config=log_config(log_format, quiet=quiet),
                access_log=not quiet,
                log_level="warning" if quiet else "info",
                timeout_graceful_shutdown=3,
            )
            server = _Server(config, on_started, on_stopping)

            def leave() -> None:
                server.should_exit = True

            wish.on_request = leave
            if not wish.requested:
                await server.serve([listener])

    try:
        asyncio.run(serve())
    except SystemExit as error:  # uvicorn's way to say that the lifespan failed
        raise CommandError("the app did not start.") from error
    finally:
        wish.on_request = None
