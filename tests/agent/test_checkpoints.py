"""Threads in a real PostgreSQL: set up by many at once, safe to load, gone when deleted."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.constants import START
from langgraph.graph import MessagesState, StateGraph

from agent.conftest import make_model
from agent.helpers import WAIT, Stuck, answer, new_turn, stop_when, text
from agent.processes import child, go
from agent.provider_wire import Call, ProviderWire, Reply
from resumable_stream.agent import (
    LangGraphAgent,
    build_graph,
    checkpoint_saver,
    open_pool,
    set_up_checkpoints,
)
from resumable_stream.agent import _checkpoint as checkpoint_module
from resumable_stream.agent._checkpoint import Pool, settling


async def test_processes_that_start_at_once_on_an_empty_database_all_come_up(
    database_url: str, wire: ProviderWire
) -> None:
    async with AsyncExitStack() as stack:
        children = await asyncio.gather(
            *(stack.enter_async_context(child("child_set_up.py", database_url)) for _ in range(3))
        )
        for process in children:
            go(process)
        assert await asyncio.gather(*(process.wait() for process in children)) == [0, 0, 0]
    async with open_pool(database_url) as pool:
        agent = LangGraphAgent(build_graph(make_model(wire.url)), pool)
        wire.script(Reply(text=["ok"]))
        assert text(await answer(agent, new_turn())) == "ok"


async def test_a_set_up_that_must_wait_too_long_gives_up(database_url: str) -> None:
    lock = str(checkpoint_module._LOCK)
    async with open_pool(database_url) as pool:
        async with pool.connection() as other:
            await other.execute("SELECT pg_advisory_lock(%s)", (lock,))
            with pytest.raises(TimeoutError):
                await set_up_checkpoints(pool, timeout=0.3)
            await other.execute("SELECT pg_advisory_unlock(%s)", (lock,))
        await set_up_checkpoints(pool)
        await set_up_checkpoints(pool)


async def test_a_set_up_that_fails_leaves_no_lock_behind(database_url: str) -> None:
    async with open_pool(database_url) as pool, pool.connection() as other:
        await other.execute("CREATE TABLE checkpoint_migrations (wrong text)")
        with pytest.raises(Exception, match="column"):
            await set_up_checkpoints(pool)
        await other.execute("DROP TABLE checkpoint_migrations")
        await set_up_checkpoints(pool, timeout=5)


async def test_a_blob_that_names_a_function_does_not_get_it_called(
    wire: ProviderWire, pool: Pool, tmp_path: Path
) -> None:
    def attack(target: Path) -> bytes:
        call = ormsgpack.packb(("os", "mkdir", str(target)))
        return ormsgpack.packb([ormsgpack.Ext(0, call)])

    harm = tmp_path / "harm"
    JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(("msgpack", attack(harm)))
    assert harm.exists(), "the attack works where everything is allowed"
    harm.rmdir()
    agent = LangGraphAgent(build_graph(make_model(wire.url)), pool)
    wire.script(Reply(text=["ok"]))
    turn = new_turn()
    await answer(agent, turn)
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "UPDATE checkpoint_blobs SET blob = %s WHERE thread_id = %s AND channel = 'messages'",
            (attack(harm), turn.thread_id),
        )
        assert cursor.rowcount > 0

    assert await agent.history(turn.thread_id) == []

    assert not harm.exists()


@dataclass
class Mood:
    """Something of a user's in the state."""

    word: str


class Moody(MessagesState):
    mood: Mood


async def test_classes_of_the_user_in_the_state_are_loaded_when_they_are_named(pool: Pool) -> None:
    seen: list[Any] = []

    def feel(state: Moody) -> dict[str, Any]:
        seen.append(state.get("mood"))
        return {"mood": Mood("fine"), "messages": [AIMessage("ok")]}

    builder = StateGraph(Moody)
    builder.add_node("feel", feel)
    builder.add_edge(START, "feel")
    graph = builder.compile()
    turn = new_turn()
    for agent in (LangGraphAgent(graph, pool), LangGraphAgent(graph, pool, state_types=[Mood])):
        await answer(agent, new_turn(thread_id=turn.thread_id))
        await answer(agent, new_turn(thread_id=turn.thread_id))

    assert seen == [None, {"word": "fine"}, Mood("fine"), Mood("fine")]


async def test_any_text_can_be_asked_and_answered(wire: ProviderWire, pool: Pool, provider: str) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    wire.script(Reply(text=["nul \0 ", "line\u2028 \r\n ", "🎉"]))
    turn = new_turn("\0 half \ud83d, pair \ud83d\ude00, \u2028")

    assert text(await answer(agent, turn)) == "nul \0 line\u2028 \r\n 🎉"

    question, reply = await agent.history(turn.thread_id)
    assert question.content == "\0 half \N{REPLACEMENT CHARACTER}, pair 😀, \u2028"
    assert reply.content == "nul \0 line\u2028 \r\n 🎉"


async def test_a_thread_id_that_postgres_cannot_hold_is_an_unknown_thread(pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model("http://127.0.0.1:9")), pool)

    assert await agent.history("a\0b") == []
    await agent.delete("a\0b")
    assert await agent.history(new_turn().thread_id) == []


async def test_a_deleted_thread_leaves_nothing_behind_also_after_a_stop(
    wire: ProviderWire, pool: Pool, no_tasks_left: None
) -> None:
    stuck = Stuck()
    agent = LangGraphAgent(build_graph(make_model(wire.url), [stuck.tool()]), pool)
    turn, other = new_turn(), new_turn()
    wire.script(
        Reply(text=["kept"]),
        Reply(text=["one"]),
        Reply(calls=[Call("call_a", "stuck", {"word": "x"})]),
    )
    await answer(agent, other)
    await answer(agent, turn)
    await stop_when(stuck.called.is_set, agent.stream(new_turn(thread_id=turn.thread_id)), [])

    assert not [task for task in asyncio.all_tasks() if "RunSaver" in repr(task)], "no write is under way"

    await agent.delete(turn.thread_id)
    await agent.delete(turn.thread_id)

    async with pool.connection() as connection:
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            rows = await connection.execute(
                f"SELECT DISTINCT thread_id FROM {table} WHERE thread_id = ANY(%s)",
                ([turn.thread_id, other.thread_id],),
            )
            assert {row["thread_id"] for row in await rows.fetchall()} == {other.thread_id}
    assert len(await agent.history(other.thread_id)) == 2


async def test_connections_that_the_server_has_cut_are_replaced(
    wire: ProviderWire, pool: Pool, threads_url: str
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url)), pool)
    wire.script(Reply(text=["one"]), Reply(text=["two"]))
    turn = new_turn()
    await answer(agent, turn)
    async with open_pool(threads_url) as admin, admin.connection() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert text(await answer(agent, new_turn(thread_id=turn.thread_id))) == "two"


async def test_runs_do_not_wait_for_each_other_at_one_checkpointer(pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model("http://127.0.0.1:9")), pool)

    assert agent._bound().checkpointer is not agent._bound().checkpointer


async def test_the_end_of_a_run_does_not_wait_for_ever_for_a_write(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint_module, "_SETTLE", 0.05)
    saver = checkpoint_saver(pool)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}

    async with settling(saver):
        writes = [saver.aput_writes(config, [("messages", "x")], f"task {n}") for n in range(2)]

    assert "still being written" in caplog.text
    async with asyncio.timeout(WAIT), settling(saver):
        await asyncio.gather(*writes)
    assert len(caplog.records) == 1
