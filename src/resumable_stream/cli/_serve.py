"""``resumable-stream serve``: the sub-app on configured servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from ..app import SettingsError, create_app, load_settings
from ._errors import CommandError
from ._serving import address_of, listening, serve_until_stopped
from ._stopping import stoppable


def run_server(*, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the chat until SIGINT or SIGTERM.

    Raises:
        CommandError: the settings or the port will not do.
        ModuleNotFoundError: the package of the chosen provider is missing.
    """
    try:
        app = create_app(load_settings())
    except SettingsError as error:
        raise CommandError(str(error), code=2) from None

    @asynccontextmanager
    async def open_app() -> AsyncIterator[ASGIApp]:
        yield app

    with stoppable() as wish, listening(host, port) as listener:
        serve_until_stopped(
            open_app,
            listener=listener,
            wish=wish,
            on_started=lambda: say(f"The chat is at {address_of(listener)}"),
            quiet=False,
        )
