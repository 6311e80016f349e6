"""Waiting for the end of somebody else's stream."""

from __future__ import annotations

import asyncio

import anyio

from ._errors import LogUnavailable
from ._events import EventID, Status
from ._links import backoff
from ._log import SWEEP, Log
from ._names import Names
from ._scripts import POKE


class _EndListener:
    """Sets an event when the log is worth a look: told so, told of an end, or the connection is new."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()

    def on_subscribed(self) -> None:
        self.wake.set()

    def on_message(self, payload: bytes) -> None:
        if payload == POKE or b"\r\nend/json\r\n" in payload:
            self.wake.set()


async def wait_for_end(log: Log, stream_id: str) -> tuple[Status, EventID | None]:
    """Wait until a stream has ended, and bury it when its producer has died.

    Returns:
        How it ended and the terminal event's id; ``lost`` and ``None`` when it vanished.
    """
    names = Names.of(stream_id)
    listener = _EndListener()
    async with log:
        unsubscribe = log.subscribe(names.channel, listener)
        attempt = 0
        try:
            while True:
                listener.wake.clear()
                try:
                    peek = await log.peek(names)
                    if peek is None or not peek.exists:
                        return Status.LOST, None
                    if peek.end is not None:
                        return peek.end.status, peek.end.id
                    pause = peek.lease_left or await log.bury(names) or 0.0
                    attempt = 0
                except LogUnavailable:
                    pause = backoff(attempt)
                    attempt += 1
                with anyio.move_on_after(min(pause + 0.01, SWEEP)):
                    await listener.wake.wait()
        finally:
            unsubscribe()
