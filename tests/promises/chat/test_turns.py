"""Promises 12, 13 and 19 over two server processes: repeated posts, deletions, and what is not there."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from redis import Redis

from app.processes import server
from app.serving import DEADLINE, Chat, chat_on, code_of, eventually, new_thread, sql
from promises.chat.servers import Pair
from promises.chat.viewers import Viewer
from resumable_stream.demo import script
from support import wait_until

HELLO = "hello at 1000 a second"


class Clients(NamedTuple):
    """A client of each process."""

    here: Chat
    there: Chat


@pytest.fixture
async def clients(pair: Pair) -> AsyncIterator[Clients]:
    async with chat_on(pair.here.url) as here, chat_on(pair.there.url) as there:
        yield Clients(here, there)


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


@pytest.mark.promise(number=12)
async def test_twenty_posts_with_one_key_at_two_processes_are_one_run(clients: Clients, database_url: str) -> None:
    """All get the same answer, and so does who asks again when the run has ended, at any process.

    Fails without the look for a key (`runs/_run_store.py`).
    """
    headers = key()
    before = len((await clients.here.threads())["threads"])
    responses = await asyncio.gather(*(chat.post(HELLO, **headers) for chat in [*clients] * 10))
    assert {(response.status_code, response.text) for response in responses} == {(200, responses[0].text)}
    sent = responses[0].json()
    thread_id = sent["thread_id"]
    for chat in clients:
        assert await chat.answer(thread_id, run_id=sent["run_id"]) == "".join(script(HELLO))
        assert (await chat.post(HELLO, **headers)).json() == sent
        assert [message["type"] for message in await chat.history(thread_id)] == ["human", "ai"]
    asked = "SELECT count(*) FROM resumable_stream_runs WHERE message = %s AND idempotency_key = %s"
    assert await sql(database_url, asked, HELLO, headers["Idempotency-Key"]) == [(1,)]
    assert len((await clients.here.threads())["threads"]) == before + 1, "threads that were made in vain are gone"


@pytest.mark.promise(number=12)
async def test_twenty_posts_without_a_key_at_two_processes_are_one_run_and_nineteen_refusals(
    clients: Clients, redis_admin: Redis
) -> None:
    """Each refusal names the run that is active, and streams that were claimed in vain are gone.

    Fails without the refusal by a thread that is held (`runs/_run_store.py`).
    """
    thread_id = new_thread()
    before = len(list(redis_admin.scan_iter(match="*:log")))
    responses = await asyncio.gather(*(chat.post("A silent one", thread_id) for chat in [*clients] * 10))
    (sent,) = (response.json() for response in responses if response.status_code == 200)
    refused = [response for response in responses if response.status_code != 200]
    assert len(refused) == 19
    for response in refused:
        assert (response.status_code, code_of(response)) == (409, "run_active")
        assert response.json()["error"]["detail"] == [sent]
    await wait_until(lambda: len(list(redis_admin.scan_iter(match="*:log"))) == before + 1)
    await clients.there.stop(thread_id)
    for chat in clients:
        await chat.read(thread_id, run_id=sent["run_id"])
        assert [message["type"] for message in await chat.history(thread_id)] == ["human"]


@pytest.mark.promise(number=12)
@pytest.mark.parametrize("accepted", [False, True], ids=["before it was accepted", "before it was answered"])
async def test_a_key_whose_process_was_killed_while_it_answered_can_be_sent_again(
    accepted: bool, clients: Clients, valkey_url: str, database_url: str
) -> None:
    """The client has no answer, and sends its message again, to another process. It gets the run that was accepted, or
    a new one.

    Fails without the look for a key (`runs/_run_store.py`).
    """
    headers = key()
    thread_id = (await clients.there.send(HELLO))["thread_id"]
    await clients.there.read(thread_id)
    message = "Tell me about leases at 100 a second"
    async with (
        server(valkey_url, database_url, stream_lease_seconds=1, run_max_attempts=1) as first,
        chat_on(first.url) as chat,
        await psycopg.AsyncConnection.connect(database_url) as lock,
    ):
        await first.ready()
        if not accepted:
            await lock.execute("SELECT FROM resumable_stream_threads WHERE id = %s FOR UPDATE", (thread_id,))
        post = asyncio.create_task(chat.post(message, thread_id, **headers))

        async def reached() -> bool:
            if accepted:
                asked = "SELECT FROM resumable_stream_runs WHERE idempotency_key = %s"
                return bool(await sql(database_url, asked, headers["Idempotency-Key"]))
            waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = %s"
            return bool(await sql(database_url, waits, "Lock"))

        await eventually(reached)
        await first.kill()
        await asyncio.gather(post, return_exceptions=True)
        await lock.rollback()
    answers = []

    async def answered() -> bool:
        answers.append(await clients.there.post(message, thread_id, **headers))
        return answers[-1].status_code == 200

    await eventually(answered)
    sent = answers[-1].json()
    assert all(code_of(answer) == "run_active" for answer in answers[:-1])
    events = await clients.here.read(thread_id, run_id=sent["run_id"])
    assert [event.data for event in events[-2:]] == (["lost", "end"] if accepted else [events[-2].data, "end"])
    assert (await clients.here.post(message, thread_id, **headers)).json() == sent

    async def free() -> bool:
        return (await clients.here.post(HELLO, thread_id)).status_code == 200

    await eventually(free)
    await clients.there.read(thread_id)
    history = await clients.there.history(thread_id)
    assert [one["content"] for one in history if one["type"] == "human"] == [HELLO, message, HELLO]


async def left_of(thread_id: str, stream_id: str, database_url: str, redis_admin: Redis) -> list[object]:
    """What is still there of a deleted thread, beside the mark that it is deleted."""
    found: list[object] = list(redis_admin.scan_iter(match=f"*{stream_id}*"))
    statement = SQL("SELECT %s FROM {} WHERE thread_id::text = %s")
    for table in ("resumable_stream_runs", "checkpoints", "checkpoint_blobs", "checkpoint_writes"):
        found += await sql(database_url, statement.format(Identifier(table)), table, thread_id)
    return found


@pytest.mark.promise(number=13)
async def test_a_thread_that_another_process_deletes_while_it_is_answered_stays_deleted(
    clients: Clients, valkey_url: str, database_url: str, redis_admin: Redis
) -> None:
    """The run ends as `cancelled`, and its viewers are told. When its process has ended, nothing of the thread is
    there.

    Fails without the removal of streams (`runs/_threads.py`).
    """
    async with server(valkey_url, database_url) as first, chat_on(first.url) as chat:
        await first.ready()
        sent = await chat.send("Tell me a long story at 200 a second")
        thread_id = sent["thread_id"]
        viewers = Viewer(sent), Viewer(sent)
        ports = first.port, int(str(clients.there.http.base_url.port))
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            for viewer, port in zip(viewers, ports, strict=True):
                tasks.create_task(viewer.follow_to_the_end(port))
            await wait_until(lambda: all(viewer.begun for viewer in viewers))
            assert (await clients.there.delete(thread_id)).status_code == 204
        for viewer in viewers:
            viewer.check()
            assert viewer.events[-1]["data"] == {"status": "cancelled"}
        first.signal(signal.SIGTERM)
        await first.wait(DEADLINE)
    assert await left_of(thread_id, sent["stream_id"], database_url, redis_admin) == []
    for client in clients:
        assert [one for one in (await client.threads())["threads"] if one["id"] == thread_id] == []


@pytest.mark.promise(number=19)
async def test_what_is_deleted_or_never_was_is_404_at_every_process(clients: Clients) -> None:
    """For every route, and with the ids of runs: those of other threads too.

    Fails without the thread that a run belongs to (`runs/_reading.py`).
    """
    gone, mine, also_mine = [await clients.here.send(HELLO) for _ in range(3)]
    for sent in (gone, mine, also_mine):
        await clients.there.read(sent["thread_id"], run_id=sent["run_id"])
    assert (await clients.there.delete(gone["thread_id"])).status_code == 204
    strangers = [(gone["thread_id"], gone["run_id"]), (new_thread(), mine["run_id"])]
    for chat in clients:
        refused = await asyncio.gather(
            *(
                ask
                for thread_id, run_id in strangers
                for ask in (
                    chat.thread(thread_id),
                    chat.rename(thread_id, "x"),
                    chat.stop(thread_id),
                    chat.stop(thread_id, run_id),
                    chat.stream_status(thread_id, run_id=run_id),
                    chat.stream_status(thread_id, last_event_id="1-1"),
                    chat.stream_status(thread_id),
                    chat.delete(thread_id),
                )
            ),
            chat.post("again", gone["thread_id"]),
        )
        assert {(response.status_code, code_of(response)) for response in refused} == {(404, "thread_not_found")}
        refused = await asyncio.gather(
            *(
                ask
                for run_id in (gone["run_id"], also_mine["run_id"], str(uuid4()))
                for ask in (
                    chat.stop(mine["thread_id"], run_id),
                    chat.stream_status(mine["thread_id"], run_id=run_id),
                )
            )
        )
        assert {(response.status_code, code_of(response)) for response in refused} == {(404, "run_not_found")}
