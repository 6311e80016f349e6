"""How long a piece of work may take, by a clock that a busy process does not hurry."""

from __future__ import annotations

import asyncio
from typing import Final

import anyio

_TICK: Final = 0.25
"""Seconds between two looks at the clock. A look that comes later, since the process was busy, counts as one."""


class Turns:
    """So many pieces of work at once; the others wait for their turn, in order.

    Args:
        count: how many.
        longest: seconds that one waits for its turn at most.
    """

    def __init__(self, count: int, *, longest: float) -> None:
        self.longest = longest
        self.places = asyncio.Semaphore(count)
        self.done = 0

    def piece(self, timeout: float) -> Piece:
        """A new piece of work, which is in the queue from now on.

        Args:
            timeout: seconds that it gets once it is its turn; and that it waits while no other comes to its end.
        """
        return Piece(self, timeout)


class Piece:
    """One piece of work. `scope` is cancelled when its time is over; `close` it in the end.

    Attributes:
        scope: to be entered for the wait and the work.
    """

    def __init__(self, turns: Turns, timeout: float) -> None:
        self.scope = anyio.CancelScope()
        self._turns = turns
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._seen = turns.done
        self._left = timeout
        self._waits = turns.longest
        self._working = False
        self._timer = self._set()

    def begin(self) -> None:
        """Its turn has come."""
        self._look(0.0)
        self._working = True

    def close(self) -> None:
        """Its time is not counted any more."""
        self._timer.cancel()

    def _set(self) -> asyncio.TimerHandle:
        pause = min(_TICK, self._left)
        return self._loop.call_later(pause, self._ring, pause)

    def _ring(self, passed: float) -> None:
        self._look(passed)
        if self._left > 0 and (self._working or self._waits > 0):
            self._timer = self._set()
        else:
            self.scope.cancel()

    def _look(self, passed: float) -> None:
        """Take off what has passed; whoever waits begins anew when somebody else has come to an end."""
        self._left -= passed
        self._waits -= passed
        if not self._working and self._seen != self._turns.done:
            self._seen, self._left = self._turns.done, self._timeout
