"""Streams written by the test, in place of the server's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Page, Route

STREAM = "**/v1/chat/stream?*"


def frame(event_id: str, kind: str, data: Any = None) -> str:
    """One event of the JSON dialect; an empty id for an event that stands in no log."""
    event = {"type": kind} | ({} if data is None else {"data": data})
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}data: {json.dumps(event, separators=(',', ':'))}\n\n"


class WrittenStreams:
    """Answers the page's requests for a stream, one after the other, then leaves them to the server.

    Attributes:
        cursors: what each request asked for to come after; "" for everything.
        allowed: how many of the requests after the first are answered; ``release`` it for each.
    """

    def __init__(self, *answers: str | int) -> None:
        self._answers: Sequence[str | int] = answers
        self.cursors: list[str] = []
        self.allowed = asyncio.Semaphore(0)

    async def serve(self, page: Page) -> None:
        await page.route(STREAM, self._answer)

    def release(self, count: int = 1) -> None:
        """Let some more requests be answered."""
        for _ in range(count):
            self.allowed.release()

    async def _answer(self, route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        self.cursors.append("".join(query.get("last_event_id", [])))
        if len(self.cursors) > len(self._answers):
            await route.continue_()
            return
        answer = self._answers[len(self.cursors) - 1]
        if len(self.cursors) > 1:
            await self.allowed.acquire()
        if isinstance(answer, int):
            await route.fulfill(status=answer, body="")
        else:
            await route.fulfill(status=200, content_type="text/event-stream", body=answer)
