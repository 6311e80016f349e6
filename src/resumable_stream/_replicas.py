"""Waiting until replicas have what was written: one `WAIT` at a time for all who wait on a connection.

`WAIT` speaks of what its own connection has written, and holds up what is sent behind it. So there is one of these per
connection, and while one `WAIT` is under way those who come gather for the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ._errors import LogUnavailable
from ._wire import pack

WAIT_TIMEOUT: Final = 1.0
"""Seconds that replicas have to confirm; so long may others on the connection be held up."""


class Unconfirmed(LogUnavailable):
    """A command was executed, but fewer replicas than asked for have said that they have what it wrote.

    Attributes:
        reply: the command's.
    """

    def __init__(self, reply: Any) -> None:
        super().__init__("not enough replicas have what was written")
        self.reply = reply


class Replicas:
    """What the replicas of the server at the other end have.

    Args:
        send: sends a command on the connection and returns the reply to come; the same connection for ever.
    """

    def __init__(self, send: Callable[[bytes], asyncio.Future[Any]]) -> None:
        self._send = send
        self._next: dict[int, asyncio.Future[None]] = {}
        self._asked = 0

    def have(self, count: int) -> asyncio.Future[None]:
        """Done when that many replicas have all that has been sent; it is shared, so not to be cancelled.

        It fails with `LogUnavailable` when fewer had it within `WAIT_TIMEOUT`, or the connection was lost.
        """
        future = self._next.get(count)
        if future is None:
            future = self._next[count] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_ignore)
            if not self._asked:
                self._ask()
        return future

    def _ask(self) -> None:
        joined, self._next = self._next, {}
        for count, future in joined.items():
            self._asked += 1
            answer = self._send(pack(b"WAIT", b"%d" % count, b"%d" % round(WAIT_TIMEOUT * 1000)))
            answer.add_done_callback(partial(self._answered, count, future))

    def _answered(self, count: int, future: asyncio.Future[None], answer: asyncio.Future[Any]) -> None:
        self._asked -= 1
        cause = answer.exception()
        reply = answer.result() if cause is None else None
        if isinstance(reply, int) and reply >= count:
            future.set_result(None)
        else:
            error = LogUnavailable(f"fewer than {count} replicas have confirmed")
            error.__cause__ = cause or (reply if isinstance(reply, Exception) else None)
            future.set_exception(error)
        if not self._asked and self._next:
            self._ask()


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
