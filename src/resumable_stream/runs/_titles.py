"""Titles for threads, made of their first messages."""

from __future__ import annotations

from typing import Final

import anyio

from resumable_stream.agent import Agent
from resumable_stream.logs import get_logger

from ._answer import TitleSlot, where
from ._thread_store import ThreadStore
from ._values import Run

logger = get_logger("resumable_stream.app")

_TITLE_TIMEOUT: Final = 30.0
_TITLE_LENGTH: Final = 200


class Titles:
    """Has titles made, and keeps them unless an owner has named the thread."""

    def __init__(self, *, agent: Agent, threads: ThreadStore) -> None:
        self._agent = agent
        self._threads = threads

    async def make(self, run: Run, slot: TitleSlot) -> None:
        """Make a title of a run's message, and put it into the slot. Failing is logged: no title is no failure."""
        title: str | None = None
        try:
            with anyio.fail_after(_TITLE_TIMEOUT):
                made = await self._agent.title(run.message)
            title = clean_title(made or "")
            if title is not None and not await self._threads.entitle(run.thread_id, title):
                title = None
        except Exception as error:  # noqa: BLE001 - a thread without a title is no failure
            title = None
            logger.warning("thread %s got no title: %s", run.thread_id, where(error))
        finally:
            slot.put(title)


def clean_title(text: str) -> str | None:
    """A model's title as one line of bounded length; ``None`` when nothing is left."""
    line = " ".join(text.replace("\0", " ").split()).encode("utf-8", "ignore").decode()
    return line[:_TITLE_LENGTH].strip() or None
