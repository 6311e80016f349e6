"""Clients that leave, do not read, or come by the thousand: nobody else notices, nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis

from core.http_server import StreamApp, request, served
from core.sse_parser import parse
from core.streams import DEADLINE
from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.asgi import EventStreamResponse, Scope
from resumable_stream.testing import Gate, ScriptedSource, numbered
from support import wait_until


@pytest.fixture
async def consumer(redis: Redis) -> AsyncIterator[StreamConsumer]:
    async with StreamConsumer(redis) as consumer:
        yield consumer


def viewers(consumer: StreamConsumer, stream_id: str = "s") -> int:
    """How many readers of a stream the consumer knows of."""
    assert consumer._hub is not None
    feed = consumer._hub._feeds.get(stream_id)
    return feed.viewers if feed is not None else 0


async def test_a_client_that_leaves_in_silence_is_noticed(redis: Redis, consumer: StreamConsumer) -> None:
    """No token and no keep-alive has to be sent for it: the response is over as the connection is."""
    async with served(StreamApp(consumer)) as server, StreamProducer(redis).open("s"):
        async with request(server.port, "/s") as response:
            await response.read_some()
            assert viewers(consumer) == 1
        await wait_until(lambda: viewers(consumer) == 0)


async def test_a_write_that_takes_too_long_ends_the_response(redis: Redis, consumer: StreamConsumer) -> None:
    """A server whose `send` waits for ever on a client: bounded, and no last chunk is sent that would lie."""
    await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    bodies: list[object] = []

    async def receive() -> dict[str, object]:
        await anyio.sleep_forever()
        return {}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        if b"data:" in message.get("body", b""):
            await anyio.sleep_forever()
        bodies.append(message.get("more_body", False))

    scope: Scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}
    with anyio.fail_after(DEADLINE):
        await EventStreamResponse(consumer, "s", send_timeout=0.05)(scope, receive, send)
    assert bodies == [False, True]
    assert viewers(consumer) == 0


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_a_server_that_raises_when_the_client_is_gone_ends_the_response(
    redis: Redis, consumer: StreamConsumer, failing: int
) -> None:
    """ASGI 2.4 servers raise `OSError` from `send`: the response is over, quietly."""
    await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    sent = 0

    async def receive() -> dict[str, object]:
        await anyio.sleep_forever()
        return {}

    async def send(message: object) -> None:
        nonlocal sent
        sent += 1
        if sent > failing + 1:
            raise BrokenPipeError

    scope: Scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}
    with anyio.fail_after(DEADLINE):
        await EventStreamResponse(consumer, "s")(scope, receive, send)
    assert viewers(consumer) == 0


async def test_a_slow_client_gets_the_same_as_a_fast_one(redis: Redis, consumer: StreamConsumer) -> None:
    """It reads a little at a time while the stream runs on, and falls out of the window."""
    tokens = numbered(3000)
    bodies: list[bytes] = []
    with anyio.fail_after(60):
        async with served(StreamApp(consumer)) as server, anyio.create_task_group() as group:
            gate = Gate()
            group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(["0 ", gate, *tokens]))
            await gate.reached()

            async def read() -> None:
                async with request(server.port, "/s") as response:
                    bodies.append(await response.read_all())

            async with request(server.port, "/s") as slow:
                await slow.read_until(b"data: 0 \n\n")
                gate.open()
                group.start_soon(read)
                await wait_until(lambda: bodies)
                bodies.append(await slow.read_all())
    fast, slow_messages = parse(bodies[0]), parse(bodies[1])
    assert fast == slow_messages
    assert "".join(message.data for message in fast[:-1]) == "0 " + "".join(tokens)


async def test_a_consumer_that_closes_while_a_client_waits_for_its_stream_is_no_error_of_the_server(
    redis: Redis,
) -> None:
    """The stream is not there yet; the client is told to come back."""
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        await anyio.sleep_forever()
        return {}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer:
            response = EventStreamResponse(consumer, "s", wait=DEADLINE * 2)
            serving = asyncio.ensure_future(response(scope, receive, send))
            await wait_until(lambda: viewers(consumer) == 1)
        await serving
    assert sent[0]["status"] == 503


@pytest.mark.parametrize("leaves", [True, False], ids=["the client leaves", "the server closes"])
async def test_waiting_for_a_stream_ends_when(redis: Redis, consumer: StreamConsumer, leaves: bool) -> None:
    """A client that is still there is sent away cleanly, with a status that `EventSource` comes back after."""
    app = StreamApp(consumer, wait=10 * DEADLINE)
    async with served(app) as server:
        assert consumer._hub is not None
        feeds = consumer._hub._feeds

        async def ask() -> bytes:
            async with request(server.port, "/s") as response:
                assert (response.status, response.headers["content-type"][:17]) == (200, "text/event-stream")
                await response.read_all()
                assert response.complete
                return response.body

        asking = asyncio.create_task(ask())
        await wait_until(lambda: "s" in feeds and feeds["s"].missing)
        if leaves:
            asking.cancel()
        else:
            app.closing.set()
        await wait_until(lambda: app.responses == 0 and viewers(consumer) == 0)
        (answer,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(answer, asyncio.CancelledError) if leaves else answer == b": ka\n"
