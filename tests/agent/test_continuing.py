"""A run that broke off goes on in another process: what its readers have in the end is what the thread holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
import pytest
from langchain.agents.middleware import AgentMiddleware, AgentState, HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.constants import START
from langgraph.graph import MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from agent.conftest import make_model
from agent.helpers import WAIT, Reader, answer, look_up, new_turn, of_type, stop_when, text, types
from agent.processes import attempt
from agent.provider_wire import Call, Gate, ProviderWire, Reply
from resumable_stream._errors import StreamFailure
from resumable_stream._events import StreamEvent
from resumable_stream.agent import LangGraphAgent, Told, build_graph, checkpoint_saver
from resumable_stream.agent._checkpoint import Pool
from support import wait_until

LOOK = Call("call_a", "look_up", {"word": "cat"})
STUCK = Call("call_b", "stuck", {"word": "x"})


@tool
def stuck(word: str) -> str:
    """Return at once, where the process before did not."""
    return f"{word} after all"


@tool("look_up")
def look_up_again(word: str) -> str:
    """Look a word up, with another result than the process before."""
    return f"{word} again"


def agent_for(wire: ProviderWire, pool: Pool, provider: str = "openai") -> LangGraphAgent:
    return LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up, stuck]), pool)


async def test_after_a_kill_in_a_later_model_call_only_that_call_is_made_again(
    wire: ProviderWire, pool: Pool, threads_url: str
) -> None:
    provider, turn, reader = "openai-responses", new_turn(), Reader()
    asking = Reply(reasoning=["hm"], text=["Let me ", "see. "], calls=[LOOK])
    wire.script(asking, Reply(text=["A cat ", "is"], gate=Gate()))
    async with attempt(threads_url, wire.url, provider, turn) as running:
        await running.said("text", "A cat ")
        turn = reader.broke_off(await running.killed(), turn)
    assert text(reader.events) == "Let me see. "

    wire.script(Reply(text=["An animal", "."]))
    agent = agent_for(wire, pool, provider)
    reader.events += await answer(agent, turn)

    history = await agent.history(turn.thread_id)
    assert "".join(message.content for message in history) == "helloLet me see. An animal."
    reader.shows(history)
    assert len(wire.requests) == 3
    await agent.keep_partial(turn, text(reader.events))
    assert await agent.history(turn.thread_id) == history


async def test_after_a_kill_during_tools_the_finished_ones_are_not_run_again(
    wire: ProviderWire, pool: Pool, threads_url: str
) -> None:
    provider, turn, reader = "anthropic-thinking", new_turn(), Reader()
    wire.script(Reply(reasoning=["hm"], text=["See. "], calls=[LOOK, STUCK]))
    async with attempt(threads_url, wire.url, provider, turn) as running:
        await running.said("stuck")
        await running.said("tool_result")
        turn = reader.broke_off([event for event in await running.killed() if event.type != "stuck"], turn)

    wire.script(Reply(text=["Fine."]))
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up_again, stuck]), pool)
    reader.events += await answer(agent, turn)

    reader.shows(await agent.history(turn.thread_id))
    assert [data["content"] for data in of_type(reader.events, "tool_result")] == ["cat means tac", "x after all"]


class Pause(AgentMiddleware):
    """Where the process before has paused, this one does not."""

    async def abefore_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        return None


@pytest.mark.parametrize("middleware", [[Pause()], []], ids=["same graph", "graph that has lost the node"])
async def test_killed_twice_before_and_after_a_tool(
    wire: ProviderWire, pool: Pool, threads_url: str, middleware: list[AgentMiddleware]
) -> None:
    provider, turn, reader = "openai", new_turn(), Reader()
    wire.script(Reply(text=["Le", "t me"], gate=Gate()))
    async with attempt(threads_url, wire.url, provider, turn) as running:
        await running.said("text", "Le")
        turn = reader.broke_off(await running.killed(), turn)
    assert reader.events == []
    wire.script(Reply(text=["Let me see. "], calls=[LOOK]))
    async with attempt(threads_url, wire.url, provider, turn, pause=True) as running:
        await running.said("paused")
        await running.said("tool_result")
        turn = reader.broke_off([event for event in await running.killed() if event.type != "paused"], turn)
    assert text(reader.events) == "Let me see. "

    wire.script(Reply(text=["An animal."]))
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up], middleware=middleware), pool)
    reader.events += await answer(agent, turn)

    history = await agent.history(turn.thread_id)
    assert [message.content for message in history] == ["hello", "Let me see. ", "An animal."]
    reader.shows(history)


async def test_whatever_a_stream_has_had_of_a_finished_run_it_gets_the_rest(wire: ProviderWire, pool: Pool) -> None:
    agent, turn = agent_for(wire, pool, "openai-responses"), new_turn()
    calls = [LOOK, Call("call_c", "look_up", {"word": "dog"})]
    wire.script(Reply(reasoning=["hm"], text=["See. "], calls=calls), Reply(text=["An ", "animal."]))
    events = await answer(agent, turn)
    history = await agent.history(turn.thread_id)

    rests = set()
    for had in range(len(events) + 1):
        reader = Reader()
        again = reader.broke_off(events[:had], turn)
        rest = await answer(agent, again)
        reader.events += rest
        reader.shows(history)
        rests.add(len(rest))

    assert rests == {0, 5, 11}
    assert await agent.history(turn.thread_id) == history
    assert len(wire.requests) == 2


async def test_whichever_checkpoint_was_the_last_to_be_saved_the_run_goes_on_from_there(
    wire: ProviderWire, pool: Pool
) -> None:
    """With what the tasks of the last step wrote, and without the checkpoint that follows it."""
    agent = agent_for(wire, pool)
    calls = [LOOK, STUCK]
    asked = set()
    for saved in range(1, 6):
        turn, reader = new_turn(), Reader()
        wire.script(Reply(text=["See. "], calls=calls), Reply(text=["Found."]))
        events = await answer(agent, turn)
        requests = len(wire.requests)
        async with pool.connection() as connection:
            await connection.execute(
                "DELETE FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_id NOT IN (SELECT checkpoint_id"
                " FROM checkpoints WHERE thread_id = %(thread)s ORDER BY checkpoint_id LIMIT %(saved)s)",
                {"thread": turn.thread_id, "saved": saved},
            )
        left = {message.id for message in await agent.history(turn.thread_id)}
        ends = [index for index, event in enumerate(events) if event.type == "message_end"]
        safe = [
            end for end, data in zip(ends, of_type(events, "message_end"), strict=True) if data["message_id"] in left
        ]
        turn = reader.broke_off(events[: safe[-1] + 1 if safe else 0], turn)
        wire.script(*[Reply(text=["See. "], calls=calls), Reply(text=["Found."])][len(safe) :])

        reader.events += await answer(agent, turn)

        history = await agent.history(turn.thread_id)
        assert [message.content for message in history] == ["hello", "See. ", "Found."]
        reader.shows(history)
        asked.add(len(wire.requests) - requests)
    assert asked == {0, 1, 2}


async def test_a_run_that_is_stopped_in_its_second_attempt_keeps_what_readers_have(
    wire: ProviderWire, pool: Pool
) -> None:
    agent, turn, reader = agent_for(wire, pool), new_turn(), Reader()
    wire.script(
        Reply(text=["Let me see. "], calls=[LOOK]),
        Reply(text=["A cat ", "is"], gate=Gate()),
        Reply(text=["An ", "animal."], gate=Gate()),
        Reply(text=["Fine."]),
    )
    for part in ("Let me see. A cat ", "Let me see. An "):
        events: list[StreamEvent] = []

        def reached(part: str = part, events: list[StreamEvent] = events) -> bool:
            return text([*reader.events, *events]) == part

        await stop_when(reached, agent.stream(turn), events)
        said = text([*reader.events, *events])
        turn = reader.broke_off(events, turn)
    assert said == "Let me see. An "

    await agent.keep_partial(turn, said)

    history = await agent.history(turn.thread_id)
    assert [(message.content, message.stopped) for message in history[1:]] == [("Let me see. ", False), ("An ", True)]
    assert text(await answer(agent, new_turn("go on", turn.thread_id))) == "Fine."


async def test_a_message_is_told_as_complete_only_once_it_is_saved(wire: ProviderWire, pool: Pool) -> None:
    agent, turn = agent_for(wire, pool), new_turn()
    gate = Gate()
    wire.script(Reply(text=["See", ". "], calls=[LOOK], gate=gate), Reply(text=["Found."]))
    events: list[StreamEvent] = []
    with anyio.fail_after(WAIT):
        reading = asyncio.create_task(read(agent.stream(turn), events))
        await wait_until(lambda: text(events) == "See", timeout=WAIT)
        async with pool.connection() as connection, connection.transaction():
            await connection.execute("LOCK TABLE checkpoint_writes IN SHARE MODE")
            gate.open()
            await wait_until(lambda: blocked(pool), timeout=WAIT)
            assert types(events) == ["message_start", "text"]
        await reading
    assert text(events) == "See. Found."


async def read(stream: AsyncGenerator[StreamEvent, None], events: list[StreamEvent]) -> None:
    async with aclosing(stream):
        async for event in stream:
            events.append(event)  # noqa: PERF401 - looked at meanwhile


async def blocked(pool: Pool) -> bool:
    """Whether a write waits for a lock."""
    async with pool.connection() as connection:
        rows = await connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(await rows.fetchone())


async def test_what_belongs_to_a_checkpoint_that_is_not_saved_yet_is_not_safe(pool: Pool) -> None:
    saver = checkpoint_saver(pool)
    thread = new_turn().thread_id
    outer, inner = empty_checkpoint(), empty_checkpoint()

    def config(namespace: str, checkpoint_id: str | None = None) -> RunnableConfig:
        place = {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
        return {"configurable": place}

    async def waits() -> asyncio.Task[None]:
        waiting = asyncio.create_task(saver.durable())
        await asyncio.sleep(0)
        assert not waiting.done()
        return waiting

    await saver.aput_writes(config("sub:1", inner["id"]), [("messages", "x")], "task")
    waiting = await waits()
    await saver.aput(config("sub:1"), inner, {"parents": {"": outer["id"]}}, {})
    await asyncio.wait_for(waiting, WAIT)
    waiting = await waits()
    await saver.aput(config(""), outer, {}, {})
    await asyncio.wait_for(waiting, WAIT)


async def test_a_run_whose_writes_fail_says_so_at_once(wire: ProviderWire, pool: Pool) -> None:
    agent = agent_for(wire, pool)
    gate = Gate()
    wire.script(Reply(text=["See", ". "], calls=[STUCK], gate=gate))
    events: list[StreamEvent] = []
    reading = asyncio.create_task(read(agent.stream(new_turn()), events))
    await wait_until(lambda: text(events) == "See", timeout=WAIT)
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE checkpoint_writes RENAME TO elsewhere")
        try:
            gate.open()
            with pytest.raises(StreamFailure), anyio.fail_after(WAIT):
                await reading
        finally:
            await connection.execute("ALTER TABLE elsewhere RENAME TO checkpoint_writes")
    assert types(events) == ["message_start", "text"]


async def test_a_run_that_left_nothing_begins_anew_also_with_a_message_that_was_answered_before(
    wire: ProviderWire, pool: Pool
) -> None:
    agent, turn = agent_for(wire, pool), new_turn()
    wire.script(Reply(text=["First."]), Reply(text=["Second."]))
    await answer(agent, turn)

    events = await answer(agent, replace(turn, run_id="another", told=Told()))

    assert text(events) == "Second."
    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello", "Second."]


async def test_a_run_that_broke_off_between_its_question_and_the_telling_of_it_asks(
    wire: ProviderWire, pool: Pool
) -> None:
    approval = HumanInTheLoopMiddleware(interrupt_on={"look_up": True})
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up], middleware=[approval]), pool)
    turn, reader = new_turn(), Reader()
    wire.script(Reply(text=["May I? "], calls=[LOOK]))
    events = await answer(agent, turn)

    turn = reader.broke_off(events[:2], turn)
    reader.events += await answer(agent, turn)

    assert types(reader.events) == types(events)
    assert reader.events[-1] == events[-1]
    assert len(wire.requests) == 1


async def test_a_task_beside_one_that_waits_for_a_person_is_finished_first(pool: Pool) -> None:
    gate = asyncio.Event()

    def ask(state: MessagesState) -> None:
        interrupt("may I?")

    async def work(state: MessagesState) -> dict[str, Any]:
        await gate.wait()
        return {"messages": [AIMessage("Worked.")]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_node("work", work)
    builder.add_edge(START, "ask").add_edge(START, "work")
    agent, turn = LangGraphAgent(builder.compile(), pool), new_turn()

    async def waits() -> bool:
        return bool((await agent._bound().aget_state(agent._config(turn.thread_id))).interrupts)

    asking = asyncio.create_task(answer(agent, turn))
    await wait_until(waits, timeout=WAIT)
    asking.cancel()
    await asyncio.wait([asking])
    gate.set()

    events = await answer(agent, replace(turn, told=Told()))

    assert types(events) == ["message_start", "text", "message_end", "interrupted"]


async def test_a_run_inside_a_subgraph_goes_on_there(pool: Pool) -> None:
    passed = [0, 0]
    gate = asyncio.Event()

    async def first(state: MessagesState) -> dict[str, Any]:
        passed[0] += 1
        return {"messages": [AIMessage("First. ", id=f"first-{passed[0]}")]}

    async def second(state: MessagesState) -> dict[str, Any]:
        passed[1] += 1
        await gate.wait()
        return {"messages": [AIMessage("Second.")]}

    inner = StateGraph(MessagesState).add_sequence([("first", first), ("second", second)]).add_edge(START, "first")
    outer = StateGraph(MessagesState).add_node("inner", inner.compile()).add_edge(START, "inner")
    agent = LangGraphAgent(outer.compile(), pool, answer_nodes=["inner/first", "inner/second"])
    for had in ("message_start", "message_end"):
        gate.clear()
        passed[:] = [0, 0]
        turn, reader = new_turn(), Reader()
        events: list[StreamEvent] = []
        await stop_when(lambda: passed[1] == 1 and "message_end" in types(events), agent.stream(turn), events)  # noqa: B023
        gate.set()
        turn = reader.broke_off(events[: types(events).index(had) + 1], turn)

        reader.events += await answer(agent, turn)

        reader.shows(await agent.history(turn.thread_id))
        assert text(reader.events) == "First. Second."
        assert passed == [1, 2]
