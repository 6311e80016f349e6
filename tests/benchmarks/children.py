"""The processes of a benchmark, and what they and Redis consume."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]  # it has no types of its own
from redis import Redis

from resumable_stream import _scripts

PATIENCE = 180.0
_SCRIPTS = b"".join(script.source for script in vars(_scripts).values() if isinstance(script, _scripts.Script))
_SCRIPTED = {name.decode().lower() for name in re.findall(rb"redis\.p?call\('(\w+)'", _SCRIPTS)}
"""What our scripts call, and our connections never send themselves."""
_METER = {"info", "client|list"}


def environment() -> dict[str, str]:
    """What a process of this suite needs to find its modules, however this one has found them."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


class Child:
    """A Python process of this suite that is told what to do by lines of JSON, and answers each with one."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        self._usage = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):
            self._write({"do": "stop"})
        try:
            self._process.wait(20 if exc is None else 0.1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have something done, and wait until it is."""
        self._write({"do": do, **arguments})
        return self.hear()

    def hear(self) -> Any:
        """The next thing that the process says."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert ready, "a process of the benchmark is silent"
        line = self._process.stdout.readline()
        assert line, "a process of the benchmark has ended"
        return json.loads(line)

    def _write(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far, in the system's ticks of 10 ms."""
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    def restart_peak(self) -> int:
        """Forget the most memory that was ever taken. Returns what is taken now."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        return self.rss

    @property
    def peak(self) -> int:
        """The most bytes of memory since."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])

    @property
    def rss(self) -> int:
        """Bytes of memory."""
        return int(self._usage.memory_info().rss)


@dataclass(frozen=True, slots=True)
class Use:
    """What Redis has done, in all or since another moment.

    Attributes:
        cpu: seconds.
        commands: calls by name, those inside scripts too.
        clients: connections.
    """

    cpu: float
    commands: dict[str, int]
    clients: int

    def since(self, before: Use) -> Use:
        """What was done in between."""
        counts = {name: calls - before.commands.get(name, 0) for name, calls in self.commands.items()}
        calls = {name: calls for name, calls in counts.items() if calls}
        return Use(self.cpu - before.cpu, calls, self.clients - before.clients)

    @property
    def executed(self) -> int:
        """Commands that Redis ran, those inside scripts too."""
        return sum(self.commands.values())

    @property
    def sent(self) -> int:
        """Commands that came over the network, where what our scripts call comes from them only."""
        if not any(name in self.commands for name in ("evalsha", "eval")):
            return self.executed
        return sum(calls for name, calls in self.commands.items() if name not in _SCRIPTED)


def use_of(redis: Redis) -> Use:
    """What Redis has done until now."""
    info: Any = redis.info("all")
    calls = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in info.items() if _counts(name)}
    return Use(info["used_cpu_user"] + info["used_cpu_sys"], calls, int(info["connected_clients"]))


def _counts(name: str) -> bool:
    return name.startswith("cmdstat_") and name.removeprefix("cmdstat_") not in _METER


@contextmanager
def server(spec: dict[str, Any]) -> Iterator[tuple[Child, int]]:
    """A server process, and its port."""
    with Child("serving", json.dumps(spec)) as child:
        yield child, int(child.hear()["port"])


def wait_for(moment: float) -> None:
    """Sleep until a moment of ``time.monotonic``."""
    time.sleep(max(0.0, moment - time.monotonic()))
