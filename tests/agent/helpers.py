"""What tests of the agent share: turns, agents, and looking at what came out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import anyio
from langchain_core.tools import BaseTool, tool

from resumable_stream._errors import StreamFailure
from resumable_stream._events import StreamEvent
from resumable_stream.agent import LangGraphAgent, Turn
from support import wait_until

WAIT = 20.0


def new_turn(message: str = "hello", thread_id: str | None = None) -> Turn:
    return Turn(
        thread_id=thread_id or str(uuid.uuid4()),
        run_id=str(uuid.uuid4()),
        message=message,
        message_id=f"human-{uuid.uuid4()}",
        owner="ann",
    )


async def answer(agent: LangGraphAgent, turn: Turn) -> list[StreamEvent]:
    """All events of a turn."""
    with anyio.fail_after(WAIT):
        async with aclosing(agent.stream(turn)) as stream:
            return [event async for event in stream]


async def fail(agent: LangGraphAgent, turn: Turn) -> tuple[list[StreamEvent], StreamFailure]:
    """The events of a turn that fails, and how it fails."""
    events: list[StreamEvent] = []
    try:
        with anyio.fail_after(WAIT):
            async with aclosing(agent.stream(turn)) as stream:
                async for event in stream:
                    events.append(event)  # noqa: PERF401 - kept also when it raises
    except StreamFailure as failure:
        return events, failure
    raise AssertionError("the turn did not fail")


async def stop_when(
    reached: Callable[[], bool], stream: AsyncGenerator[StreamEvent, None], events: list[StreamEvent]
) -> None:
    """Read a stream into ``events`` until something is so, then stop it by cancelling its scope."""

    async def read() -> None:
        async with aclosing(stream):
            async for event in stream:
                events.append(event)  # noqa: PERF401 - others look at it meanwhile

    with anyio.fail_after(WAIT):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await wait_until(reached)
            tasks.cancel_scope.cancel()


def text(events: list[StreamEvent]) -> str:
    return "".join(str(event.data) for event in events if event.type == "text")


def of_type(events: list[StreamEvent], kind: str) -> list[Any]:
    return [event.data for event in events if event.type == kind]


def types(events: list[StreamEvent]) -> list[str]:
    """The types in order, runs of one type as one."""
    kinds = [event.type for event in events]
    return [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} means {word[::-1]}"


class Stuck:
    """A tool that never returns, and says when it was called."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.cancelled = asyncio.Event()

    def tool(self) -> BaseTool:
        async def stuck(word: str) -> str:
            """Wait."""
            self.called.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
            return word

        return tool(stuck)
