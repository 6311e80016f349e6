"""A stopped run leaves a thread that shows what was said and takes the next turn, with each provider."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import anyio
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from agent.conftest import make_model
from agent.helpers import WAIT, Stuck, answer, look_up, new_turn, of_type, stop_when, text
from agent.provider_wire import Call, Gate, ProviderWire, Reply
from resumable_stream._events import StreamEvent
from resumable_stream.agent import LangGraphAgent, build_graph
from resumable_stream.agent._checkpoint import Pool

_THINKING = ("openai-responses", "anthropic-thinking", "google")


def _thoughts(provider: str) -> list[str]:
    return ["hm"] if provider in _THINKING else []


async def test_a_stop_in_the_middle_of_the_model_keeps_what_it_said_and_the_next_turn_works(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    gate = Gate()
    wire.script(Reply(text=["One ", "two ", "three"], gate=gate), Reply(text=["Fine."]))
    turn = new_turn()
    events: list[StreamEvent] = []

    await stop_when(lambda: text(events) == "One two ", agent.stream(turn), events)
    assert await asyncio.to_thread(gate.left.wait, WAIT), "the provider's stream is closed"
    said = text(events)
    assert said == "One two "
    await agent.keep_partial(turn, said)

    question, partial = await agent.history(turn.thread_id)
    assert (question.id, question.stopped) == (turn.message_id, False)
    assert (partial.content, partial.stopped, partial.run_id) == ("One two ", True, turn.run_id)
    assert text(await answer(agent, new_turn("go on", turn.thread_id))) == "Fine."
    assert [message.content for message in await agent.history(turn.thread_id)] == [
        "hello",
        "One two ",
        "go on",
        "Fine.",
    ]


async def test_a_stop_in_the_middle_of_a_tool_answers_its_call_and_the_next_turn_works(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    stuck = Stuck()
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [stuck.tool(), look_up]), pool)
    wire.script(
        Reply(
            text=["I will look."],
            calls=[Call("call_a", "stuck", {"word": "x"}), Call("call_b", "look_up", {"word": "cat"})],
            reasoning=_thoughts(provider),
        ),
        Reply(text=["Fine."]),
    )
    turn = new_turn()
    events: list[StreamEvent] = []

    await stop_when(stuck.called.is_set, agent.stream(turn), events)
    assert stuck.cancelled.is_set(), "the tool has been told before the stream was let go"
    await agent.keep_partial(turn, text(events))

    _, asking = await agent.history(turn.thread_id)
    assert (asking.content, asking.stopped) == ("I will look.", True)
    first, second = asking.tool_calls
    assert (first.name, first.status) == ("stuck", "cancelled")
    assert second.name == "look_up"
    assert second.status in ("success", "cancelled")
    assert text(await answer(agent, new_turn("go on", turn.thread_id))) == "Fine."


async def test_a_turn_after_a_stop_that_nobody_tidied_works_too(wire: ProviderWire, pool: Pool, provider: str) -> None:
    stuck = Stuck()
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [stuck.tool()]), pool)
    asking = Reply(calls=[Call("call_a", "stuck", {"word": "x"})], reasoning=_thoughts(provider))
    wire.script(asking, Reply(text=["Fine."]))
    turn = new_turn()
    await stop_when(stuck.called.is_set, agent.stream(turn), [])

    assert text(await answer(agent, new_turn("go on", turn.thread_id))) == "Fine."

    history = await agent.history(turn.thread_id)
    assert [message.type for message in history] == ["human", "ai", "human", "ai"]
    assert [use.status for use in history[1].tool_calls] == ["cancelled"]


async def test_results_of_parallel_tools_that_were_done_are_kept(wire: ProviderWire, pool: Pool) -> None:
    stuck = Stuck()
    agent = LangGraphAgent(build_graph(make_model(wire.url), [stuck.tool(), look_up]), pool)
    calls = [Call("call_a", "look_up", {"word": "cat"}), Call("call_b", "stuck", {"word": "x"})]
    wire.script(Reply(calls=calls))
    turn = new_turn()
    events: list[StreamEvent] = []
    done = asyncio.Event()

    async def until_done() -> None:
        async with aclosing(agent.stream(turn)) as stream:
            async for event in stream:
                events.append(event)
                if event.type == "tool_result":
                    done.set()

    with anyio.fail_after(WAIT):
        task = asyncio.create_task(until_done())
        await done.wait()
        task.cancel()
        await asyncio.wait([task])
    await agent.keep_partial(turn, "")

    _, asking = await agent.history(turn.thread_id)
    assert asking.tool_calls[0].result == "cat means tac"
    assert [use.status for use in asking.tool_calls] == ["success", "cancelled"]


async def test_the_partial_answer_does_not_repeat_what_the_thread_has(wire: ProviderWire, pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up]), pool)
    gate = Gate()
    wire.script(
        Reply(text=["Let me see. "], calls=[Call("call_a", "look_up", {"word": "cat"})]),
        Reply(text=["A cat ", "is an animal"], gate=gate),
    )
    turn = new_turn()
    events: list[StreamEvent] = []

    await stop_when(lambda: text(events) == "Let me see. A cat ", agent.stream(turn), events)
    await agent.keep_partial(turn, text(events))

    history = await agent.history(turn.thread_id)
    assert [(m.content, m.stopped) for m in history[1:]] == [("Let me see. ", False), ("A cat ", True)]


async def test_keeping_the_partial_answer_twice_changes_nothing(wire: ProviderWire, pool: Pool, provider: str) -> None:
    stuck = Stuck()
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [stuck.tool()]), pool)
    gate = Gate()
    wire.script(
        Reply(text=["One ", "two"], gate=gate),
        Reply(text=["So. "], calls=[Call("call_a", "stuck", {"word": "x"})], reasoning=["hm"]),
    )
    thread_id = new_turn().thread_id
    for said in ("One ", "So. "):
        turn = new_turn(thread_id=thread_id)
        events: list[StreamEvent] = []

        def reached(said: str = said, events: list[StreamEvent] = events) -> bool:
            return text(events) == said and (stuck.called.is_set() or said == "One ")

        await stop_when(reached, agent.stream(turn), events)
        await agent.keep_partial(turn, text(events))
        kept = await agent.history(thread_id)

        await agent.keep_partial(turn, text(events))

        assert await agent.history(thread_id) == kept
    assert [message.stopped for message in kept] == [False, True, False, True]


async def test_a_complete_answer_is_left_as_it_is(wire: ProviderWire, pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up]), pool)
    wire.script(Reply(text=["See: "], calls=[Call("call_a", "look_up", {"word": "cat"})]), Reply(text=["done"]))
    turn = new_turn()
    events = await answer(agent, turn)
    before = await agent.history(turn.thread_id)

    await agent.keep_partial(turn, text(events))
    await agent.keep_partial(turn, "something else")

    assert await agent.history(turn.thread_id) == before
    assert not any(message.stopped for message in before)


async def test_a_run_that_died_before_its_question_was_saved_has_it_afterwards(pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model("http://127.0.0.1:9")), pool)
    turn = new_turn("a question")

    await agent.keep_partial(turn, "")
    await agent.keep_partial(turn, "")

    (question,) = await agent.history(turn.thread_id)
    assert (question.content, question.id, question.run_id) == (
        "a question",
        turn.message_id,
        turn.run_id,
    )


async def test_a_stop_before_the_first_word_leaves_the_question_alone(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    gate = Gate()
    # Blanks only, which Anthropic would refuse as a message.
    wire.script(Reply(text=[" \n", "x"], gate=gate), Reply(text=["Fine."]))
    turn = new_turn()
    events: list[StreamEvent] = []
    await stop_when(lambda: text(events) == " \n", agent.stream(turn), events)

    await agent.keep_partial(turn, text(events))

    assert [message.type for message in await agent.history(turn.thread_id)] == ["human"]
    assert text(await answer(agent, new_turn("again", turn.thread_id))) == "Fine."


async def test_a_stream_that_is_closed_or_whose_task_is_cancelled_stops_as_well(
    wire: ProviderWire, pool: Pool, no_tasks_left: None
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url)), pool)
    gates = Gate(), Gate()
    wire.script(*(Reply(text=["One ", "two"], gate=gate) for gate in gates))

    stream = agent.stream(new_turn())
    async for event in stream:
        if event.type == "text":
            break
    await stream.aclose()
    assert await asyncio.to_thread(gates[0].left.wait, WAIT)

    task = asyncio.create_task(answer(agent, new_turn()))
    assert await asyncio.to_thread(gates[1].reached.wait, WAIT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(gates[1].left.wait, WAIT)


async def test_a_run_that_loses_its_first_cancellation_is_stopped_all_the_same(
    wire: ProviderWire, pool: Pool, no_tasks_left: None, caplog: pytest.LogCaptureFixture
) -> None:
    called, lost = asyncio.Event(), asyncio.Event()

    @tool
    async def stubborn() -> str:
        """Lose the first cancellation, as asyncio.wait_for may."""
        called.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        lost.set()
        await asyncio.Event().wait()
        return ""

    agent = LangGraphAgent(build_graph(make_model(wire.url), [stubborn]), pool)
    wire.script(Reply(calls=[Call("call_a", "stubborn", {})]))

    await stop_when(called.is_set, agent.stream(new_turn()), [])

    assert lost.is_set()
    assert caplog.records == []


async def test_a_thread_broken_long_ago_is_mended_where_it_is_broken(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    """As another program leaves it: a call without a result, and messages after it."""
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up]), pool)
    turn = new_turn("so?")
    broken = [
        HumanMessage("look up cat", id="h1"),
        AIMessage(
            [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "ok"}]
            if provider == "anthropic-thinking"
            else "ok",
            id="a1",
            tool_calls=[{"name": "look_up", "args": {"word": "cat"}, "id": "call_old"}],
        ),
        HumanMessage("hello?", id="h2"),
        AIMessage("Sorry.", id="a2"),
    ]
    await agent._bound().aupdate_state(
        {"configurable": {"thread_id": turn.thread_id}}, {"messages": broken}, as_node="model"
    )
    wire.script(Reply(text=["Fine."]))

    assert text(await answer(agent, turn)) == "Fine."

    history = await agent.history(turn.thread_id)
    assert [message.id for message in history][:5] == ["h1", "a1", "h2", "a2", turn.message_id]
    assert [use.status for use in history[1].tool_calls] == ["cancelled"]


async def test_the_same_message_again_is_answered_anew(wire: ProviderWire, pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up]), pool)
    wire.script(
        Reply(calls=[Call("call_a", "look_up", {"word": "cat"})]),
        Reply(text=["First"]),
        Reply(text=["Second"]),
    )
    turn = new_turn()
    await answer(agent, turn)

    events = await answer(agent, turn)

    assert of_type(events, "text") == ["Second"]
    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello", "Second"]
