"""Runs of graphs of one's own: waiting for a person, what tools get to see, and which graphs are refused."""

from __future__ import annotations

import dataclasses
from datetime import date
from typing import Any, TypedDict

import pytest
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
)
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.constants import START
from langgraph.graph import MessagesState, StateGraph
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import interrupt
from pydantic import BaseModel

from agent.conftest import make_model
from agent.helpers import answer, look_up, new_turn, of_type, text, types
from agent.provider_wire import Call, ProviderWire, Reply
from resumable_stream.agent import LangGraphAgent, Turn, build_graph
from resumable_stream.agent._checkpoint import Pool


async def test_a_run_that_waits_for_a_person_says_so_and_stays_as_it_is(wire: ProviderWire, pool: Pool) -> None:
    approval = HumanInTheLoopMiddleware(interrupt_on={"look_up": True})
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up], middleware=[approval]), pool)
    wire.script(Reply(calls=[Call("call_a", "look_up", {"word": "cat"})]), Reply(text=["Fine."]))
    turn = new_turn()

    events = await answer(agent, turn)

    assert types(events) == ["message_start", "tool_call", "message_end", "interrupted"]
    ((asked,),) = (found["interrupts"] for found in of_type(events, "interrupted"))
    assert asked["id"]
    assert asked["value"]["action_requests"][0]["name"] == "look_up"
    before = await agent.history(turn.thread_id)
    await agent.keep_partial(turn, "")
    assert await agent.history(turn.thread_id) == before
    assert [use.status for use in before[-1].tool_calls] == ["waiting"]

    # Writing on instead of deciding is a decision against it.
    assert text(await answer(agent, new_turn("never mind", turn.thread_id))) == "Fine."
    assert [use.status for use in (await agent.history(turn.thread_id))[1].tool_calls] == ["cancelled"]


async def test_an_interrupt_of_any_value_becomes_json(pool: Pool) -> None:
    class Question(BaseModel):
        score: float

    def ask(state: MessagesState) -> None:
        interrupt({"question": Question(score=float("nan")), "day": date(2026, 1, 2), "half": "\ud83d"})

    builder = StateGraph(MessagesState)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")

    events = await answer(LangGraphAgent(builder.compile(), pool), new_turn())

    value = of_type(events, "interrupted")[0]["interrupts"][0]["value"]
    assert value == {"question": {"score": "NaN"}, "day": "2026-01-02", "half": "\ud83d"}


async def test_a_long_tool_result_is_cut_in_the_event_and_whole_in_the_history(wire: ProviderWire, pool: Pool) -> None:
    @tool
    def flood() -> str:
        """Say much."""
        return "x" * 50_000

    agent = LangGraphAgent(build_graph(make_model(wire.url), [flood]), pool)
    wire.script(Reply(calls=[Call("call_a", "flood", {})]), Reply(text=["ok"]))
    turn = new_turn()

    events = await answer(agent, turn)

    assert len(of_type(events, "tool_result")[0]["content"]) == 20_000
    result = (await agent.history(turn.thread_id))[1].tool_calls[0].result
    assert result == "x" * 50_000


async def test_tools_see_the_turn_without_its_being_saved(wire: ProviderWire, pool: Pool) -> None:
    seen: list[Any] = []

    @tool
    def whoami() -> str:
        """Say who asks."""
        seen.append(get_runtime(Turn).context)
        return "you"

    agent = LangGraphAgent(build_graph(make_model(wire.url), [whoami]), pool)
    wire.script(Reply(calls=[Call("call_a", "whoami", {})]), Reply(text=["ok"]))
    turn = dataclasses.replace(new_turn(), owner="owner-of-this")

    await answer(agent, turn)

    assert seen == [turn]
    async with pool.connection() as connection:
        saved = await connection.execute(
            "SELECT metadata::text || checkpoint::text AS row FROM checkpoints WHERE thread_id = %s", (turn.thread_id,)
        )
        rows = "".join(row["row"] for row in await saved.fetchall())
    assert rows
    assert turn.owner not in rows


async def test_a_graph_with_a_context_of_its_own_gets_what_the_maker_returns(pool: Pool) -> None:
    class Context(TypedDict):
        who: str

    seen: list[Any] = []

    def respond(state: MessagesState, runtime: Runtime[Context]) -> None:
        seen.append(runtime.context)

    builder = StateGraph(MessagesState, context_schema=Context)
    builder.add_node("respond", respond)
    builder.add_edge(START, "respond")
    graph = builder.compile()

    await answer(LangGraphAgent(graph, pool, context=lambda turn: {"who": turn.owner}), new_turn())
    await answer(LangGraphAgent(graph, pool), new_turn())

    assert seen == [{"who": "ann"}, None]


async def test_a_graph_keeps_the_checkpointer_that_it_has() -> None:
    def respond(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Hello")]}

    builder = StateGraph(MessagesState)
    builder.add_node("respond", respond)
    builder.add_edge(START, "respond")
    agent = LangGraphAgent(builder.compile(checkpointer=InMemorySaver()))
    turn = new_turn()

    await answer(agent, turn)

    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello", "Hello"]
    await agent.delete(turn.thread_id)
    assert await agent.history(turn.thread_id) == []


def test_a_graph_that_cannot_be_served_is_refused_with_what_to_do() -> None:
    class State(TypedDict):
        question: str

    builder = StateGraph(State)
    builder.add_node("respond", lambda state: None)
    builder.add_edge(START, "respond")
    with pytest.raises(ValueError, match="needs a key 'messages'"):
        LangGraphAgent(builder.compile())
    with pytest.raises(ValueError, match="a pool is needed"):
        LangGraphAgent(build_graph(make_model("http://127.0.0.1:9")))
