"""What one owner may have at once: more is refused, and nobody else notices."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import Chat, by_header, chat_on, code_of, eventually, served, settings_for
from resumable_stream.app import Settings, create_app


async def test_an_owner_has_so_many_runs_at_once_over_all_processes_and_no_more(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None
) -> None:
    settings = settings_for(valkey_url, database_url, max_active_runs_per_owner=3)
    agents = [ScriptedAgent(), ScriptedAgent()]
    apps = [create_app(settings, agent=agent, identify=by_header) for agent in agents]
    async with (
        served(apps[0]) as one,
        served(apps[1]) as two,
        chat_on(one, user="ann") as here,
        chat_on(two, user="ann") as there,
        chat_on(two, user="bob") as bob,
    ):
        responses = await asyncio.gather(*(chat.post("hold hello") for chat in [here, there] * 10))
        refused = [response for response in responses if response.status_code != 200]
        assert {(r.status_code, code_of(r), r.headers["Retry-After"]) for r in refused} == {(429, "too_many_runs", "5")}
        assert len(refused) == 17
        assert len((await here.threads())["threads"]) == 3, "what was refused leaves no thread"
        await bob.send("hello bob")
        busy = next(response.json() for response in responses if response.status_code == 200)
        assert code_of(await here.post("hello", busy["thread_id"])) == "run_active", "the nearer reason is told"
        assert (await here.stop(busy["thread_id"])).json()["stopped"]
        await eventually(lambda: accepted(there))
        for agent in agents:
            agent.release.set()
    assert len(list(empty_redis.scan_iter(match="*:log"))) == 5, "what was refused leaves no stream"


async def accepted(chat: Chat) -> bool:
    return (await chat.post("hello")).status_code == 200


async def test_the_last_place_is_taken_once_by_one_key_however_often_it_is_sent(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, agent: ScriptedAgent
) -> None:
    settings = settings_for(valkey_url, database_url, max_active_runs_per_owner=1)
    headers = {"Idempotency-Key": str(uuid4())}
    async with (
        served(create_app(settings, agent=agent, identify=by_header)) as url,
        chat_on(url, user="ann") as chat,
    ):
        responses = await asyncio.gather(*(chat.post("hold hello", None, **headers) for _ in range(10)))
        assert {response.status_code for response in responses} == {200}
        assert len({response.text for response in responses}) == 1
        assert code_of(await chat.post("another")) == "too_many_runs"
        agent.release.set()


async def test_there_is_a_usual_limit_where_owners_are_told_apart_and_none_where_they_are_not(
    settings: Settings, agent: ScriptedAgent
) -> None:
    named, nobody = create_app(settings, agent=agent, identify=by_header), create_app(settings, agent=agent)
    async with served(named) as url, chat_on(url, user="ann") as chat:
        assert sorted(await statuses(chat, 21)) == [200] * 20 + [429]
    async with served(nobody) as url, chat_on(url) as chat:
        assert await statuses(chat, 21) == [200] * 21
        agent.release.set()


async def statuses(chat: Chat, count: int) -> list[int]:
    """Post so many messages that are not answered before the test says so."""
    responses: list[Any] = [await chat.post("hold hello") for _ in range(count)]
    return [response.status_code for response in responses]
