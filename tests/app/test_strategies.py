"""A message for a thread that is busy: refused, or answered after the run before it was stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, Chat, by_header, chat_on, new_thread, served
from resumable_stream.app import Settings, create_app


async def post(chat: Chat, message: str, thread_id: str, strategy: str, **headers: str) -> tuple[int, dict[str, Any]]:
    body = {"message": message, "thread_id": thread_id, "multitask_strategy": strategy}
    response = await chat.http.post("/v1/chat/message", json=body, headers=headers)
    return response.status_code, response.json()


async def held(agent: ScriptedAgent) -> None:
    async with asyncio.timeout(DEADLINE):
        await agent.held.wait()


async def test_a_message_that_interrupts_stops_the_active_run_and_is_answered(chat: Chat, agent: ScriptedAgent) -> None:
    first = await chat.send("one two hold three")
    await held(agent)
    status, second = await post(chat, "next", first["thread_id"], "interrupt")
    assert status == 200
    stopped = await chat.read(first["thread_id"], run_id=first["run_id"])
    assert [event.data for event in stopped] == ["one ", "two ", "cancelled", "end"]
    assert await chat.answer(first["thread_id"], run_id=second["run_id"]) == "next "
    history = await chat.history(first["thread_id"])
    assert [(one["content"], one.get("stopped")) for one in history] == [
        ("one two hold three", None),
        ("one two ", True),
        ("next", None),
        ("next ", None),
    ]


async def test_a_message_that_rejects_changes_nothing(chat: Chat, agent: ScriptedAgent) -> None:
    first = await chat.send("one hold two")
    await held(agent)
    status, refused = await post(chat, "x", first["thread_id"], "reject")
    assert (status, refused["error"]["code"]) == (409, "run_active")
    agent.release.set()
    assert await chat.answer(first["thread_id"], run_id=first["run_id"]) == "one two "
    response = await chat.http.post("/v1/chat/message", json={"message": "x", "multitask_strategy": "queue"})
    assert response.status_code == 422


async def test_many_that_interrupt_at_once_leave_one_answer_each_or_a_stopped_one(
    chat: Chat, agent: ScriptedAgent
) -> None:
    """Whichever comes last is answered whole; the thread has every accepted message once, in order."""
    thread_id = new_thread()
    await post(chat, "first hold", thread_id, "reject")
    await held(agent)
    answers = await asyncio.gather(*(post(chat, f"m{number} hold", thread_id, "interrupt") for number in range(4)))
    assert {status for status, _ in answers} <= {200, 409, 503}
    accepted = [body["run_id"] for status, body in answers if status == 200]
    assert accepted
    agent.release.set()

    async def idle() -> bool:
        return "x-active-run-id" not in (await chat.thread(thread_id)).headers

    async with asyncio.timeout(DEADLINE):
        while not await idle():  # noqa: ASYNC110 - the thread is let go in Postgres
            await asyncio.sleep(0.05)
    history = await chat.history(thread_id)
    asked = Counter(message["run_id"] for message in history if message["type"] == "human")
    assert all(asked[run_id] == 1 for run_id in accepted)
    assert sum(asked.values()) == len(accepted) + 1


async def test_an_interrupting_message_with_a_known_key_stops_nothing(chat: Chat, agent: ScriptedAgent) -> None:
    thread_id = new_thread()
    status, first = await post(chat, "one hold two", thread_id, "interrupt", **{"Idempotency-Key": "k"})
    assert status == 200
    await held(agent)
    assert await post(chat, "one hold two", thread_id, "interrupt", **{"Idempotency-Key": "k"}) == (200, first)
    agent.release.set()
    assert await chat.answer(thread_id, run_id=first["run_id"]) == "one two "


async def test_nobody_interrupts_the_thread_of_another(settings: Settings, agent: ScriptedAgent) -> None:
    app = create_app(settings, agent=agent, identify=by_header)
    async with served(app) as url, chat_on(url, user="ann") as ann, chat_on(url, user="bob") as bob:
        sent = await ann.send("one hold two")
        await held(agent)
        status, _ = await post(bob, "mine now", sent["thread_id"], "interrupt")
        assert status == 404
        agent.release.set()
        assert await ann.answer(sent["thread_id"], run_id=sent["run_id"]) == "one two "
