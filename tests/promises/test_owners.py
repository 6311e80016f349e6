"""Promise 19: whatever a user has of somebody else's, it leads nowhere, and nothing is learned from trying.

Every route is tried that says who is calling: a new one fails these tests until it is told here what to try on it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, Chat, by_header, chat_on, code_of, new_thread, served, settings_for, text_of
from core.sse_parser import parse
from promises.matrix import in_corners
from resumable_stream import _links
from resumable_stream.app import create_app
from resumable_stream.app._operations import OPERATIONS
from resumable_stream.runs import _reading


class Names(NamedTuple):
    """What somebody may have heard of a conversation."""

    thread: str
    run: str
    cursor: str


Asked = dict[str, Any]
"""The arguments of one request, as httpx takes them."""


def of_thread(names: Names) -> Asked:
    return {"params": {"thread_id": names.thread}}


def said(names: Names, **headers: str) -> Asked:
    return {"json": {"message": "mine now", "thread_id": names.thread}, "headers": headers}


TRIED: dict[str, Callable[[Names], list[Asked]]] = {
    "POST /v1/chat/message": lambda names: [
        said(names),
        said(names, **{"Idempotency-Key": "hers"}),
        said(names, **{"Idempotency-Key": "new"}),
        said(names, **{"Last-Event-ID": names.cursor}),
        {"json": {"message": "mine now", "thread_id": names.thread, "multitask_strategy": "interrupt"}},
    ],
    "POST /v1/chat/resume": lambda names: [
        {"json": {"thread_id": names.thread, "answers": {"question": "mine now"}}},
        {"json": {"thread_id": names.thread, "answers": {"question": "x"}}, "headers": {"Idempotency-Key": "hers"}},
    ],
    "GET /v1/chat/stream": lambda names: [
        of_thread(names),
        {"params": {"thread_id": names.thread, "run_id": names.run}},
        {"params": {"thread_id": names.thread, "last_event_id": names.cursor}},
        {"params": {"thread_id": names.thread, "run_id": names.run, "format": "json"}},
        {"params": {"thread_id": names.thread}, "headers": {"Last-Event-ID": names.cursor}},
    ],
    "POST /v1/chat/stop": lambda names: [
        {"json": {"thread_id": names.thread}},
        {"json": {"thread_id": names.thread, "run_id": names.run}},
    ],
    "GET /v1/thread": lambda names: [of_thread(names)],
    "PATCH /v1/thread": lambda names: [of_thread(names) | {"json": {"chat_name": "mine now"}}],
    "DELETE /v1/thread": lambda names: [of_thread(names)],
}
"""What is tried on each route that takes such names."""

LISTS = {"GET /v1/threads"}
"""Routes that take none: they are about everything of the caller's."""

MADE = {"POST /v1/chat/message"}
"""Routes for which an id that nobody has used is a good one."""


def test_every_route_that_says_who_is_calling_is_tried() -> None:
    secured = {f"{operation.method} {operation.path}" for operation in OPERATIONS if operation.secured}
    assert secured == TRIED.keys() | LISTS


