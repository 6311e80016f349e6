"""Several server processes on one Redis and one Postgres: dying, standing still, being stopped.

More is in `tests/promises/chat`.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import httpx
from httpx_sse import ServerSentEvent

from app.processes import ServerProcess, server
from app.serving import Chat, chat_on, eventually, text_of
from resumable_stream.demo import script

LONG = "Tell me a long story"
WHOLE = "".join(script(LONG))


async def two_servers(
    stack: AsyncExitStack, valkey_url: str, database_url: str, **settings: object
) -> tuple[ServerProcess, ServerProcess]:
    first, second = [
        await stack.enter_async_context(server(valkey_url, database_url, **settings))  # type: ignore[arg-type]
        for _ in range(2)
    ]
    await asyncio.gather(first.ready(), second.ready())
    return first, second


async def read_some(chat: Chat, thread_id: str, count: int) -> list[ServerSentEvent]:
    """The first events of a stream; then the connection is dropped."""
    seen = []
    async for event in chat.events(thread_id):
        seen.append(event)
        if len(seen) == count:
            break
    return seen


async def test_after_a_crash_readers_get_what_was_written_and_the_thread_goes_on(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    first, second = await two_servers(stack, valkey_url, database_url, run_max_attempts=1)
    async with chat_on(first.url) as here:
        sent = await here.send(LONG)
        seen = await read_some(here, sent["thread_id"], 20)
    await first.kill()
    async with chat_on(second.url) as there:
        rest = await there.read(sent["thread_id"], cursor=seen[-1].id)
        assert [event.data for event in rest[-2:]] == ["lost", "end"]
        written = text_of(seen) + text_of(rest)
        assert WHOLE.startswith(written)
        assert await there.answer(sent["thread_id"], run_id=sent["run_id"]) == written

        async def accepted() -> bool:
            return (await there.post("go on", sent["thread_id"])).status_code == 200

        await eventually(accepted, timeout=5)

        async def answered() -> bool:
            return "x-active-run-id" not in (await there.thread(sent["thread_id"])).headers

        await eventually(answered)
        question, partial, second_question, answer = await there.history(sent["thread_id"])
        assert question["content"] == LONG
        assert (partial["content"], partial["stopped"]) == (written, True)
        assert (second_question["content"], answer["type"]) == ("go on", "ai")


async def test_a_crash_is_repaired_without_anybody_asking(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    first, second = await two_servers(stack, valkey_url, database_url, run_max_attempts=1)
    async with chat_on(first.url) as here:
        sent = await here.send(LONG)
        await read_some(here, sent["thread_id"], 5)
    await first.kill()
    async with chat_on(second.url) as there:

        async def idle() -> bool:
            return not (await there.threads())["threads"][0]["active"]

        await eventually(idle)

        async def repaired() -> bool:
            return bool((await there.history(sent["thread_id"]))[-1].get("stopped"))

        await eventually(repaired)


async def test_a_process_that_stood_still_past_its_lease_changes_nothing_when_it_goes_on(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    first, second = await two_servers(stack, valkey_url, database_url, run_max_attempts=1)
    async with chat_on(first.url) as here, chat_on(second.url) as there:
        sent = await here.send(LONG)
        seen = await read_some(here, sent["thread_id"], 10)
        await first.pause()
        rest = await there.read(sent["thread_id"], cursor=seen[-1].id)
        assert [event.data for event in rest[-2:]] == ["lost", "end"]
        again = await there.send("again", sent["thread_id"])
        assert await there.answer(sent["thread_id"], run_id=again["run_id"]) == "".join(script("again"))
        before = await there.history(sent["thread_id"])
        first.signal(signal.SIGCONT)
        await first.ready()
        third = await there.send("third", sent["thread_id"])
        assert await there.answer(sent["thread_id"], run_id=third["run_id"]) == "".join(script("third"))
        history = await there.history(sent["thread_id"])
        assert history[: len(before)] == before
        assert [message["content"] for message in history[len(before) :]] == ["third", "".join(script("third"))]
        replay = await there.read(sent["thread_id"], run_id=sent["run_id"])
        assert text_of(replay) == text_of(seen) + text_of(rest)


async def test_a_run_that_outlasts_the_grace_period_ends_as_lost_and_keeps_what_it_said(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    first, second = await two_servers(stack, valkey_url, database_url, run_max_attempts=1, shutdown_grace_seconds=0.3)
    async with chat_on(first.url) as here, chat_on(second.url) as there:
        sent = await here.send(LONG)
        seen = []
        async for event in here.events(sent["thread_id"]):
            seen.append(event)
            if len(seen) == 5:
                first.signal(signal.SIGTERM)
        await first.wait(10)
        rest = await there.read(sent["thread_id"], cursor=seen[-1].id)
        assert [event.data for event in rest[-2:]] == ["lost", "end"]
        written = text_of(seen) + text_of(rest)
        answer = (await there.history(sent["thread_id"]))[-1]
        assert (answer["content"], answer["stopped"]) == (written, True)
        assert (await there.post("more", sent["thread_id"])).status_code == 200


async def test_a_server_without_viewers_stops_at_once(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    first = await stack.enter_async_context(server(valkey_url, database_url))
    await first.ready()
    async with httpx.AsyncClient(base_url=first.url) as http:
        await http.get("/healthz")
    first.signal(signal.SIGINT)
    await first.wait(10)
