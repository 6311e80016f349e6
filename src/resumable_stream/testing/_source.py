"""A source of tokens that follows a script, and tells what was done to it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeAlias

import anyio

from .._events import StreamEvent


class Gate:
    """A place in a script where the source stops until the test lets it go on.

    A gate may stand in a script once. Once open it stays open.
    """

    def __init__(self) -> None:
        self._reached = anyio.Event()
        self._opened = anyio.Event()

    def open(self) -> None:
        """Let the source pass, now and later."""
        self._opened.set()

    async def reached(self) -> None:
        """Wait until the source has been asked for what stands behind the gate."""
        await self._reached.wait()

    async def passage(self) -> None:
        """Wait as the source does: say that the gate is reached, then wait for it to open."""
        self._reached.set()
        await self._opened.wait()


Step: TypeAlias = (
    str | bytes | StreamEvent | Gate | anyio.Event | BaseException | Callable[[], Awaitable[object] | object]
)
"""One step of a script; see ``ScriptedSource``."""


class ScriptedSource(AsyncIterator[str | bytes | StreamEvent]):
    """An async iterator that plays a script, one step after the other.

    A step is one of:

    - a token (``str``, ``bytes`` or ``StreamEvent``): handed out;
    - a ``Gate`` or an ``anyio.Event``: waited for. An event that is never set is a silent source;
    - an exception (an instance; also a ``BaseException``): raised, which ends the script;
    - a callable: called, and awaited when it returns an awaitable; its result is dropped.

    The script may be any iterable, an endless one too: it is read one step at a time, when asked.
    Like an async generator it refuses to be used by two tasks at once, and is over after an error.

    Attributes:
        pulled: how often a token was asked for.
        yielded: how many tokens were handed out.
        closed: ``aclose`` was called.
        cancelled: it was cancelled while it waited in a step.
        ended: the script ran to its end.
    """

    def __init__(self, script: Iterable[Step]) -> None:
        self._steps = iter(script)
        self._running = False
        self._over = False
        self._changed = anyio.Event()
        self.pulled = 0
        self.yielded = 0
        self.closed = False
        self.cancelled = False
        self.ended = False

    async def __anext__(self) -> str | bytes | StreamEvent:
        self._enter()
        self.pulled += 1
        self._notify()
        try:
            return await self._play()
        except BaseException:
            self._over = True
            raise
        finally:
            self._running = False
            self._notify()

    async def aclose(self) -> None:
        """End the script where it stands; harmless when repeated.

        Raises:
            RuntimeError: when another task is waiting for a token.
        """
        self._enter()
        self._running = False
        self._over = True
        self.closed = True
        self._notify()

    async def wait_pulled(self, count: int) -> None:
        """Wait until a token was asked for ``count`` times."""
        await self._until(lambda: self.pulled >= count)

    async def wait_yielded(self, count: int) -> None:
        """Wait until ``count`` tokens were handed out."""
        await self._until(lambda: self.yielded >= count)

    async def wait_closed(self) -> None:
        """Wait until ``aclose`` was called."""
        await self._until(lambda: self.closed)

    async def _play(self) -> str | bytes | StreamEvent:
        while not self._over:
            try:
                step = next(self._steps)
            except StopIteration:
                self.ended = True
                break
            match step:
                case str() | bytes() | StreamEvent():
                    self.yielded += 1
                    return step
                case BaseException():
                    raise step
                case _:
                    await self._wait(step)
        raise StopAsyncIteration

    async def _wait(self, step: Gate | anyio.Event | Callable[[], Awaitable[object] | object]) -> None:
        try:
            if isinstance(step, Gate):
                await step.passage()
            elif isinstance(step, anyio.Event):
                await step.wait()
            else:
                result = step()
                if inspect.isawaitable(result):
                    await result
        except anyio.get_cancelled_exc_class():
            self.cancelled = True
            raise

    async def _until(self, predicate: Callable[[], bool]) -> None:
        while not predicate():
            await self._changed.wait()

    def _enter(self) -> None:
        if self._running:
            raise RuntimeError("the source is in use by another task")
        self._running = True

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def numbered(count: int, *, start: int = 1) -> list[str]:
    """Make tokens that all differ (``"1 "``, ``"2 "``), so that a loss or a repeat shows."""
    return [f"{number} " for number in range(start, start + count)]
