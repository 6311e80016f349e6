"""The scripted chat model behaves as a provider's does, and LangGraph's agent can use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import Runnable

from resumable_stream.agent import build_graph
from resumable_stream.agent._summary import SummaryOptions
from resumable_stream.demo import ScriptedChatModel, ScriptedError, script, search_tool


def fast(**fields: Any) -> ScriptedChatModel:
    return ScriptedChatModel(tokens_per_second=0, **fields)


async def chunks_of(model: Runnable[Any, AIMessage], messages: Sequence[BaseMessage]) -> list[AIMessageChunk]:
    chunks = [chunk async for chunk in model.astream(messages)]
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    return chunks  # type: ignore[return-value]  # astream is typed for whole messages


def joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


def seconds(model: ScriptedChatModel, prompt: str) -> float:
    """How long the model takes for its answer."""
    return sum(pause for pause, _ in model._timed_chunks([HumanMessage(prompt)]))


async def test_what_is_streamed_is_the_script_of_the_prompt_token_by_token() -> None:
    chunks = await chunks_of(fast(), [HumanMessage("How does resume work?")])
    assert [str(chunk.text) for chunk in chunks if chunk.text] == script("How does resume work?")


async def test_the_last_chunks_carry_finish_reason_and_usage() -> None:
    chunks = await chunks_of(fast(), [SystemMessage("Be brief."), HumanMessage("hello")])
    whole = joined(chunks)
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == len(script("hello"))
    assert whole.usage_metadata["input_tokens"] > 1
    assert chunks[-1].chunk_position == "last"


async def test_the_blocking_and_the_async_call_give_the_streamed_text() -> None:
    text = "".join(script("stop it"))
    assert fast().invoke("stop it").text == text
    assert (await fast().ainvoke("stop it")).text == text


def test_tokens_come_at_the_pace_that_was_set() -> None:
    assert seconds(ScriptedChatModel(), "long") == pytest.approx(len(script("long")) / 40)
    assert seconds(ScriptedChatModel(tokens_per_second=10), "search") == pytest.approx(len(script("search")) / 10)


async def test_a_silent_prompt_waits_before_its_first_token() -> None:
    assert seconds(fast(), "a silent minute") == 60
    assert seconds(fast(silence=2), "a silent minute") == 2
    chunks = await chunks_of(fast(silence=0.01), [HumanMessage("a silent minute")])
    assert joined(chunks).text == "".join(script("a silent minute"))


async def test_a_failing_prompt_breaks_off_halfway() -> None:
    said: list[str] = []

    async def listen() -> None:
        async for chunk in fast().astream("please fail"):
            said.append(str(chunk.text))  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ScriptedError):
        await listen()
    whole = script("please fail")
    assert said == whole[: len(whole) // 2]


async def test_a_search_prompt_calls_the_tool_once_then_answers_from_its_result() -> None:
    model = fast().bind_tools([search_tool()])
    question = HumanMessage("search for the lease")
    call = joined(await chunks_of(model, [question]))
    assert call.text == ""
    assert call.response_metadata["finish_reason"] == "tool_calls"
    [tool_call] = call.tool_calls
    assert (tool_call["name"], tool_call["args"]) == ("search", {"query": "lease"})

    found = '[{"title": "T", "section": "", "snippet": "Ten seconds."}]'
    result = ToolMessage(found, tool_call_id=tool_call["id"])
    answer = joined(await chunks_of(model, [question, call, result]))
    assert answer.text == "".join(script(question.text, found=found))
    assert "Ten seconds." in answer.text


async def test_the_tool_is_called_again_for_a_later_question() -> None:
    model = fast().bind_tools([search_tool()])
    earlier = [HumanMessage("search a"), AIMessage("b"), ToolMessage("c", tool_call_id="1")]
    call = joined(await chunks_of(model, [*earlier, HumanMessage("look up the gap")]))
    assert call.tool_calls[0]["args"] == {"query": "gap"}


async def test_a_tool_that_failed_or_was_refused_is_not_said_to_have_found_anything() -> None:
    model = fast().bind_tools([search_tool()])
    result = ToolMessage("No.", tool_call_id="1", status="error")
    answer = joined(await chunks_of(model, [HumanMessage("search x"), result]))
    assert answer.text == "Nothing was searched: the call was refused, stopped, or failed."


async def test_without_the_tool_a_search_prompt_is_just_answered() -> None:
    answer = joined(await chunks_of(fast(), [HumanMessage("search for the lease")]))
    assert answer.text == "".join(script("search for the lease"))


async def test_as_a_title_model_it_gives_a_short_title() -> None:
    message = await fast(task="title").ainvoke([HumanMessage("what is a lease good for, and why?")])
    assert message.text == "What is a lease good for"


async def test_as_a_summary_model_it_names_what_was_said() -> None:
    message = await fast(task="summary").ainvoke("one thing")
    assert message.text == "Earlier in this conversation: “One thing”."


async def test_a_long_conversation_is_summarised_for_the_model_and_goes_on() -> None:
    options = SummaryOptions(trigger_messages=4, keep_messages=2)
    summariser = fast(task="summary")
    graph = build_graph(fast(), summary=options, summary_model=summariser)
    state: dict[str, Any] = {"messages": []}
    for prompt in ("one thing", "another", "how does stop work?", "and a lease?"):
        state = await graph.ainvoke({"messages": [*state["messages"], HumanMessage(prompt)]})
        assert state["messages"][-1].text == "".join(script(prompt))
    assert len(state["messages"]) == 8


async def test_a_langgraph_agent_runs_the_tool_and_answers_from_the_documentation() -> None:
    agent = create_agent(fast(), [search_tool()])
    state = await agent.ainvoke({"messages": [HumanMessage("search for the lease")]})
    kinds = [message.type for message in state["messages"]]
    assert kinds == ["human", "ai", "tool", "ai"]
    assert state["messages"][-1].text == "".join(script("search for the lease", found=state["messages"][2].text))


def test_without_its_extra_the_room_names_the_line_that_installs_it() -> None:
    code = "import sys; sys.modules['langchain_core'] = None; import resumable_stream.demo"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Run: pip install 'resumable-stream-redis[demo]'" in done.stderr
