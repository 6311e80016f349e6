"""Callers are known until a moment that ``identify`` names; nothing is served to them after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.requests import Request

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, chat_on, code_of, new_thread, served, text_of
from resumable_stream.app import Identity, Settings, create_app
from resumable_stream.runs import _reading
from support import wait_until


def owned_until(moment: Callable[[], Any]) -> Callable[[Request], Identity]:
    """An ``identify`` whose callers are known until then."""
    return lambda request: Identity(request.headers["x-user"], expires_at=moment())


def soon(**units: float) -> datetime:
    return datetime.now(UTC) + timedelta(**units)


async def test_a_stream_ends_between_two_frames_when_its_caller_is_not_known_any_more(
    settings: Settings, agent: ScriptedAgent
) -> None:
    """And the next request gets what ``identify`` says. What is said meanwhile waits for who may read it."""
    lifetime = 3600.0
    given: list[datetime] = []

    def expires() -> datetime:
        given.append(soon(seconds=lifetime))
        return given[-1]

    app = create_app(settings, agent=agent, identify=owned_until(expires))
    async with served(app) as url, chat_on(url, user="ann") as chat, asyncio.timeout(DEADLINE):
        sent = await chat.send("one two hold three")
        await agent.held.wait()
        lifetime = 1.0
        events = await chat.read(sent["thread_id"], run_id=sent["run_id"])
        assert datetime.now(UTC) >= given[-1], "not before, as an age that is shortened at random would be"
        assert text_of(events) == "one two "
        assert events[-1].event == "chunk"
        lifetime = -1.0
        refused = await chat.stream_status(sent["thread_id"], last_event_id=events[-1].id)
        assert (refused.status_code, code_of(refused)) == (401, "unauthenticated")
        agent.release.set()
        lifetime = 3600.0
        assert await chat.answer(sent["thread_id"], cursor=events[-1].id) == "three "


async def test_a_caller_whose_time_is_over_is_401_on_every_route(settings: Settings, agent: ScriptedAgent) -> None:
    app = create_app(settings, agent=agent, identify=owned_until(lambda: soon(seconds=-1)))
    async with served(app) as url, chat_on(url, user="ann") as chat:
        answers = [await chat.post("hello"), await chat.http.get("/v1/threads"), await chat.stream_status(new_thread())]
        assert [(answer.status_code, code_of(answer)) for answer in answers] == [(401, "unauthenticated")] * 3
    assert agent.turns == []


async def test_a_caller_whose_time_ends_while_a_run_is_waited_for_gets_nothing_of_it(
    settings: Settings, agent: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reading, "WAIT_SECONDS", DEADLINE)
    expires = soon(hours=1)
    app = create_app(settings, agent=agent, identify=owned_until(lambda: expires))
    async with served(app) as url, chat_on(url, user="ann") as chat, asyncio.timeout(DEADLINE):
        thread_id = new_thread()
        expires = over = soon(seconds=0.3)
        waiting = asyncio.create_task(chat.stream_status(thread_id))
        await wait_until(lambda: datetime.now(UTC) > over)
        expires = soon(hours=1)
        sent = await chat.send("a secret", thread_id)
        assert (await waiting).status_code == 401
        await chat.read(thread_id, run_id=sent["run_id"])


async def test_an_identity_that_cannot_be_is_an_error_of_the_server_that_tells_callers_nothing(
    settings: Settings, agent: ScriptedAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    faults: list[tuple[Any, str]] = [
        (Identity("ann", expires_at=datetime.now() + timedelta(hours=1)), "Identity.expires_at must"),  # noqa: DTZ005 - that is the mistake
        (Identity("ann", expires_at=1.5), "Identity.expires_at must"),  # type: ignore[arg-type]
        (Identity("a\0b"), "identify() must"),
        (Identity("\ud800"), "identify() must"),
        (Identity("x" * 256), "identify() must"),
        (Identity(""), "identify() must"),
        (Identity(5), "identify() must"),  # type: ignore[arg-type]
        (5, "identify() must"),
        (b"ann", "identify() must"),
    ]
    answer: Any = None
    async with served(create_app(settings, agent=agent, identify=lambda request: answer)) as url, chat_on(url) as chat:
        for answer, told in faults:
            response = await chat.http.get("/v1/threads")
            assert (response.status_code, code_of(response)) == (500, "internal_error"), answer
            assert "dentify" not in response.text
            assert f"TypeError: {told}" in capsys.readouterr().err, answer


async def test_an_identity_without_an_end_is_as_good_as_a_name(settings: Settings, agent: ScriptedAgent) -> None:
    async def identify(request: Request) -> Identity:
        return Identity("ann")

    async with served(create_app(settings, agent=agent, identify=identify)) as url, chat_on(url) as chat:
        sent = await chat.send("hello")
        assert await chat.answer(sent["thread_id"]) == "hello "
