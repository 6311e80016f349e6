"""What tests of several rooms share: waiting with a deadline, ports, looking for leftovers."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from typing import TypeVar

from redis import Redis

from resumable_stream.embedded import free_port

__all__ = [
    "alive",
    "connections_of_this_process",
    "free_port",
    "keys_without_ttl",
    "processes_naming",
    "wait_until",
    "wait_until_sync",
]

T = TypeVar("T")


async def wait_until(predicate: Callable[[], T | Awaitable[T]], *, timeout: float = 10.0, what: str = "") -> T:
    """Return the first true value of ``predicate``, called again and again.

    Args:
        predicate: a plain or an async function. ``AssertionError`` in it counts as "not yet".
        timeout: seconds.
        what: what is waited for, for the message.

    Raises:
        AssertionError: when the time is over, from the last assertion where there was one.
    """
    deadline = time.monotonic() + timeout
    while True:
        failed: AssertionError | None = None
        try:
            result = predicate()
            value = await result if isawaitable(result) else result
        except AssertionError as error:
            failed = error
        else:
            if value:
                return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or predicate}") from failed
        await asyncio.sleep(0.01)


def wait_until_sync(predicate: Callable[[], T], *, timeout: float = 10.0, what: str = "") -> T:
    """As ``wait_until``, for tests without an event loop."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() <= deadline, f"not within {timeout} s: {what or predicate}"
        time.sleep(0.01)
    return value


def keys_without_ttl(admin: Redis) -> list[bytes]:
    """The keys that would stay for ever."""
    return [key for key in admin.scan_iter(count=1000) if admin.pttl(key) == -1]


def connections_of_this_process(admin: Redis) -> dict[str, str]:
    """The server's clients that are sockets of this process: id and a line for people. Not
    ``admin`` itself.

    Clients of other processes do not count: a server that serves a whole module opens connections
    when it likes.
    """
    own = _local_ports()
    me = str(admin.client_id())
    return {
        client["id"]: f"{client['addr']} name={client['name']!r} last command {client['cmd']!r}"
        for client in admin.client_list()
        if client["id"] != me and int(client["addr"].rpartition(":")[2]) in own
    }


def _local_ports() -> set[int]:
    ports = set()
    for entry in Path("/dev/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(entry.name))) as copy:
                if copy.family in (socket.AF_INET, socket.AF_INET6):
                    ports.add(copy.getsockname()[1])
        except OSError:
            continue  # not a socket
    return ports


def alive(pid: int) -> bool:
    """Whether a process is there and does something; one that only waits to be reaped is not."""
    return pid in _commands()


def processes_naming(text: str) -> list[int]:
    """The processes with this text in their command line, such as a data folder; not this one."""
    return [pid for pid, line in _commands().items() if text in line and pid != os.getpid()]


def _commands() -> dict[int, str]:
    """The command lines of all processes, zombies left out."""
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():
        listing = subprocess.run(["ps", "-eo", "pid=,stat=,args="], capture_output=True, text=True)
        rows = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
        return {int(row[0]): row[-1] for row in rows if not row[1].startswith("Z")}
    found = {}
    for folder in proc.glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, IndexError):
            continue  # gone meanwhile
        if state != "Z":
            found[int(folder.name)] = line
    return found
