"""Stopping a run, and deleting a thread while its run is active."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import (
    DEADLINE,
    Chat,
    by_header,
    chat_on,
    code_of,
    eventually,
    new_thread,
    served,
    sql,
    typed,
)
from resumable_stream.agent import HistoryMessage, Turn
from resumable_stream.app import Settings, create_app
from support import wait_until


async def held(agent: ScriptedAgent) -> None:
    async with asyncio.timeout(DEADLINE):
        await agent.held.wait()


async def test_a_stopped_answer_stays_in_the_thread_with_a_mark(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("one two hold three")
    await held(agent)
    response = await chat.stop(sent["thread_id"])
    assert response.json() == {
        "thread_id": sent["thread_id"],
        "run_id": sent["run_id"],
        "stopped": True,
    }
    events = await chat.read(sent["thread_id"], run_id=sent["run_id"])
    assert [event.data for event in events] == ["one ", "two ", "cancelled", "end"]
    answer = (await chat.history(sent["thread_id"]))[-1]
    assert (answer["content"], answer["stopped"]) == ("one two ", True)
    assert agent.closed == [sent["run_id"]]
    next_one = await chat.send("go on", sent["thread_id"])
    assert await chat.answer(sent["thread_id"], run_id=next_one["run_id"]) == "go on "


async def test_the_partial_answer_is_there_when_a_reader_sees_the_end(chat: Chat) -> None:
    for _ in range(10):
        sent = await chat.send("pace:0.001 " + " ".join(f"w{n}" for n in range(200)))
        async for event in chat.events(sent["thread_id"]):
            if event.data == "w5 ":
                await chat.stop(sent["thread_id"])
        text = "".join(
            event["data"]
            for event in typed(await chat.read(sent["thread_id"], run_id=sent["run_id"], format="json"))
            if event["type"] == "text"
        )
        answer = (await chat.history(sent["thread_id"]))[-1]
        assert (answer["content"], answer.get("stopped")) == (text, True)


async def test_a_partial_answer_that_could_not_be_saved_at_first_is_saved_later(
    chat: Chat, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run keeps the thread until somebody has saved what the log holds."""
    save = agent.keep_partial
    failures = [psycopg.OperationalError("away for a moment")]

    async def keep_partial(turn: Turn, text: str) -> None:
        if failures:
            raise failures.pop()
        await save(turn, text)

    monkeypatch.setattr(agent, "keep_partial", keep_partial)
    sent = await chat.send("one two hold three")
    await held(agent)
    await chat.stop(sent["thread_id"])
    await chat.read(sent["thread_id"], run_id=sent["run_id"])
    answer = (await chat.history(sent["thread_id"]))[-1]
    assert (answer["content"], answer.get("stopped"), failures) == ("one two ", True, [])


