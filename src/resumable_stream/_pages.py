"""Events that a window has left, read from the log again for viewers who lag behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ._entries import Entries
from ._errors import ConsumerClosed
from ._events import EventID
from ._segment import Segment

COLD_PAGES: Final = 8


class Pages:
    """Pages of the log that were read last; viewers at the same place share one, and its frames.

    Args:
        read: reads what follows a cursor.

    Attributes:
        tasks: reads that are under way.
    """

    def __init__(self, read: Callable[[EventID | None], Awaitable[list[Entries]]]) -> None:
        self._read = read
        self._kept: dict[int, asyncio.Task[Segment | None]] = {}
        self.tasks: set[asyncio.Task[Segment | None]] = set()

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, position: int, cursor: EventID | None) -> Segment | None:
        """The events after a position, as far as they belong together; ``None`` when there are none.

        Raises:
            LogUnavailable: Redis cannot be reached.
            ConsumerClosed: the read was cancelled, as it is when the consumer is closed.
        """
        task = self._kept.get(position)
        if task is None:
            task = asyncio.create_task(self._page(cursor), name="resumable_stream page")
            self.tasks.add(task)
            task.add_done_callback(self._done)
            self._kept[position] = task
            while len(self._kept) > COLD_PAGES:
                del self._kept[next(iter(self._kept))]
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as exc:
            if task.cancelled():  # nobody has cancelled this reader
                raise ConsumerClosed("the consumer was closed") from exc
            raise
        finally:
            if self._kept.get(position) is task and not _worth_keeping(task):
                del self._kept[position]

    def _done(self, task: asyncio.Task[Segment | None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: whoever waited may be gone

    async def _page(self, cursor: EventID | None) -> Segment | None:
        """What follows a cursor, up to a hole or another claim."""
        entries = await self._read(cursor)
        return Segment(entries[0]) if entries else None

    def forget(self) -> None:
        """Keep nothing of what was read."""
        self._kept.clear()


def _worth_keeping(task: asyncio.Task[Segment | None]) -> bool:
    """Whether a page that is being read, or was, may serve other viewers."""
    if not task.done():
        return True
    return not task.cancelled() and task.exception() is None and task.result() is not None
