"""Whole clients on real connections: they resume by themselves, and stop when they are told that nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest
from aiohttp.http_exceptions import LineTooLong
from aiohttp_sse_client.client import EventSource  # type: ignore[import-untyped]  # it has no types of its own
from redis.asyncio import Redis

from core.http_server import StreamApp, served
from core.sse_parser import Message
from core.streams import DEADLINE
from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.testing import ScriptedSource
from sse.judging import json_runs_of
from sse.parsers import Node
from sse.resuming import TOKENS, restless_stream
from sse.texts import HOSTILE, Run, as_text, joined


@pytest.mark.parametrize("client", ["eventsource", "eventsource-client"])
async def test_a_client_that_is_cut_again_and_again_gets_everything_once_and_stops(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, node: Node, client: str
) -> None:
    async with restless_stream(redis, monkeypatch) as (server, app):
        messages, statuses = await anyio.to_thread.run_sync(node.follow, client, f"{server.url}/s")
    assert "".join(message.data for message in messages if message.type == "chunk") == as_text("".join(TOKENS))
    assert messages[-1] == Message("system", "end", messages[-1].last_event_id)
    ids = [message.last_event_id for message in messages]
    assert len(set(ids)) == len(ids)
    assert len(statuses) == app.connections > len(TOKENS)
    assert statuses == [200] * (len(statuses) - 1) + [204]


async def by_aiohttp(redis: Redis, stream_id: str, tokens: Sequence[str], **options: Any) -> list[Message]:
    messages: list[Message] = []
    async with (
        StreamConsumer(redis) as consumer,
        served(StreamApp(consumer)) as server,
        asyncio.timeout(DEADLINE),
    ):
        await StreamProducer(redis).run(stream_id, ScriptedSource(tokens))
        async with EventSource(f"{server.url}/{stream_id}", params={"format": stream_id}, **options) as source:
            async for event in source:
                messages.append(Message(event.type or "message", event.data, event.last_event_id))
                if '"end"' in event.data or event.data == "end":
                    break  # it takes the 204 that would come next for an error
    return messages


async def test_aiohttp_sse_client_reads_json_exactly(redis: Redis) -> None:
    tokens = [*HOSTILE, "x" * 2**20]
    messages = await by_aiohttp(redis, "json", tokens, read_bufsize=2**21)
    assert json_runs_of(messages) == joined([Run("chunk", token) for token in tokens])
    sequences = [message.last_event_id.partition("-")[2] for message in messages]
    assert sequences == [str(number) for number in range(1, len(messages) + 1)]


async def test_aiohttp_sse_client_loses_blanks_of_text_and_refuses_long_lines(redis: Redis) -> None:
    """As docs/clients.md warns: nothing that a server sends could help."""
    messages = await by_aiohttp(redis, "text", ["  a", "b\n\n", " c"])
    assert [message.data for message in messages] == ["a", "b", "c", "end"]
    with pytest.raises(LineTooLong):
        await by_aiohttp(redis, "json", ["x" * 2**20])
