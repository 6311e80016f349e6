"""Running a stream in a task of its own, so that whoever reads it can leave in any way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from ._failures import describe

logger = logging.getLogger(__name__)

T = TypeVar("T")

_AHEAD: Final = 64
_GRACE: Final = 5.0


@asynccontextmanager
async def pumped(source: AsyncGenerator[T, None]) -> AsyncIterator[AsyncIterator[T]]:
    """Read a source from another task, a little ahead.

    When the block is left, the source is cancelled once and waited for. LangGraph needs that: it
    saves checkpoints while it is cancelled, and a reader under a cancelled anyio scope would
    interrupt it again at each step, leaving writes under way that the next use of the thread
    would collide with.

    Args:
        source: closed when the block is left.

    Raises:
        Exception: what the source raises, from the iteration.
    """
    send, receive = anyio.create_memory_object_stream[T](_AHEAD)
    task = asyncio.create_task(_pump(source, send), name="agent run")
    told = False

    async def items() -> AsyncGenerator[T, None]:
        nonlocal told
        async for item in receive:
            yield item
        told = True
        await task

    try:
        async with aclosing(items()) as reader:
            yield reader
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task], timeout=_GRACE)
        receive.close()
        if not task.done():
            logger.error("a run did not end within %s s of being stopped", _GRACE)
        elif not told and not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a run failed while it was being stopped: %s", describe(error))


async def _pump(source: AsyncGenerator[T, None], send: MemoryObjectSendStream[T]) -> None:
    with send:
        async with aclosing(source):
            async for item in source:
                await send.send(item)
