"""Tool calls that a hook of the graph changes after they were told, when the process ends behind that."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain_core.messages import AIMessage

from agent.conftest import make_model
from agent.helpers import Reader, Stuck, answer, look_up, new_turn, of_type, stop_when
from agent.provider_wire import Call, ProviderWire, Reply
from resumable_stream import StreamEvent
from resumable_stream.agent import LangGraphAgent, build_graph
from resumable_stream.agent._checkpoint import Pool


class Birds(AgentMiddleware):
    """Has a bird looked up, whatever the model wants to know of."""

    def after_model(self, state: AgentState[Any], runtime: object) -> dict[str, Any]:
        message = state["messages"][-1]
        assert isinstance(message, AIMessage)
        calls = [
            {**call, "args": {"word": "bird"}} if call["name"] == "look_up" else call for call in message.tool_calls
        ]
        return {"messages": [message.model_copy(update={"tool_calls": calls})]}


@pytest.mark.parametrize("told", [True, False], ids=["told before", "not told yet"])
async def test_who_goes_on_tells_a_call_as_it_was_changed_behind_the_end_of_its_message(
    wire: ProviderWire, pool: Pool, *, told: bool
) -> None:
    """Readers have dropped that, or have not had it. Fails without what calls were told as (`agent/_start.py`)."""
    stuck, turn, reader = Stuck(), new_turn(), Reader()
    calls = [Call("call_a", "look_up", {"word": "cat"}), Call("call_b", "stuck", {"word": "dog"})]
    wire.script(Reply(text=["Let me see. "], calls=calls))
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up, stuck.tool()], middleware=[Birds()]), pool)
    events: list[StreamEvent] = []
    await stop_when(
        lambda: stuck.called.is_set() and len(of_type(events, "tool_call")) == 3, agent.stream(turn), events
    )
    if not told:
        events = events[: [event.type for event in events].index("message_end") + 1]
    again = reader.broke_off(events, turn)

    wire.script(Reply(text=["It flies."]))
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up], middleware=[Birds()]), pool)
    events = await answer(agent, again)
    assert of_type(events, "tool_call") == [{"id": "call_a", "name": "look_up", "args": {"word": "bird"}}]
    shown = {data["id"]: data["args"] for data in of_type(reader.events + events, "tool_call")}
    uses = (await agent.history(turn.thread_id))[1].tool_calls
    assert shown == {use.id: use.args for use in uses}