async def test_a_history_that_a_whole_run_overtakes_is_read_again(
    chat: Chat, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run begins and ends while the history is read: nothing shows it but the thread's activity."""
    sent = await chat.send("one")
    await chat.read(sent["thread_id"])
    remember = agent.history
    reads = 0

    async def history(thread_id: str) -> list[HistoryMessage]:
        nonlocal reads
        reads += 1
        before = await remember(thread_id)
        if reads == 1:
            again = await chat.send("two", thread_id)
            await chat.read(thread_id, run_id=again["run_id"])
        return before

    monkeypatch.setattr(agent, "history", history)
    contents = [message["content"] for message in await chat.history(sent["thread_id"])]
    assert contents == ["one", "one ", "two", "two "]


async def test_stopping_twice_and_after_the_end_is_harmless(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("hold")
    await held(agent)
    first, second = await asyncio.gather(chat.stop(sent["thread_id"]), chat.stop(sent["thread_id"]))
    assert first.status_code == second.status_code == 200
    events = await chat.read(sent["thread_id"], run_id=sent["run_id"])
    assert [event.data for event in events] == ["cancelled", "end"]
    late = await chat.stop(sent["thread_id"])
    assert late.json() == {"thread_id": sent["thread_id"], "stopped": False}


async def test_a_stale_run_id_stops_nothing(chat: Chat, agent: ScriptedAgent) -> None:
    first = await chat.send("first")
    await chat.read(first["thread_id"])
    second = await chat.send("hold second", first["thread_id"])
    await held(agent)
    response = await chat.stop(first["thread_id"], first["run_id"])
    assert response.json()["stopped"] is False
    agent.release.set()
    assert await chat.answer(first["thread_id"], run_id=second["run_id"]) == "second "


async def test_stopping_an_unknown_thread_or_run_is_404(chat: Chat) -> None:
    sent = await chat.send("hello")
    await chat.read(sent["thread_id"])
    unknown = await chat.stop(new_thread())
    assert (unknown.status_code, code_of(unknown)) == (404, "thread_not_found")
    other = await chat.stop(sent["thread_id"], new_thread())
    assert (other.status_code, code_of(other)) == (404, "run_not_found")


async def test_a_run_is_stopped_from_another_process(chat: Chat, agent: ScriptedAgent, settings: Settings) -> None:
    sent = await chat.send("one hold two")
    await held(agent)
    other = create_app(settings, agent=ScriptedAgent(), identify=by_header)
    async with served(other) as url, chat_on(url, user="ann") as elsewhere:
        assert (await elsewhere.stop(sent["thread_id"])).json()["stopped"] is True
        events = await elsewhere.read(sent["thread_id"], run_id=sent["run_id"])
        assert [event.data for event in events] == ["one ", "cancelled", "end"]


async def test_a_thread_that_is_deleted_during_a_run_stays_deleted(
    chat: Chat, agent: ScriptedAgent, empty_redis: Redis, database_url: str
) -> None:
    sent = await chat.send("one hold two")
    await held(agent)
    seen: list[str] = []

    async def view() -> None:
        seen.extend([event.data async for event in chat.events(sent["thread_id"])])

    viewer = asyncio.create_task(view())
    await wait_until(lambda: ":events" in str(empty_redis.pubsub_shardchannels()), what="the viewer is attached")
    assert (await chat.delete(sent["thread_id"])).status_code == 204
    agent.release.set()
    await viewer
    assert seen[-1] == "end"
    assert agent.closed == [sent["run_id"]]
    assert sent["thread_id"] not in agent.threads
    assert (await chat.thread(sent["thread_id"])).status_code == 404
    assert (await chat.threads())["threads"] == []
    assert (await chat.stream_status(sent["thread_id"], run_id=sent["run_id"])).status_code == 404
    assert (await chat.post("again", sent["thread_id"])).status_code == 404
    assert (await chat.delete(sent["thread_id"])).status_code == 404
    assert list(empty_redis.scan_iter()) == []
    assert await sql(database_url, "SELECT count(*) FROM resumable_stream_runs") == [(0,)]


async def test_a_run_in_another_process_does_not_bring_a_deleted_thread_back(
    chat: Chat, agent: ScriptedAgent, settings: Settings
) -> None:
    sent = await chat.send("one hold two")
    await held(agent)
    memory = ScriptedAgent()
    other = create_app(settings, agent=memory, identify=by_header)
    async with served(other) as url, chat_on(url, user="ann") as elsewhere:
        assert (await elsewhere.delete(sent["thread_id"])).status_code == 204
    assert agent.closed == [sent["run_id"]], "the run had ended when the deletion was answered"
    assert agent.kept == {}, "nothing is saved into a thread that is going"

    async def forgotten() -> bool:
        return sent["thread_id"] not in agent.threads

    await eventually(forgotten)


async def test_a_deletion_that_was_broken_off_is_finished_by_the_janitor(
    chat: Chat, agent: ScriptedAgent, database_url: str
) -> None:
    sent = await chat.send("hello")
    await chat.read(sent["thread_id"])
    await sql(database_url, "UPDATE resumable_stream_threads SET deleted_time = now() - interval '2 minutes'")

    async def purged() -> bool:
        return sent["thread_id"] in agent.deleted

    await eventually(purged)


@pytest.mark.parametrize("word", ["hold", "x"])
async def test_deleting_twice_at_once_is_harmless(chat: Chat, agent: ScriptedAgent, word: str) -> None:
    sent = await chat.send(word)
    statuses = {
        response.status_code for response in await asyncio.gather(*(chat.delete(sent["thread_id"]) for _ in range(5)))
    }
    assert statuses <= {204, 404}
    assert 204 in statuses
    assert sent["thread_id"] not in agent.threads
