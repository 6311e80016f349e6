"""Runs executed by worker processes: taken from the queue, handed over, stopped while they wait; each answered once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from redis import Redis

from app.processes import ServerProcess, server
from app.scripted import ScriptedAgent
from app.serving import Chat, chat_on, eventually, served, settings_for
from app.test_handover import LONG, WHOLE, assert_answered_once, follow, held, words
from resumable_stream.app import create_app
from resumable_stream.runs import RunQueue
from runs.test_queue import put
from support import keys_without_ttl, wait_until

TESTS = Path(__file__).parent.parent


@pytest.fixture
async def stack(redis_admin: Redis, database_url: str, no_tasks_left: None) -> AsyncIterator[AsyncExitStack]:
    """The keys of docket's that stay are the queue itself, and who works it off."""
    redis_admin.flushall()
    async with AsyncExitStack() as opened:
        yield opened
    ours = [key for key in keys_without_ttl(redis_admin) if not key.startswith(b"resumable-stream:")]
    assert ours == []


@asynccontextmanager
async def worker(valkey_url: str, database_url: str, **settings: object) -> AsyncIterator[ServerProcess]:
    """A worker process of the command line; it is killed in the end."""
    environment = {
        **os.environ,
        "REDIS_URL": valkey_url,
        "DATABASE_URL": database_url,
        "STREAM_LEASE_SECONDS": "2",
        "TOKENS_PER_SECOND": "100",
        "RUN_EXECUTOR": "worker",
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        **{name.upper(): str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-c", "import sys; from resumable_stream.cli import main; sys.exit(main())"]
    command += ["worker", "--app", "app.server_process:app", "--concurrency", "20"]
    process = await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)
    started = ServerProcess(process, 0)
    try:
        yield started
    finally:
        await started.kill()


async def web(stack: AsyncExitStack, valkey_url: str, database_url: str, **settings: object) -> Chat:
    """A web process that executes nothing, and a client for it."""
    given = {"run_executor": "worker", "tokens_per_second": 100, **settings}
    one = await stack.enter_async_context(server(valkey_url, database_url, **given))  # type: ignore[arg-type]
    await one.ready()
    return await stack.enter_async_context(chat_on(one.url))


def address(chat: Chat) -> str:
    return str(chat.http.base_url)


async def test_a_worker_answers_what_the_web_process_takes(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    """Also what was taken before there was a worker."""
    chat = await web(stack, valkey_url, database_url)
    sent = [await chat.send(LONG) for _ in range(3)]
    await stack.enter_async_context(worker(valkey_url, database_url))

    async def counted() -> bool:
        return bool((await chat.http.get("/readyz")).json()["workers"] == 1)

    await wait_until(counted, what="the server knows of the worker")
    for one in sent:
        events = await follow([address(chat)], one["thread_id"])
        assert words(events) == ["message_ended", "end"]
        await assert_answered_once(chat, one["thread_id"], events)


async def test_a_message_in_the_queue_can_be_stopped(stack: AsyncExitStack, valkey_url: str, database_url: str) -> None:
    """No worker is needed for that, and none answers it later."""
    chat = await web(stack, valkey_url, database_url)
    sent = await chat.send(LONG)
    assert (await chat.stop(sent["thread_id"])).json()["stopped"]
    events = await chat.read(sent["thread_id"], run_id=sent["run_id"])
    assert words(events) == ["cancelled", "end"]
    await stack.enter_async_context(worker(valkey_url, database_url))
    again = await chat.send(LONG, sent["thread_id"])
    events = await follow([address(chat)], sent["thread_id"])
    assert held(events) == WHOLE
    assert again["run_id"] != sent["run_id"]
    contents = [message["content"] for message in await chat.history(sent["thread_id"])]
    assert contents == [LONG, LONG, WHOLE]


async def test_a_message_that_no_worker_takes_is_lost_in_time(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    chat = await web(stack, valkey_url, database_url, run_queue_seconds=1)
    sent = await chat.send(LONG)
    assert words(await chat.read(sent["thread_id"])) == ["lost", "end"]

    async def free() -> bool:
        return (await chat.post("next", sent["thread_id"])).status_code == 200

    await eventually(free)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
async def test_what_a_worker_leaves_is_answered_by_another(
    stack: AsyncExitStack, valkey_url: str, database_url: str, end: signal.Signals
) -> None:
    chat = await web(stack, valkey_url, database_url)
    times = {"shutdown_grace_seconds": 0.2, "drain_seconds": 0.2}
    first = await stack.enter_async_context(worker(valkey_url, database_url, **times))
    sent = [await chat.send(LONG) for _ in range(3)]
    seen = [await follow([address(chat)], one["thread_id"], until=5) for one in sent]
    await stack.enter_async_context(worker(valkey_url, database_url, **times))
    first.signal(end)
    assert await first.wait(15) == (-signal.SIGKILL if end is signal.SIGKILL else 0)
    for one, some in zip(sent, seen, strict=True):
        async with asyncio.timeout(30):
            rest = [event async for event in chat.events(one["thread_id"], cursor=some[-1].id)]
        assert words(rest) == ["message_restarted", "message_ended", "end"]
        await assert_answered_once(chat, one["thread_id"], some + rest)


async def test_a_worker_that_is_told_to_stop_takes_no_more_messages(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    """It has time to finish what it does; what comes meanwhile is for others, and does not go through its hands.

    Fails without the end of the queue (`app/_services.py`).
    """
    agent = ScriptedAgent()
    settings = settings_for(valkey_url, database_url, run_executor="worker")
    chat = await stack.enter_async_context(
        chat_on(await stack.enter_async_context(served(create_app(settings, agent=agent))))
    )
    times = {"handle_signals": True, "shutdown_grace_seconds": 20, "run_executor": "worker"}
    stopping = create_app(settings_for(valkey_url, database_url, **times), agent=agent)
    taken: list[UUID] = []

    async def perform(run_id: UUID) -> None:
        taken.append(run_id)

    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(stopping.work())
        sent = await chat.send("hold on")
        await wait_until(agent.held.is_set, what="the worker is at work")
        os.kill(os.getpid(), signal.SIGTERM)
        other = RunQueue(valkey_url, perform=perform, concurrency=40)
        taking = tasks.create_task(other.keep_open())
        runs = {await put(other) for _ in range(20)}
        try:
            await wait_until(lambda: runs <= set(taken), what="the other worker has them all")
        finally:
            agent.release.set()
        await ending
        taking.cancel()
    assert await chat.answer(sent["thread_id"], run_id=sent["run_id"]) == "on "
