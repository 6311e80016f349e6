"""Runs whose process dies or must end: another goes on, and the viewers end with what the thread holds."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from httpx_sse import ServerSentEvent

from app.processes import ServerProcess, server
from app.serving import Chat, chat_on, eventually
from resumable_stream.demo import script
from support import wait_until

LONG = "Tell me a long story"
WHOLE = "".join(script(LONG))


async def servers(
    stack: AsyncExitStack, valkey_url: str, database_url: str, *, count: int = 2, **settings: Any
) -> list[ServerProcess]:
    started = [
        await stack.enter_async_context(server(valkey_url, database_url, **{"tokens_per_second": 100, **settings}))
        for _ in range(count)
    ]
    await asyncio.gather(*(one.ready() for one in started))
    return started


def held(events: list[ServerSentEvent]) -> str:
    """The text that a viewer has who drops what a broken-off attempt had not finished."""
    kept, begun = "", ""
    for event in events:
        if event.event == "chunk":
            begun += event.data
        elif event.data == "message_ended":
            kept, begun = kept + begun, ""
        elif event.data == "message_restarted":
            begun = ""
    return kept + begun


def words(events: list[ServerSentEvent]) -> list[str]:
    return [event.data for event in events if event.event == "system"]


async def follow(urls: list[str], thread_id: str, *, until: int = 0) -> list[ServerSentEvent]:
    """What a viewer gets who comes back, to any server, until the end; or the first so many events."""
    events: list[ServerSentEvent] = []
    async with asyncio.timeout(40):
        while not events or events[-1].data != "end":
            for url in urls:
                async with chat_on(url) as chat:
                    try:
                        cursor = events[-1].id if events else None
                        async for event in chat.events(thread_id, cursor=cursor):
                            events.append(event)
                            if len(events) == until:
                                return events
                    except Exception:  # noqa: BLE001 - whatever a dying server does to its clients
                        await asyncio.sleep(0.1)  # as `EventSource` waits before it comes back
    return events


async def assert_answered_once(chat: Chat, thread_id: str, events: list[ServerSentEvent]) -> None:
    """The thread has one question and one whole answer, which is what the viewer holds."""

    async def idle() -> bool:
        return "x-active-run-id" not in (await chat.thread(thread_id)).headers

    await eventually(idle)
    question, answer = await chat.history(thread_id)
    assert (question["content"], answer["content"]) == (LONG, WHOLE)
    assert "stopped" not in answer
    assert held(events) == WHOLE
    assert len({event.id for event in events}) == len(events)


async def test_a_run_whose_process_is_killed_is_continued_by_another(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    first, second = await servers(stack, valkey_url, database_url)
    async with chat_on(first.url) as here:
        sent = await here.send(LONG)
    seen = await follow([first.url], sent["thread_id"], until=20)
    await first.kill()
    async with chat_on(second.url) as there:
        rest = await there.read(sent["thread_id"], cursor=seen[-1].id)
        assert words(rest) == ["message_restarted", "message_ended", "end"]
        await assert_answered_once(there, sent["thread_id"], seen + rest)
        late = await there.read(sent["thread_id"], run_id=sent["run_id"])
        assert held(late) == WHOLE
        assert [(event.event, event.data) for event in late] == [(event.event, event.data) for event in seen + rest]


async def test_a_stopped_process_hands_its_runs_over(stack: AsyncExitStack, valkey_url: str, database_url: str) -> None:
    first, second = await servers(stack, valkey_url, database_url, shutdown_grace_seconds=0.2, drain_seconds=0.2)
    async with chat_on(first.url) as here, chat_on(second.url) as there:
        sent = await here.send(LONG)
        seen = []
        async for event in here.events(sent["thread_id"]):
            seen.append(event)
            if len(seen) == 10:
                first.signal(signal.SIGTERM)
        rest = await there.read(sent["thread_id"], cursor=seen[-1].id)
        await first.wait(10)
        assert words(rest) == ["message_restarted", "message_ended", "end"]
        await assert_answered_once(there, sent["thread_id"], seen + rest)


async def test_a_run_is_drained_between_two_steps_and_nothing_is_done_twice(
    stack: AsyncExitStack, valkey_url: str, database_url: str, tmp_path: Path
) -> None:
    """The process waits for the tool, then leaves the answer to another, which does not call the tool again."""
    calls = tmp_path / "calls"
    first, second = await servers(
        stack, valkey_url, database_url, shutdown_grace_seconds=0, drain_seconds=20, calls=calls
    )
    asked = "search for shutdown"
    async with chat_on(first.url) as here, chat_on(second.url) as there:
        sent = await here.send(asked)
        seen = []
        async for event in here.events(sent["thread_id"]):
            seen.append(event)
            if event.event == "tool_call":
                await wait_until(calls.exists)
                first.signal(signal.SIGTERM)
        rest = await there.read(sent["thread_id"], cursor=seen[-1].id)
        await first.wait(10)
        assert words(seen + rest) == ["message_ended", "message_restarted", "message_ended", "end"]
        assert calls.read_text().count("\n") == 1
        question, asking, answer = await there.history(sent["thread_id"])
        assert [use["status"] for use in asking["tool_calls"]] == ["success"]
        assert held(seen + rest) == asking["content"] + answer["content"] == "".join(script(asked, found="[]"))
        assert question["content"] == asked


async def test_a_persons_answer_survives_the_process_that_took_it(
    stack: AsyncExitStack, valkey_url: str, database_url: str, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    first, second = await servers(stack, valkey_url, database_url, calls=calls, approval="1")
    asked = "search for cats"
    async with chat_on(first.url) as here, chat_on(second.url) as there:
        thread_id = (await here.send(asked))["thread_id"]
        assert words(await there.read(thread_id)) == ["message_ended", "interrupted", "end"]
        ((question,), approve) = (
            (await there.history(thread_id))[-1]["interrupts"],
            {"decisions": [{"type": "approve"}]},
        )
        body = {"thread_id": thread_id, "answers": {question["id"]: approve}}
        run = (await here.http.post("/v1/chat/resume", json=body)).json()
        seen = []
        async for event in here.events(thread_id, run_id=run["run_id"]):
            seen.append(event)
            if len(seen) == 5:
                break
        await first.kill()
        rest = await there.read(thread_id, cursor=seen[-1].id)
        assert words(rest) == ["message_restarted", "message_ended", "end"]
        assert calls.read_text().count("\n") == 1
        _, asking, answer = await there.history(thread_id)
        assert [use["status"] for use in asking["tool_calls"]] == ["success"]
        assert held(seen + rest) == answer["content"]
        assert asking["content"] + answer["content"] == "".join(script(asked, found="[]"))


async def test_a_run_whose_processes_die_again_and_again_is_lost_in_the_end(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    """What it has said by then stays in the thread."""
    seen: list[ServerSentEvent] = []
    thread_id = ""
    for number in range(2):
        (one,) = await servers(stack, valkey_url, database_url, count=1, run_max_attempts=2)
        if number == 0:
            async with chat_on(one.url) as chat:
                thread_id = (await chat.send(LONG))["thread_id"]
        async with chat_on(one.url) as chat:
            cursor = seen[-1].id if seen else None
            async for event in chat.events(thread_id, cursor=cursor):
                seen.append(event)
                if len(held(seen)) > 50 and words(seen) == ["message_restarted"] * number:
                    break
        await one.kill()
    (last,) = await servers(stack, valkey_url, database_url, count=1, run_max_attempts=2)
    async with chat_on(last.url) as chat:
        seen += await chat.read(thread_id, cursor=seen[-1].id)
        assert words(seen) == ["message_restarted", "lost", "end"]

        async def kept() -> bool:
            return bool((await chat.history(thread_id))[-1].get("stopped"))

        await eventually(kept)
        assert (await chat.history(thread_id))[-1]["content"] == held(seen)


async def test_a_process_that_stood_still_does_not_disturb_the_one_that_went_on(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    first, second = await servers(stack, valkey_url, database_url)
    async with chat_on(first.url) as here:
        sent = await here.send(LONG)
    seen = await follow([first.url], sent["thread_id"], until=20)
    await first.pause()
    async with chat_on(second.url) as there:
        some: list[ServerSentEvent] = []
        async for event in there.events(sent["thread_id"], cursor=seen[-1].id):
            some.append(event)
            if event.data == "message_restarted":
                first.signal(signal.SIGCONT)  # in the middle of the other's work
        await assert_answered_once(there, sent["thread_id"], seen + some)


async def test_a_run_that_has_no_process_is_stopped_at_once(
    stack: AsyncExitStack, valkey_url: str, database_url: str
) -> None:
    """Its stop is not left to the process that will go on with it: whoever is asked ends it."""
    first, second = await servers(stack, valkey_url, database_url, stream_lease_seconds=2)
    async with chat_on(first.url) as here:
        sent = await here.send(LONG)
    seen = await follow([first.url], sent["thread_id"], until=20)
    async with chat_on(second.url) as there:
        await first.kill()
        assert (await there.stop(sent["thread_id"])).json()["stopped"]
        rest = await there.read(sent["thread_id"], cursor=seen[-1].id)
        assert words(rest)[-2:] == ["cancelled", "end"]

        async def kept() -> bool:
            return bool((await there.history(sent["thread_id"]))[-1].get("stopped"))

        await eventually(kept)
        assert (await there.history(sent["thread_id"]))[-1]["content"] == held(seen + rest)
        assert (await there.post("next", sent["thread_id"])).status_code == 200
