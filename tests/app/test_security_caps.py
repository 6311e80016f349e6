"""What one owner may have at once: more is refused, and nobody else notices."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from httpx import Response
from psycopg import AsyncConnection
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, Chat, by_header, chat_on, code_of, eventually, new_thread, served, settings_for
from resumable_stream.app import Settings, create_app
from resumable_stream.app._limits import OwnerLimits, owner_limits
from resumable_stream.runs._limits import _LOCK


async def test_an_owner_has_so_many_runs_at_once_over_all_processes_and_no_more(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None
) -> None:
    settings = settings_for(valkey_url, database_url, max_active_runs_per_owner=3, stream_lease_seconds=10)
    agents = [ScriptedAgent(), ScriptedAgent()]
    apps = [create_app(settings, agent=agent, identify=by_header) for agent in agents]
    async with (
        served(apps[0]) as one,
        served(apps[1]) as two,
        chat_on(one, user="ann") as here,
        chat_on(two, user="ann") as there,
        chat_on(two, user="bob") as bob,
    ):
        responses = await asyncio.gather(*(settled(chat, "hold hello") for chat in [here, there] * 10))
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


async def settled(chat: Chat, message: str) -> Response:
    """Post a message until it is known what became of it: a machine with much else to do may be too slow at first."""
    key = str(uuid4())
    async with asyncio.timeout(DEADLINE):
        while (response := await chat.post(message, None, **{"Idempotency-Key": key})).status_code == 503:
            pass
    return response


async def accepted(chat: Chat) -> bool:
    return (await chat.post("hello")).status_code == 200


async def test_the_last_place_is_taken_once_by_one_key_however_often_it_is_sent(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, agent: ScriptedAgent
) -> None:
    settings = settings_for(valkey_url, database_url, max_active_runs_per_owner=1, stream_lease_seconds=10)
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


async def test_who_has_too_many_runs_is_told_so_without_waiting_for_a_turn(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, agent: ScriptedAgent
) -> None:
    """A flood of requests that are refused anyway holds no connections to Postgres that others need."""
    settings = settings_for(valkey_url, database_url, max_active_runs_per_owner=1, stream_lease_seconds=10)
    async with (
        served(create_app(settings, agent=agent, identify=by_header)) as url,
        chat_on(url, user="ann") as chat,
        await AsyncConnection.connect(database_url) as other,
    ):
        await chat.send("hold hello")
        await other.execute("SELECT pg_advisory_xact_lock(%s, hashtext('ann'))", (_LOCK,))
        responses = await asyncio.gather(*(settled(chat, "more") for _ in range(30)))
        assert {code_of(response) for response in responses} == {"too_many_runs"}
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
    responses = [await settled(chat, "hold hello") for _ in range(count)]
    return [response.status_code for response in responses]


async def test_an_owner_has_so_many_streams_open_and_gets_the_place_of_one_that_ends(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, agent: ScriptedAgent
) -> None:
    """Also those that still wait for a run count, and those that were refused do not."""
    settings = settings_for(valkey_url, database_url, max_streams_per_owner=2)
    async with (
        served(create_app(settings, agent=agent, identify=by_header)) as url,
        chat_on(url, user="ann") as ann,
        chat_on(url, user="bob") as bob,
        asyncio.timeout(DEADLINE),
    ):
        sent = await ann.send("hold hello")
        first = ann.events(sent["thread_id"], format="json")
        following = asyncio.ensure_future(first.__anext__())
        waiting = asyncio.create_task(ann.stream_status(new_thread()))
        await eventually(lambda: refused(ann))
        response = await ann.stream_status(new_thread())
        assert (response.status_code, code_of(response)) == (429, "too_many_streams")
        assert response.headers["Retry-After"] == "5"
        elsewhere = await bob.stream_status(new_thread(), last_event_id="1-1")
        assert elsewhere.status_code == 404, "others have places of their own"
        assert (await waiting).status_code == 404
        assert (await ann.stream_status(new_thread(), last_event_id="1-1")).status_code == 404, "its place is free"
        agent.release.set()
        await following
        await first.aclose()
        assert await ann.answer(sent["thread_id"], run_id=sent["run_id"]) == "hello "


async def refused(chat: Chat) -> bool:
    """Whether no stream can be opened now. A malformed cursor keeps a place for no time at all."""
    return (await chat.stream_status(new_thread(), last_event_id="x")).status_code == 429


async def test_streams_have_a_usual_limit_only_where_owners_are_told_apart(settings: Settings) -> None:
    assert owner_limits(settings, identified=True) == OwnerLimits(active_runs=20, open_streams=64)
    assert owner_limits(settings, identified=False) == OwnerLimits(active_runs=None, open_streams=None)
