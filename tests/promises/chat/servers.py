"""The servers that the chat app's promises are tested on. One kind alone where the server makes no difference."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import pytest

from app.processes import Kind, ServerProcess

Start: TypeAlias = Callable[..., AbstractAsyncContextManager[ServerProcess]]
"""Starts a server process; keywords are settings."""


class Pair(NamedTuple):
    """Two server processes on the same Redis and PostgreSQL."""

    here: ServerProcess
    there: ServerProcess


@dataclass(frozen=True, slots=True)
class Variant:
    """A server, and how it is told to stop.

    Attributes:
        kind: which one.
        workers: how many processes serve.
        group: whether the signal goes to the workers as well, as from systemd, or to their parent alone.
        clean: whether its streams end cleanly. hypercorn alone cuts them, when its own patience is over: its workers
            are told of the end in a way that no app can see.
    """

    kind: Kind
    workers: int = 1
    group: bool = False
    clean: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.workers}{' group' if self.group else ''}"


EVERY: Final = (
    Variant("uvicorn"),
    Variant("uvicorn", 2),
    Variant("gunicorn", 2),
    Variant("gunicorn of uvicorn", 2),
    Variant("granian"),
    Variant("granian", 2),
    Variant("hypercorn", clean=False),
    Variant("hypercorn", 2, group=True),
    Variant("hypercorn from Python"),
)

WAITS: Final = pytest.mark.skipif(
    sys.version_info >= (3, 12, 1),
    reason="hypercorn waits for open connections without a bound: Server.wait_closed does, since Python 3.12.1",
)


on_every_server: Final = pytest.mark.parametrize(
    "variant", [pytest.param(one, marks=() if one.clean else WAITS) for one in EVERY], ids=str
)
