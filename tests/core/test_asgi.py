"""The ASGI response on a real server: what is on the wire, and how it is resumed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from httpx_sse import aconnect_sse
from redis.asyncio import Redis

from core.http_server import Served, StreamApp, request, served
from core.sse_parser import Message, SSEParser, parse
from core.streams import DEADLINE, faulty
from resumable_stream import StreamConsumer, StreamEvent, StreamProducer
from resumable_stream.asgi import EventStreamResponse, Scope
from resumable_stream.testing import Gate, ScriptedSource, Step, numbered
from support import wait_until


@pytest.fixture
async def consumer(redis: Redis) -> AsyncIterator[StreamConsumer]:
    async with StreamConsumer(redis) as consumer:
        yield consumer


@pytest.fixture
async def app(consumer: StreamConsumer) -> StreamApp:
    return StreamApp(consumer)


@pytest.fixture
async def server(app: StreamApp) -> AsyncIterator[Served]:
    async with served(app) as server:
        yield server


def text_of(messages: list[Message]) -> str:
    return "".join(message.data for message in messages if message.type == "chunk")


async def test_headers_and_first_bytes_come_before_the_first_token(redis: Redis, server: Served) -> None:
    """Nothing between may hold a silent stream back or change it, and the client knows at once that it stands."""
    async with StreamProducer(redis).open("s") as stream, request(server.port, "/s") as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        assert not {"connection", "content-encoding", "content-length"} & response.headers.keys()
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert await response.read_some() == b": ka\n"
        await stream.send("a")
        await response.read_until(b"data: a\n\n")


async def test_a_silent_stream_is_kept_alive_by_comments_and_nothing_else(
    redis: Redis, app: StreamApp, server: Served
) -> None:
    """`: ka` and one line feed: with a second one several clients make an empty event of it."""
    app.options["keep_alive"] = 0.02
    async with StreamProducer(redis).open("s") as stream, request(server.port, "/s") as response:
        await response.read_until(b": ka\n" * 5)
        await stream.send("a")
        await response.read_until(b"\n\n")
        assert re.fullmatch(rb"(: ka\n)+retry: \d+\nid: \d+-1\nevent: chunk\ndata: a\n\n", response.body)
        size = len(response.body)
        await response.read_until(response.body + b": ka\n")
        assert response.body[size:].startswith(b": ka\n")
    parser = SSEParser()
    parser.feed(response.body)
    assert parser.empty_blocks == 0
    assert set(parser.comments) == {" ka"}


async def test_a_whole_stream_on_the_wire(redis: Redis, server: Served) -> None:
    """Every frame with its own id, `retry` inside the first, a clean end behind the terminal frame."""
    result = await StreamProducer(redis).run("s", ScriptedSource(["Hel", "lo\n", StreamEvent("title", {"title": "x"})]))
    assert result.last_id is not None
    prefix = str(result.last_id.generation)
    async with request(server.port, "/s") as response:
        body = await response.read_all()
    assert response.complete
    head, retry, rest = re.split(rb"retry: (\d+)\n", body)
    assert head == b": ka\n"
    assert 1000 <= int(retry) <= 3000
    assert rest.decode() == (
        f"id: {prefix}-1\nevent: chunk\ndata: Hel\n\n"
        f"id: {prefix}-2\nevent: chunk\ndata: lo\ndata: \n\n"
        f"id: {prefix}-4\nevent: system\ndata: end\n\n"
    )


async def test_the_json_dialect_on_the_wire(redis: Redis, server: Served) -> None:
    script: list[Step] = ["Hel\rlo", StreamEvent("tool_call", {"id": "1", "name": "search", "args": {"q": "é"}})]
    await StreamProducer(redis).run("s", ScriptedSource(script))
    async with request(server.port, "/s?format=json") as response:
        body = await response.read_all()
    assert b"event:" not in body
    assert [json.loads(message.data) for message in parse(body)] == [
        {"type": "text", "data": "Hel\rlo"},
        {"type": "tool_call", "data": {"id": "1", "name": "search", "args": {"q": "é"}}},
        {"type": "end", "data": {"status": "completed"}},
    ]
    assert b'{"type":"text","data":"Hel\\rlo"}' in body


async def test_events_that_a_dialect_hides_send_nothing(redis: Redis, server: Served) -> None:
    gates = [Gate(), Gate()]
    script: list[Step] = [StreamEvent("reasoning", "hm"), gates[0], StreamEvent("reasoning", "so"), gates[1], "a"]
    async with anyio.create_task_group() as group:
        group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(script))
        await gates[0].reached()
        async with request(server.port, "/s") as response, request(server.port, "/s?format=json") as full:
            for index, text in enumerate((b"hm", b"so")):
                await full.read_until(text)
                gates[index].open()
            body = await response.read_all()
            assert [json.loads(message.data)["type"] for message in parse(await full.read_all())] == [
                "reasoning",
                "reasoning",
                "text",
                "end",
            ]
    assert re.fullmatch(rb": ka\nretry: \d+\nid: \d+-3\nevent: chunk\ndata: a\n\nid: .*data: end\n\n", body, re.DOTALL)


async def test_httpx_sse_reads_and_resumes_a_live_stream(redis: Redis, server: Served) -> None:
    """An independent client, cut by itself after ever more events."""
    tokens = numbered(1000)
    got: list[str] = []
    ids: list[str] = []
    gate = Gate()
    with anyio.fail_after(60):
        async with (
            httpx.AsyncClient() as client,
            StreamProducer(redis) as producer,
            anyio.create_task_group() as group,
        ):
            group.start_soon(producer.run, "s", ScriptedSource([gate, *tokens]))
            await gate.reached()
            gate.open()
            ended = False
            for limit in range(1, 1000):
                headers = {"Last-Event-ID": ids[-1]} if ids else {}
                async with aconnect_sse(client, "GET", f"{server.url}/s", headers=headers) as events:
                    async for event in events.aiter_sse():
                        ids.append(event.id)
                        got += [event.data] * (event.event == "chunk")
                        ended = event.data == "end"
                        limit -= 1
                        if ended or not limit:
                            break
                if ended:
                    break
    assert "".join(got) == "".join(tokens)
    assert len(set(ids)) == len(ids) == 1001


async def test_curl_reads_a_stream_and_resumes_it(redis: Redis, server: Served) -> None:
    """``curl -N``, killed in the middle again and again."""
    tokens = numbered(1000)
    gates = [Gate() for _ in range(5)]
    script: list[Step] = []
    for index, gate in enumerate(gates):
        script += [*tokens[index * 200 : index * 200 + 200], gate]
    messages: list[Message] = []
    with anyio.fail_after(60):
        async with StreamProducer(redis) as producer, anyio.create_task_group() as group:
            group.start_soon(producer.run, "s", ScriptedSource(script))
            for gate in gates:
                await gate.reached()
                messages += await _curl(server, messages, until=200 * (gates.index(gate) + 1))
                gate.open()
            messages += await _curl(server, messages, until=1001)
    assert text_of(messages) == "".join(tokens)
    assert len({message.last_event_id for message in messages}) == len(messages) == 1001


async def _curl(server: Served, before: list[Message], *, until: int) -> list[Message]:
    """What curl prints until so many events have come in all; then it is killed."""
    headers = ["-H", f"Last-Event-ID: {before[-1].last_event_id}"] if before else []
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", *headers, f"{server.url}/s", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    parser, messages = SSEParser(), list[Message]()
    while len(before) + len(messages) < until:
        messages += parser.feed(await process.stdout.read(1000))
    if process.returncode is None:
        process.kill()
    await process.wait()
    return messages


async def test_a_client_that_has_everything_gets_204(redis: Redis, server: Served) -> None:
    """By header and by query; `EventSource` stops for good then. The header wins over the query."""
    result = await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    last = {"Last-Event-ID": str(result.last_id)}
    async with request(server.port, "/s", headers=last) as response:
        assert response.status == 204
        assert await response.read_all() == b""
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert "content-type" not in response.headers
    async with request(server.port, f"/s?last_event_id={result.last_id}") as response:
        assert response.status == 204
    async with request(server.port, "/s?last_event_id=1-1", headers=last) as response:
        assert response.status == 204
    async with request(server.port, f"/s?last_event_id={result.last_id}", headers={"Last-Event-ID": ""}) as response:
        assert response.status == 200


async def test_what_cannot_be_read_is_refused_before_the_headers(redis: Redis, server: Served) -> None:
    async with request(server.port, "/unknown") as response:
        assert response.status == 404
        assert response.headers["content-type"] == "application/json"
        assert json.loads(await response.read_all())["error"]["code"] == "stream_not_found"
    async with request(server.port, "/%7Bx%7D") as response:
        assert response.status == 400
        assert json.loads(await response.read_all())["error"]["code"] == "invalid_stream_id"


async def test_without_redis_it_is_503_and_works_again_afterwards(redis: Redis, valkey_url: str) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    async with (
        faulty(valkey_url) as (proxy, client),
        StreamConsumer(client) as consumer,
        served(StreamApp(consumer)) as server,
    ):
        await proxy.down()
        async with request(server.port, "/s") as response:
            assert response.status == 503
            body = await response.read_all()
            assert json.loads(body)["error"]["code"] == "log_unavailable"
            assert b"127.0.0.1" not in body
        await proxy.up()
        async with request(server.port, "/s") as response:
            assert text_of(parse(await response.read_all())) == "a"


async def test_a_reader_may_wait_for_a_stream_that_is_about_to_start(
    redis: Redis, app: StreamApp, server: Served
) -> None:
    """The request that starts a run races with the one that reads it."""
    app.options["wait"] = DEADLINE
    bodies: list[bytes] = []

    async def read() -> None:
        async with request(server.port, "/s") as response:
            bodies.append(await response.read_all())

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await wait_until(lambda: server.connections == 1)
        await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    assert text_of(parse(bodies[0])) == "a"


async def test_a_head_request_gets_the_headers_only(redis: Redis, server: Served) -> None:
    result = await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    async with request(server.port, "/s", method="HEAD") as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
    last = {"Last-Event-ID": str(result.last_id)}
    async with request(server.port, "/s", method="HEAD", headers=last) as response:
        assert response.status == 204


async def test_a_response_ends_at_its_age_and_the_client_resumes(redis: Redis, app: StreamApp, server: Served) -> None:
    """A clean end at a frame boundary, without a terminal frame."""
    app.options["max_age"] = 0.05
    async with StreamProducer(redis).open("s") as stream:
        await stream.send("a")
        async with request(server.port, "/s") as response:
            messages = parse(await response.read_all())
            assert response.complete
        await stream.send("b")
    cursor = {"Last-Event-ID": messages[-1].last_event_id}
    async with request(server.port, "/s", headers=cursor) as response:
        messages += parse(await response.read_all())
    assert [message.data for message in messages] == ["a", "b", "end"]


async def test_a_response_ends_when_its_client_may_read_no_more_whatever_its_age(
    redis: Redis, app: StreamApp, server: Served
) -> None:
    app.options |= {"expires_in": 0.05, "max_age": None}
    async with StreamProducer(redis).open("s") as stream:
        await stream.send("a")
        async with request(server.port, "/s") as response:
            assert [message.data for message in parse(await response.read_all())] == ["a"]
            assert response.complete
        app.options["expires_in"] = -1.0
        async with request(server.port, "/s") as response:
            assert parse(await response.read_all()) == [], "it may read nothing"


async def test_a_server_that_closes_ends_its_streams_at_a_frame_boundary(
    redis: Redis, app: StreamApp, server: Served
) -> None:
    async with StreamProducer(redis).open("s") as stream:
        await stream.send("a")
        async with request(server.port, "/s") as response:
            await response.read_until(b"data: a\n\n")
            app.closing.set()
            body = await response.read_all()
            assert response.complete
    assert [message.data for message in parse(body)] == ["a"]
    assert body.endswith(b"\n\n")


async def test_a_cursor_and_headers_can_be_given_by_the_app(redis: Redis, consumer: StreamConsumer) -> None:
    """The app's cursor wins over the request's; ``""`` is the beginning."""
    result = await StreamProducer(redis).run("s", ScriptedSource(["a", "b"]))
    assert result.last_id is not None
    first = result.last_id._replace(sequence=1)
    sent: list[dict[str, object]] = []

    async def call(response: EventStreamResponse, scope: Scope) -> bytes:
        sent.clear()

        async def receive() -> dict[str, object]:
            await anyio.sleep_forever()
            return {}

        async def send(message: object) -> None:
            assert isinstance(message, dict)
            sent.append(message)

        with anyio.fail_after(DEADLINE):
            await response(scope, receive, send)
        return b"".join(message.get("body", b"") for message in sent[1:])  # type: ignore[misc] # bytes by ASGI

    scope: Scope = {"type": "http", "method": "GET", "headers": [(b"last-event-id", b"abc")], "query_string": b""}
    body = await call(EventStreamResponse(consumer, "s", last_event_id=first, headers=[(b"x-run", b"1")]), scope)
    assert text_of(parse(body)) == "b"
    assert (b"x-run", b"1") in sent[0]["headers"]  # type: ignore[operator] # a list by ASGI
    assert text_of(parse(await call(EventStreamResponse(consumer, "s", last_event_id=""), scope))) == "ab"
