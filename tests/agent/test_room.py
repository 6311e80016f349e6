"""The room as others see it: what it exports, what it imports, what it says when a package is missing."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph

import resumable_stream.agent as room
from resumable_stream._events import StreamEvent
from resumable_stream.agent import Agent, HistoryMessage, LangGraphAgent, Told, Turn, open_pool
from resumable_stream.agent._extras import needs


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_everything_promised_is_there_and_has_its_own_name() -> None:
    for name in room.__all__:
        assert getattr(room, name).__name__ == name
    assert len(set(room.__all__)) == len(room.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = room.nothing


def test_the_protocol_can_be_had_without_langgraph() -> None:
    imported = run(
        "import sys; from resumable_stream.agent import Agent, HistoryMessage, ToolUse, Turn;"
        "print([name for name in sys.modules if name.startswith(('lang', 'psycopg', 'pydantic'))])"
    )
    assert imported == "[]"


def test_a_missing_extra_is_told_with_the_line_that_installs_it() -> None:
    said = run(
        "import sys; sys.modules['langgraph'] = None\n"
        "from resumable_stream.agent import Turn\n"
        "try: from resumable_stream.agent import build_graph, LangGraphAgent\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    assert said.endswith("Run: pip install 'resumable-stream-redis[app]'")


def test_errors_of_imports_that_are_not_about_extras_are_left_as_they_are() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, needs("app"):
        raise ModuleNotFoundError("No module named 'resumable_stream.nothing'", name="resumable_stream.nothing")
    assert "pip" not in str(caught.value)
    with pytest.raises(ModuleNotFoundError) as caught, needs("app"):
        raise ModuleNotFoundError("somehow")
    assert str(caught.value) == "somehow"


class Parrot:
    """An agent without LangGraph."""

    async def stream(self, turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        yield StreamEvent("text", turn.message)

    async def history(self, thread_id: str) -> list[HistoryMessage]:
        return []

    async def keep_partial(self, turn: Turn, text: str) -> None:
        return None

    async def title(self, message: str) -> str | None:
        return None

    async def delete(self, thread_id: str) -> None:
        return None


def test_an_agent_can_be_anything_with_the_methods() -> None:
    parrot: Agent = Parrot()

    assert isinstance(parrot, Agent)
    assert not isinstance(object(), Agent)
    for name in ("stream", "history", "keep_partial", "title", "delete"):
        ours, theirs = getattr(LangGraphAgent, name), getattr(Agent, name)
        assert inspect.signature(ours) == inspect.signature(theirs)


def test_turns_are_values() -> None:
    turn = Turn(thread_id="t", run_id="r", message="hello", message_id="m", owner="ann")

    with pytest.raises(AttributeError):
        turn.message = "other"  # type: ignore[misc] # that is the point
    assert not hasattr(turn, "__dict__")


def test_turns_of_old_callers_are_first_attempts_at_a_message() -> None:
    turn = Turn(thread_id="t", run_id="r", message="hello", message_id="m", owner="ann")
    again = replace(turn, drain=asyncio.Event(), told=Told(messages=frozenset({"ai-1"})))

    assert (turn.answers, turn.told, turn.drain) == (None, None, None)
    assert replace(again, told=None) == turn
    assert hash(replace(turn, answers={"question": "yes"})) == hash(turn)


def test_an_agent_can_be_continued_elsewhere_if_its_threads_outlive_the_process() -> None:
    graph = StateGraph(MessagesState).add_node("answer", lambda _: {}).set_entry_point("answer")

    assert not getattr(Parrot(), "resumable", False)
    assert not LangGraphAgent(graph.compile(checkpointer=InMemorySaver())).resumable
    assert LangGraphAgent(graph.compile(), open_pool("postgresql://nowhere")).resumable
