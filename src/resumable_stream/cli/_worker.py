"""``resumable-stream worker``: executes runs that web processes have taken."""

from __future__ import annotations

import asyncio
import importlib
import logging
import logging.config
import sys
from collections.abc import Callable
from pathlib import Path

from ..app import ChatApp, SettingsError, create_app
from ._errors import CommandError
from ._logging import LogFormat, log_config


def run_worker(*, app: str | None, concurrency: int, log_format: LogFormat | None, say: Callable[[str], None]) -> None:
    """Execute runs until SIGINT or SIGTERM.

    Args:
        app: ``module:name`` of an app or of a function that makes it; by default that of ``serve``.
        concurrency: how many runs at once.
        log_format: instead of what the settings say.
        say: tells the person at the terminal.

    Raises:
        CommandError: the app cannot be made, or is none.
        ModuleNotFoundError: docket is missing.
    """
    chat = _load(app) if app is not None else _default()
    if (log_format or chat.settings.log_format) == "json":
        logging.config.dictConfig(log_config("json"))
    else:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    # Each poll and each run is worth a line to docket, with what it was called with.
    logging.getLogger("docket").setLevel(logging.WARNING)
    say("The worker is running")
    asyncio.run(chat.work(concurrency=concurrency))
    say("The worker has stopped")


def _default() -> ChatApp:
    try:
        return create_app(ui=False)
    except SettingsError as error:
        raise CommandError(str(error), code=2) from None


def _load(name: str) -> ChatApp:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise CommandError("--app is written module:name.", code=2)
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
        chat = found if isinstance(found, ChatApp) else found()
    except SettingsError as error:
        raise CommandError(str(error), code=2) from None
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise CommandError(f"there is no module {module!r}.", code=2) from None
    except AttributeError:
        raise CommandError(f"the module {module!r} has no {attribute!r}.", code=2) from None
    if not isinstance(chat, ChatApp):
        raise CommandError(f"{name} is no chat app, nor a function that makes one.", code=2)
    return chat
