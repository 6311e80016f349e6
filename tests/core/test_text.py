"""Text of every kind goes through Redis and real parsers and arrives equal, or as documented."""

from __future__ import annotations

import json
import re
from itertools import count, pairwise

import anyio
import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.sse_parser import Message, SSEParser
from core.streams import DEADLINE, read_all, text_of
from resumable_stream import EVENT_SOURCE, JSON, Dialect, StreamConsumer, StreamProducer
from resumable_stream.testing import ScriptedSource

AWKWARD = [
    "\r", "\n", "\r\n", "\n\n", "\0", "\x85", "\u2028", "\u2029", "\ufeff", " ", "  x", ":", "data: x", "id: 1\n",
    "\ud83d", "\ude00", "😀", "é", "e\u0301", "\x1b[31m", "\x7f", "\uffff", "\U0010ffff", "</script>",
    "[DONE]", '"', "\\",
]  # fmt: skip
TOKENS = st.lists(
    st.one_of(st.sampled_from(AWKWARD), st.text(st.characters(codec=None, exclude_categories=()), max_size=6))
)
PATIENT = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
names = (f"s{number}" for number in count())


def joined(tokens: list[str]) -> str:
    """The whole text: halves of a pair that meet are the character that they stand for."""
    return "".join(tokens).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


async def body_of(redis: Redis, tokens: list[str], dialect: Dialect) -> bytes:
    """The bytes that a client gets of a stream with these tokens."""
    stream_id = next(names)
    with anyio.fail_after(DEADLINE):
        await StreamProducer(redis).run(stream_id, ScriptedSource(tokens))
        async with StreamConsumer(redis) as consumer:
            return b"".join([frame async for frame in consumer.frames(stream_id, dialect=dialect)])


def by_httpx_sse(body: bytes) -> list[Message]:
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    return [Message(event.event, event.data, event.id) for event in EventSource(response).iter_sse()]


def byte_by_byte(body: bytes) -> list[Message]:
    parser = SSEParser()
    return [message for byte in body for message in parser.feed(bytes([byte]))]


@PATIENT
@given(TOKENS)
@example(["\ud83d", "\ude00", "\ud83d"])
@example(["a\r", "\nb"])
async def test_any_tokens_are_exact_as_json(redis: Redis, tokens: list[str]) -> None:
    body = await body_of(redis, tokens, JSON)
    for messages in (by_httpx_sse(body), byte_by_byte(body)):
        events = [json.loads(message.data) for message in messages]
        assert joined([event["data"] for event in events[:-1]]) == joined(tokens)
        assert events[-1] == {"type": "end", "data": {"status": "completed"}}


@PATIENT
@given(TOKENS)
async def test_any_tokens_as_text_arrive_with_line_feeds(redis: Redis, tokens: list[str]) -> None:
    """Every CR and CRLF in an event is a line feed, and half a pair is U+FFFD; all else is as it was."""
    body = await body_of(redis, tokens, EVENT_SOURCE)
    exact = await body_of(redis, tokens, JSON)
    texts = [json.loads(message.data).get("data", "") for message in byte_by_byte(exact)[:-1]]
    expected = [
        re.sub(r"\r\n|\r", "\n", text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
        for text in texts
    ]
    for messages in (by_httpx_sse(body), byte_by_byte(body)):
        assert [message.data for message in messages] == [*expected, "end"]


@PATIENT
@given(text=st.text(max_size=40), cuts=st.lists(st.integers(0, 160), max_size=12))
async def test_bytes_cut_anywhere_arrive_as_the_text(redis: Redis, text: str, cuts: list[int]) -> None:
    """A provider's packets end inside characters."""
    raw = text.encode()
    places = sorted({0, len(raw), *[cut for cut in cuts if cut < len(raw)]})
    tokens = [raw[start:end] for start, end in pairwise(places)]
    stream_id = next(names)
    await StreamProducer(redis).run(stream_id, ScriptedSource(tokens))
    async with StreamConsumer(redis) as consumer:
        assert text_of(await read_all(consumer, stream_id)) == text


@pytest.mark.parametrize("interval", [0.0, 0.01])
@pytest.mark.parametrize("decode", [True, False])
async def test_awkward_text_is_exact_whatever_the_settings(
    redis: Redis, valkey_url: str, interval: float, decode: bool
) -> None:
    async with Redis.from_url(valkey_url, decode_responses=decode) as client:
        await StreamProducer(client, flush_interval=interval).run("s", ScriptedSource(AWKWARD * 3))
        async with StreamConsumer(client) as consumer:
            assert text_of(await read_all(consumer, "s")) == joined(AWKWARD * 3)
