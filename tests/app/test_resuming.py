"""Answering over HTTP what a graph waits for, with real graphs: LangChain's middleware, and a plain ``interrupt``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.constants import START
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt

from agent.provider_wire import Call, Gate, ProviderWire, Reply, provider_wire
from app.serving import Chat, by_header, chat_on, code_of, new_thread, served, typed
from resumable_stream.agent import build_graph, chat_model
from resumable_stream.app import Settings, create_app

APPROVE = {"decisions": [{"type": "approve"}]}


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} means {word[::-1]}"


@pytest.fixture
async def wire() -> AsyncIterator[ProviderWire]:
    with provider_wire() as wire:
        yield wire


@pytest.fixture
async def careful(settings: Settings, wire: ProviderWire) -> AsyncIterator[Chat]:
    """A client of a model that may look something up when a person allows it."""
    model = chat_model("openai", "any", api_key="key", base_url=f"{wire.url}/v1", max_retries=0)
    graph = build_graph(model, [look_up], middleware=[HumanInTheLoopMiddleware({"look_up": True})])
    async with served(create_app(settings, agent=graph, identify=by_header)) as url, chat_on(url, user="ann") as chat:
        yield chat


@pytest.fixture
async def asking(settings: Settings) -> AsyncIterator[Chat]:
    """A client of a graph that asks two things at once, in parts of their own."""

    def ask(name: str) -> Any:
        return lambda state: {"messages": [AIMessage(f"{name}: {interrupt({'question': name})}")]}

    builder = StateGraph(MessagesState)
    for name in ("colour", "size"):
        builder.add_node(name, ask(name))
        builder.add_edge(START, name)
    app = create_app(settings, agent=builder.compile(), identify=by_header)
    async with served(app) as url, chat_on(url, user="ann") as chat:
        yield chat


async def resume(chat: Chat, thread_id: str, answers: Any, **headers: str) -> httpx.Response:
    body = {"thread_id": thread_id, "answers": answers}
    return await chat.http.post("/v1/chat/resume", json=body, headers=headers)


async def asked_in(chat: Chat, thread_id: str) -> list[dict[str, Any]]:
    """What the history says that the thread waits for."""
    *before, last = await chat.history(thread_id)
    assert not any("interrupts" in message for message in before)
    return list(last.get("interrupts", []))


async def test_a_tool_is_allowed_and_the_conversation_goes_on(careful: Chat, wire: ProviderWire) -> None:
    wire.script(Reply(text=["May I? "], calls=[Call("call_a", "look_up", {"word": "cat"})]), Reply(text=["A cat."]))
    sent = await careful.send("what is a cat?")
    thread_id = sent["thread_id"]
    events = await careful.read(thread_id, run_id=sent["run_id"])
    assert [event.data for event in events if event.event == "system"] == ["message_ended", "interrupted", "end"]
    told = typed(await careful.read(thread_id, run_id=sent["run_id"], format="json"))
    (asked,) = [event["data"]["interrupts"] for event in told if event["type"] == "interrupted"]
    assert asked == await asked_in(careful, thread_id)
    assert asked[0]["value"]["action_requests"][0]["args"] == {"word": "cat"}
    assert (await careful.history(thread_id))[-1]["tool_calls"][0]["status"] == "waiting"

    response = await resume(careful, thread_id, {asked[0]["id"]: APPROVE})

    assert response.status_code == 200, response.text
    run = response.json()
    assert run["thread_id"] == thread_id
    assert run["run_id"] != sent["run_id"]
    told = typed(await careful.read(thread_id, run_id=run["run_id"], format="json"))
    results = [event["data"] for event in told if event["type"] == "tool_result"]
    assert [(data["id"], data["content"]) for data in results] == [("call_a", "cat means tac")]
    assert "".join(event["data"] for event in told if event["type"] == "text") == "A cat."
    assert told[-1]["data"]["status"] == "completed"
    history = await careful.history(thread_id)
    assert [message["content"] for message in history] == ["what is a cat?", "May I? ", "A cat."]
    assert history[1]["tool_calls"][0]["result"] == "cat means tac"
    assert await asked_in(careful, thread_id) == []


async def test_while_the_answered_run_is_active_history_and_stream_are_the_whole_conversation(
    careful: Chat, wire: ProviderWire
) -> None:
    gate = Gate()
    call = Call("call_a", "look_up", {"word": "cat"})
    wire.script(Reply(text=["May I? "], calls=[call]), Reply(text=["A ", "cat."], gate=gate))
    thread_id = (await careful.send("what is a cat?"))["thread_id"]
    await careful.read(thread_id)
    ((question,), answers) = await asked_in(careful, thread_id), APPROVE
    run = (await resume(careful, thread_id, {question["id"]: answers})).json()
    assert await asyncio.to_thread(gate.reached.wait, 15)

    response = await careful.thread(thread_id)

    assert response.headers["X-Active-Run-Id"] == run["run_id"]
    history = response.json()
    assert [message["content"] for message in history] == ["what is a cat?", "May I? "]
    assert "interrupts" not in history[-1]
    busy = await resume(careful, thread_id, {question["id"]: answers})
    assert (busy.status_code, code_of(busy)) == (409, "run_active")
    gate.open()
    assert await careful.answer(thread_id, run_id=run["run_id"]) == "A cat."


async def test_while_an_answer_is_worked_on_its_question_is_not_shown(settings: Settings) -> None:
    gate = asyncio.Event()

    @tool
    async def sign(paper: str) -> str:
        """Have something signed."""
        name = str(interrupt({"question": f"Sign the {paper}?"}))
        await gate.wait()
        return name

    def want(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("", tool_calls=[{"name": "sign", "args": {"paper": "letter"}, "id": "a"}])]}

    builder = StateGraph(MessagesState).add_node("want", want).add_node("tools", ToolNode([sign]))
    app = create_app(settings, agent=builder.add_edge(START, "want").add_edge("want", "tools").compile())
    async with served(app) as url, chat_on(url) as chat:
        thread_id = (await chat.send("hello"))["thread_id"]
        await chat.read(thread_id)
        (question,) = await asked_in(chat, thread_id)
        run = (await resume(chat, thread_id, {question["id"]: "Ann"})).json()

        history = await chat.history(thread_id)

        assert "interrupts" not in history[-1]
        assert history[-1]["tool_calls"][0]["status"] == "running"
        gate.set()
        await chat.read(thread_id, run_id=run["run_id"])
        assert (await chat.history(thread_id))[-1]["tool_calls"][0]["result"] == "Ann"


async def test_stopping_an_answered_run_keeps_its_part_and_the_next_message_works(
    careful: Chat, wire: ProviderWire
) -> None:
    gate = Gate()
    call = Call("call_a", "look_up", {"word": "cat"})
    wire.script(Reply(text=["May I? "], calls=[call]), Reply(text=["A ", "cat."], gate=gate), Reply(text=["Fine."]))
    thread_id = (await careful.send("what is a cat?"))["thread_id"]
    await careful.read(thread_id)
    (question,) = await asked_in(careful, thread_id)
    run = (await resume(careful, thread_id, {question["id"]: APPROVE})).json()
    assert await asyncio.to_thread(gate.reached.wait, 15)
    async with asyncio.timeout(15), aclosing(careful.events(thread_id, run_id=run["run_id"])) as seen:
        async for event in seen:  # that the provider has sent it does not say that it was read
            if event.data == "A ":
                break
    await careful.stop(thread_id, run["run_id"])
    events = typed(await careful.read(thread_id, run_id=run["run_id"], format="json"))
    assert events[-1]["data"]["status"] == "cancelled"

    history = await careful.history(thread_id)
    assert [(message["content"], message.get("stopped")) for message in history[1:]] == [
        ("May I? ", None),
        ("A ", True),
    ]
    more = await careful.send("go on", thread_id)
    assert await careful.answer(thread_id, run_id=more["run_id"]) == "Fine."


async def test_the_same_key_gets_the_same_run_and_other_answers_with_it_are_refused(
    careful: Chat, wire: ProviderWire
) -> None:
    wire.script(Reply(calls=[Call("call_a", "look_up", {"word": "cat"})]), Reply(text=["A cat."]))
    thread_id = (await careful.send("what is a cat?"))["thread_id"]
    await careful.read(thread_id)
    (question,) = await asked_in(careful, thread_id)
    answers = {question["id"]: APPROVE}

    first = await resume(careful, thread_id, answers, **{"Idempotency-Key": "once"})
    await careful.read(thread_id, run_id=first.json()["run_id"])
    again = await resume(careful, thread_id, answers, **{"Idempotency-Key": "once"})
    other = await resume(careful, thread_id, {question["id"]: "no"}, **{"Idempotency-Key": "once"})
    anew = await resume(careful, thread_id, answers)

    assert (again.status_code, again.json()) == (200, first.json())
    assert (other.status_code, code_of(other)) == (422, "idempotency_mismatch")
    assert (anew.status_code, code_of(anew)) == (409, "not_interrupted")
    assert len(wire.requests) == 2


async def test_answers_that_nobody_asked_for_are_refused(asking: Chat) -> None:
    thread_id = new_thread()
    unknown = await resume(asking, thread_id, {"x": 1})
    assert (unknown.status_code, code_of(unknown)) == (404, "thread_not_found")
    await asking.send("hello", thread_id)
    await asking.read(thread_id)
    asked = await asked_in(asking, thread_id)

    wrong = await resume(asking, thread_id, {"x": 1})

    assert (wrong.status_code, code_of(wrong)) == (422, "unknown_interrupt")
    assert wrong.json()["error"]["detail"] == [{"id": question["id"]} for question in asked]
    bodies: list[Any] = [{}, {"": 1}, [], None, {"x" * 201: 1}]
    for body in bodies:
        response = await resume(asking, thread_id, body)
        assert (response.status_code, code_of(response)) == (422, "invalid_request"), body
    text = f'{{"thread_id": "{thread_id}", "answers": {{"{asked[0]["id"]}": NaN}}}}'
    headers = {"Content-Type": "application/json"}
    assert (await asking.http.post("/v1/chat/resume", content=text, headers=headers)).status_code == 422
    async with chat_on(str(asking.http.base_url), user="eve") as eve:
        foreign = await resume(eve, thread_id, {asked[0]["id"]: 1})
    assert (foreign.status_code, code_of(foreign)) == (404, "thread_not_found")
    assert await asked_in(asking, thread_id) == asked


async def test_questions_may_be_answered_one_after_the_other_with_any_json(asking: Chat) -> None:
    thread_id = (await asking.send("hello"))["thread_id"]
    await asking.read(thread_id)
    asked = {one["value"]["question"]: one["id"] for one in await asked_in(asking, thread_id)}
    assert asked.keys() == {"colour", "size"}

    run = (await resume(asking, thread_id, {asked["colour"]: ["red\0", None, {"a": 1.5}]})).json()
    events = await asking.read(thread_id, run_id=run["run_id"])
    assert [event.data for event in events if event.event == "system"] == ["message_ended", "interrupted", "end"]
    (left,) = await asked_in(asking, thread_id)
    assert left == {"id": asked["size"], "value": {"question": "size"}}
    run = (await resume(asking, thread_id, {asked["size"]: 42})).json()
    await asking.read(thread_id, run_id=run["run_id"])

    history = await asking.history(thread_id)
    assert sorted(message["content"] for message in history[1:]) == [
        "colour: ['red\\x00', None, {'a': 1.5}]",
        "size: 42",
    ]


async def test_a_message_instead_of_an_answer_goes_on_without_it(careful: Chat, wire: ProviderWire) -> None:
    wire.script(Reply(calls=[Call("call_a", "look_up", {"word": "cat"})]), Reply(text=["Fine."]))
    thread_id = (await careful.send("what is a cat?"))["thread_id"]
    await careful.read(thread_id)

    more = await careful.send("never mind", thread_id)

    assert await careful.answer(thread_id, run_id=more["run_id"]) == "Fine."
    history = await careful.history(thread_id)
    assert history[1]["tool_calls"][0]["status"] == "cancelled"
    assert await asked_in(careful, thread_id) == []
