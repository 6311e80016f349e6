"""What a run that broke leaves behind: kept once, by whoever comes first, and then the thread is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import anyio
import pytest
from redis.asyncio import Redis

from app.serving import sql
from resumable_stream import Status
from resumable_stream.agent import Turn
from resumable_stream.runs import NewMessage, Run, RunActive, _answer
from resumable_stream.runs._settling import Settled
from runs.room import Room, open_room


@pytest.fixture
async def room(database_url: str, redis: Redis) -> AsyncIterator[Room]:
    async with open_room(database_url, redis) as opened:
        yield opened


async def test_a_run_that_is_alive_is_left_alone(room: Room) -> None:
    run = await room.manager.start(NewMessage(owner="ann", text="hold on"))
    assert await room.settler.settle(run) is Settled.ALIVE
    assert await room.runs.holds(run)
    room.agent.release.set()
    await room.executor.wait_idle(seconds=10)


async def test_what_a_dead_run_said_is_kept_once_by_many_who_come(room: Room) -> None:
    run = await room.dead_run("one ", "two ")
    await room.gone(run)
    found: list[Settled] = []

    async def one() -> None:
        found.append(await room.settler.settle(run))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(one)
    assert set(found) == {Settled.FREE}
    assert room.agent.kept == {str(run.id): "one two "}
    assert [message.content for message in await room.agent.history(str(run.thread_id))] == ["question", "one two "]
    assert not await room.runs.holds(run)


async def test_a_run_whose_stream_is_gone_is_repaired_without_text_when_its_process_must_know(room: Room) -> None:
    run = await room.dead_run("one ")
    await room.runs.begin(run, uuid4())
    await room.producer.delete(run.stream_id)
    assert await room.settler.settle(run) is Settled.IN_REPAIR, "its process may be alive, and write history"
    assert room.agent.kept == {}
    async with asyncio.timeout(10):
        while await room.settler.settle(run) is not Settled.FREE:  # noqa: ASYNC110 - the time is Postgres's
            await asyncio.sleep(0.05)
    assert room.agent.kept == {str(run.id): ""}


async def test_a_message_that_waited_is_answered_though_redis_has_lost_its_stream(room: Room) -> None:
    """A server without persistence was restarted, say. Without anything said, nothing is lost.

    Fails without the second reservation (`runs/_settling.py`).
    """
    run = await room.dead_run()
    await room.producer.delete(run.stream_id)
    assert await room.settler.settle(run) is Settled.ORPHANED
    assert await room.settler.settle(run) is Settled.ORPHANED, "it waits, and is reserved once"
    room.executor.launch(run)
    assert await room.executor.wait_idle(seconds=10)
    assert (await room.consumer.status(run.stream_id)).status is Status.COMPLETED
    contents = [message.content for message in await room.agent.history(str(run.thread_id))]
    assert contents == ["question", "question "]


async def test_the_next_message_settles_and_is_answered(room: Room) -> None:
    dead = await room.dead_run("one ")
    await room.gone(dead)
    run = await room.manager.start(NewMessage(owner="ann", text="next", thread_id=dead.thread_id))
    await room.executor.wait_idle(seconds=10)
    contents = [message.content for message in await room.agent.history(str(dead.thread_id))]
    assert contents == ["question", "one ", "next", "next "]
    assert run.id != dead.id


async def test_a_message_during_a_repair_is_told_that_the_thread_is_busy(room: Room) -> None:
    dead = await room.dead_run("one ")
    await room.gone(dead)
    assert await room.runs.begin_repair(dead, seconds=60)
    assert await room.settler.settle(dead, patience=0.1) is Settled.IN_REPAIR
    with pytest.raises(RunActive):
        await room.manager.start(NewMessage(owner="ann", text="next", thread_id=dead.thread_id))
    history = await room.service.history("ann", dead.thread_id)
    assert history.active is None
    await room.runs.end_repair(dead)
    await room.manager.start(NewMessage(owner="ann", text="next", thread_id=dead.thread_id))
    await room.executor.wait_idle(seconds=10)


async def test_the_janitor_settles_one_after_another_though_one_cannot_be(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await room.dead_run("one "), await room.dead_run("two ")
    keep = room.agent.keep_partial

    async def stubborn(turn: Turn, text: str) -> None:
        if turn.run_id == str(first.id):
            raise ValueError("a secret of the agent")
        await keep(turn, text)

    room.agent.keep_partial = stubborn  # type: ignore[method-assign]  # an agent that cannot save one thread
    await room.gone(first)
    await room.gone(second)
    await room.janitor.look()
    assert await room.runs.holds(first)
    assert not await room.runs.holds(second)
    assert "the janitor stumbled: builtins.ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_run_that_was_accepted_just_now_is_left_to_the_process_that_took_it(
    room: Room, database_url: str
) -> None:
    run_id = uuid4()
    asked = NewMessage(owner="ann", text="question")
    values = {"id": run_id, "thread_id": uuid4(), "stream_id": f"run:{run_id}", "message_id": str(uuid4())}
    await room.producer.reserve(f"run:{run_id}", seconds=60)
    await room.runs.accept(asked, Run(number=0, owner="ann", message="question", **values))  # type: ignore[arg-type]  # a mixed dict
    await room.janitor.look()
    assert await room.executor.wait_idle(seconds=0)
    await sql(database_url, "UPDATE resumable_stream_runs SET created_time = created_time - interval '3 s'")
    await room.janitor.look()
    await room.executor.wait_idle(seconds=10)
    assert [turn.run_id for turn in room.agent.turns] == [str(run_id)]


async def test_of_several_janitors_one_looks_at_a_time(room: Room) -> None:
    turns = [await room.janitor._is_my_turn() for _ in range(5)]
    assert turns == [True, False, False, False, False]
    async with asyncio.timeout(10):
        while not await room.janitor._is_my_turn():  # noqa: ASYNC110 - the turns are kept in Postgres
            await asyncio.sleep(0.02)


async def test_a_title_that_fails_is_no_failure(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(message: str) -> str | None:
        raise ValueError("a secret of the provider")

    room.agent.title = broken  # type: ignore[method-assign]  # an agent whose titles fail
    run = await room.manager.start(NewMessage(owner="ann", text="hello"))
    await room.executor.wait_idle(seconds=10)
    assert (await room.threads.get("ann", run.thread_id)).chat_name is None
    assert "got no title: builtins.ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_run_that_cannot_save_in_time_still_ends(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_answer, "KEEP_SECONDS", 0.2)

    async def endless(turn: Turn, text: str) -> None:
        await asyncio.Event().wait()

    room.agent.keep_partial = endless  # type: ignore[method-assign]  # an agent whose memory hangs
    run = await room.manager.start(NewMessage(owner="ann", text="one fail"))
    await room.executor.wait_idle(seconds=10)
    assert (await room.consumer.status(run.stream_id)).status.ended
    assert "was not saved in time" in caplog.text
