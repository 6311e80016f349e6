"""Looks at a stream on behalf of viewers who come: what is known of it may be older than what they know."""

from __future__ import annotations

import asyncio
from typing import Final

import anyio
import anyio.lowlevel

from ._errors import LogUnavailable
from ._links import backoff
from ._log import Log, Peek
from ._names import Names

ATTEMPTS: Final = 3


class Glances:
    """Looks at one stream. Those who ask at once share a look.

    Attributes:
        tasks: looks that are under way.
    """

    def __init__(self, log: Log, names: Names) -> None:
        self._log = log
        self._names = names
        self._next: asyncio.Task[Peek | None] | None = None
        self.tasks: set[asyncio.Task[Peek | None]] = set()

    async def take(self, timeout: float) -> Peek | None:
        """The stream as it is, by a look that begins after the call; ``None`` when there is nothing of it.

        Args:
            timeout: seconds to wait for it at most.

        Raises:
            LogUnavailable: that cannot be told: Redis did not answer, or what it answered cannot be read.
        """
        if (look := self._next) is None:
            look = self._next = asyncio.create_task(self._look(), name="resumable_stream glance")
            self.tasks.add(look)
            look.add_done_callback(self._done)
        await asyncio.wait({look}, timeout=timeout)
        if not look.done() or look.cancelled():
            raise LogUnavailable("Redis did not answer in time")
        if (error := look.exception()) is not None:
            raise LogUnavailable("the stream cannot be looked at") from error
        return look.result()

    def _done(self, look: asyncio.Task[Peek | None]) -> None:
        self.tasks.discard(look)
        if not look.cancelled():
            look.exception()  # looked at: whoever waited may be gone

    async def _look(self) -> Peek | None:
        await anyio.lowlevel.checkpoint()  # viewers who come at once share a look
        self._next = None
        for attempt in range(ATTEMPTS - 1):
            try:
                return await self._log.peek(self._names)
            except LogUnavailable:  # a connection that has just broken says nothing about the stream
                await anyio.sleep(backoff(attempt))
        return await self._log.peek(self._names)
