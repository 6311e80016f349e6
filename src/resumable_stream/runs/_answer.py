"""What a run writes: the agent's events, and the thread's title when it is ready in time.

When the answer is broken off, what was said is kept.
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import anyio

from resumable_stream import StreamEvent, StreamHandOver
from resumable_stream.agent import Turn
from resumable_stream.logs import get_logger

from ._transcript import Transcript
from ._values import TITLE, Run

logger = get_logger("resumable_stream.app")

KEEP_SECONDS: Final = 8.0
"""How long keeping a partial answer may take. The core gives a source 10 s to close."""

TITLE_SECONDS: Final = 1.0
"""How long the end of an answer waits for the title that goes with it."""


class TitleSlot:
    """Where the title of a thread appears, once, while the answer is on its way."""

    def __init__(self, *, expected: bool) -> None:
        self._done = anyio.Event()
        self._title: str | None = None
        if not expected:
            self._done.set()

    def put(self, title: str | None) -> None:
        """Say what the title is, or that there will be none."""
        self._title = title
        self._done.set()

    def take(self) -> StreamEvent | None:
        """The event that tells the title; ``None`` while there is none, and after it was taken."""
        title, self._title = self._title, None
        return None if title is None else StreamEvent(TITLE, {"title": title})

    async def wait(self) -> None:
        """Wait for the title, but not long."""
        with anyio.move_on_after(TITLE_SECONDS):
            await self._done.wait()


def turn_of(run: Run) -> Turn:
    """The turn that the agent answers."""
    return Turn(
        thread_id=str(run.thread_id),
        run_id=str(run.id),
        message=run.message,
        message_id=run.message_id,
        owner=run.owner,
        answers=run.answers,
    )


async def answer(
    events: AsyncGenerator[StreamEvent, None],
    *,
    said: Transcript,
    title: TitleSlot,
    broken_off: Callable[[], Awaitable[None]],
) -> AsyncGenerator[StreamEvent, None]:
    """Yield the events of a run.

    Args:
        events: what the agent says. It is closed.
        said: gets all that was sent.
        title: the thread's title goes between the events when it is there.
        broken_off: called before this generator ends, and so before the stream's terminal event is written, when the
            run is stopped, cancelled or fails; not when the agent hands over.
    """
    try:
        async with aclosing(events):
            async for event in events:
                if (told := title.take()) is not None:
                    yield told
                yield event
                # Only now it is certain that it was sent: a stop can come while the yield waits.
                said.add(event)
        await title.wait()
        if (told := title.take()) is not None:
            yield told
    except StreamHandOver:
        raise
    except BaseException:
        with anyio.move_on_after(KEEP_SECONDS, shield=True) as scope:
            await broken_off()
        if scope.cancelled_caught:
            logger.warning("a partial answer was not saved in time")
        raise


def where(error: BaseException) -> str:
    """An error's kind and place, without its text: that can hold what no log should."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__module__}.{type(error).__qualname__}{place}"
