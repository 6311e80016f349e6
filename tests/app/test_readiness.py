"""``/readyz`` says what is missing, to anybody, without becoming a load on what is asked."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
import pytest
from psycopg import sql
from redis import Redis

from app.processes import server
from app.scripted import ScriptedAgent
from app.serving import DEADLINE, Chat, chat_on, eventually, served, settings_for
from core.streams import faulty
from resumable_stream.app import ChatApp, Settings, create_app


async def readiness(chat: Chat) -> tuple[int, dict[str, str]]:
    response = await chat.http.get("/readyz")
    assert response.headers["cache-control"] == "no-store"
    found: dict[str, str] = response.json()
    return response.status_code, found


async def test_a_server_that_drains_is_alive_and_not_ready(chat: Chat, app: ChatApp) -> None:
    async def ready() -> bool:
        return await readiness(chat) == (200, {"status": "ready", "redis": "ok", "postgres": "ok"})

    await eventually(ready)
    app.drain()
    assert await readiness(chat) == (503, {"status": "draining", "redis": "ok", "postgres": "ok"})
    assert (await chat.http.get("/healthz")).status_code == 200


async def test_a_standby_is_told_from_a_postgres_that_is_away(
    settings: Settings, agent: ScriptedAgent, database_url: str
) -> None:
    name = sql.Identifier(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"] or "")  # type: ignore[arg-type]
    setting = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")

    async def alter(value: str) -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(setting.format(name, sql.SQL(value)))

    await alter("on")  # for connections that are made from now on
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:

        async def standby() -> bool:
            return await readiness(chat) == (503, {"status": "not_ready", "redis": "ok", "postgres": "read_only"})

        await eventually(standby)
        await alter("off")


async def test_tables_that_are_not_there_are_told_from_a_postgres_that_is_away(
    settings: Settings, agent: ScriptedAgent, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
        await admin.execute("DROP SCHEMA public")  # so there is no place for tables
        async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:

            async def without_tables() -> bool:
                return (await readiness(chat))[1] == {"status": "not_ready", "redis": "ok", "postgres": "not_set_up"}

            await eventually(without_tables)
            await admin.execute("CREATE SCHEMA public")

            async def ready() -> bool:
                return (await readiness(chat))[0] == 200

            await eventually(ready)


async def test_many_who_ask_at_once_or_soon_after_are_one_question_to_the_servers(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, agent: ScriptedAgent
) -> None:
    async with faulty(valkey_url) as (proxy, _):
        settings = settings_for(f"redis://{proxy.host}:{proxy.port}", database_url)
        async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:

            async def ready() -> bool:
                return (await readiness(chat))[0] == 200

            await eventually(ready)
            before = Counter(proxy.commands)
            async with asyncio.timeout(DEADLINE):
                found = await asyncio.gather(*(readiness(chat) for _ in range(100)))
                found += [await readiness(chat) for _ in range(50)]
            assert {status for status, _ in found} == {200}
            asked = Counter(proxy.commands) - before
            # A slow machine may take more than the second that an answer is kept.
            assert asked["EVALSHA"] + asked["EVAL"] < 20, asked


async def test_a_look_that_nobody_waits_for_any_more_ends_with_the_app(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, agent: ScriptedAgent
) -> None:
    async with faulty(valkey_url) as (proxy, _):
        settings = settings_for(f"redis://{proxy.host}:{proxy.port}", database_url)
        app = create_app(settings, agent=agent)
        async with app.lifespan():
            proxy.blackhole()
            probe = app._get_services().readiness
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await probe.find()
            assert "resumable_stream readiness" in {task.get_name() for task in asyncio.all_tasks()}
        assert "resumable_stream readiness" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_server_whose_runs_are_for_workers_says_whether_their_queue_is_open_and_how_many_they_are(
    valkey_url: str, database_url: str, redis_admin: Redis
) -> None:
    redis_admin.flushall()  # not `empty_redis`: keys of the queue may stay
    async with server(valkey_url, database_url, run_executor="worker") as process, chat_on(process.url) as chat:
        await process.ready()
        assert await readiness(chat) == (
            200,
            {"status": "ready", "redis": "ok", "postgres": "ok", "queue": "ok", "workers": 0},
        )
    redis_admin.flushall()
