"""Running a graph's stream in a task of its own, so that whoever reads it can leave at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar
from weakref import WeakSet

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from langchain_core.callbacks import AsyncCallbackHandler

from ..logs import get_logger
from ._failures import describe

logger = get_logger(__name__)

T = TypeVar("T")

_AHEAD: Final = 64
_GRACE: Final = 3.0
_AGAIN: Final = 0.5


class RunTasks(AsyncCallbackHandler):
    """Knows the tasks in which the nodes, models and tools of a run work. A callback handler of the run.

    LangGraph cancels them once, and one may lose that: before Python 3.12 `asyncio.wait_for` swallows a cancellation
    that comes together with a result, and LangChain's client of OpenAI waits so for each piece of text.
    """

    run_inline = True  # so that it is called in the task that it is about
    ignore_llm = True  # it has no use for tokens

    def __init__(self) -> None:
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    async def on_chain_start(self, *_: Any, **__: Any) -> None:
        """A node begins."""
        self._note()

    async def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        """A model call begins."""
        self._note()

    async def on_tool_start(self, *_: Any, **__: Any) -> None:
        """A tool begins."""
        self._note()

    def _note(self) -> None:
        self._tasks.update(filter(None, [asyncio.current_task()]))

    def cancel(self, *, all_but: asyncio.Task[Any]) -> None:
        """Cancel once more what is still at work."""
        for task in list(self._tasks):
            if task is not all_but and not task.done():
                task.cancel()


@asynccontextmanager
async def pumped(source: AsyncGenerator[T, None], tasks: RunTasks) -> AsyncIterator[AsyncIterator[T]]:
    """Read a source from another task, a little ahead.

    When the block is left, the source is cancelled once and waited for, some seconds at most. LangGraph needs that: it
    saves checkpoints while it is cancelled, and a reader under a cancelled anyio scope would interrupt it again at each
    step, leaving writes under way that the next use of the thread would collide with. What works in the run is
    cancelled again each half second: cleaning up for longer wants a shield.

    Args:
        source: a run. It is closed when the block is left.
        tasks: among the callbacks of the run.

    Raises:
        Exception: what the source raises, from the iteration.
    """
    send, receive = anyio.create_memory_object_stream[T](_AHEAD)
    stop = asyncio.Event()
    task = asyncio.create_task(_pump(source, send, stop), name="agent run")
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
        stop.set()
        task.cancel()
        with anyio.CancelScope(shield=True), anyio.move_on_after(_GRACE):
            while not task.done():
                await asyncio.wait([task], timeout=_AGAIN)
                tasks.cancel(all_but=task)
        receive.close()
        if not task.done():
            logger.error("a run did not end within %s s of being stopped", _GRACE)
        elif not told and not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a run failed while it was being stopped: %s", describe(error))


async def _pump(source: AsyncGenerator[T, None], send: MemoryObjectSendStream[T], stop: asyncio.Event) -> None:
    with send:
        async with aclosing(source):
            async for item in source:
                if stop.is_set():  # the cancellation was swallowed somewhere
                    return
                await send.send(item)
