"""Which stream a reader gets: the rules of the HTTP contract, one by one."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from httpx_sse import ServerSentEvent
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, Chat, chat_on, code_of, eventually, new_thread, served, settings_for, sql, text_of
from resumable_stream.app import create_app


def ids_of(events: list[ServerSentEvent]) -> list[str]:
    return [event.id for event in events]


async def test_with_neither_cursor_nor_run_the_active_run_comes_in_full(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("one two hold three")
    async with asyncio.timeout(DEADLINE):
        await agent.held.wait()
    reader = asyncio.create_task(chat.answer(sent["thread_id"]))
    agent.release.set()
    assert await reader == "one two three "


async def test_a_run_that_has_just_ended_comes_in_full(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("quick answer")

    async def ended() -> bool:
        return not (await chat.threads())["threads"][0]["active"]

    await eventually(ended)
    assert await chat.answer(sent["thread_id"]) == "quick answer "


async def test_a_run_that_ended_a_while_ago_is_not_sent_without_being_named(chat: Chat, database_url: str) -> None:
    sent = await chat.send("old answer")
    await chat.read(sent["thread_id"])
    await sql(database_url, "UPDATE resumable_stream_runs SET ended_time = ended_time - interval '6 s'")
    assert (await chat.stream_status(sent["thread_id"])).status_code == 204
    assert await chat.answer(sent["thread_id"], run_id=sent["run_id"]) == "old answer "


async def test_a_stream_asked_for_before_its_thread_exists_waits_for_it(chat: Chat) -> None:
    thread_id = new_thread()
    reader = asyncio.create_task(chat.answer(thread_id))
    await asyncio.sleep(0)
    await anyio.sleep(0.1)  # the request is under way before the thread is
    await chat.send("hello there", thread_id)
    assert await reader == "hello there "


async def test_a_stream_asked_for_before_the_next_run_gets_the_next_run(chat: Chat) -> None:
    """Also within 5 s of the end of the one before, once somebody has read that to its end."""
    sent = await chat.send("first")
    await chat.answer(sent["thread_id"])
    for number in range(5):
        reader = asyncio.create_task(chat.answer(sent["thread_id"]))
        await anyio.sleep(0.05)  # the request is under way before the run is
        await chat.send(f"next {number}", sent["thread_id"])
        assert await reader == f"next {number} "


async def test_a_thread_without_a_run_to_send_is_204_after_a_while(chat: Chat, database_url: str) -> None:
    sent = await chat.send("hello")
    await chat.read(sent["thread_id"])
    await sql(database_url, "DELETE FROM resumable_stream_runs")
    assert (await chat.stream_status(sent["thread_id"])).status_code == 204


async def test_an_unknown_thread_is_404_after_a_while(chat: Chat) -> None:
    response = await chat.stream_status(new_thread())
    assert (response.status_code, code_of(response)) == (404, "thread_not_found")


async def test_with_a_cursor_exactly_the_rest_comes_also_after_the_end(chat: Chat) -> None:
    sent = await chat.send(" ".join(f"w{number}" for number in range(20)))
    events = await chat.read(sent["thread_id"])
    for index, event in enumerate(events[:-1]):
        rest = await chat.read(sent["thread_id"], cursor=event.id)
        assert ids_of(rest) == ids_of(events[index + 1 :])
        assert [e.data for e in rest] == [e.data for e in events[index + 1 :]]


async def test_a_cursor_in_the_address_works_and_the_header_wins(chat: Chat) -> None:
    sent = await chat.send("a b c d")
    events = await chat.read(sent["thread_id"])
    rest = await chat.read(sent["thread_id"], last_event_id=events[1].id)
    assert ids_of(rest) == ids_of(events[2:])
    rest = await chat.read(sent["thread_id"], cursor=events[2].id, last_event_id=events[0].id)
    assert ids_of(rest) == ids_of(events[3:])


async def test_after_the_terminal_id_it_is_always_204(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("first")
    last = (await chat.read(sent["thread_id"]))[-1].id
    params = {"last_event_id": last}
    assert (await chat.stream_status(sent["thread_id"], **params)).status_code == 204
    await chat.send("hold second", sent["thread_id"])
    assert (await chat.stream_status(sent["thread_id"], **params)).status_code == 204
    agent.release.set()
    await chat.read(sent["thread_id"])


async def test_a_cursor_finds_its_run_among_later_ones(chat: Chat) -> None:
    first = await chat.send("one two three")
    thread_id = first["thread_id"]
    events = await chat.read(thread_id)
    for number in range(3):
        later = await chat.send(f"later {number}", thread_id)
        await chat.read(thread_id, run_id=later["run_id"])
    assert text_of(await chat.read(thread_id, cursor=events[0].id)) == "two three "


async def test_with_a_run_that_run_comes_in_full_finished_or_not(chat: Chat, agent: ScriptedAgent) -> None:
    first = await chat.send("one two")
    thread_id = first["thread_id"]
    await chat.read(thread_id)
    second = await chat.send("three hold four", thread_id)
    assert await chat.answer(thread_id, run_id=first["run_id"]) == "one two "
    reader = asyncio.create_task(chat.answer(thread_id, run_id=second["run_id"]))
    agent.release.set()
    assert await reader == "three four "


async def test_a_run_of_another_thread_or_no_run_at_all_is_404(chat: Chat) -> None:
    first, second = await chat.send("one"), await chat.send("two")
    for run_id in (second["run_id"], new_thread()):
        response = await chat.stream_status(first["thread_id"], run_id=run_id)
        assert (response.status_code, code_of(response)) == (404, "run_not_found")
    await chat.read(first["thread_id"])
    await chat.read(second["thread_id"])


async def test_a_run_whose_stream_has_expired_is_204(chat: Chat, empty_redis: Redis) -> None:
    sent = await chat.send("hello")
    events = await chat.read(sent["thread_id"])
    empty_redis.flushall()

    async def gone() -> bool:
        response = await chat.stream_status(sent["thread_id"], run_id=sent["run_id"])
        return response.status_code == 204

    await eventually(gone)
    response = await chat.stream_status(sent["thread_id"], last_event_id=events[0].id)
    assert response.status_code == 204


@pytest.mark.parametrize(
    "cursor", ["abc", "-1", "$", ">", "0-0-0", "1", "1-", "-", "1-1 ", "\u0663-\u0661", "1" * 10_000, "1-" + "9" * 30]
)
async def test_a_malformed_cursor_is_400_in_header_and_address(chat: Chat, cursor: str) -> None:
    sent = await chat.send("hello")
    responses = [await chat.stream_status(sent["thread_id"], last_event_id=cursor)]
    if cursor.isascii() and cursor.strip() == cursor:  # no other can be sent in a header
        headers = {"Last-Event-ID": cursor}
        params = {"thread_id": sent["thread_id"]}
        responses.append(await chat.http.get("/v1/chat/stream", params=params, headers=headers))
    for response in responses:
        assert (response.status_code, code_of(response)) == (400, "invalid_event_id")
        assert cursor not in response.text
    await chat.read(sent["thread_id"])


async def test_an_empty_cursor_is_no_cursor(chat: Chat) -> None:
    sent = await chat.send("hello")
    assert await chat.answer(sent["thread_id"], cursor="") == "hello "
    assert await chat.answer(sent["thread_id"], run_id=sent["run_id"], last_event_id="") == "hello "


async def test_a_cursor_that_fits_nothing_resets_the_reader_and_replays(chat: Chat, agent: ScriptedAgent) -> None:
    first = await chat.send("one two")
    thread_id = first["thread_id"]
    events = await chat.read(thread_id)
    generation, _, _ = events[0].id.partition("-")
    beyond, future = f"{generation}-999", f"{int(generation) + 10**9}-1"
    for cursor in (beyond, future, "1-1"):
        again = await chat.read(thread_id, cursor=cursor)
        assert (again[0].event, again[0].data, again[0].id) == ("system", "reset", "")
        assert ids_of(again[1:]) == ids_of(events)
    second = await chat.send("three", thread_id)
    await chat.read(thread_id, run_id=second["run_id"])
    crossed = await chat.read(thread_id, run_id=second["run_id"], cursor=events[0].id)
    assert (crossed[0].data, text_of(crossed)) == ("reset", "three ")


async def test_the_response_says_which_run_it_is_and_that_nobody_may_keep_it(chat: Chat) -> None:
    sent = await chat.send("hello")
    response = await chat.stream_status(sent["thread_id"])
    assert response.headers["x-run-id"] == sent["run_id"]
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.text.startswith(": ka\n")


async def test_head_tells_the_headers_and_follows_nothing(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("hold")
    response = await chat.http.head("/v1/chat/stream", params={"thread_id": sent["thread_id"]})
    assert (response.status_code, response.headers["x-run-id"]) == (200, sent["run_id"])
    agent.release.set()
    await chat.read(sent["thread_id"])


async def test_the_script_of_a_template_client_works_every_time(chat: Chat) -> None:
    """POST and stream at once, on one thread, again and again; the answer takes no time."""
    thread_id = new_thread()
    for number in range(20):
        posted = asyncio.create_task(chat.send(f"question {number}", thread_id))
        assert await chat.answer(thread_id) == f"question {number} "
        await posted


async def test_the_same_text_comes_whenever_the_reader_does(chat: Chat, agent: ScriptedAgent) -> None:
    thread_id = new_thread()
    before = asyncio.create_task(chat.answer(thread_id))
    sent = await chat.send("one two hold three", thread_id)
    async with asyncio.timeout(DEADLINE):
        await agent.held.wait()
    middle = asyncio.create_task(chat.answer(thread_id))
    agent.release.set()
    at_the_end = await chat.answer(thread_id, run_id=sent["run_id"])
    after = await chat.answer(thread_id, run_id=sent["run_id"])
    assert {await before, await middle, at_the_end, after} == {"one two three "}


async def test_a_stream_that_vanishes_under_its_run_is_told_and_the_thread_goes_on(
    chat: Chat, agent: ScriptedAgent, empty_redis: Redis
) -> None:
    sent = await chat.send("one hold two")
    seen: list[str] = []
    async with asyncio.timeout(DEADLINE):
        async for event in chat.events(sent["thread_id"]):
            seen.append(event.data)
            if event.data == "one ":
                empty_redis.flushall()
                agent.release.set()
    assert seen[-2:] == ["lost", "end"]

    async def accepted() -> bool:
        return (await chat.post("next", sent["thread_id"])).status_code == 200

    await eventually(accepted)

    async def answered() -> bool:
        return bool((await chat.history(sent["thread_id"]))[-1]["content"] == "next ")

    await eventually(answered)
    question, partial, *rest = [message["content"] for message in await chat.history(sent["thread_id"])]
    assert (question, rest) == ("one hold two", ["next", "next "])
    assert partial in ("one ", "one two "), "what the agent said, whether or not it could be written"


async def test_silence_is_filled_with_comments_and_then_the_token_comes(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, agent: ScriptedAgent
) -> None:
    settings = settings_for(valkey_url, database_url, keep_alive_seconds=0.05)
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
        sent = await chat.send("hold hello")
        raw = b""
        params = {"thread_id": sent["thread_id"]}
        async with asyncio.timeout(DEADLINE), chat.http.stream("GET", "/v1/chat/stream", params=params) as response:
            async for chunk in response.aiter_bytes():
                raw += chunk
                if raw.count(b": ka\n") == 10:
                    agent.release.set()
        silence, _, rest = raw.partition(b"retry:")
        assert silence == b": ka\n" * silence.count(b": ka\n")
        assert b"data: hello \n\n" in rest


async def test_a_connection_is_closed_at_its_age_and_the_client_resumes(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, agent: ScriptedAgent
) -> None:
    settings = settings_for(valkey_url, database_url, connection_max_seconds=1)
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
        sent = await chat.send("one hold two")
        first = await chat.read(sent["thread_id"])
        assert [event.data for event in first] == ["one "]
        agent.release.set()
        rest = await chat.read(sent["thread_id"], cursor=first[-1].id)
        assert text_of(first) + text_of(rest) == "one two "
