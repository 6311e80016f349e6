"""The sub-app inside another app, and a lifespan that nobody entered."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict
from uuid import UUID

import anyio
import httpx
import pytest
from fastapi import FastAPI
from langgraph.graph import START, StateGraph
from starlette.applications import Starlette
from starlette.routing import Mount

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, chat_on, code_of, new_thread, served
from resumable_stream.app import ChatApp, LifespanNotEntered, Settings, create_app
from resumable_stream.app._signals import set_on_signals
from resumable_stream.runs import Run, RunStore, _reading


@pytest.fixture
def chat_app(settings: Settings, agent: ScriptedAgent) -> ChatApp:
    return create_app(settings, agent=agent)


async def test_everything_works_mounted_under_a_path_of_fastapi(chat_app: ChatApp) -> None:
    host = FastAPI(lifespan=chat_app.lifespan)
    host.mount("/assistant", chat_app)
    async with served(host) as url, chat_on(f"{url}/assistant") as chat:
        sent = await chat.send("hello")
        assert await chat.answer(sent["thread_id"]) == "hello "
        assert len(await chat.history(sent["thread_id"])) == 2
        bare = await chat.http.get(f"{url}/assistant")
        assert bare.is_redirect
        assert bare.headers["location"] == f"{url}/assistant/"
        page = await chat.http.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert (await chat.http.get("/docs")).status_code == 200
        document = (await chat.http.get("/openapi.json")).json()
        assert document["servers"] == [{"url": "/assistant"}]
        assert (await chat.delete(sent["thread_id"])).status_code == 204


async def test_a_host_with_a_lifespan_of_its_own_enters_it_inside(chat_app: ChatApp) -> None:
    entered = []

    @asynccontextmanager
    async def lifespan(host: Starlette) -> AsyncIterator[None]:
        entered.append("before")
        async with chat_app.lifespan():
            yield
        entered.append("after")

    host = Starlette(routes=[Mount("/a/b", chat_app)], lifespan=lifespan)
    async with served(host) as url, chat_on(f"{url}/a/b") as chat:
        sent = await chat.send("hello")
        assert await chat.answer(sent["thread_id"]) == "hello "
    assert entered == ["before", "after"]


async def test_a_root_path_without_a_mount_is_served(chat_app: ChatApp) -> None:
    """As other frameworks call it: the whole path, and ``root_path`` beside it."""

    async def under_django(scope: dict[str, object], receive: object, send: object) -> None:
        if scope["type"] == "http":
            scope = {**scope, "root_path": "/chat"}
        await chat_app(scope, receive, send)  # type: ignore[arg-type]  # plain ASGI on both sides

    async with served(under_django) as url, chat_on(f"{url}/chat") as chat:  # type: ignore[arg-type]
        sent = await chat.send("hello")
        assert await chat.answer(sent["thread_id"]) == "hello "
        bare = await chat.http.get(f"{url}/chat")
        assert bare.is_redirect
        assert httpx.URL(bare.headers["location"]).path == "/chat/"


async def test_a_forgotten_lifespan_is_named_by_the_first_request(chat_app: ChatApp) -> None:
    host = FastAPI()
    host.mount("/assistant", chat_app)
    transport = httpx.ASGITransport(host, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://host/assistant") as http:
        for path in ("/v1/threads", "/", "/healthz", "/docs"):
            response = await http.get(path)
            assert (response.status_code, code_of(response)) == (500, "lifespan_not_entered"), path
            assert "FastAPI(lifespan=chat.lifespan)" in response.json()["error"]["message"]
    transport = httpx.ASGITransport(host)
    async with httpx.AsyncClient(transport=transport, base_url="http://host/assistant") as http:
        with pytest.raises(LifespanNotEntered, match=r"lifespan=chat\.lifespan"):
            await http.get("/v1/threads")


async def test_entering_twice_is_harmless(chat_app: ChatApp) -> None:
    transport = httpx.ASGITransport(chat_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as http:
        async with chat_app.lifespan():
            async with chat_app.lifespan():
                assert (await http.get("/readyz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 200
        with pytest.raises(LifespanNotEntered):
            await http.get("/readyz")
        async with chat_app.lifespan():
            assert (await http.get("/readyz")).status_code == 200


async def test_the_page_can_be_left_out(settings: Settings, agent: ScriptedAgent) -> None:
    async with served(create_app(settings, agent=agent, ui=False)) as url, chat_on(url) as chat:
        for path in ("/", "/ui/main.js"):
            response = await chat.http.get(path)
            assert (response.status_code, code_of(response)) == (404, "not_found")
        assert (await chat.http.get("/docs")).status_code == 200


async def test_draining_sends_viewers_away_and_takes_no_new_runs(chat_app: ChatApp, agent: ScriptedAgent) -> None:
    async with served(chat_app) as url, chat_on(url) as chat:
        sent = await chat.send("one hold two")
        seen = []
        async for event in chat.events(sent["thread_id"]):
            seen.append(event)
            chat_app.drain()
        assert [event.data for event in seen] == ["one "], "the stream ended cleanly, without an end"
        refused = await chat.post("more")
        assert (refused.status_code, code_of(refused)) == (503, "shutting_down")
        agent.release.set()


async def test_draining_sends_away_who_waits_for_a_run(chat_app: ChatApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stream that is empty and ends cleanly: `EventSource` comes back after that, after a 503 it would not."""
    monkeypatch.setattr(_reading, "WAIT_SECONDS", 10 * DEADLINE)
    asked, newest = asyncio.Event(), RunStore.newest

    async def noted(store: RunStore, owner: str, thread_id: UUID, *, limit: int) -> list[Run]:
        asked.set()
        return await newest(store, owner, thread_id, limit=limit)

    monkeypatch.setattr(RunStore, "newest", noted)
    async with served(chat_app) as url, chat_on(url) as chat:
        waiting = asyncio.create_task(chat.stream_status(new_thread()))
        async with asyncio.timeout(DEADLINE):
            await asked.wait()
        chat_app.drain()
        for answer in (await waiting, await chat.stream_status(new_thread())):
            assert (answer.status_code, answer.text) == (200, ": ka\n")
            assert answer.headers["content-type"].startswith("text/event-stream")


