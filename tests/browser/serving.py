"""Starting the chat server as a process of its own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from support import free_port, wait_until_sync

_SCRIPT = Path(__file__).with_name("chat_server.py")
_START = 30.0  # seconds
_STOP = 10.0


@dataclass(frozen=True, slots=True)
class ChatServer:
    """A running server.

    Attributes:
        url: the address of the sub-app as it is mounted, with a slash at the end.
        root: the address of the sub-app at the root.
    """

    process: subprocess.Popen[bytes]
    port: int

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def url(self) -> str:
        return f"{self.root}assistant/"

    def kill(self) -> None:
        """End it without any chance to say goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(_STOP)


@contextmanager
def chat_server(
    *, redis_url: str, database_url: str, log: Path, port: int | None = None, **settings: str
) -> Iterator[ChatServer]:
    """A server that answers. Afterwards it is stopped; what it wrote is in ``log``."""
    port = port or free_port()
    env = os.environ | {"REDIS_URL": redis_url, "DATABASE_URL": database_url} | settings
    with (
        log.open("ab") as output,
        subprocess.Popen([sys.executable, str(_SCRIPT), str(port)], env=env, stdout=output, stderr=output) as process,
    ):
        server = ChatServer(process, port)
        try:
            wait_until_sync(lambda: _ready(server, log), timeout=_START, what="the chat server answers")
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_STOP)
                except subprocess.TimeoutExpired:
                    process.kill()


def _ready(server: ChatServer, log: Path) -> bool:
    assert server.process.poll() is None, log.read_text()
    try:
        with urllib.request.urlopen(f"{server.root}readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def database_on(dsn: str) -> Iterator[str]:
    """A database for the time of a session, on a server where the role may create some."""
    name = f"browser_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(dsn)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
