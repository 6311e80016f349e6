"""A run that is asked to drain stops between two steps, and goes on in another process."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.conftest import make_model
from agent.helpers import Reader, answer, look_up, new_turn, text, types
from agent.processes import attempt
from agent.provider_wire import Call, Gate, ProviderWire, Reply
from resumable_stream import StreamHandOver
from resumable_stream.agent import LangGraphAgent, Told, build_graph
from resumable_stream.agent._checkpoint import Pool

LOOK = Call("call_a", "look_up", {"word": "cat"})


@pytest.mark.parametrize("provider", ["openai", "anthropic-thinking"])
async def test_a_drained_run_ends_at_the_next_step_and_another_process_goes_on(
    wire: ProviderWire, pool: Pool, threads_url: str, provider: str
) -> None:
    gate, turn, reader = Gate(), new_turn(), Reader()
    asking = Reply(text=["Let me ", "see. "], reasoning=["hm"] * (provider != "openai"), calls=[LOOK], gate=gate)
    wire.script(asking)
    async with attempt(threads_url, wire.url, provider, turn) as running:
        await running.said("text", "Let me ")
        running.drain()
        await running.said("draining")
        gate.open()
        await running.said("handed over")
        turn = reader.broke_off(
            [event for event in running.events if event.type not in ("draining", "handed over")], turn
        )
    assert types(reader.events)[-1] == "message_end", "the model call was not broken off"
    assert "tool_result" not in types(reader.events), "the next step was not begun"

    wire.script(Reply(text=["An animal."]))
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up]), pool)
    reader.events += await answer(agent, turn)

    reader.shows(await agent.history(turn.thread_id))
    assert text(reader.events) == "Let me see. An animal."
    assert len(wire.requests) == 2


async def test_a_run_that_is_at_its_last_step_ends_by_itself(wire: ProviderWire, pool: Pool) -> None:
    gate, drain = Gate(), asyncio.Event()
    agent = LangGraphAgent(build_graph(make_model(wire.url)), pool)
    wire.script(Reply(text=["One ", "two"], gate=gate))
    turn = replace(new_turn(), drain=drain)
    answering = asyncio.create_task(answer(agent, turn))
    assert await asyncio.to_thread(gate.reached.wait, 20)
    drain.set()
    gate.open()

    assert text(await answering) == "One two"


async def test_a_run_that_begins_while_its_process_drains_is_handed_over_before_it_costs_anything(
    wire: ProviderWire, pool: Pool
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url)), pool)
    drain, turn = asyncio.Event(), new_turn()
    drain.set()
    with pytest.raises(StreamHandOver):
        await answer(agent, replace(turn, drain=drain))
    assert wire.requests == []

    wire.script(Reply(text=["Fine."]))
    assert text(await answer(agent, replace(turn, told=Told()))) == "Fine."
    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello", "Fine."]