async def test_a_drain_without_a_lifespan_says_what_is_missing(chat_app: ChatApp) -> None:
    with pytest.raises(LifespanNotEntered):
        chat_app.drain()


async def test_what_cannot_answer_is_refused_at_once(settings: Settings) -> None:
    with pytest.raises(TypeError, match="compiled LangGraph graph"):
        create_app(settings, agent=object())


class Count(TypedDict):
    """A state without messages."""

    count: int


async def test_a_lifespan_that_cannot_begin_says_why_each_time_it_is_entered(settings: Settings) -> None:
    graph = StateGraph(Count)
    graph.add_node("node", lambda state: {"count": 1})
    graph.add_edge(START, "node")
    app = create_app(settings, agent=graph.compile())
    for _ in range(2):
        with pytest.raises(ValueError, match="messages"):
            async with app.lifespan():
                pass


async def test_the_first_to_enter_waits_for_the_others_to_leave(chat_app: ChatApp) -> None:
    second_is_in, second_may_leave, order = asyncio.Event(), asyncio.Event(), []

    async def first() -> None:
        async with chat_app.lifespan():
            await second_is_in.wait()
        order.append("first")

    async def second() -> None:
        async with chat_app.lifespan():
            second_is_in.set()
            await second_may_leave.wait()
            chat_app.drain()  # still served
            order.append("second")

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        tasks.create_task(first())
        tasks.create_task(second())
        await second_is_in.wait()
        await asyncio.sleep(0)
        second_may_leave.set()
    assert order == ["second", "first"]


async def test_signals_are_heard_before_the_handler_that_was_there_and_put_back() -> None:
    heard: list[str] = []

    def server(number: int, frame: object) -> None:
        heard.append("server")

    event = asyncio.Event()
    before = signal.signal(signal.SIGTERM, server)
    try:
        with set_on_signals(event, patience=DEADLINE):
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(DEADLINE):
                await event.wait()
            assert heard == ["server"]
        assert signal.getsignal(signal.SIGTERM) is server
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_signal_that_nobody_handles_ends_the_process_when_it_had_time_to_end_well() -> None:
    program = """
import asyncio, os, signal
from resumable_stream.app._signals import set_on_signals

async def main():
    closing = asyncio.Event()
    with set_on_signals(closing, patience=0.2):
        os.kill(os.getpid(), signal.SIGTERM)
        await closing.wait()
        print("closing", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
    async with asyncio.timeout(DEADLINE):
        process = await anyio.run_process([sys.executable, "-c", program], check=False)
    assert (process.stdout, process.returncode) == (b"closing\n", -signal.SIGTERM)


async def test_outside_of_the_main_thread_no_signal_is_touched() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def look() -> object:
        with set_on_signals(asyncio.Event(), patience=DEADLINE):
            return signal.getsignal(signal.SIGTERM)

    assert await anyio.to_thread.run_sync(lambda: asyncio.run(look())) is before
