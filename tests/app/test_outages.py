"""Redis or Postgres away: at start, at a request, during a run. Answers come soon, and all heals without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, Chat, chat_on, code_of, eventually, new_thread, served, settings_for
from resumable_stream.app import Settings, create_app
from resumable_stream.testing import FaultProxy

PROMPT = 6.0
"""Seconds: three times what is promised, for machines that do much else."""

Service = Literal["redis", "postgres"]
Fault = Literal["refused", "silent"]


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines to both services, and settings that use them."""

    redis: FaultProxy
    postgres: FaultProxy
    settings: Settings

    async def break_(self, service: Service, fault: Fault) -> None:
        line = self.redis if service == "redis" else self.postgres
        if fault == "refused":
            await line.down()
        else:
            line.blackhole()

    async def mend(self, service: Service) -> None:
        line = self.redis if service == "redis" else self.postgres
        line.heal()
        await line.up()


@pytest.fixture
async def lines(valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None) -> AsyncIterator[Lines]:
    async with _line(valkey_url) as (redis, redis_url), _line(database_url) as (postgres, dsn):
        # The lease outlasts the outages of these tests: what they are about is not a dead process.
        yield Lines(redis, postgres, settings_for(redis_url, dsn, stream_lease_seconds=60.0))


@asynccontextmanager
async def _line(url: str) -> AsyncIterator[tuple[FaultProxy, str]]:
    parts = urlsplit(url)
    async with FaultProxy(parts.hostname or "", parts.port or 0) as proxy:
        account = f"{parts.username}:{parts.password or ''}@" if parts.username else ""
        yield proxy, parts._replace(netloc=f"{account}{proxy.host}:{proxy.port}").geturl()


async def is_ready(chat: Chat) -> bool:
    return (await chat.http.get("/readyz")).status_code == 200


@pytest.mark.parametrize("fault", ["refused", "silent"])
@pytest.mark.parametrize("service", ["redis", "postgres"])
async def test_the_app_starts_without_a_service_and_finds_it_later(
    lines: Lines, agent: ScriptedAgent, service: Service, fault: Fault
) -> None:
    await lines.break_(service, fault)
    async with served(create_app(lines.settings, agent=agent)) as url, chat_on(url) as chat:
        assert (await chat.http.get("/healthz")).status_code == 200
        async with asyncio.timeout(PROMPT):
            ready = await chat.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "not_ready")
        assert ready.json()[service] == "unavailable"
        async with asyncio.timeout(PROMPT):
            response = await chat.post("hello")
        assert (response.status_code, code_of(response)) == (503, f"{service}_unavailable")
        assert response.headers["retry-after"] == "1"
        await lines.mend(service)
        await eventually(lambda: is_ready(chat))
        thread_id = new_thread()

        async def accepted() -> bool:  # each connection finds out for itself that the line was dead
            return (await chat.post("hello", thread_id)).status_code == 200

        await eventually(accepted)
        assert await chat.answer(thread_id) == "hello "


def requests(chat: Chat, thread_id: str, run_id: str) -> dict[str, Callable[[], Awaitable[httpx.Response]]]:
    """Requests that need the service, whatever the state of the thread; the thread's run is active."""
    return {
        "message": lambda: chat.post("more", thread_id),
        "message for a new thread": lambda: chat.post("more", new_thread()),
        "stream": lambda: chat.stream_status(thread_id),
        "stream of the run": lambda: chat.stream_status(thread_id, run_id=run_id),
        "stream after a cursor": lambda: chat.stream_status(thread_id, last_event_id="1-1"),
        "stop": lambda: chat.stop(thread_id),
        "history": lambda: chat.thread(thread_id),
        "threads": lambda: chat.http.get("/v1/threads"),
    }


@pytest.mark.parametrize("fault", ["refused", "silent"])
@pytest.mark.parametrize("service", ["redis", "postgres"])
async def test_every_route_says_soon_that_a_service_is_away_and_works_again_after(
    lines: Lines, agent: ScriptedAgent, service: Service, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(create_app(lines.settings, agent=agent)) as url, chat_on(url) as chat:
        sent = await chat.send("one hold two")
        thread_id, run_id = sent["thread_id"], sent["run_id"]
        await lines.break_(service, fault)
        asked = requests(chat, thread_id, run_id)
        async with asyncio.timeout(PROMPT):
            responses = await asyncio.gather(*(ask() for ask in asked.values()))
        for name, response in zip(asked, responses, strict=True):
            assert (response.status_code, code_of(response)) == (503, f"{service}_unavailable"), name
            assert "127.0.0.1" not in response.text
        if service == "postgres":
            for response in (await chat.rename(thread_id, "x"), await chat.delete(new_thread())):
                assert (response.status_code, code_of(response)) == (503, "postgres_unavailable")
        await lines.mend(service)
        await eventually(lambda: is_ready(chat))
        agent.release.set()
        assert await chat.answer(thread_id, run_id=run_id) == "one two "
        assert (await chat.history(thread_id))[-1]["content"] == "one two "
        assert (await chat.rename(thread_id, "named")).status_code == 204

        async def free() -> bool:
            return (await chat.post("again", thread_id)).status_code == 200

        await eventually(free)
        assert "password" not in caplog.text


async def test_a_viewer_and_a_run_live_through_an_outage_of_redis(lines: Lines, agent: ScriptedAgent) -> None:
    async with served(create_app(lines.settings, agent=agent)) as url, chat_on(url) as chat:
        sent = await chat.send("one hold two three")
        viewer = asyncio.create_task(chat.answer(sent["thread_id"]))
        async with asyncio.timeout(DEADLINE):
            await agent.held.wait()
        lines.redis.cut()
        await lines.redis.down()
        agent.release.set()
        await lines.redis.up()
        assert await viewer == "one two three "


async def test_a_thread_whose_run_ended_while_postgres_was_away_takes_the_next_message(
    lines: Lines, agent: ScriptedAgent
) -> None:
    async with served(create_app(lines.settings, agent=agent)) as url, chat_on(url) as chat:
        sent = await chat.send("one hold two")
        async with asyncio.timeout(DEADLINE):
            await agent.held.wait()
        viewer = asyncio.create_task(chat.read(sent["thread_id"]))
        await eventually(lambda: has_viewer(lines))
        await lines.break_("postgres", "refused")
        agent.release.set()
        assert [event.data for event in await viewer][-1] == "end"
        await lines.mend("postgres")
        await eventually(lambda: is_ready(chat))
        again = await chat.send("again", sent["thread_id"])
        assert await chat.answer(sent["thread_id"], run_id=again["run_id"]) == "again "


async def has_viewer(lines: Lines) -> bool:
    return lines.redis.commands["SSUBSCRIBE"] >= 2  # the producer's control channel is the other one


async def test_a_partial_answer_that_could_not_be_kept_is_kept_later(lines: Lines, agent: ScriptedAgent) -> None:
    async with served(create_app(lines.settings, agent=agent)) as url, chat_on(url) as chat:
        sent = await chat.send("one hold fail")
        async with asyncio.timeout(DEADLINE):
            await agent.held.wait()
        await lines.break_("postgres", "refused")
        agent.release.set()
        await lines.redis.up()

        async def failed() -> bool:
            return sent["run_id"] in agent.closed

        await eventually(failed)
        assert agent.kept == {}
        await lines.mend("postgres")
        await eventually(lambda: is_ready(chat))

        async def kept() -> bool:
            answer = (await chat.history(sent["thread_id"]))[-1]
            return answer["content"] == "one " and bool(answer.get("stopped"))

        await eventually(kept)
