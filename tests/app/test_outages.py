"""Redis or Postgres away: at start, at a request, during a run. Answers come soon, and all heals without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from app.outages import Fault, Lines, Service, is_ready, lines_to, requests
from app.scripted import ScriptedAgent
from app.serving import DEADLINE, chat_on, code_of, eventually, new_thread, served, settings_for
from resumable_stream.app import Settings, create_app

PROMPT = 6.0
"""Seconds: three times what is promised, for machines that do much else."""


@pytest.fixture
async def lines(valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None) -> AsyncIterator[Lines]:
    async with lines_to(valkey_url, database_url) as lines:
        yield lines


@pytest.fixture
def settings(lines: Lines) -> Settings:
    # The lease outlasts the outages of these tests: what they are about is not a dead process.
    return settings_for(lines.redis_url, lines.database_url, stream_lease_seconds=60.0)


@pytest.mark.parametrize("fault", ["refused", "silent"])
@pytest.mark.parametrize("service", ["redis", "postgres"])
async def test_the_app_starts_without_a_service_and_finds_it_later(
    lines: Lines, settings: Settings, agent: ScriptedAgent, service: Service, fault: Fault
) -> None:
    await lines.break_(service, fault)
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
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


@pytest.mark.parametrize("fault", ["refused", "silent"])
@pytest.mark.parametrize("service", ["redis", "postgres"])
async def test_every_route_says_soon_that_a_service_is_away_and_works_again_after(
    lines: Lines,
    settings: Settings,
    agent: ScriptedAgent,
    service: Service,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
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


async def test_a_viewer_and_a_run_live_through_an_outage_of_redis(
    lines: Lines, settings: Settings, agent: ScriptedAgent
) -> None:
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
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
    lines: Lines, settings: Settings, agent: ScriptedAgent
) -> None:
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
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


async def test_a_partial_answer_that_could_not_be_kept_is_kept_later(
    lines: Lines, settings: Settings, agent: ScriptedAgent
) -> None:
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
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
