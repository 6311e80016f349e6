"""Only the answer is text, with the default agent and with graphs of one's own."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    LLMToolSelectorMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.constants import END, START
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite, Send
from pydantic import BaseModel

from agent.conftest import make_model
from agent.helpers import answer, look_up, new_turn, of_type, text, types
from agent.provider_wire import Call, ProviderWire, Reply
from resumable_stream.agent import LangGraphAgent, build_graph
from resumable_stream.agent._checkpoint import Pool


class PlainState(TypedDict):
    """A state that only adds up messages."""

    messages: Annotated[list[AnyMessage], operator.add]


async def test_a_model_inside_a_tool_says_nothing_to_the_reader(wire: ProviderWire, pool: Pool) -> None:
    model = make_model(wire.url)

    @tool
    async def ask_another(question: str) -> str:
        """Ask another model."""
        return str((await model.ainvoke(question)).text)

    agent = LangGraphAgent(build_graph(model, [ask_another]), pool)
    wire.script(
        Reply(calls=[Call("call_a", "ask_another", {"question": "x"})]),
        Reply(text=["inner ", "words"]),
        Reply(text=["outer ", "words"]),
    )

    events = await answer(agent, new_turn())

    assert text(events) == "outer words"
    assert [result["content"] for result in of_type(events, "tool_result")] == ["inner words"]
    assert len(of_type(events, "message_start")) == len(of_type(events, "message_end")) == 2


async def test_an_agent_inside_a_tool_says_nothing_to_the_reader(wire: ProviderWire, pool: Pool) -> None:
    model = make_model(wire.url)
    inner = create_agent(model, [look_up])

    @tool
    async def delegate(task: str) -> str:
        """Let another agent do it."""
        state = await inner.ainvoke({"messages": [HumanMessage(task)]})
        return str(state["messages"][-1].text)

    agent = LangGraphAgent(build_graph(model, [delegate]), pool)
    wire.script(
        Reply(calls=[Call("call_a", "delegate", {"task": "x"})]),
        Reply(text=["inner "], calls=[Call("call_b", "look_up", {"word": "cat"})]),
        Reply(text=["found"]),
        Reply(text=["outer ", "words"]),
    )

    events = await answer(agent, new_turn())

    assert text(events) == "outer words"
    assert [call["name"] for call in of_type(events, "tool_call")] == ["delegate"]


async def test_middleware_with_model_calls_of_its_own_says_nothing_to_the_reader(
    wire: ProviderWire, pool: Pool
) -> None:
    """LangChain's summariser and tool selector, and a middleware that makes a title in the graph."""
    model = make_model(wire.url)

    class Title(AgentMiddleware[Any, Any, Any]):
        async def aafter_agent(self, state: Any, runtime: Runtime[Any]) -> None:
            await model.ainvoke("a title?")

    graph = create_agent(
        model,
        [look_up],
        middleware=[
            SummarizationMiddleware(model, trigger=("messages", 3), keep=("messages", 1)),
            LLMToolSelectorMiddleware(model=model, max_tools=1),
            Title(),
        ],
    )
    agent = LangGraphAgent(graph, pool)
    wire.script(
        Reply(text=['{"tools": ', '["look_up"]}']),
        Reply(text=["First."]),
        Reply(text=["title one"]),
        Reply(text=["a summary"]),
        Reply(text=['{"tools": ', '["look_up"]}']),
        Reply(text=["Second."]),
        Reply(text=["title two"]),
    )
    turn = new_turn()

    assert text(await answer(agent, turn)) == "First."
    assert text(await answer(agent, new_turn("more", turn.thread_id))) == "Second."

    assert wire.left == 0
    assert [message.content for message in await agent.history(turn.thread_id)] == ["more", "Second."]


