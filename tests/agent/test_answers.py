"""A person's answers: the thread goes on where it waits, or stays as it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.constants import START
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Send, interrupt

from agent.conftest import make_model
from agent.helpers import Reader, Stuck, answer, fail, look_up, new_turn, of_type, stop_when, text, types
from agent.processes import attempt
from agent.provider_wire import Call, Gate, ProviderWire, Reply
from resumable_stream._events import StreamEvent
from resumable_stream.agent import LangGraphAgent, Told, Turn, build_graph
from resumable_stream.agent._checkpoint import Pool

LOOK = Call("call_a", "look_up", {"word": "cat"})
APPROVE = {"decisions": [{"type": "approve"}]}


def careful(wire: ProviderWire, pool: Pool, provider: str = "openai", *tools: Any) -> LangGraphAgent:
    """An agent that looks nothing up without being allowed to."""
    approval = HumanInTheLoopMiddleware({"look_up": True, "stuck": True})
    return LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up, *tools], middleware=[approval]), pool)


async def waiting_for(agent: LangGraphAgent, turn: Turn, answers: dict[str, Any] | None = None, **fixed: Any) -> Turn:
    """The turn that answers what a thread waits for: all with the same, unless the answers are given."""
    *_, last = await agent.history(turn.thread_id)
    asked = [question["id"] for question in last.interrupts]
    given = answers if answers is not None else dict.fromkeys(asked, fixed["same"])
    return replace(new_turn("", turn.thread_id), message_id=last.id, answers=given)


async def test_an_approved_tool_is_run_and_the_conversation_goes_on(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    agent = careful(wire, pool, provider)
    thoughts = ["hm"] * (provider in ("openai-responses", "anthropic-thinking", "google"))
    wire.script(Reply(text=["May I? "], calls=[LOOK], reasoning=thoughts), Reply(text=["An animal."]))
    turn = new_turn()
    asked = of_type(await answer(agent, turn), "interrupted")[0]["interrupts"]
    *_, asking = await agent.history(turn.thread_id)
    assert list(asking.interrupts) == asked
    assert [use.status for use in asking.tool_calls] == ["waiting"]

    events = await answer(agent, await waiting_for(agent, turn, same=APPROVE))

    assert types(events) == ["tool_result", "message_start", "text", "message_end"]
    history = await agent.history(turn.thread_id)
    assert [(message.content, message.interrupts) for message in history] == [
        ("hello", ()),
        ("May I? ", ()),
        ("An animal.", ()),
    ]
    assert [(use.status, use.result) for use in history[1].tool_calls] == [("success", "cat means tac")]


async def test_a_rejected_tool_is_not_run_and_the_model_is_told_why(wire: ProviderWire, pool: Pool) -> None:
    agent = careful(wire, pool)
    wire.script(Reply(calls=[LOOK]), Reply(text=["Then not."]))
    turn = new_turn()
    await answer(agent, turn)

    rejection = {"decisions": [{"type": "reject", "message": "No cats."}]}
    events = await answer(agent, await waiting_for(agent, turn, same=rejection))

    ((result,), said) = of_type(events, "tool_result"), text(events)
    assert (result["status"], said) == ("error", "Then not.")
    assert "No cats." in result["content"]
    assert wire.requests[-1].body["messages"][-1]["content"] == result["content"]


async def test_a_tool_call_that_is_run_with_what_a_person_put_in_its_place_stays_as_the_model_made_it(
    wire: ProviderWire, pool: Pool
) -> None:
    """LangChain keeps the call, and the result says what was run. So it is in the stream as in the thread."""
    agent = careful(wire, pool)
    wire.script(Reply(calls=[LOOK]), Reply(text=["Birds fly."]))
    turn = new_turn()
    (told,) = of_type(await answer(agent, turn), "tool_call")

    edit = {"type": "edit", "edited_action": {"name": "look_up", "args": {"word": "bird"}}}
    events = await answer(agent, await waiting_for(agent, turn, same={"decisions": [edit]}))

    assert types(events) == ["tool_result", "message_start", "text", "message_end"]
    assert "bird means drib" in of_type(events, "tool_result")[0]["content"]
    (use,) = (await agent.history(turn.thread_id))[1].tool_calls
    assert (use.id, use.args) == (told["id"], told["args"])


async def test_answers_that_nothing_waits_for_are_refused_and_change_nothing(wire: ProviderWire, pool: Pool) -> None:
    agent = careful(wire, pool)
    wire.script(Reply(calls=[LOOK]), Reply(text=["An animal."]))
    turn = new_turn()
    nowhere = replace(turn, answers={"x": APPROVE}, message="")
    assert (await fail(agent, nowhere))[1].code == "not_interrupted"
    await answer(agent, turn)
    before = await agent.history(turn.thread_id)
    right = await waiting_for(agent, turn, same=APPROVE)

    for wrong in ({}, {"x": APPROVE}, {**(right.answers or {}), "x": APPROVE}):
        _, failure = await fail(agent, replace(right, answers=wrong))
        assert failure.code == "unknown_interrupt"
    assert await agent.history(turn.thread_id) == before

    await answer(agent, right)
    assert (await fail(agent, right))[1].code == "not_interrupted"


def asking_twice(pool: Pool) -> LangGraphAgent:
    """A graph with a node that asks two questions, and another that asks one at the same time."""

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{interrupt('one?')} {interrupt('two?')}")]}

    def beside(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{interrupt('beside?')}")]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_node("beside", beside)
    builder.add_conditional_edges(START, lambda state: [Send("ask", state), Send("beside", state)])
    return LangGraphAgent(builder.compile(), pool)


async def test_questions_are_answered_each_by_its_name_and_an_old_answer_is_none_to_the_next(pool: Pool) -> None:
    agent, turn = asking_twice(pool), new_turn()
    (asked,) = of_type(await answer(agent, turn), "interrupted")
    first = {question["value"]: question["id"] for question in asked["interrupts"]}
    assert first.keys() == {"one?", "beside?"}

    events = await answer(agent, await waiting_for(agent, turn, {first["one?"]: "1"}))

    (asked,) = of_type(events, "interrupted")
    then = {question["value"]: question["id"] for question in asked["interrupts"]}
    assert then.keys() == {"two?", "beside?"}
    assert then["beside?"] == first["beside?"]
    stale = await waiting_for(agent, turn, {first["one?"]: "again"})
    assert (await fail(agent, stale))[1].code == "unknown_interrupt"

    await answer(agent, await waiting_for(agent, turn, {then["two?"]: None, then["beside?"]: "3"}))
    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello", "1 None", "3"]


@pytest.mark.parametrize("provider", ["openai", "anthropic-thinking", "openai-responses"])
async def test_a_stop_during_an_approved_tool_answers_its_call_and_the_next_turn_works(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    stuck = Stuck()
    agent = careful(wire, pool, provider, stuck.tool())
    calls = [LOOK, Call("call_b", "stuck", {"word": "x"})]
    wire.script(Reply(text=["May I?"], calls=calls, reasoning=["hm"] * (provider != "openai")), Reply(text=["Fine."]))
    turn = new_turn()
    await answer(agent, turn)
    both = {"decisions": [{"type": "approve"}, {"type": "approve"}]}
    resumed = await waiting_for(agent, turn, same=both)
    events: list[StreamEvent] = []

    def reached() -> bool:
        return stuck.called.is_set() and "tool_result" in types(events)

    await stop_when(reached, agent.stream(resumed), events)
    await agent.keep_partial(resumed, text(events))

    kept = await agent.history(turn.thread_id)
    assert [(message.content, message.stopped) for message in kept] == [("hello", False), ("May I?", True)]
    assert [(use.name, use.status) for use in kept[1].tool_calls] == [("look_up", "success"), ("stuck", "cancelled")]
    await agent.keep_partial(resumed, text(events))
    assert await agent.history(turn.thread_id) == kept
    assert text(await answer(agent, new_turn("go on", turn.thread_id))) == "Fine."


async def test_a_stop_while_the_model_speaks_after_an_approval_keeps_that_part_only(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    agent = careful(wire, pool, provider)
    thoughts = ["hm"] * (provider in ("openai-responses", "anthropic-thinking", "google"))
    wire.script(
        Reply(text=["One. "], calls=[LOOK], reasoning=thoughts),
        Reply(text=["One. ", "Two."], gate=Gate()),
        Reply(text=["Fine."]),
    )
    turn = new_turn()
    await answer(agent, turn)
    resumed = await waiting_for(agent, turn, same=APPROVE)
    events: list[StreamEvent] = []

    await stop_when(lambda: text(events) == "One. ", agent.stream(resumed), events)
    await agent.keep_partial(resumed, text(events))

    history = await agent.history(turn.thread_id)
    assert [(message.content, message.stopped) for message in history[1:]] == [("One. ", False), ("One. ", True)]
    assert [use.status for use in history[1].tool_calls] == ["success"]
    assert text(await answer(agent, new_turn("go on", turn.thread_id))) == "Fine."


async def test_a_stop_before_an_answer_has_had_any_effect_leaves_the_question(pool: Pool) -> None:
    reached = asyncio.Event()

    async def ask(state: MessagesState) -> dict[str, Any]:
        said = interrupt("well?")
        reached.set()
        await asyncio.Event().wait()
        return {"messages": [AIMessage(said)]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    agent, turn = LangGraphAgent(builder.compile(), pool), new_turn()
    await answer(agent, turn)
    before = await agent.history(turn.thread_id)
    resumed = await waiting_for(agent, turn, same="yes")

    await stop_when(reached.is_set, agent.stream(resumed), [])
    await agent.keep_partial(resumed, "")

    assert await agent.history(turn.thread_id) == before
    assert before[-1].interrupts


async def test_an_answer_that_cannot_be_used_fails_its_run_and_the_next_one_counts(
    wire: ProviderWire, pool: Pool
) -> None:
    agent = careful(wire, pool)
    wire.script(Reply(calls=[LOOK]), Reply(text=["An animal."]))
    turn = new_turn()
    await answer(agent, turn)
    before = await agent.history(turn.thread_id)
    nonsense: tuple[Any, ...] = ("x", {"decisions": []}, {"decisions": [{"type": "explode"}]})
    for bad in nonsense:
        wrong = await waiting_for(agent, turn, same=bad)
        _, failure = await fail(agent, wrong)
        assert failure.code == "agent_error"
        await agent.keep_partial(wrong, "")
        assert await agent.history(turn.thread_id) == before

    events = await answer(agent, await waiting_for(agent, turn, same=APPROVE))

    assert text(events) == "An animal."


@pytest.mark.parametrize("inside", [False, True], ids=["graph", "subgraph"])
@pytest.mark.parametrize("how", ["stopped", "failed"])
async def test_an_answer_that_came_to_nothing_is_forgotten_and_the_one_before_it_is_not(
    pool: Pool, inside: bool, how: str
) -> None:
    reached = asyncio.Event()

    async def ask(state: MessagesState) -> dict[str, Any]:
        answers = f"{interrupt('one?')} {interrupt('two?')}"
        if "stopped" in answers:
            reached.set()
            await asyncio.Event().wait()
        if "failed" in answers:
            raise ValueError
        return {"messages": [AIMessage(answers)]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    outer = StateGraph(MessagesState).add_node("outer", builder.compile()).add_edge(START, "outer")
    agent, turn = LangGraphAgent((outer if inside else builder).compile(), pool), new_turn()
    await answer(agent, turn)
    await answer(agent, await waiting_for(agent, turn, same="1"))
    vain = await waiting_for(agent, turn, same=how)
    if how == "stopped":
        await stop_when(reached.is_set, agent.stream(vain), [])
    else:
        await fail(agent, vain)
    await agent.keep_partial(vain, "")

    await answer(agent, await waiting_for(agent, turn, same="2"))

    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello", "1 2"]


@pytest.mark.parametrize("when", ["stuck", "text"])
async def test_a_run_with_answers_that_was_killed_goes_on_with_them(
    wire: ProviderWire, pool: Pool, threads_url: str, when: str
) -> None:
    @tool
    def stuck(word: str) -> str:
        """Return at once, where the process before did not."""
        return f"{word} after all"

    agent = careful(wire, pool, "openai", stuck)
    calls = [Call("call_b", "stuck", {"word": "x"})] if when == "stuck" else [LOOK]
    wire.script(Reply(text=["May I? "], calls=calls))
    question = new_turn()
    await answer(agent, question)
    if when == "text":
        wire.script(Reply(text=["Fine", "."], gate=Gate()))
    resumed, reader = await waiting_for(agent, question, same=APPROVE), Reader()
    async with attempt(threads_url, wire.url, "openai", resumed, approval=("look_up", "stuck")) as running:
        await running.said(when)
        events = [event for event in await running.killed() if event.type != "stuck"]
    resumed = reader.broke_off(events, resumed)
    wire.script(Reply(text=["Fine."]))

    reader.events += await answer(agent, resumed)

    history = await agent.history(question.thread_id)
    assert [message.content for message in history] == ["hello", "May I? ", "Fine."]
    assert [use.status for use in history[1].tool_calls] == ["success"]
    assert types(reader.events) == ["tool_result", "message_start", "text", "message_end"]
    assert text(await answer(agent, replace(resumed, told=Told()))) == "Fine.", "it is told to whoever has nothing"


async def test_what_was_said_after_an_answer_is_kept_though_an_earlier_attempt_to_keep_it_broke_off(pool: Pool) -> None:
    """The thread then has no tasks any more, and ends with the message that asked."""

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("May I?", id="asking")]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    agent, turn = LangGraphAgent(builder.compile(), pool), new_turn()
    await answer(agent, turn)
    resumed = replace(new_turn("", turn.thread_id), message_id="asking", answers={"x": "yes"})

    for _ in range(2):
        await agent.keep_partial(resumed, "I may")

        history = await agent.history(turn.thread_id)
        assert [(message.content, message.stopped) for message in history[1:]] == [("May I?", False), ("I may", True)]


async def test_an_attempt_that_broke_off_while_its_question_was_open_gives_the_answer_again(pool: Pool) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()

    async def ask(state: MessagesState) -> dict[str, Any]:
        said = interrupt("well?")
        reached.set()
        await gate.wait()
        return {"messages": [AIMessage(said)]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    agent, turn = LangGraphAgent(builder.compile(), pool), new_turn()
    await answer(agent, turn)
    resumed = await waiting_for(agent, turn, same="yes")
    await stop_when(reached.is_set, agent.stream(resumed), [])
    gate.set()

    assert text(await answer(agent, replace(resumed, told=Told()))) == "yes"


async def test_an_answer_given_before_a_crash_is_not_given_to_the_question_after_it(pool: Pool) -> None:
    agent, turn = asking_twice(pool), new_turn()
    (asked,) = of_type(await answer(agent, turn), "interrupted")
    ids = {question["value"]: question["id"] for question in asked["interrupts"]}
    resumed = await waiting_for(agent, turn, {ids["one?"]: "1"})
    told = await answer(agent, resumed)

    again = await answer(agent, replace(resumed, told=Told()))

    for events in (told, again):
        (asked,) = of_type(events, "interrupted")
        assert types(events) == ["interrupted"]
        assert {question["value"] for question in asked["interrupts"]} == {"two?", "beside?"}
        assert {question["id"] for question in asked["interrupts"]} > {ids["beside?"]}
