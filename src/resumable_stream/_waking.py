"""How those who wait are woken, at a cost that thousands of them can bear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ._errors import LogUnavailable

Callback = Callable[[], object]


class Alarm:
    """The timer of somebody who waits again and again, a little later each time. It is moved when it rings, not before.

    Making and cancelling a timer for each wait costs more than all else that a viewer does for a token.

    Attributes:
        waiter: what was waited for last.
    """

    __slots__ = ("_deadline", "_loop", "_timer", "waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.waiter: asyncio.Future[bool] | None = None

    def set(self, deadline: float | None) -> asyncio.Future[bool]:
        """What to wait for: ``True`` when somebody says so, ``False`` at the deadline (in loop time)."""
        waiter = self.waiter = self._loop.create_future()
        self._deadline = deadline
        if deadline is not None and (self._timer is None or self._timer.when() > deadline):
            self.cancel()
            self._timer = self._loop.call_at(deadline, self._ring)
        return waiter

    def _ring(self) -> None:
        self._timer = None
        waiter, deadline = self.waiter, self._deadline
        if waiter is None or waiter.done() or deadline is None:
            return
        if self._loop.time() >= deadline:
            waiter.set_result(False)
        else:
            self._timer = self._loop.call_at(deadline, self._ring)

    def cancel(self) -> None:
        """No ringing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Bells:
    """Calls many back when one event is set, with one task for all of them."""

    def __init__(self) -> None:
        self._watches: dict[asyncio.Event, tuple[asyncio.Task[None], set[Callback]]] = {}

    def add(self, event: asyncio.Event, callback: Callback) -> None:
        """Have a function called once when the event is set, or soon when it is set already."""
        if event in self._watches:
            self._watches[event][1].add(callback)
        else:
            callbacks = {callback}
            task = asyncio.create_task(self._ring(event, callbacks), name="resumable_stream closing")
            self._watches[event] = (task, callbacks)

    def discard(self, event: asyncio.Event, callback: Callback) -> None:
        """Do not call it any more; harmless when it was called."""
        if event in self._watches:
            task, callbacks = self._watches[event]
            callbacks.discard(callback)
            if not callbacks:
                del self._watches[event]
                task.cancel()

    async def _ring(self, event: asyncio.Event, callbacks: set[Callback]) -> None:
        await event.wait()
        self._watches.pop(event, None)
        for callback in tuple(callbacks):
            callback()


def settle(future: asyncio.Future[None], failure: LogUnavailable | None) -> None:
    """Say how a question to Redis went, to somebody who may have gone; each gets an exception of their own."""
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    else:
        error = LogUnavailable("Redis cannot be reached")
        error.__cause__ = failure
        future.set_exception(error)