async def test_a_graph_of_any_node_names_gives_the_text_of_all_nodes_but_tools(wire: ProviderWire, pool: Pool) -> None:
    model = make_model(wire.url)
    with_tools = model.bind_tools([look_up])

    async def researcher(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await with_tools.ainvoke(state["messages"])]}

    async def writer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("researcher", researcher)
    builder.add_node("hands", ToolNode([look_up]))
    builder.add_node("writer", writer)
    builder.add_edge(START, "researcher")
    builder.add_edge("researcher", "hands")
    builder.add_edge("hands", "writer")
    builder.add_edge("writer", END)
    graph = builder.compile()
    wire.script(
        Reply(text=["Looking. "], calls=[Call("call_a", "look_up", {"word": "cat"})]),
        Reply(text=["A cat."]),
    )

    events = await answer(LangGraphAgent(graph, pool), new_turn())

    assert text(events) == "Looking. A cat."
    assert types(events) == [
        "message_start",
        "text",
        "tool_call",
        "message_end",
        "tool_result",
        "message_start",
        "text",
        "message_end",
    ]


async def test_a_node_may_call_its_model_more_than_once(wire: ProviderWire, pool: Pool) -> None:
    model = make_model(wire.url)

    async def respond(state: MessagesState) -> dict[str, Any]:
        draft = await model.ainvoke(state["messages"])
        return {"messages": [draft, await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("respond", respond)
    builder.add_edge(START, "respond")
    wire.script(Reply(text=["a", "b"]), Reply(text=["c", "d"]))

    events = await answer(LangGraphAgent(builder.compile(), pool), new_turn())

    assert [event.data for event in events if event.type == "text"] == ["a", "b", "c", "d"]
    started = [start["message_id"] for start in of_type(events, "message_start")]
    assert started == [end["message_id"] for end in of_type(events, "message_end")]
    assert len(started) == 2


async def test_the_nodes_that_answer_can_be_chosen(wire: ProviderWire, pool: Pool) -> None:
    model = make_model(wire.url)

    async def classify(state: MessagesState) -> dict[str, Any]:
        await model.ainvoke(state["messages"])
        return {}

    async def quiet(state: MessagesState) -> dict[str, Any]:
        await model.ainvoke(state["messages"], {"tags": ["nostream"]})
        return {}

    async def respond(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    for node in (classify, quiet, respond):
        builder.add_node(node.__name__, node)
    builder.add_edge(START, "classify")
    builder.add_edge("classify", "quiet")
    builder.add_edge("quiet", "respond")
    graph = builder.compile()
    replies = [Reply(text=["a ", "question"]), Reply(text=["ssh"]), Reply(text=["The ", "answer"])]

    wire.script(*replies)
    chosen = await answer(LangGraphAgent(graph, pool, answer_nodes={"respond"}), new_turn())
    assert text(chosen) == "The answer"
    assert types(chosen) == ["message_start", "text", "message_end"]

    wire.script(*replies)
    assert text(await answer(LangGraphAgent(graph, pool), new_turn())) == "a questionThe answer"

    with pytest.raises(ValueError, match=r"no node 'respnod'; it has .*respond"):
        LangGraphAgent(graph, pool, answer_nodes={"respnod"})


async def test_a_subgraph_gives_its_answer_whole_or_piece_by_piece_when_asked(wire: ProviderWire, pool: Pool) -> None:
    inner = create_agent(make_model(wire.url), [look_up])
    builder = StateGraph(MessagesState)
    builder.add_node("assistant", inner)
    builder.add_edge(START, "assistant")
    graph = builder.compile()
    replies = [
        Reply(text=["Let me ", "see. "], calls=[Call("call_a", "look_up", {"word": "cat"})]),
        Reply(text=["A ", "cat."]),
    ]
    thread_id = new_turn().thread_id

    wire.script(*replies)
    agent = LangGraphAgent(graph, pool)
    whole = await answer(agent, new_turn(thread_id=thread_id))
    assert of_type(whole, "text") == ["Let me see. ", "A cat."]
    assert len(of_type(whole, "tool_call")) == len(of_type(whole, "tool_result")) == 1

    wire.script(*replies)
    agent = LangGraphAgent(graph, pool, answer_nodes={"assistant/model"})
    pieces = await answer(agent, new_turn(thread_id=thread_id))
    assert of_type(pieces, "text") == ["Let me ", "see. ", "A ", "cat."]
    assert [event.type for event in pieces if event.type != "text"] == [
        "message_start",
        "tool_call",
        "message_end",
        "tool_result",
        "message_start",
        "message_end",
    ]
    ids = [message.id for message in await agent.history(thread_id) if message.type == "ai"]
    ends = [end["message_id"] for end in of_type(whole, "message_end") + of_type(pieces, "message_end")]
    assert ids == ends


async def test_a_node_that_puts_the_text_into_a_message_of_its_own_does_not_double_it(
    wire: ProviderWire, pool: Pool
) -> None:
    model = make_model(wire.url)

    async def respond(state: MessagesState) -> dict[str, Any]:
        said = await model.ainvoke(state["messages"])
        return {"messages": [AIMessage(str(said.text).strip())]}

    builder = StateGraph(MessagesState)
    builder.add_node("respond", respond)
    builder.add_edge(START, "respond")
    agent = LangGraphAgent(builder.compile(), pool)
    turn = new_turn()
    for reply in (Reply(text=["Hel", "lo"]), Reply(text=[" Hel", "lo "])):
        wire.script(reply)
        events = await answer(agent, new_turn(thread_id=turn.thread_id))

        assert types(events) == ["message_start", "text", "message_end"]
        assert text(events) == reply.whole_text
        (end,) = of_type(events, "message_end")
        assert end["message_id"] == (await agent.history(turn.thread_id))[-1].id


@pytest.mark.parametrize(
    "written",
    [
        pytest.param({"messages": AIMessage("Hello", id="m")}, id="a message alone"),
        pytest.param({"messages": [AIMessage("Hello", id="m")]}, id="in a list"),
        pytest.param(Command(update={"messages": [AIMessage("Hello", id="m")]}), id="in a command"),
        pytest.param([Command(update={"messages": [AIMessage("Hello", id="m")]}), {"other": 1}], id="in commands"),
        pytest.param({"messages": [{"role": "assistant", "content": "Hello", "id": "m"}]}, id="as a dict"),
    ],
)
async def test_a_message_that_no_model_has_made_is_an_answer_too(pool: Pool, written: Any) -> None:
    class State(MessagesState):
        other: int

    def respond(state: State) -> Any:
        return written

    builder = StateGraph(State)
    builder.add_node("respond", respond)
    builder.add_edge(START, "respond")
    agent = LangGraphAgent(builder.compile(), pool)
    turn = new_turn()

    events = await answer(agent, turn)

    assert [(event.type, event.data) for event in events] == [
        ("message_start", {"message_id": "m"}),
        ("text", "Hello"),
        ("message_end", {"message_id": "m"}),
    ]
    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello", "Hello"]


async def test_nodes_at_work_at_the_same_time_keep_their_messages_apart(wire: ProviderWire, pool: Pool) -> None:
    model = make_model(wire.url)

    async def respond(state: PlainState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def fan_out(state: PlainState) -> list[Send]:
        return [Send("respond", state), Send("respond", state)]

    builder = StateGraph(PlainState)
    builder.add_node("respond", respond)
    builder.add_conditional_edges(START, fan_out, ["respond"])
    wire.script(Reply(text=["a", "b"]), Reply(text=["c", "d"]))

    events = await answer(LangGraphAgent(builder.compile(), pool), new_turn())

    assert sorted(of_type(events, "text")) == ["a", "b", "c", "d"]
    started = {start["message_id"] for start in of_type(events, "message_start")}
    ended = {end["message_id"] for end in of_type(events, "message_end")}
    assert started == ended
    assert len(ended) == 2


async def test_a_state_of_pydantic_is_understood(wire: ProviderWire, pool: Pool) -> None:
    class State(BaseModel):
        messages: Annotated[list[AnyMessage], operator.add]

    def respond(state: State) -> State:
        return State(messages=[AIMessage("Hello", id="m")])

    def forget(state: State) -> dict[str, Any]:
        return {"messages": Overwrite([AIMessage("Bye", id="n")])}

    def nothing(state: State) -> None:
        return None

    builder = StateGraph(State)
    builder.add_sequence([respond, forget, nothing])
    builder.add_edge(START, "respond")
    turn = new_turn()
    agent = LangGraphAgent(builder.compile(), pool)

    events = await answer(agent, turn)

    assert text(events) == "HelloBye"
    assert [message.content for message in await agent.history(turn.thread_id)] == ["Bye"]
