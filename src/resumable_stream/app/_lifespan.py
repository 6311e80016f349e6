"""A lifespan that may be entered more than once, and knows whether it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

from ._errors import LifespanNotEntered

T = TypeVar("T")


class SharedLifespan(Generic[T]):
    """Opens something once for everybody who has entered, and closes it when the last one has left.

    The first to enter is the one that closes: it waits for the others, since what it opened belongs to its task.
    """

    def __init__(self, opener: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._opener = opener
        self._users = 0
        self._opened: T | None = None
        self._ready = asyncio.Event()
        self._empty = asyncio.Event()

    @property
    def value(self) -> T:
        """What was opened.

        Raises:
            LifespanNotEntered: nothing is open.
        """
        if self._opened is None:
            raise LifespanNotEntered
        return self._opened

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Open it, or wait until it is open."""
        self._users += 1
        if self._users > 1:
            try:
                await self._ready.wait()
                yield
            finally:
                self._leave()
            return
        self._ready, self._empty = asyncio.Event(), asyncio.Event()
        try:
            async with self._opener() as opened:
                self._opened = opened
                self._ready.set()
                try:
                    yield
                finally:
                    self._leave()
                    if self._users:
                        await self._empty.wait()
                    self._opened = None
        except BaseException:
            self._users = 0
            raise

    def _leave(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._empty.set()
