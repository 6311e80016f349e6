"""Promises 2 and 23 of the chat app: a process is killed while it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.provider_wire import Call, Gate, ProviderWire, Reply
from app.processes import ServerProcess
from app.serving import DEADLINE, Chat, chat_on, code_of, eventually
from promises.chat.servers import Start
from promises.chat.viewers import Viewer
from support import wait_until


@pytest.fixture(scope="module")
async def survivor(start: Start) -> AsyncIterator[ServerProcess]:
    """A server process that lives on."""
    async with start() as process:
        await process.ready()
        yield process


@pytest.mark.promise(number=2)
async def test_after_a_kill_all_viewers_get_what_was_said_and_the_same_end(
    start: Start, survivor: ServerProcess, wire: ProviderWire
) -> None:
    """Those who were there, and those who come later, exactly; it is what the thread keeps.

    Fails without the keeping of what a dead run has said (`runs/_settling.py`).
    """
    words = [f"word {number} " for number in range(60)]
    said = "".join(words[:30])
    gate = Gate()
    wire.script(Reply(text=words, gate=gate))
    async with start(run_max_attempts=1) as first:
        await first.ready()
        async with chat_on(first.url) as chat:
            sent = await chat.send("hello")
        lost, stays = Viewer(sent), Viewer(sent)
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(lost.follow(first.port))
            tasks.create_task(stays.follow_to_the_end(survivor.port))
            await wait_until(lambda: lost.text == stays.text == said)
            await first.kill()
            await reading
            await lost.follow_to_the_end(survivor.port)
    later = Viewer(sent)
    await later.follow_to_the_end(survivor.port)
    for viewer in (lost, stays, later):
        viewer.check()
        assert viewer.text == said
        assert viewer.ids == later.ids
        assert [event["data"] for event in viewer.events if event["type"] == "end"] == [{"status": "lost"}]
    async with chat_on(survivor.url) as chat:
        question, partial = await chat.history(sent["thread_id"])
        assert (question["content"], partial["content"], partial["stopped"]) == ("hello", said, True)


@pytest.mark.promise(number=2)
async def test_after_a_kill_another_process_goes_on_and_viewers_end_with_what_the_thread_holds(
    start: Start, survivor: ServerProcess, wire: ProviderWire
) -> None:
    """The model is asked again, and says something else: those who were there are told to drop what they have of the
    message. All viewers, then and later, in both formats, have what the thread has.

    Fails without the adoption of runs that have lost their process (`runs/_janitor.py`).
    """
    gate = Gate()
    wire.script(Reply(text=["One ", "two ", "three ", "four"], gate=gate), Reply(text=["Uno ", "dos."]))
    async with start() as first:
        await first.ready()
        async with chat_on(first.url) as chat:
            sent = await chat.send("hello")
        moves, stays = Viewer(sent), Viewer(sent)
        async with asyncio.timeout(2 * DEADLINE), asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(moves.follow(first.port))
            tasks.create_task(stays.follow_to_the_end(survivor.port))
            await wait_until(lambda: moves.text == stays.text == "One two ")
            await first.kill()
            await reading
            await moves.follow_to_the_end(survivor.port)
    later = Viewer(sent)
    await later.follow_to_the_end(survivor.port)
    for viewer in (moves, stays, later):
        viewer.check()
        assert viewer.ids == later.ids
        assert viewer.text == "Uno dos."
        assert viewer.count("restarted") == 1
        assert viewer.events[-1]["data"] == {"status": "completed"}
    async with chat_on(survivor.url) as chat:
        shown = [(event.event, event.data) for event in await chat.read(sent["thread_id"], run_id=sent["run_id"])]
        restarted = shown.index(("system", "message_restarted"))
        assert shown[:restarted] == [("chunk", "One "), ("chunk", "two ")]
        assert [data for kind, data in shown[restarted:] if kind == "chunk"] == ["Uno ", "dos."]
        question, answer = await chat.history(sent["thread_id"])
        assert (question["content"], answer["content"], answer.get("stopped")) == ("hello", "Uno dos.", None)


@pytest.mark.promise(number=23)
async def test_a_thread_whose_process_was_killed_in_a_tool_takes_the_next_message(
    start: Start, survivor: ServerProcess, wire: ProviderWire
) -> None:
    """Refused at first, with the run that is active; after the lease it is accepted. No tool call is left without a
    result: OpenAI and Anthropic take the turn.

    Fails without the burial by whoever asks (`_consumer.py`).
    """
    mounts = ("", "/anthropic")
    call = Call("call_a", "search", {"query": "slow"})
    wire.script(*[Reply(text=["I look. "], calls=[call])] * 2, *[Reply(text=["Fine."])] * 2)
    sent: dict[str, dict[str, str]] = {}
    async with start(run_max_attempts=1) as first:
        await first.ready()
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            viewers = []
            for mount in mounts:
                async with chat_on(first.url + mount) as chat:
                    sent[mount] = await chat.send("hello")
                viewers.append(Viewer(sent[mount], mount))
                tasks.create_task(viewers[-1].follow(first.port))
            await wait_until(lambda: all(viewer.count("tool_call") for viewer in viewers))
            await first.kill()
    for mount in mounts:
        async with chat_on(survivor.url + mount) as chat:
            await goes_on(chat, sent[mount])


async def goes_on(chat: Chat, sent: dict[str, str]) -> None:
    """The thread of a run that was killed in a tool takes a message, and is whole."""
    thread_id = sent["thread_id"]
    answers = []

    async def accepted() -> bool:
        answers.append(await chat.post("go on", thread_id))
        return answers[-1].status_code == 200

    await eventually(accepted)
    for refused in answers[:-1]:
        assert (refused.status_code, code_of(refused)) == (409, "run_active")
        assert refused.json()["error"]["detail"] == [sent]
    assert await chat.answer(thread_id, run_id=answers[-1].json()["run_id"]) == "Fine."
    question, partial, following, answer = await chat.history(thread_id)
    assert (question["content"], partial["content"], partial["stopped"]) == ("hello", "I look. ", True)
    assert [call["status"] for call in partial["tool_calls"]] == ["cancelled"]
    assert (following["content"], answer["content"]) == ("go on", "Fine.")
