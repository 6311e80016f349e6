"""How a producer comes to its end: the source is closed, and the one terminal event written, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import anyio

from ._committer import Committer
from ._errors import LogUnavailable, StreamError, StreamFailure, StreamHandOver
from ._events import Status
from .logs import get_logger

logger: Final = get_logger("resumable_stream")

CLOSE_TIMEOUT: Final = 10.0
"""Seconds that a source gets to close before the terminal event is written without it."""


async def to_the_end(work: Coroutine[Any, Any, BaseException | None]) -> BaseException | None:
    """Do it though the caller be cancelled, be it again and again; then pass the last cancellation on.

    A shielded scope holds what anyio cancels, not a second ``task.cancel()``, such as a timeout's during a shutdown.
    """
    task = asyncio.create_task(work, name="resumable_stream end")
    again: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as exc:
                again = exc
    if again is not None:
        raise again
    return task.result()


async def conclude(
    committer: Committer,
    exc: BaseException | None,
    task: asyncio.Task[BaseException | None] | None = None,
    *,
    stopped: bool = False,
    cancelled_as: Status = Status.CANCELLED,
) -> BaseException | None:
    """End the source, write the one terminal event, and say what to raise.

    A source that does not end in `CLOSE_TIMEOUT` seconds is waited for, but the stream's readers are not kept waiting.
    """
    stream_id = committer.stream_id
    ids = {"stream_id": stream_id}
    if task is not None:
        if not task.done():
            await asyncio.sleep(0)  # a task that is cancelled before its first step could not close its source
            task.cancel()
            await asyncio.wait([task], timeout=CLOSE_TIMEOUT)
        if not task.done():
            logger.warning("stream %s: its source does not stop; ending the stream", stream_id, extra=ids)
        elif exc is None:
            exc = task.result()
    status, data = _ending(committer, exc, stopped=stopped, cancelled_as=cancelled_as)
    if stopped and isinstance(exc, Exception):
        kind = type(exc).__qualname__  # its text may be anything
        logger.warning("stream %s: its source failed while it was stopped: %s", stream_id, kind, extra=ids)
    try:
        # A process that is told to end must not wait for Redis; its lease will tell the readers.
        in_haste = isinstance(exc, asyncio.CancelledError) and not stopped
        await committer.finish(status, data, in_haste=in_haste)
    except (StreamError, LogUnavailable) as error:
        if exc is None or stopped:
            exc = error
        elif isinstance(error, LogUnavailable):
            logger.warning("stream %s: its end was not written: %s", stream_id, error, extra=ids)
    if task is not None and not task.done():
        await asyncio.wait([task])
    if committer.error is not None:
        return committer.error
    settled = (stopped and committer.status is Status.CANCELLED) or isinstance(exc, StreamHandOver)
    return None if settled else exc


def _ending(
    committer: Committer, exc: BaseException | None, *, stopped: bool, cancelled_as: Status
) -> tuple[Status, dict[str, str]]:
    """How a stream ends, and what its readers are told."""
    if committer.error is not None:
        return Status.FAILED, {"code": "log_unavailable", "message": "The stream could not be written."}
    if stopped:
        return Status.CANCELLED, {}
    if exc is None:
        return Status.COMPLETED, {}
    if isinstance(exc, asyncio.CancelledError | GeneratorExit):
        return cancelled_as, {}
    if isinstance(exc, StreamHandOver):
        return Status.ACTIVE, {}
    if isinstance(exc, StreamFailure):
        return Status.FAILED, {"code": exc.code, "message": exc.message}
    return Status.FAILED, {"code": "error", "message": "The answer could not be completed."}
