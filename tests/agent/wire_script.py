"""What a scripted model says, free of any provider's wire format."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Gate:
    """A place in a reply where the server waits, until the test opens it or the client leaves."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.left = threading.Event()
        self._opened: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Let the server go on; call it after ``reached``."""
        assert self._loop is not None
        assert self._opened is not None
        self._loop.call_soon_threadsafe(self._opened.set)

    async def wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = asyncio.Event()
        self.reached.set()
        try:
            await self._opened.wait()
        finally:
            self.left.set()


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call of a reply."""

    id: str
    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model: reasoning, then text, then tool calls.

    Attributes:
        text: the answer's text, one piece for each delta on the wire.
        gate: where the server waits: after the first half of the text (rounded up).
        length: the answer was cut by the output limit.
        broken: the connection breaks at the same place.
    """

    text: Sequence[str] = ()
    reasoning: Sequence[str] = ()
    calls: Sequence[Call] = ()
    gate: Gate | None = None
    length: bool = False
    broken: bool = False
    input_tokens: int = 11
    output_tokens: int = 7

    @property
    def whole_text(self) -> str:
        return "".join(self.text)

    async def before(self, step: int) -> None:
        """Do what is to be done before a piece of the text."""
        if step != (len(self.text) + 1) // 2:
            return
        if self.broken:
            raise ConnectionAbortedError("as the script wants it")
        if self.gate is not None:
            await self.gate.wait()


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP error instead of an answer, or one in the middle of the stream.

    Attributes:
        status: the HTTP status; 200 for an error in the stream, after ``text``.
        kind: the provider's own name for the error, put where that provider puts it.
        message: the provider's text, which must stay on the server.
    """

    status: int
    kind: str
    message: str
    text: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """The conversation breaks a rule of the provider; its text is what the provider would say."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
