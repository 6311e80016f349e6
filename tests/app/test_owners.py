"""Somebody else's thread does not exist, on any route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.scripted import ScriptedAgent
from app.serving import Chat, chat_on, code_of, new_thread, served, text_of
from resumable_stream.app import Settings, create_app


@pytest.fixture
async def bob(url: str) -> AsyncIterator[Chat]:
    async with chat_on(url, user="bob") as client:
        yield client


async def routes(client: Chat, thread_id: str, run_id: str, cursor: str) -> dict[str, httpx.Response]:
    """Every route that takes a thread, a run or a cursor."""
    return {
        "message": await client.post("hello", thread_id),
        "message with a key": await client.post("hello", thread_id, **{"Idempotency-Key": "k"}),
        "message with a cursor": await client.post("hello", thread_id, **{"Last-Event-ID": cursor}),
        "stream": await client.stream_status(thread_id),
        "stream of the run": await client.stream_status(thread_id, run_id=run_id),
        "stream after the cursor": await client.stream_status(thread_id, last_event_id=cursor),
        "stop": await client.stop(thread_id),
        "stop the run": await client.stop(thread_id, run_id),
        "history": await client.thread(thread_id),
        "rename": await client.rename(thread_id, "mine"),
        "delete": await client.delete(thread_id),
    }


async def test_a_foreign_thread_is_404_on_every_route_and_nothing_is_learned(
    chat: Chat, bob: Chat, agent: ScriptedAgent
) -> None:
    ended = await chat.send("hello ann")
    events = await chat.read(ended["thread_id"])
    active = await chat.send("hold hello")
    for thread_id, run_id in ((ended["thread_id"], ended["run_id"]), (active["thread_id"], active["run_id"])):
        for route, response in (await routes(bob, thread_id, run_id, events[0].id)).items():
            assert (response.status_code, code_of(response)) == (404, "thread_not_found"), route
            assert "ann" not in response.text, route
    agent.release.set()
    await chat.read(active["thread_id"])
    assert len(await chat.history(ended["thread_id"])) == 2, "nothing was changed"


async def test_a_foreign_thread_and_an_unknown_one_get_the_same_answer(chat: Chat, bob: Chat) -> None:
    sent = await chat.send("hello")
    await chat.read(sent["thread_id"])
    for ask in (bob.thread, bob.delete, bob.stop, bob.stream_status):
        foreign, unknown = await asyncio.gather(ask(sent["thread_id"]), ask(new_thread()))
        assert (foreign.status_code, foreign.text) == (unknown.status_code, unknown.text)


async def test_a_foreign_run_or_cursor_on_ones_own_thread_shows_nothing(chat: Chat, bob: Chat) -> None:
    hers = await chat.send("her words")
    cursor = (await chat.read(hers["thread_id"]))[0].id
    his = await bob.send("his words")
    await bob.read(his["thread_id"])
    response = await bob.stream_status(his["thread_id"], run_id=hers["run_id"])
    assert (response.status_code, code_of(response)) == (404, "run_not_found")
    response = await bob.stop(his["thread_id"], hers["run_id"])
    assert (response.status_code, code_of(response)) == (404, "run_not_found")
    assert text_of(await bob.read(his["thread_id"], cursor=cursor)) == "his words "


async def test_lists_have_only_the_callers_threads(chat: Chat, bob: Chat) -> None:
    hers, his = await chat.send("hers"), await bob.send("his")
    assert [thread["id"] for thread in (await chat.threads())["threads"]] == [hers["thread_id"]]
    assert [thread["id"] for thread in (await bob.threads())["threads"]] == [his["thread_id"]]
    cursor = (await chat.threads(limit=1)).get("next_cursor")
    assert cursor is None
    await chat.read(hers["thread_id"])
    await bob.read(his["thread_id"])


async def test_two_owners_who_bring_one_new_id_do_not_share_a_thread(chat: Chat, bob: Chat) -> None:
    thread_id = new_thread()
    responses = await asyncio.gather(chat.post("hello", thread_id), bob.post("hello", thread_id))
    assert sorted(response.status_code for response in responses) == [200, 404]
    first = chat if responses[0].status_code == 200 else bob
    await first.read(thread_id)


async def test_a_caller_that_is_not_known_gets_401_on_every_route(url: str) -> None:
    async with chat_on(url) as nobody:
        answers = await routes(nobody, new_thread(), new_thread(), "1-1")
        answers["threads"] = await nobody.http.get("/v1/threads")
        for route, response in answers.items():
            assert (response.status_code, code_of(response)) == (401, "unauthenticated"), route
        assert (await nobody.http.get("/healthz")).status_code == 200
        assert (await nobody.http.get("/readyz")).status_code == 200


async def test_identify_may_be_async_may_raise_and_may_refuse_in_its_own_way(
    settings: Settings, agent: ScriptedAgent
) -> None:
    async def identify(request: Request) -> str:
        await asyncio.sleep(0)
        match request.headers["x-user"]:
            case "broken":
                raise KeyError("a secret session id")
            case "banned":
                raise HTTPException(403)
        return request.headers["x-user"]

    async with served(create_app(settings, agent=agent, identify=identify)) as url:
        for user, status, code in (
            ("broken", 401, "unauthenticated"),
            ("banned", 403, "forbidden"),
            ("", 401, "unauthenticated"),
        ):
            async with chat_on(url, user=user) as client:
                response = await client.http.get("/v1/threads")
                assert (response.status_code, code_of(response)) == (status, code)
        async with chat_on(url) as client:
            assert (await client.http.get("/v1/threads")).status_code == 401
        async with chat_on(url, user="ann") as client:
            assert (await client.threads())["threads"] == []


async def test_without_identify_everybody_is_one_owner(settings: Settings, agent: ScriptedAgent) -> None:
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as one, chat_on(url, user="b") as two:
        sent = await one.send("hello")
        assert await two.answer(sent["thread_id"]) == "hello "
