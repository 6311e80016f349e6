"""Promises 20 and 22: Redis or PostgreSQL away, at the start and later; processes that start at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import pytest

from app.outages import Fault, Lines, Service, is_ready, lines_to, requests
from app.processes import ServerProcess, server
from app.serving import DEADLINE, chat_on, code_of, eventually, new_thread, sql
from promises.chat.viewers import Viewer
from resumable_stream.demo import script
from support import fresh_database

HELLO = "hello at 1000 a second"
PROMPT = 6.0
"""Seconds in which a request is answered, three times what is promised: this machine does other things too."""


@pytest.fixture(scope="module")
async def lines(valkey_url: str, database_url: str) -> AsyncIterator[Lines]:
    async with lines_to(valkey_url, database_url) as lines:
        yield lines


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> anyio.Path:
    """A file that models wait for."""
    return anyio.Path(tmp_path_factory.mktemp("services") / "release")


@pytest.fixture(scope="module")
async def process(lines: Lines, release: anyio.Path) -> AsyncIterator[ServerProcess]:
    """A server process, started while neither service was there, that is never started again."""
    await lines.break_("redis", "refused")
    await lines.break_("postgres", "silent")
    # The lease outlasts the outages: what these tests are about is not a dead process.
    async with server(lines.redis_url, lines.database_url, stream_lease_seconds=60, release=release) as process:
        yield process


@pytest.mark.promise(number=20)
async def test_a_server_that_starts_without_its_services_says_so_and_finds_them_when_they_come(
    process: ServerProcess, lines: Lines
) -> None:
    """It is alive, and not ready, and says what is missing.

    Fails without the repetition of the set-up (`runs/_database.py`).
    """
    await process.ready("/healthz")
    async with chat_on(process.url) as chat:
        for missing in (("redis", "postgres"), ("redis",)):
            async with asyncio.timeout(PROMPT):
                ready, refused = await asyncio.gather(chat.http.get("/readyz"), chat.post(HELLO))
            assert ready.status_code == 503
            assert [name for name in ("redis", "postgres") if ready.json()[name] == "unavailable"] == [*missing]
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert code_of(refused) in [f"{name}_unavailable" for name in missing]
            await lines.mend(missing[-1])

            async def found(service: Service = missing[-1]) -> bool:
                return bool((await chat.http.get("/readyz")).json()[service] == "ok")

            await eventually(found)
        sent = await chat.send(HELLO)
        assert await chat.answer(sent["thread_id"], run_id=sent["run_id"]) == "".join(script(HELLO))


@pytest.mark.promise(number=20)
@pytest.mark.parametrize(("service", "fault"), [("redis", "silent"), ("postgres", "refused")])
async def test_every_route_says_soon_that_a_service_is_away_and_all_goes_on_when_it_is_back(
    service: Service, fault: Fault, process: ServerProcess, lines: Lines, release: anyio.Path, database_url: str
) -> None:
    """The run that was active comes to its end, and who follows it gets all of it. (The other two combinations are in
    `tests/app/test_outages.py`, and at the start above.)

    Fails without the bound of work in PostgreSQL (`runs/_database.py`), and without the bound of a question to Redis
    (`runs/_liveness.py`).
    """
    await lines.mend("redis")
    await lines.mend("postgres")
    await process.ready()
    async with chat_on(process.url) as chat:
        await release.unlink(missing_ok=True)
        question = "Tell me about leases and hold at 200 a second"
        sent = await chat.send(question)

        async def saved() -> bool:
            step = (
                "SELECT FROM checkpoint_writes JOIN checkpoints USING (thread_id, checkpoint_id) WHERE thread_id = %s"
            )
            return viewer.text != "" and len(await sql(database_url, step, sent["thread_id"])) == 2

        viewer = Viewer(sent)
        async with asyncio.timeout(4 * DEADLINE), asyncio.TaskGroup() as tasks:
            following = tasks.create_task(viewer.follow_to_the_end(process.port))
            await eventually(saved)  # the answer is on its way, and what comes before it is saved
            await lines.break_(service, fault)
            async with asyncio.timeout(PROMPT):
                began = time.monotonic()
                asked = requests(chat, sent["thread_id"], sent["run_id"])
                for response in await asyncio.gather(*(ask() for ask in asked.values())):
                    assert (response.status_code, code_of(response)) == (503, f"{service}_unavailable")
                print(f"all answered after {time.monotonic() - began:.2f} s")
            began = time.monotonic()
            await lines.mend(service)
            await eventually(lambda: is_ready(chat))
            print(f"ready again after {time.monotonic() - began:.2f} s")
            await release.touch()
            await following
        viewer.check()

        async def again() -> bool:
            return (await chat.post(HELLO, sent["thread_id"])).status_code == 200

        await eventually(again)
        await chat.read(sent["thread_id"])
        assert viewer.text == "".join(script(question))
        assert viewer.events[-1]["data"] == {"status": "completed"}


@pytest.mark.promise(number=22)
async def test_processes_that_start_at_once_on_an_empty_database_all_come_up(
    valkey_url: str, postgres_dsn: str
) -> None:
    """Four of them, and each serves the thread of the others.

    Fails without the set-up of the tables (`runs/_database.py`).
    """
    with fresh_database(postgres_dsn) as dsn:
        async with AsyncExitStack() as stack:
            processes = [await stack.enter_async_context(server(valkey_url, dsn)) for _ in range(4)]
            await asyncio.gather(*(process.ready() for process in processes))
            thread_id = new_thread()
            for process in processes:
                async with chat_on(process.url) as chat:
                    sent = await chat.send(HELLO, thread_id)
                    assert await chat.answer(thread_id, run_id=sent["run_id"]) == "".join(script(HELLO))
                    history = await chat.history(thread_id)
            assert [message["type"] for message in history] == ["human", "ai"] * 4
