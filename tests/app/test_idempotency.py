"""One active run for a thread, one run for a key, however many requests come at once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import Chat, by_header, chat_on, code_of, new_thread, served
from resumable_stream.app import Settings, create_app


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


@pytest.mark.parametrize("named", [True, False], ids=["a thread is named", "a new thread"])
async def test_twenty_posts_with_one_key_are_one_run(
    chat: Chat, agent: ScriptedAgent, named: bool, empty_redis: Redis
) -> None:
    headers = key()
    thread_id = new_thread() if named else None
    responses = await asyncio.gather(*(chat.post("hold hello", thread_id, **headers) for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    assert len({response.text for response in responses}) == 1
    sent = responses[0].json()
    agent.release.set()
    assert await chat.answer(sent["thread_id"], run_id=sent["run_id"]) == "hello "
    assert [turn.run_id for turn in agent.turns] == [sent["run_id"]]
    assert len((await chat.threads())["threads"]) == 1
    late = await chat.post("hold hello", thread_id, **headers)
    assert late.json() == sent, "after the end too"
    assert len(list(empty_redis.scan_iter(match="*:log"))) == 1, "claims that lost are removed"


async def test_twenty_posts_without_a_key_are_one_run_and_nineteen_refusals(
    chat: Chat, agent: ScriptedAgent, empty_redis: Redis
) -> None:
    thread_id = new_thread()
    responses = await asyncio.gather(*(chat.post("hold hello", thread_id) for _ in range(20)))
    accepted = [r for r in responses if r.status_code == 200]
    refused = [r for r in responses if r.status_code == 409]
    assert (len(accepted), len(refused)) == (1, 19)
    sent = accepted[0].json()
    for response in refused:
        assert code_of(response) == "run_active"
        assert response.json()["error"]["detail"] == [sent]
    agent.release.set()
    assert await chat.answer(thread_id, run_id=sent["run_id"]) == "hello "
    assert len(agent.turns) == 1


async def test_posts_at_two_processes_are_one_run(chat: Chat, agent: ScriptedAgent, settings: Settings) -> None:
    second = ScriptedAgent()
    other = create_app(settings, agent=second, identify=by_header)
    thread_id = new_thread()
    async with served(other) as url, chat_on(url, user="ann") as elsewhere:
        responses = await asyncio.gather(*(client.post("hold", thread_id) for client in [chat, elsewhere] * 5))
        statuses = sorted(response.status_code for response in responses)
        assert statuses == [200] + [409] * 9
        agent.release.set()
        second.release.set()
        sent = next(r.json() for r in responses if r.status_code == 200)
        await elsewhere.read(thread_id, run_id=sent["run_id"])
    assert len(agent.turns) + len(second.turns) == 1


async def test_the_same_key_with_another_message_or_thread_is_refused(chat: Chat) -> None:
    headers = key()
    sent = (await chat.post("hello", **headers)).json()
    await chat.read(sent["thread_id"])
    for response in (
        await chat.post("other", **headers),
        await chat.post("hello", sent["thread_id"], **headers),
    ):
        assert (response.status_code, code_of(response)) == (422, "idempotency_mismatch")


async def test_another_owners_key_is_another_key(chat: Chat, url: str) -> None:
    headers = key()
    mine = (await chat.post("hello", **headers)).json()
    async with chat_on(url, user="bob") as bob:
        his = (await bob.post("hello", **headers)).json()
        assert his["run_id"] != mine["run_id"]
        await bob.read(his["thread_id"])
    await chat.read(mine["thread_id"])


@pytest.mark.parametrize("value", ["", "a b", "x" * 201])
async def test_a_malformed_key_is_refused(chat: Chat, value: str) -> None:
    response = await chat.post("hello", **{"Idempotency-Key": value})
    assert (response.status_code, code_of(response)) == (422, "invalid_request")


async def test_a_post_with_a_cursor_resumes_and_starts_nothing(chat: Chat, agent: ScriptedAgent) -> None:
    sent = await chat.send("hello")
    events = await chat.read(sent["thread_id"])
    again = await chat.post("hello", sent["thread_id"], **{"Last-Event-ID": events[0].id})
    assert again.json() == sent
    nothing = await chat.post("hello", **{"Last-Event-ID": events[0].id})
    assert (nothing.status_code, code_of(nothing)) == (404, "run_not_found")
    assert len(agent.turns) == 1


async def test_a_run_goes_on_when_the_client_hangs_up_while_it_starts(chat: Chat, agent: ScriptedAgent) -> None:
    headers = key()
    thread_id = new_thread()
    post = asyncio.create_task(chat.post("hello", thread_id, **headers))
    await asyncio.sleep(0.001)
    post.cancel()
    await asyncio.gather(post, return_exceptions=True)
    sent = (await chat.post("hello", thread_id, **headers)).json()
    assert await chat.answer(thread_id, run_id=sent["run_id"]) == "hello "
    assert len(agent.turns) == 1
