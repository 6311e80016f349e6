"""What tests of the agent share: turns, agents, and looking at what came out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
from langchain_core.tools import BaseTool, tool

from resumable_stream._errors import StreamFailure
from resumable_stream._events import StreamEvent
from resumable_stream.agent import HistoryMessage, LangGraphAgent, Told, Turn
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


class Reader:
    """What a reader of a run has over all attempts, by the rule for ``restarted``.

    Attributes:
        events: what it shows.
    """

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []

    def broke_off(self, events: list[StreamEvent], turn: Turn) -> Turn:
        """Take what an attempt said before it broke off. Returns the turn for the next attempt."""
        self.events += events
        ends = [index for index, event in enumerate(self.events) if event.type == "message_end"]
        del self.events[ends[-1] + 1 if ends else 0 :]
        told = Told(
            messages=frozenset(data["message_id"] for data in of_type(self.events, "message_end")),
            results=frozenset(data["id"] for data in of_type(self.events, "tool_result")),
            calls={data["id"]: data for data in of_type(self.events, "tool_call")},
        )
        return replace(turn, told=told)

    def messages(self) -> list[tuple[str, str, str]]:
        """Ids, texts and reasoning of the messages, in order; one that has not ended has no id."""
        found: list[tuple[str, str, str]] = []
        begun: tuple[str, str] | None = None
        for event in self.events:
            if event.type == "message_start":
                assert begun is None, "messages do not overlap"
                begun = "", ""
            elif event.type in ("text", "reasoning"):
                assert begun is not None
                both = zip(("text", "reasoning"), begun, strict=True)
                said, thought = (old + str(event.data) if name == event.type else old for name, old in both)
                begun = said, thought
            elif event.type == "message_end":
                assert begun is not None
                assert isinstance(event.data, dict)
                found.append((event.data["message_id"], *begun))
                begun = None
        return found if begun is None else [*found, ("", *begun)]

    def shows(self, history: list[HistoryMessage]) -> None:
        """Check that it is what the thread has of one turn, once each."""
        said = [message for message in history if message.type == "ai"]
        assert self.messages() == [(message.id, message.content, message.reasoning) for message in said]
        uses = [use for message in said for use in message.tool_calls]
        assert [call["id"] for call in of_type(self.events, "tool_call")] == [use.id for use in uses]
        results = {data["id"]: data["content"] for data in of_type(self.events, "tool_result")}
        assert results == {use.id: use.result for use in uses if use.result is not None}
        assert len(of_type(self.events, "tool_result")) == len(results)


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
