"""A running ``resumable-stream`` command, as a person would start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from support import alive, descendants, free_port, wait_until_sync


def _default_signals() -> None:
    """As a shell starts a command in the foreground: who runs the tests in the background ignores some."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Command:
    """A child process that runs the command, with its output in a file."""

    def __init__(self, arguments: list[str], output: Path, env: dict[str, str]) -> None:
        self._output = output
        self._seen: set[int] = set()
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("resumable-stream"), *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                preexec_fn=_default_signals,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def address(self) -> str:
        return self.output.partition("The chat is at")[2].split()[0]

    def wait_for(self, text: str) -> None:
        """Wait until the command has printed something, which it does not do after its end."""

        def printed() -> bool:
            ended = self.process.poll() is not None
            self.look_for_children()
            if text not in self.output:
                assert not ended, self.output
                return False
            return True

        wait_until_sync(printed, timeout=60, what=f"{text!r} is printed")

    def look_for_children(self) -> None:
        if self.process.poll() is None:
            self._seen |= descendants(self.process.pid)

    def wait_for_end(self, timeout: float = 30) -> int:
        """Wait until the process has ended, and every one that it has started; its exit code."""
        code = self.process.wait(timeout)
        wait_until_sync(lambda: not any(map(alive, self._seen)), what="no process is left")
        return code

    def send(self, number: int) -> None:
        self.look_for_children()
        self.process.send_signal(number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts commands, which are stopped in the end."""
    with ExitStack() as stack:
        number = iter(range(100))

        def begin(*arguments: str, **env: str) -> Command:
            command = Command(list(arguments), tmp_path / f"output{next(number)}", env)
            stack.callback(command.close)
            return command

        yield begin


@pytest.fixture
def start_demo(start: Start, open_folder: Path) -> Start:
    """Starts demos, by default on one data folder and on a free port."""

    def begin(data_dir: Path = open_folder / "demo", port: int | None = None) -> Command:
        chosen = free_port() if port is None else port
        return start("demo", "--data-dir", str(data_dir), "--port", str(chosen))

    return begin


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client
