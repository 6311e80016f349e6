"""The sub-app with real graphs: the ready agent of the settings, and a graph of the caller's."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from agent.provider_wire import Reply, provider_wire
from app.serving import chat_on, eventually, served, settings_for, typed
from resumable_stream.agent import build_graph
from resumable_stream.app import Settings, SettingsError, create_app
from resumable_stream.demo import ScriptedChatModel, script


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_the_ready_agent_is_made_of_the_settings(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None, provider: str
) -> None:
    with provider_wire() as wire:
        settings = settings_for(
            valkey_url,
            database_url,
            llm_provider=provider,
            llm_model="any",
            llm_base_url=f"{wire.url}/v1" if provider == "openai" else wire.url,
            **{f"{provider}_api_key": "key"},
        )
        # One is the answer, the other the title: which request comes first is open.
        wire.script(Reply(text=["Word ", "by word"]), Reply(text=["Word ", "by word"]))
        async with served(create_app(settings)) as url, chat_on(url) as chat:
            sent = await chat.send("hello")
            events = typed(await chat.read(sent["thread_id"], format="json"))
            assert "".join(event["data"] for event in events if event["type"] == "text") == "Word by word"
            assert events[-1]["data"]["status"] == "completed"
            assert [message["content"] for message in await chat.history(sent["thread_id"])] == [
                "hello",
                "Word by word",
            ]

            async def named() -> bool:
                return bool((await chat.threads())["threads"][0].get("chat_name") == "Word by word")

            await eventually(named)


async def test_threads_of_a_graph_of_ones_own_get_titles_of_the_model_that_is_named_for_them(
    valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None
) -> None:
    graph = build_graph(ScriptedChatModel(tokens_per_second=0))
    with provider_wire() as wire:
        settings = settings_for(
            valkey_url, database_url, llm_title_model="small", llm_base_url=f"{wire.url}/v1", openai_api_key="key"
        )
        wire.script(Reply(text=["A small ", "talk"]))
        async with served(create_app(settings, agent=graph)) as url, chat_on(url) as chat:
            sent = await chat.send("hello")
            assert await chat.answer(sent["thread_id"], run_id=sent["run_id"]) == "".join(script("hello"))

            async def named() -> bool:
                return bool((await chat.threads())["threads"][0].get("chat_name") == "A small talk")

            await eventually(named)
        assert [request.body["model"] for request in wire.requests] == ["small"]


async def test_a_model_for_titles_needs_a_key_too(valkey_url: str, database_url: str) -> None:
    graph = build_graph(ScriptedChatModel(tokens_per_second=0))
    with pytest.raises(SettingsError, match="OPENAI_API_KEY: not set"):
        create_app(settings_for(valkey_url, database_url, llm_title_model="small"), agent=graph)


async def test_a_graph_of_ones_own_answers_and_is_stopped_in_the_middle(
    settings: Settings, no_tasks_left: None
) -> None:
    graph = build_graph(ScriptedChatModel(tokens_per_second=100))
    async with served(create_app(settings, agent=graph)) as url, chat_on(url) as chat:
        sent = await chat.send("a long story")
        text = ""
        async for event in chat.events(sent["thread_id"]):
            if event.event == "chunk":
                text += event.data
            if len(text) > 50:
                await chat.stop(sent["thread_id"])
                break
        events = typed(await chat.read(sent["thread_id"], run_id=sent["run_id"], format="json"))
        assert events[-1]["data"]["status"] == "cancelled"
        written = "".join(event["data"] for event in events if event["type"] == "text")
        answer = (await chat.history(sent["thread_id"]))[-1]
        assert (answer["content"], answer["stopped"]) == (written, True)
        more = await chat.send("more", sent["thread_id"])
        assert await chat.answer(sent["thread_id"], run_id=more["run_id"]) == "".join(script("more"))
        assert len(await chat.history(sent["thread_id"])) == 4


async def test_a_deleted_thread_leaves_no_checkpoint(
    settings: Settings, database_url: str, no_tasks_left: None
) -> None:
    from app.serving import sql

    graph = build_graph(ScriptedChatModel(tokens_per_second=100))
    async with served(create_app(settings, agent=graph)) as url, chat_on(url) as chat:
        sent = await chat.send("a long story")
        await asyncio.sleep(0)
        async for _ in chat.events(sent["thread_id"]):
            break
        assert (await chat.delete(sent["thread_id"])).status_code == 204
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            rows = await sql(database_url, "SELECT count(*) FROM " + table)
            assert rows == [(0,)], table
