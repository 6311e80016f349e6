"""A message, its stream and its history: the main path."""

from __future__ import annotations

import asyncio
from uuid import UUID

import anyio
import pytest

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, Chat, eventually, new_thread, text_of, typed


async def test_an_answer_is_streamed_and_then_in_the_history(chat: Chat) -> None:
    sent = await chat.send("one two three")
    assert await chat.answer(sent["thread_id"]) == "one two three "
    human, ai = await chat.history(sent["thread_id"])
    assert (human["type"], human["content"]) == ("human", "one two three")
    assert (ai["type"], ai["content"], ai["run_id"]) == ("ai", "one two three ", sent["run_id"])


async def test_ids_are_returned_before_the_first_token(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("hold on")
    assert set(sent) == {"thread_id", "run_id", "stream_id"}
    assert UUID(sent["run_id"])
    agent.release.set()
    assert await chat.answer(sent["thread_id"]) == "on "


async def test_a_client_may_bring_the_id_of_a_new_thread(chat: Chat) -> None:
    thread_id = new_thread()
    sent = await chat.send("hello", thread_id)
    assert sent["thread_id"] == thread_id
    assert await chat.answer(thread_id) == "hello "


async def test_while_a_run_is_active_the_history_ends_with_its_message(chat: Chat, agent: ScriptedAgent) -> None:
    first = await chat.send("first")
    await chat.answer(first["thread_id"])
    second = await chat.send("some hold more", first["thread_id"])
    async with asyncio.timeout(DEADLINE):
        await agent.held.wait()
    response = await chat.thread(first["thread_id"])
    assert response.headers["x-active-run-id"] == second["run_id"]
    assert [m["content"] for m in response.json()] == ["first", "first ", "some hold more"]
    agent.release.set()
    assert await chat.answer(first["thread_id"], run_id=second["run_id"]) == "some more "
    response = await chat.thread(first["thread_id"])
    assert "x-active-run-id" not in response.headers
    assert [m["content"] for m in response.json()][-1] == "some more "


async def test_the_message_is_in_the_history_before_the_agent_has_it(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("hold")
    agent.threads.clear()
    (message,) = await chat.history(sent["thread_id"])
    assert (message["type"], message["content"]) == ("human", "hold")
    agent.release.set()
    await chat.read(sent["thread_id"])


async def test_history_has_the_answer_whenever_a_reader_has_seen_the_end(chat: Chat) -> None:
    for number in range(30):
        sent = await chat.send(f"answer {number}")
        await chat.read(sent["thread_id"])
        assert (await chat.history(sent["thread_id"]))[-1]["content"] == f"answer {number} "


async def test_tools_and_typed_events_come_as_json(chat: Chat) -> None:
    sent = await chat.send("tool:search found")
    events = typed(await chat.read(sent["thread_id"], format="json"))
    assert events == [
        {"type": "tool_call", "data": {"id": "call-search", "name": "search", "args": {"q": None}}},
        {"type": "text", "data": "found "},
        {"type": "message_end", "data": {"message_id": f"ai-{sent['run_id']}"}},
        {"type": "end", "data": {"status": "completed"}},
    ]
    plain = await chat.read(sent["thread_id"], run_id=sent["run_id"])
    assert [(event.event, event.data) for event in plain] == [
        ("tool_call", "search"),
        ("chunk", "found "),
        ("system", "message_ended"),
        ("system", "end"),
    ]


async def test_a_viewer_that_leaves_does_not_stop_the_run(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("one hold two")
    async for event in chat.events(sent["thread_id"]):
        assert event.data == "one "
        break
    agent.release.set()
    assert await chat.answer(sent["thread_id"], run_id=sent["run_id"]) == "one two "


async def test_two_viewers_get_the_same(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("one hold two three")
    answers: list[str] = []

    async def view() -> None:
        answers.append(await chat.answer(sent["thread_id"]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(view)
        tasks.start_soon(view)
        async with asyncio.timeout(DEADLINE):
            await agent.held.wait()
        agent.release.set()
    assert answers == ["one two three "] * 2


@pytest.mark.parametrize(("word", "code"), [("fail", "scripted"), ("break", "error")])
async def test_a_failure_is_told_in_safe_words_and_what_was_said_is_kept(
    chat: Chat, word: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent = await chat.send(f"one two {word} three")
    events = await chat.read(sent["thread_id"])
    assert [event.data for event in events] == ["one ", "two ", "error", "end"]
    end = typed(await chat.read(sent["thread_id"], run_id=sent["run_id"], format="json"))[-1]
    assert (end["data"]["status"], end["data"]["code"]) == ("failed", code)
    assert "secret" not in end["data"]["message"]
    answer = (await chat.history(sent["thread_id"]))[-1]
    assert (answer["content"], answer["stopped"]) == ("one two ", True)
    assert "secret" not in caplog.text
    assert (await chat.post("again", sent["thread_id"])).status_code == 200


async def test_the_first_message_gives_the_thread_a_title(chat: Chat, agent: ScriptedAgent) -> None:
    agent.title_text = "  A short\n title "
    sent = await chat.send("hello")
    events = typed(await chat.read(sent["thread_id"], format="json"))
    assert {"type": "title", "data": {"title": "A short title"}} in events
    assert (await chat.threads())["threads"][0]["chat_name"] == "A short title"


async def test_a_title_does_not_replace_a_name_that_was_given(chat: Chat, agent: ScriptedAgent) -> None:
    agent.title_text = "Made up"
    agent.title_release = anyio.Event()
    sent = await chat.send("hold hello")
    assert (await chat.rename(sent["thread_id"], "  My   own ")).status_code == 204
    agent.title_release.set()
    agent.release.set()
    events = typed(await chat.read(sent["thread_id"], format="json"))
    assert "title" not in [event["type"] for event in events]
    assert (await chat.threads())["threads"][0]["chat_name"] == "My own"


async def test_a_title_that_is_late_is_still_kept(chat: Chat, agent: ScriptedAgent) -> None:
    agent.title_text = "Late"
    agent.title_release = anyio.Event()
    sent = await chat.send("hello")
    events = await chat.read(sent["thread_id"])
    assert text_of(events) == "hello "
    agent.title_release.set()

    async def named() -> bool:
        return bool((await chat.threads())["threads"][0].get("chat_name") == "Late")

    await eventually(named)


async def test_threads_are_listed_page_by_page_newest_activity_first(chat: Chat, agent: ScriptedAgent) -> None:
    ids = [(await chat.send(f"message {number}"))["thread_id"] for number in range(5)]
    for thread_id in ids:
        await chat.read(thread_id)
    running = await chat.send("hold", ids[1])
    listed = []
    cursor: dict[str, str] = {}
    while True:
        page = await chat.threads(limit=2, **cursor)
        listed += page["threads"]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [thread["id"] for thread in listed] == [ids[1], ids[4], ids[3], ids[2], ids[0]]
    assert [thread["active"] for thread in listed] == [True, False, False, False, False]
    assert listed[0]["run_id"] == running["run_id"]
    assert "run_id" not in listed[1]
    agent.release.set()
    await chat.read(ids[1])
