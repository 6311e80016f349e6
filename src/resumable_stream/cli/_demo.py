"""``resumable-stream demo``: everything in one command, nothing installed before."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from starlette.types import ASGIApp

from ..agent import LangGraphAgent, build_graph, open_pool, set_up_checkpoints
from ..app import SettingsError, create_app, load_settings
from ..demo import ScriptedChatModel, search_tool
from ..embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from ._data_dir import data_folder, default_data_dir
from ._errors import CommandError
from ._serving import address_of, listening, serve_until_stopped
from ._stopping import stoppable

_WELCOME: Final = """
  The chat is at  {address}

  The answers come from a script. Put these words into a message to see more:
    long      some 400 tokens        search    a tool call, then an answer from its result
    fail      an error halfway       silent    a minute without a token, then the answer
  Reload the page in the middle of an answer, or open it in a second tab. Ctrl-C stops everything.
"""


class Say(Protocol):
    """Prints a text, at once."""

    def __call__(self, text: str, end: str = "\n") -> None: ...


def run_demo(*, host: str, port: int, data_dir: Path | None, say: Say) -> None:
    """Run the demo until SIGINT or SIGTERM. No process is left when it returns.

    Raises:
        CommandError: the data folder, the port or a setting of the environment will not do.
        EmbeddedServerError: a server did not start.
    """
    with (
        stoppable() as wish,
        data_folder(data_dir or default_data_dir()) as folder,
        listening(host, port) as listener,
    ):
        folder.announce(address_of(listener))
        # It warns of each query that a stop has cut short.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        say(f"  Data folder  {folder.path}")
        # A new password for each start keeps other users of this machine out of the streams.
        valkey = EmbeddedValkey(folder.path / "valkey", appendonly=True, password=secrets.token_hex(16))
        postgres = EmbeddedPostgres(folder.path / "postgres")
        with _started(valkey, say):
            wish.check()
            with _started(postgres, say):
                wish.check()
                say("  Agent        scripted model, search in the documentation", end=" ... ")

                def on_started() -> None:
                    say("ready")
                    say(_WELCOME.format(address=address_of(listener)))

                serve_until_stopped(
                    lambda: _open_app(valkey, postgres),
                    listener=listener,
                    wish=wish,
                    on_started=on_started,
                    on_stopping=lambda: say("  Stopping ..."),
                    quiet=True,
                )
    say("  Everything is stopped. The conversations are kept in the data folder.")


@contextmanager
def _started(server: EmbeddedServer, say: Say) -> Iterator[None]:
    say(f"  {server.name:<12} ", end="")
    begin = time.monotonic()
    with server:
        seconds = time.monotonic() - begin
        say(f"ready in {seconds:.1f} s, process {server.pid} on port {server.port}")
        yield


@asynccontextmanager
async def _open_app(valkey: EmbeddedValkey, postgres: EmbeddedPostgres) -> AsyncIterator[ASGIApp]:
    try:
        settings = load_settings(
            _env_file=None,  # what stands in the current folder is for other programs
            redis_url=valkey.url,
            database_url=postgres.dsn,
            shutdown_grace_seconds=1.0,
            drain_seconds=1.0,
        )
    except SettingsError as error:
        raise CommandError(str(error), code=2) from None
    async with open_pool(postgres.dsn, max_size=4) as pool:
        await set_up_checkpoints(pool)
        graph = build_graph(
            ScriptedChatModel(),
            [search_tool()],
            summary_model=ScriptedChatModel(task="summary"),
        )
        title_model = ScriptedChatModel(task="title")
        yield create_app(settings, agent=LangGraphAgent(graph, pool, title_model=title_model))