WORK: ContextVar[list[str]] = ContextVar("WORK")
"""What the request under way has asked Postgres and Redis for: as much as can be told from its time."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """For each request, what it has asked the servers for. Everything is asked as ever."""
    execute, call = psycopg.AsyncConnection.execute, _links.CommandLink.call

    async def noted_execute(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        WORK.get([]).append(str(query))
        return await execute(self, query, *args, **options)

    async def noted_call(self: Any, command: bytes, *args: Any) -> Any:
        WORK.get([]).append(command.split(b"\r\n")[2].decode())
        return await call(self, command, *args)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", noted_execute)
    monkeypatch.setattr(_links.CommandLink, "call", noted_call)
    monkeypatch.setattr(_reading, "WAIT_SECONDS", 0.05)  # of 2 s, for each thread that is not there
    return []


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
async def url(
    client_url: str, database_url: str, redis: object, agent: ScriptedAgent, work: list[list[str]]
) -> AsyncIterator[str]:
    app: ASGIApp = create_app(settings_for(client_url, database_url), agent=agent, identify=by_header)

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked: list[str] = []
            work.append(asked)
            WORK.set(asked)
        await app(scope, receive, send)

    async with served(noted) as url:
        yield url


@pytest.fixture
async def ann(url: str) -> AsyncIterator[Chat]:
    async with chat_on(url, user="ann") as client:
        yield client


@pytest.fixture
async def bob(url: str) -> AsyncIterator[Chat]:
    async with chat_on(url, user="bob") as client:
        yield client


async def ended(chat: Chat, message: str) -> Names:
    """A conversation whose only run has ended."""
    sent = await chat.send(message)
    events = await chat.read(sent["thread_id"], run_id=sent["run_id"])
    return Names(sent["thread_id"], sent["run_id"], events[0].id)


async def deleted(chat: Chat) -> Names:
    """A conversation that was deleted."""
    names = await ended(chat, "old words")
    assert (await chat.delete(names.thread)).status_code == 204
    return names


class Conversations(NamedTuple):
    """Of one user, one of each kind."""

    active: Names
    ended: Names
    deleted: Names


async def conversations(chat: Chat, agent: ScriptedAgent) -> Conversations:
    """With an active run that waits at ``agent.release``."""
    sent = await chat.post("secret hold words", **{"Idempotency-Key": "hers"})
    async with asyncio.timeout(DEADLINE):
        await agent.held.wait()
        event = await anext(chat.events(sent.json()["thread_id"], run_id=sent.json()["run_id"]))
    active = Names(sent.json()["thread_id"], sent.json()["run_id"], event.id)
    return Conversations(active, await ended(chat, "secret old words"), await deleted(chat))


def shown(response: httpx.Response) -> tuple[int, str, dict[str, str]]:
    """All that a client gets, but the time of day."""
    return response.status_code, response.text, {**response.headers, "date": ""}


@pytest.mark.promise(number=19)
@in_corners
async def test_what_is_somebody_elses_is_answered_as_what_is_not_there(
    ann: Chat, bob: Chat, agent: ScriptedAgent, work: list[list[str]]
) -> None:
    """The same status, body and headers, after the same questions to Postgres and Redis, so in the same time.

    Whether an id was never used, or belonged to a thread of the caller's own that is deleted, makes no difference.
    A message for an id that was never used begins a thread, so that one is compared with the deleted one only.

    Fails without the owner of a run's thread (`runs/_run_store.py`), without the owner of a thread that gets a message
    (`runs/_run_store.py`), without the owner of a thread that is read (`runs/_thread_store.py`), without the owner of a
    thread that is renamed (`runs/_thread_store.py`), and without the owner of a thread that is deleted
    (`runs/_thread_store.py`).
    """
    hers = await conversations(ann, agent)
    never = Names(new_thread(), new_thread(), hers.active.cursor)
    own = await deleted(bob)

    async def ask(route: str, asked: Asked) -> tuple[object, ...]:
        method, path = route.split()
        response = await bob.http.request(method, path, **asked)
        assert (response.status_code, code_of(response)) == (404, "thread_not_found"), (route, asked)
        assert work[-1], "it is known what was asked"
        return *shown(response), list(dict.fromkeys(work[-1]))

    for route, tries in TRIED.items():
        compared = [own] if route in MADE else [own, never]
        expected = [[await ask(route, asked) for asked in tries(names)] for names in compared]
        for names in hers:
            got = [await ask(route, asked) for asked in tries(names)]
            for answers in expected:
                assert got == answers, route

    assert (await ann.http.get("/v1/thread", params={"thread_id": hers.active.thread})).status_code == 200
    assert [turn.message for turn in agent.turns if "mine" in turn.message] == []
    agent.release.set()
    assert await ann.answer(hers.active.thread, run_id=hers.active.run) == "secret words "
    assert {one["id"] for one in (await ann.threads())["threads"]} == {hers.active.thread, hers.ended.thread}
    assert [one.get("chat_name") for one in (await ann.threads())["threads"]] == [None, None]


@pytest.mark.promise(number=19)
@in_corners
async def test_a_foreign_run_or_cursor_is_as_good_as_a_made_up_one(ann: Chat, bob: Chat, agent: ScriptedAgent) -> None:
    """Also on a thread of the caller's own, where they are looked for.

    Fails without the comparison of a run's thread (`runs/_reading.py`), and without the comparison of the thread of a
    run to stop (`runs/_manager.py`).
    """
    hers = await conversations(ann, agent)
    other, mine = await ended(bob, "other words"), await ended(bob, "my words")
    for names in (*hers, other, Names("", new_thread(), "")):
        for response in (
            await bob.stream_status(mine.thread, run_id=names.run),
            await bob.stop(mine.thread, names.run),
        ):
            assert (response.status_code, code_of(response)) == (404, "run_not_found")
    generation, _, sequence = hers.active.cursor.partition("-")
    made_up = f"{int(generation) + 1}-{sequence}"
    seen = []
    for cursor in (hers.active.cursor, hers.ended.cursor, made_up):
        for form in ({}, {"format": "json"}):
            response = await bob.stream_status(mine.thread, last_event_id=cursor, **form)
            seen.append((form, [(event.type, event.data, event.last_event_id) for event in parse(response.content)]))
    assert seen[:2] == seen[2:4] == seen[4:]
    assert "secret" not in json.dumps(seen)
    agent.release.set()
    await ann.read(hers.active.thread, run_id=hers.active.run)

    later = await ended(ann, "words said later")  # a newer run of hers, whose cursor is ahead of all of his
    events = [event async for event in bob.events(mine.thread, cursor=later.cursor)]
    assert text_of(events) in ("my words ", "")


@pytest.mark.promise(number=19)
@in_corners
async def test_ids_keys_and_cursors_of_lists_are_each_owners_own(ann: Chat, bob: Chat, agent: ScriptedAgent) -> None:
    """The same idempotency key, and the cursor of somebody else's list, lead to the caller's own things.

    And an id that somebody has used is never anybody else's, not even after its thread was deleted.

    Fails without the owner of an idempotency key (`runs/_run_store.py`), without the owner of a list
    (`runs/_thread_store.py`), and without the mark of a deleted thread (`runs/_thread_store.py`).
    """
    for number, words in enumerate(("the same words", "other words")):
        key = {"Idempotency-Key": f"one-and-the-same-{number}"}
        hers, his = await ann.post("the same words", **key), await bob.post(words, **key)
        assert (hers.status_code, his.status_code) == (200, 200)
        assert set(hers.json().values()).isdisjoint(his.json().values())
        await ann.read(hers.json()["thread_id"], run_id=hers.json()["run_id"])
        await bob.read(his.json()["thread_id"], run_id=his.json()["run_id"])

    everything = {thread["id"] for thread in (await bob.threads())["threads"]}
    assert len(everything) == 2
    cursor = (await ann.threads(limit=1))["next_cursor"]
    assert {thread["id"] for thread in (await bob.threads(cursor=cursor))["threads"]} <= everything

    thread_id = new_thread()
    both = await asyncio.gather(ann.post("mine", thread_id), bob.post("mine", thread_id))
    assert sorted(response.status_code for response in both) == [200, 404]
    first, second = (ann, bob) if both[0].status_code == 200 else (bob, ann)
    (run_id,) = (response.json()["run_id"] for response in both if response.status_code == 200)
    await first.read(thread_id, run_id=run_id)
    assert (await first.delete(thread_id)).status_code == 204
    for chat in (first, second):
        assert code_of(await chat.post("mine after all", thread_id)) == "thread_not_found"
