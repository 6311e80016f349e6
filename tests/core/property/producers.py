"""Producers of the property test: each does what it is told, one thing after the other, and notes what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Literal

from core.property.history import History
from resumable_stream import (
    LogUnavailable,
    StreamEvent,
    StreamExists,
    StreamFailure,
    StreamFenced,
    StreamHandOver,
    StreamLost,
    StreamProducer,
    StreamWriter,
)

Ending = Literal["completed", "failed", "cancelled", "active"]
"""How a producer comes to its end; with ``active`` it hands the stream over."""
Command = tuple[str, Any]

_REASONS: dict[type[Exception], str] = {
    StreamExists: "exists",
    StreamFenced: "fenced",
    StreamLost: "lost",
    LogUnavailable: "unavailable",
}


class _Failure(Exception):
    """What the source of a stream raises."""


class Actor:
    """One producer with a connection of its own.

    Attributes:
        name: its process in the history.
        claimed: set when it knows whether it has the stream.
        number: how many tokens it was told to send.
    """

    def __init__(
        self, history: History, name: str, producer: StreamProducer, *, words: tuple[str, ...], pulled: bool
    ) -> None:
        self.name = name
        self.claimed = asyncio.Event()
        self.number = 0
        self._history = history
        self._producer = producer
        self._commands: asyncio.Queue[Command] = asyncio.Queue()
        self._busy = False
        work = self._run if pulled else self._open
        history.add(name, "invoke", "claim", words)
        self._task = asyncio.create_task(self._live(work), name=f"producer {name}")

    @property
    def done(self) -> bool:
        return self._task.done()

    @property
    def idle(self) -> bool:
        """Whether it has done all that it was told."""
        return self.done or (self._commands.empty() and not self._busy)

    def send(self, count: int, *, kind: str, flush: bool) -> None:
        """Send so many tokens; with ``flush``, wait for each to be in Redis before the next."""
        for _ in range(count):
            self._commands.put_nowait((kind, f"{self.name}.{self.number};"))
            self.number += 1
            if flush:
                self._commands.put_nowait(("flush", None))

    def flush(self) -> None:
        """Wait for what was sent."""
        self._commands.put_nowait(("flush", None))

    def end(self, how: Ending) -> None:
        """End the stream behind what was sent, or at once when it is cancelled."""
        if how != "cancelled":
            self._commands.put_nowait(("end", how))
        elif self.claimed.is_set():
            self._task.cancel()

    async def kill(self) -> None:
        """End it without a word."""
        self._task.cancel()
        await asyncio.wait([self._task])
        with suppress(asyncio.CancelledError):
            self._task.result()

    async def ended(self, timeout: float) -> bool:
        """Wait for its end; whether it came."""
        await asyncio.wait([self._task], timeout=timeout)
        return self.done

    async def _live(self, work: Callable[[], Any]) -> None:
        try:
            await work()
        except (StreamExists, StreamFenced, StreamLost, LogUnavailable) as error:
            reason = _REASONS[type(error)]
            if self.claimed.is_set():
                self._history.add(self.name, "fail", "end", reason)
            else:
                self._history.add(self.name, "info" if reason == "unavailable" else "fail", "claim", reason)
        except (_Failure, StreamFailure):
            self._history.add(self.name, "info", "end", "failed")
        except asyncio.CancelledError:
            self._history.add(self.name, "info", "end" if self.claimed.is_set() else "claim", "killed")
        except Exception as error:  # noqa: BLE001 - the oracle judges it
            self._history.add(self.name, "fail", "end", repr(error))
        finally:
            self.claimed.set()

    # With a writer.

    async def _open(self) -> None:
        stream: StreamWriter | None = None
        try:
            async with self._producer.open("s") as stream:
                self._history.add(self.name, "ok", "claim")
                self.claimed.set()
                try:
                    await self._obey(stream)
                except asyncio.CancelledError:
                    self._history.add(self.name, "invoke", "end", "cancelled")
                    raise
        except (_Failure, StreamFailure, asyncio.CancelledError):
            if stream is None or not stream.status.ended:
                raise
        except StreamHandOver:
            if stream is None:
                raise
        self._ended(stream.status, stream.last_id)

    async def _obey(self, stream: StreamWriter) -> None:
        while True:
            command, value = await self._next()
            match command:
                case "flush":
                    self._history.add(self.name, "invoke", "flush")
                    await stream.flush()
                    last = stream.last_id
                    self._history.add(self.name, "ok", "flush", None if last is None else tuple(last))
                case "end":
                    self._history.add(self.name, "invoke", "end", value)
                    if value == "failed":
                        raise _Failure
                    if value == "active":
                        raise StreamHandOver
                    return
                case _:
                    self._history.add(self.name, "invoke", "send", value)
                    await stream.send(_item(command, value))
                    self._history.add(self.name, "ok", "send", value)

    # With a source that is pulled.

    async def _run(self) -> None:
        wished: list[str] = []

        async def source() -> AsyncGenerator[str | bytes | StreamEvent, None]:
            self._history.add(self.name, "ok", "claim")
            self.claimed.set()
            try:
                while True:
                    command, value = await self._next()
                    match command:
                        case "flush":
                            continue  # a source cannot
                        case "end":
                            wished.append(value)
                            self._history.add(self.name, "invoke", "end", value)
                            if value == "failed":
                                raise StreamFailure("tired", "The source is tired.")
                            if value == "active":
                                raise StreamHandOver
                            return
                        case _:
                            self._history.add(self.name, "invoke", "send", value)
                            yield _item(command, value)
                            self._history.add(self.name, "ok", "send", value)
            finally:
                if not wished:
                    self._history.add(self.name, "invoke", "end", "cancelled")

        result = await self._producer.run("s", source())
        if not self.claimed.is_set():  # the stream was asked to stop before there was anything to pull
            self._history.add(self.name, "ok", "claim")
            self._history.add(self.name, "invoke", "end", "cancelled")
        self._ended(result.status, result.last_id)

    async def _next(self) -> Command:
        self._busy = False
        command = await self._commands.get()
        self._busy = True
        return command

    def _ended(self, status: str, last_id: Any) -> None:
        self._history.add(self.name, "ok", "end", (str(status), None if last_id is None else tuple(last_id)))


def _item(kind: str, token: str) -> str | bytes | StreamEvent:
    match kind:
        case "text":
            return token
        case "bytes":
            return token.encode()
        case _:
            return StreamEvent("tool_call", {"name": token})
