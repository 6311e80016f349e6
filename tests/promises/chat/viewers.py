"""Clients that follow a run over as many connections, to as many servers, as it takes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, NamedTuple

from core.http_server import request
from resumable_stream import EventID


class Part(NamedTuple):
    """What came over one connection.

    Attributes:
        body: all of it.
        complete: whether the server ended it cleanly.
        seconds: how long the answer took, from its head to its end.
    """

    body: bytes
    complete: bool
    seconds: float

    @property
    def ends_between_frames(self) -> bool:
        """Whether nothing was cut: the last bytes are the end of a frame, or a keep-alive."""
        return self.body.endswith((b"\n\n", b": ka\n"))


class Viewer:
    """Follows one run in the JSON format, which shows every event.

    Args:
        sent: what the message was answered with.
        mount: the path that the app is mounted under.

    Attributes:
        parts: a part for each connection so far.
        ids: of all events.
        events: type and data, in order.
    """

    def __init__(self, sent: dict[str, str], mount: str = "") -> None:
        query = f"thread_id={sent['thread_id']}&run_id={sent['run_id']}&format=json"
        self._path = f"{mount}/v1/chat/stream?{query}"
        self.parts: list[Part] = []
        self.ids: list[str] = []
        self.events: list[dict[str, Any]] = []

    @property
    def begun(self) -> bool:
        """Whether an event has come."""
        return bool(self.events)

    @property
    def ended(self) -> bool:
        """Whether the terminal event has come."""
        return bool(self.events) and self.events[-1]["type"] == "end"

    @property
    def text(self) -> str:
        """The answer, as a client holds it that does what it is told."""
        kept = said = ""
        for event in self.events:
            if event["type"] == "text":
                said += event["data"]
            elif event["type"] == "message_end":
                kept += said
                said = ""
            elif event["type"] == "restarted":
                said = ""
        return kept + said

    def count(self, kind: str) -> int:
        """How many events of a type there were."""
        return sum(event["type"] == kind for event in self.events)

    async def follow(self, port: int) -> None:
        """Read until the server ends the connection, from the last event that came.

        A 503 is no end: a machine that does much else at once may have no time for hundreds of viewers.
        """
        headers = {"Last-Event-ID": self.ids[-1]} if self.ids else {}
        for attempts_left in reversed(range(5)):
            async with request(port, self._path, headers=headers) as response:
                if response.status == 503 and attempts_left:
                    await asyncio.sleep(float(response.headers["retry-after"]))
                    continue
                assert response.status == 200, await response.read_all()
                began, rest = time.monotonic(), b""
                while piece := await response.read_some():
                    *frames, rest = (rest + piece).split(b"\n\n")
                    for frame in frames:
                        self._take(frame)
            self.parts.append(Part(response.body, response.complete, time.monotonic() - began))
            return

    def _take(self, frame: bytes) -> None:
        """Hundreds of viewers share a machine with their servers: no more than it takes."""
        fields = [line for line in frame.split(b"\n") if not line.startswith((b": ", b"retry: "))]
        (event_id,) = (line[4:] for line in fields if line.startswith(b"id: "))
        (data,) = (line[6:] for line in fields if line.startswith(b"data: "))
        self.ids.append(event_id.decode())
        self.events.append(json.loads(data))

    async def follow_to_the_end(self, port: int) -> None:
        """Read until the terminal event, coming back as often as the server sends it away."""
        while not self.ended:
            await self.follow(port)

    def check(self) -> None:
        """No hole, nothing twice, no connection cut within a frame."""
        ids = [EventID.parse(text) for text in self.ids]
        assert [one.sequence for one in ids] == list(range(1, len(ids) + 1))
        assert ids == sorted(ids)
        assert all(part.ends_between_frames for part in self.parts)
