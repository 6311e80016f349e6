"""Whether a run is alive. The log alone knows: a row in a database cannot tell that a process has died."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import psycopg

from resumable_stream import LogUnavailable, Status, StreamConsumer, StreamInfo, StreamNotFound

from ._errors import Unavailable
from ._values import Run

PATIENCE: Final = 1.5
"""Seconds that one question to Redis may take before a request gives up."""


@contextmanager
def asking_redis() -> Iterator[None]:
    """Bounds the questions to Redis inside the block.

    Raises:
        Unavailable: when Redis cannot be reached, or takes too long.
    """
    try:
        with anyio.fail_after(PATIENCE):
            yield
    except (LogUnavailable, TimeoutError) as error:
        raise Unavailable("redis") from error


@contextmanager
def asking_memory(seconds: float) -> Iterator[None]:
    """Bounds what the agent does with its memory inside the block.

    Raises:
        Unavailable: when Postgres cannot be reached, or takes too long.
    """
    try:
        with anyio.fail_after(seconds):
            yield
    except (TimeoutError, psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable("postgres") from error


async def look(consumer: StreamConsumer, run: Run) -> StreamInfo | None:
    """The run's stream as it is now; ``None`` when it is gone. A dead producer is buried on the way.

    Raises:
        Unavailable: when Redis cannot be reached.
    """
    with asking_redis():
        try:
            return await consumer.status(run.stream_id)
        except StreamNotFound:
            return None


async def status_of(consumer: StreamConsumer, run: Run) -> Status:
    """How the run is; ``lost`` when its stream is gone.

    Raises:
        Unavailable: when Redis cannot be reached.
    """
    info = await look(consumer, run)
    return Status.LOST if info is None else info.status
