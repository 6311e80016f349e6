"""``resumable-stream serve``: the sub-app on configured servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from ..agent import chat_model, web_search_tool
from ..app import Settings, SettingsError, create_app, load_settings
from ._errors import CommandError
from ._logging import LogFormat
from ._serving import address_of, listening, serve_until_stopped
from ._stopping import stoppable


def run_server(*, host: str, port: int, log_format: LogFormat | None, say: Callable[[str], None]) -> None:
    """Serve the chat until SIGINT or SIGTERM.

    Args:
        host: the address to listen on.
        port: the port.
        log_format: instead of what the settings say.
        say: prints a line for the person who called.

    Raises:
        CommandError: the settings or the port will not do.
        ModuleNotFoundError: the package of the provider or of the search is missing.
    """
    try:
        settings = load_settings()
        app = create_app(settings)
    except SettingsError as error:
        raise CommandError(str(error), code=2) from None
    _check_packages(settings)

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
            log_format=log_format or settings.log_format,
        )


def _check_packages(settings: Settings) -> None:
    """Make once what the app will make of other people's packages.

    There, the reason of a failure would stand in a traceback.
    """
    provider, model = settings.llm_provider, settings.llm_model or ""
    try:
        chat_model(provider, model, api_key=settings.api_key, base_url=settings.llm_base_url)
    except ValueError:  # its text may hold what was given
        raise CommandError("LLM_PROVIDER and LLM_MODEL do not name a model that can be used.", code=2) from None
    if settings.web_search:
        web_search_tool(tavily_api_key=settings.tavily_api_key)
