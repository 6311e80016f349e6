"""A killed process leaves threads that the next process can go on with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from agent.conftest import make_model
from agent.helpers import WAIT, Stuck, answer, look_up, new_turn, stop_when, text
from agent.processes import attempt
from agent.provider_wire import Call, Gate, ProviderWire, Reply
from resumable_stream._events import StreamEvent
from resumable_stream.agent import LangGraphAgent, build_graph
from resumable_stream.agent._checkpoint import Pool
from support import wait_until


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    predicate: Callable[[], bool | Awaitable[bool]] = check
    await wait_until(predicate, timeout=WAIT)


@pytest.mark.parametrize("provider", ["openai", "anthropic-thinking"])
async def test_after_a_kill_in_the_middle_of_the_model_the_next_turn_works(
    wire: ProviderWire, pool: Pool, threads_url: str, provider: str
) -> None:
    gate = Gate()
    wire.script(Reply(text=["One ", "two"], gate=gate), Reply(text=["Fine."]))
    turn = new_turn()
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    async with attempt(threads_url, wire.url, provider, turn) as running:
        assert await asyncio.to_thread(gate.reached.wait, WAIT)

        async def asked() -> bool:
            return len(await agent.history(turn.thread_id)) == 1

        await until(asked)
        await running.killed()
    assert [message.content for message in await agent.history(turn.thread_id)] == ["hello"]

    assert text(await answer(agent, new_turn("still there?", turn.thread_id))) == "Fine."

    history = await agent.history(turn.thread_id)
    assert [message.content for message in history] == ["hello", "still there?", "Fine."]


@pytest.mark.parametrize("provider", ["openai-responses", "google"])
async def test_after_a_kill_in_the_middle_of_tools_the_finished_ones_are_kept(
    wire: ProviderWire, pool: Pool, threads_url: str, provider: str
) -> None:
    calls = [Call("call_a", "look_up", {"word": "cat"}), Call("call_b", "stuck", {"word": "x"})]
    wire.script(Reply(text=["See: "], calls=calls), Reply(text=["Fine."]))
    turn = new_turn()
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up, Stuck().tool()]), pool)
    async with attempt(threads_url, wire.url, provider, turn) as running:

        async def one_done() -> bool:
            messages = await agent.history(turn.thread_id)
            return len(messages) == 2 and "success" in {use.status for use in messages[1].tool_calls}

        await until(one_done)
        await running.killed()
    assert text(await answer(agent, new_turn("go on", turn.thread_id))) == "Fine."
    asking = (await agent.history(turn.thread_id))[1]
    assert [(use.name, use.status) for use in asking.tool_calls] == [
        ("look_up", "success"),
        ("stuck", "cancelled"),
    ]


async def test_whichever_checkpoint_was_the_last_to_be_saved_nothing_before_it_is_lost(
    wire: ProviderWire, pool: Pool
) -> None:
    """A kill between what the tasks of a step wrote and the checkpoint that follows it."""
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up]), pool)
    calls = [Call("call_a", "look_up", {"word": "cat"}), Call("call_b", "look_up", {"word": "dog"})]
    seen = set()
    for saved in range(1, 5):
        turn = new_turn()
        wire.script(Reply(text=["See. "], calls=calls), Reply(text=["Found."]), Reply(text=["Fine."]))
        said = text(await answer(agent, turn))
        async with pool.connection() as connection:
            await connection.execute(
                "DELETE FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_id NOT IN (SELECT checkpoint_id"
                " FROM checkpoints WHERE thread_id = %(thread)s ORDER BY checkpoint_id LIMIT %(saved)s)",
                {"thread": turn.thread_id, "saved": saved},
            )
        left = [message.content for message in await agent.history(turn.thread_id)]
        seen.add(len(left))
        if saved % 2:
            await agent.keep_partial(turn, said)
            kept = await agent.history(turn.thread_id)
            assert "".join(message.content for message in kept) == "hello" + said
            left = [message.content for message in kept]

        assert text(await answer(agent, new_turn("go on", turn.thread_id))) == "Fine."

        history = await agent.history(turn.thread_id)
        assert [message.content for message in history] == [*left, "go on", "Fine."]
        assert all(use.status != "running" for message in history for use in message.tool_calls)
    assert seen == {1, 2, 3}


async def test_keeping_a_partial_answer_that_was_broken_off_is_done_by_the_next_one(
    wire: ProviderWire, pool: Pool
) -> None:
    """Whichever of its checkpoints was the last to be saved, as when Postgres is slow and the time for it over."""
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up]), pool)
    before = after = number = 0
    while before + number <= after:
        wire.script(
            Reply(text=["Let me see. "], calls=[Call("call_a", "look_up", {"word": "cat"})]),
            Reply(text=["A cat ", "is an animal"], gate=Gate()),
        )
        turn, events = new_turn(), list[StreamEvent]()
        await stop_when(partial(_has_said, "Let me see. A cat ", events), agent.stream(turn), events)
        before = await _checkpoints(pool, turn.thread_id)
        await agent.keep_partial(turn, text(events))
        after = await _checkpoints(pool, turn.thread_id, keep=before + number)

        await agent.keep_partial(turn, text(events))

        history = await agent.history(turn.thread_id)
        assert [(m.content, m.stopped) for m in history[1:]] == [("Let me see. ", False), ("A cat ", True)], number
        number += 1
    assert number > 2


def _has_said(what: str, events: list[StreamEvent]) -> bool:
    return text(events) == what


async def _checkpoints(pool: Pool, thread_id: str, *, keep: int = 1000) -> int:
    """How many checkpoints a thread has; then only the first ones are left."""
    async with pool.connection() as connection:
        values = {"thread": thread_id, "keep": keep}
        cursor = await connection.execute(
            "SELECT count(*) AS number FROM checkpoints WHERE thread_id = %(thread)s", values
        )
        row = await cursor.fetchone()
        await connection.execute(
            "DELETE FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_id NOT IN (SELECT checkpoint_id"
            " FROM checkpoints WHERE thread_id = %(thread)s ORDER BY checkpoint_id LIMIT %(keep)s)",
            values,
        )
    assert row is not None
    return int(row["number"])
