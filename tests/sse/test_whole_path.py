"""Tokens go through a producer, a server, a consumer and HTTP to parsers that others wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import count

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from redis.asyncio import Redis

from core.http_server import Served, StreamApp, request, served
from core.streams import DEADLINE
from resumable_stream import EVENT_SOURCE, JSON, StreamConsumer, StreamProducer
from resumable_stream.testing import ScriptedSource, Step
from sse.judging import json_runs_of, judge, runs_of, value_of
from sse.parsers import Audience
from sse.texts import CUTS, HOSTILE, Conversation, Run, as_text, conversations, joined, torn
from sse.wire import KEEP_ALIVE, RETRY, frames_of

PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
names = (f"s{number}" for number in count())


@pytest.fixture
async def producer(redis: Redis) -> AsyncIterator[StreamProducer]:
    async with StreamProducer(redis) as producer:
        yield producer


@pytest.fixture
async def consumer(redis: Redis) -> AsyncIterator[StreamConsumer]:
    async with StreamConsumer(redis) as consumer:
        yield consumer


@pytest.fixture
async def server(consumer: StreamConsumer) -> AsyncIterator[Served]:
    async with served(StreamApp(consumer)) as server:
        yield server


async def produce(producer: StreamProducer, steps: Sequence[Step]) -> str:
    stream_id = next(names)
    with anyio.fail_after(DEADLINE):
        await producer.run(stream_id, ScriptedSource(steps))
    return stream_id


async def body_of(server: Served, path: str) -> bytes:
    async with request(server.port, path) as response:
        assert response.status == 200
        body = await response.read_all()
        assert response.complete
    return body


async def frames(consumer: StreamConsumer, stream_id: str, *, as_json: bool) -> bytes:
    with anyio.fail_after(DEADLINE):
        dialect = JSON if as_json else EVENT_SOURCE
        return b"".join([frame async for frame in consumer.frames(stream_id, dialect=dialect)])


def check_ids(body: bytes) -> None:
    """One id a frame, each once, rising by one; only the first half of an end in two frames has none."""
    ids = [event_id for event_id, _ in frames_of(body)]
    assert [int(event_id.partition("-")[2]) for event_id in ids] == list(range(1, len(ids) + 1))
    assert body.startswith(KEEP_ALIVE)
    assert len(RETRY.findall(body)) == 1


def text(*tokens: str | bytes) -> Conversation:
    """Tokens that say what they say together."""
    whole = "".join(token if isinstance(token, str) else token.decode() for token in tokens)
    return Conversation(tokens, joined([Run("chunk", whole)]))


@PATIENT
@given(conversations(), CUTS)
@example(text(*HOSTILE), range(20_000))
@example(text("a\r", "\nb", "\r", "\r", "\n", "\r"), [])
@example(text(b"a\r", b"\nb\r", "\n", "\r", b"\n"), [])
@example(text("\ud83d", "\ude00", "\ud83d"), [])
async def test_a_conversation_is_read_alike_by_all(
    producer: StreamProducer,
    consumer: StreamConsumer,
    server: Served,
    audience: Audience,
    said: Conversation,
    cuts: list[int],
) -> None:
    """Exact as JSON; as text with line feeds for line ends, and U+FFFD for halves of pairs.

    Fails without any alternative of `_UNUSUAL` or `_ESCAPED` (`_frames.py`), of `_LINE_END` or `_ESCAPED`
    (`_sse.py`), or of what `TextJoiner` keeps back (`_text.py`).
    """
    stream_id = await produce(producer, said.steps)

    exact = await body_of(server, f"/{stream_id}?format=json")
    check_ids(exact)
    messages = judge(audience, torn(exact, cuts), as_json=True)
    assert json_runs_of(messages) == said.runs
    assert value_of(messages[-1]) == {"type": "end", "data": {"status": "completed"}}

    body = await body_of(server, f"/{stream_id}")
    check_ids(body)
    messages = judge(audience, torn(body, cuts), as_json=False)
    assert runs_of(messages) == joined([Run(run.kind, as_text(run.text)) for run in said.runs])
    assert (messages[-1].type, messages[-1].data) == ("system", "end")

    for sent, as_json in ((exact, True), (body, False)):
        assert RETRY.sub(b"", sent).removeprefix(KEEP_ALIVE) == await frames(consumer, stream_id, as_json=as_json)


MEGABYTES = ("x" * 2**20, " 😀" * 2**18, "\r\n" * 2**15, "\u2028" * 2**18, "\0" * 2**18)


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
async def test_tokens_of_a_megabyte_are_whole(
    producer: StreamProducer, server: Served, audience: Audience, as_json: bool
) -> None:
    """In one line or in thirty thousand; the network delivers them in pieces of 64 kB."""
    stream_id = await produce(producer, MEGABYTES)
    body = await body_of(server, f"/{stream_id}?format={'json' if as_json else 'text'}")
    check_ids(body)
    messages = judge(audience, torn(body, range(0, len(body), 2**16)), as_json=as_json)
    (run,) = json_runs_of(messages) if as_json else runs_of(messages)
    text = "".join(MEGABYTES)
    assert run == Run("chunk", text if as_json else as_text(text))
