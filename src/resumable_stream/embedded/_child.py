"""A server as a child process.

Started and waited for until it answers, stopped in bounded time, with nothing left behind.
"""

from __future__ import annotations

import abc
import importlib.util
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, Self

import anyio
from anyio import to_thread

from .._errors import ResumableStreamError

HOST: Final = "127.0.0.1"
# Below the range that systems take the local ends of outgoing connections from: a client that
# keeps on connecting to the port of a stopped server could otherwise be given that very port, and
# keep the server from coming back.
_PORTS: Final = range(20_000, 32_768)
_LOG_LIMIT: Final = 1_000_000
# PR_SET_PDEATHSIG would be shorter, but it fires when the *thread* that started the child ends,
# and start() is often called from a short-lived worker thread. So a shell waits for the end of a
# pipe that only this process holds.
_WATCHER: Final = """
read -r _
kill -s "$2" "$1" 2>/dev/null || exit 0
n=0
while kill -s 0 "$1" 2>/dev/null && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.1; done
kill -s KILL "$1" 2>/dev/null
"""


class Account(NamedTuple):
    """A user of the system."""

    name: str
    uid: int
    gid: int


class EmbeddedServerError(ResumableStreamError, RuntimeError):
    """An embedded server did not start; the message ends with what it wrote to its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now and that no outgoing connection will be given."""
    for port in random.sample(_PORTS, k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EmbeddedServerError("no free port found on 127.0.0.1")


def package_folder(package: str) -> Path:
    """The folder of an installed package, found without importing it.

    Raises:
        ModuleNotFoundError: when it is not installed; the message is the line that installs it.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"{package} is not installed. Run: pip install 'resumable-stream-redis[embedded]'",
            name=package,
        )
    return Path(spec.origin).parent


class EmbeddedServer(abc.ABC):
    """One server, its data folder and its child process.

    Used with ``with`` or ``async with``, or by hand: ``start``, ``stop``, ``close``. The port and
    the data stay the same over ``stop``, ``kill`` and ``start``. The methods block; from async
    code call them in a worker thread. All are safe to call from any thread. The server ends when
    this process does, however that happens.

    Attributes:
        data_dir: the folder with the data, the log and the lock file.
        port: the TCP port on 127.0.0.1; chosen at the first start when none was given.
    """

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: str | Path | None, *, port: int | None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if data_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.name.lower()}-")
            data_dir = self._temporary.name
        self.data_dir = Path(data_dir).resolve()
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._guard = threading.RLock()

    @abc.abstractmethod
    def _command(self, port: int) -> list[str]:
        """The command line that runs the server in the foreground."""

    @abc.abstractmethod
    def _prepare(self, run: Callable[[list[str]], None]) -> None:
        """Make the data folder ready; ``run`` runs a helper program to its end."""

    @abc.abstractmethod
    def _answers(self, pid: int, port: int) -> bool:
        """Whether the process with this pid, and no other, answers on the port."""

    def _account(self) -> Account | None:
        """Whom the server runs as; None for this process's own user."""
        return None

    @property
    def port(self) -> int:
        if self._port is None:
            raise EmbeddedServerError(f"{self.name} has not been started")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server.

        Raises:
            EmbeddedServerError: when it does not run.
        """
        if self._process is None:
            raise EmbeddedServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (it may be suspended)."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """The file with the server's output."""
        return self.data_dir / f"{self.name.lower()}.log"

    def start(self, timeout: float = 60.0) -> None:
        """Start the server and wait until it answers. Does nothing when it runs.

        Args:
            timeout: seconds, for all of it: waiting for an earlier server that still closes the
                same folder, making the data folder, and recovery after a crash.

        Raises:
            EmbeddedServerError: when the folder is in use, or the server ends or does not answer
                in time.
        """
        with self._guard:
            if self.running:
                return
            self._clear()
            try:
                self._start(time.monotonic() + timeout)
            except OSError as error:
                raise EmbeddedServerError(f"{self.name} could not be started: {error}") from error

    def stop(self, timeout: float = 10.0) -> None:
        """End the server in order; after ``timeout`` seconds by SIGKILL.

        The data stay. Does nothing when it does not run.
        """
        with self._guard:
            if self._process is not None and self.running:
                self._process.send_signal(self.stop_signal)
                # A suspended process takes no other signal.
                self._process.send_signal(signal.SIGCONT)
                try:
                    self._process.wait(timeout)
                except subprocess.TimeoutExpired:
                    self._process.kill()
            self._clear()

    def kill(self) -> None:
        """End the server by SIGKILL, as a crash would. The data stay."""
        with self._guard:
            if self._process is not None and self.running:
                self._process.kill()
            self._clear()

    def restart(self) -> None:
        """Stop and start again on the same port, with the same data."""
        with self._guard:
            self.stop()
            self.start()

    def suspend(self) -> None:
        """Halt the process (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop, and remove the data folder when it was made by this object."""
        with self._guard:
            self.stop()
            if self._temporary is not None:
                self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            await to_thread.run_sync(self.start)
        except BaseException:
            # A cancelled start goes on in its thread; close() waits for it at the guard.
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self.close)

    def _start(self, deadline: float) -> None:
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock(deadline) as lock, self._log() as log:
            begin = log.tell()
            self._prepare(lambda command: self._run(command, log, begin, deadline))
            attempts = 1 if self._port is not None else 5
            while True:
                attempts -= 1
                self._port = self._port if self._port is not None else free_port()
                begin = log.seek(0, os.SEEK_END)
                if self._launch(self._port, log, lock, deadline):
                    return
                reason = self._reason(begin)
                if attempts == 0 or "Address already in use" not in reason:
                    raise EmbeddedServerError(f"{self.name} did not start. {reason}")
                self._port = None  # somebody took the port between the choice and the start

    def _launch(self, port: int, log: IO[bytes], lock: IO[bytes], deadline: float) -> bool:
        """Run the server; False when it ended before it answered."""
        # The server holds the lock as well: a folder is free when nothing of it is left.
        self._process = self._spawn(self._command(port), log, keep=(lock.fileno(),))
        try:
            target = (str(self._process.pid), self.stop_signal.name[3:])
            self._watcher = subprocess.Popen(  # noqa: S603 - a fixed script
                ["/bin/sh", "-c", _WATCHER, "sh", *target],
                stdin=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
            )
            while not self._answers(self._process.pid, port):
                if self._process.poll() is not None:
                    self._clear()
                    return False
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(f"{self.name} does not answer in time, see {self.log_path}")
                time.sleep(0.01)
        except BaseException:
            self.kill()
            raise
        return True

    def _run(self, command: list[str], log: IO[bytes], begin: int, deadline: float) -> None:
        with self._spawn(command, log) as helper:
            try:
                status = helper.wait(max(0.0, deadline - time.monotonic()))
            except BaseException:
                helper.kill()
                raise
        if status != 0:
            raise EmbeddedServerError(f"{self.name} could not be prepared. {self._reason(begin)}")

    def _spawn(self, command: list[str], log: IO[bytes], *, keep: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        account = self._account()
        return subprocess.Popen(  # noqa: S603 - a fixed program, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.data_dir,
            env={"LC_ALL": "C", "PATH": os.defpath},
            # Ctrl-C at a terminal goes to the whole process group, and the servers must outlive
            # the work that needs them.
            start_new_session=True,
            pass_fds=keep,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else (),
        )

    def _lock(self, deadline: float) -> IO[bytes]:
        import fcntl  # not there on Windows, where this module can at least be imported

        lock = (self.data_dir / "lock").open("ab")
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EmbeddedServerError(f"{self.data_dir} is in use by another {self.name}") from None
                    time.sleep(0.02)
                else:
                    return lock
        except BaseException:
            lock.close()
            raise

    def _log(self) -> IO[bytes]:
        log = self.log_path.open("ab")
        if log.tell() > _LOG_LIMIT:
            log.truncate(0)
        return log

    def _reason(self, begin: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(begin)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "Its last words:\n" + "\n".join(lines[-12:]) if lines else "It wrote nothing."

    def _clear(self) -> None:
        """Reap what has ended or is about to."""
        if self._process is not None:
            self._process.wait()
            self._process = None
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None
