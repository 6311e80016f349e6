"""A limit: a bare ASGI app that writes frames from memory, at the same pace, without Redis and without a second look.

With one viewer a stream, each viewer has a timer of its own. With many, one task paces the stream and wakes all its
viewers, and each sends all that is ready in one piece, which is joined once.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

from benchmarks.sources import paced, phases
from resumable_stream.asgi import Receive, Scope, Send

HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache, no-transform")]
PAGE = 1000
END = b"event: system\ndata: end\n\n"


def frame(number: int, token: str) -> bytes:
    """As many bytes as a frame of ours."""
    return b"id: 1795452603816-%d\nevent: chunk\ndata: %b\n\n" % (number, token.encode())


class Bare:
    """``GET /<stream>`` is that stream."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._go = asyncio.Event()
        self._frames: dict[str, list[bytes]] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._joined: dict[str, tuple[int, int, bytes]] = {}
        self._ended: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._phases: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        streams, rate = self._spec["streams"], self._spec["rate"]
        names = [f"s{number}" for number in range(streams)]
        self._phases = dict(zip(names, phases(streams, rate) if rate else [0.0] * streams, strict=True))
        if rate and self._spec["viewers"] > 1:
            self._tasks = [asyncio.create_task(self._pace(stream)) for stream in names]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def go(self) -> None:
        """Let the pacing begin."""
        self._go.set()

    async def fill(self, stream: str, count: int) -> None:
        """Have a finished stream in memory."""
        self._frames[stream] = [*(frame(number, "token") for number in range(1, count + 1)), END]
        self._ended.add(stream)

    async def _pace(self, stream: str) -> None:
        await self._go.wait()
        frames = self._frames.setdefault(stream, [])
        number = 0
        async for token in paced(self._spec["count"], self._spec["rate"], self._phases[stream]):
            number += 1
            frames.append(frame(number, token))
            self._wake(stream)
        frames.append(END)
        self._ended.add(stream)
        self._wake(stream)

    def _wake(self, stream: str) -> None:
        for waiter in self._waiting.pop(stream, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = scope["path"][1:]
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b": ka\n", "more_body": True})
        if self._tasks or stream in self._ended:
            await self._follow(stream, send)
        else:
            await self._alone(stream, send)
        await send({"type": "http.response.body", "body": b""})

    async def _alone(self, stream: str, send: Send) -> None:
        await self._go.wait()
        number = 0
        async for token in paced(self._spec["count"], self._spec["rate"], self._phases[stream]):
            number += 1
            await send({"type": "http.response.body", "body": frame(number, token), "more_body": True})
        await send({"type": "http.response.body", "body": END, "more_body": True})

    async def _follow(self, stream: str, send: Send) -> None:
        loop = asyncio.get_running_loop()
        frames = self._frames.setdefault(stream, [])
        at = 0
        while True:
            if at < len(frames):
                stop = min(len(frames), at + PAGE)
                body = self._piece(stream, at, stop)
                at = stop
                await send({"type": "http.response.body", "body": body, "more_body": True})
            elif stream in self._ended:
                return
            else:
                waiter: asyncio.Future[None] = loop.create_future()
                self._waiting.setdefault(stream, set()).add(waiter)
                await waiter

    def _piece(self, stream: str, start: int, stop: int) -> bytes:
        known = self._joined.get(stream)
        if known is None or known[:2] != (start, stop):
            known = self._joined[stream] = (start, stop, b"".join(self._frames[stream][start:stop]))
        return known[2]
