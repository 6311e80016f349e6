"""The examples of the core do what they say."""

from __future__ import annotations

import json
import sys

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse
from redis.asyncio import Redis

from examples.programs import constant, run, serve


async def test_the_reader_who_comes_back_gets_the_rest_and_nothing_twice(redis: Redis, valkey_url: str) -> None:
    output = await run(sys.executable, "-W", "error", "examples/producer_consumer.py", env={"REDIS_URL": valkey_url})
    lines = [line.split(" ", 1) for line in output.splitlines()]
    assert [text for _, text in lines] == [
        *constant("examples/producer_consumer.py", "ANSWER").split(),
        "{'status': 'completed'}",
    ]
    assert [event_id.partition("-")[2] for event_id, _ in lines] == [str(n + 1) for n in range(len(lines))]


async def test_the_plain_asgi_app_streams_what_it_was_told_to_start(redis: Redis, valkey_url: str) -> None:
    async with serve("examples.plain_asgi:app", {"REDIS_URL": valkey_url}) as client:
        assert (await client.post("/poem-1")).status_code == 202
        events = await read(client, "/poem-1")
        assert (
            "".join(event.data for event in events if event.event == "chunk").split()
            == constant("examples/plain_asgi.py", "POEM").split()
        )
        assert events[-1].data == "end"

        rest = await read(client, "/poem-1", cursor=events[4].id)
        assert [event.id for event in rest] == [event.id for event in events[5:]]

        statuses = [
            (await client.post("/poem-1")).status_code,
            (await client.post("/no{braces}")).status_code,
            (await client.get("/unknown")).status_code,
            (await client.put("/poem-1")).status_code,
        ]
        assert statuses == [409, 400, 404, 405]


async def test_a_poem_that_is_being_written_ends_as_cancelled_when_the_app_stops(redis: Redis, valkey_url: str) -> None:
    async with serve("examples.plain_asgi:app", {"REDIS_URL": valkey_url}) as client:
        assert (await client.post("/poem-2")).status_code == 202
    async with serve("examples.plain_asgi:app", {"REDIS_URL": valkey_url}) as client:
        events = await read(client, "/poem-2")
    assert [event.data for event in events[-2:]] == ["cancelled", "end"]


async def read(client: httpx.AsyncClient, path: str, *, cursor: str | None = None) -> list[ServerSentEvent]:
    """The events of a stream, to its end."""
    headers = {"Last-Event-ID": cursor} if cursor is not None else {}
    async with aconnect_sse(client, "GET", path, headers=headers) as source:
        return [event async for event in source.aiter_sse()]


async def test_what_was_done_is_printed_by_opentelemetry(redis: Redis, valkey_url: str) -> None:
    output = await run(sys.executable, "-W", "error", "examples/telemetry.py", env={"REDIS_URL": valkey_url})
    (scope,) = json.loads(output)["resource_metrics"][0]["scope_metrics"]
    points = {metric["name"]: metric["data"]["data_points"] for metric in scope["metrics"]}
    assert points["resumable_stream.producer.events"][0]["value"] == 5
    assert points["resumable_stream.consumer.replayed_events"][0]["value"] == 5
