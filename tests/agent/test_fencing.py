"""An attempt that is not the newest any more saves nothing: another process goes on with the run."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest

from agent.conftest import make_model
from agent.helpers import WAIT, answer, look_up, new_turn, text
from agent.provider_wire import Call, Gate, ProviderWire, Reply
from resumable_stream import StreamHandOver
from resumable_stream.agent import HistoryMessage, LangGraphAgent, build_graph
from resumable_stream.agent._checkpoint import Pool


async def test_a_model_that_answers_after_another_process_took_over_changes_nothing(
    wire: ProviderWire, pool: Pool
) -> None:
    """The process stood still while its model spoke; the thread is as the other left it."""
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up]), pool)
    gate = Gate()
    calls = [Call("call_a", "look_up", {"word": "cat"})]
    wire.script(Reply(text=["Let me see. "], calls=calls), Reply(text=["too ", "late"], gate=gate))
    newest = True

    async def guard() -> bool:
        return newest

    turn = replace(new_turn(), guard=guard)
    said: list[str] = []
    before: list[HistoryMessage] = []

    async def follow() -> None:
        nonlocal newest, before
        async with aclosing(agent.stream(turn)) as stream:
            async for event in stream:
                said.append(event.type)
                if event.type == "tool_result":
                    before = await agent.history(turn.thread_id)
                    newest = False
                    gate.open()

    with anyio.fail_after(WAIT), pytest.raises(StreamHandOver):
        await follow()
    assert said.count("message_end") == 1, "nothing is told as complete that was not saved"
    assert await agent.history(turn.thread_id) == before


async def test_the_newest_attempt_saves_as_ever(wire: ProviderWire, pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url)), pool)
    wire.script(Reply(text=["Fine."]))
    asked = 0

    async def guard() -> bool:
        nonlocal asked
        asked += 1
        return True

    turn = replace(new_turn(), guard=guard)
    assert text(await answer(agent, turn)) == "Fine."
    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello", "Fine."]
    assert asked > 1
