"""Promises 17 and 18: any text, and any `Last-Event-ID`, over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from itertools import count, pairwise
from urllib.parse import quote

import anyio
import httpx
import pytest
from httpx_sse import aconnect_sse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.http_server import Served, StreamApp, request, served
from core.sse_parser import Message, SSEParser, parse
from core.streams import DEADLINE
from promises.matrix import everywhere, in_pairs
from resumable_stream import EventID, StreamConsumer, StreamProducer
from resumable_stream.testing import Gate, ScriptedSource, Step

AWKWARD = [
    "\r", "\n", "\r\n", "\n\n", "\x85", "\u2028", "\u2029", "\0", "\ud83d", "\ude00", "", " leading", "😀", "e\u0301",
    "\ufeff", "data: x", "id: 1-1\n", ":", "[DONE]", "\\", '"', "</script>", "\uffff", "\U0010ffff",
]  # fmt: skip
TOKENS = st.lists(
    st.one_of(st.sampled_from(AWKWARD), st.text(st.characters(codec=None, exclude_categories=()), max_size=6))
)
names = (f"s{number}" for number in count())


@pytest.fixture
async def server(client: Redis) -> AsyncIterator[Served]:
    async with StreamConsumer(client) as consumer, served(StreamApp(consumer)) as server:
        yield server


def joined(tokens: list[str]) -> str:
    """The whole text: halves of a pair that meet are the character that they stand for."""
    return "".join(tokens).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def as_documented(text: str) -> str:
    """What the text format makes of a text: CR and CRLF are a line feed, half a pair is U+FFFD."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return re.sub(r"\r\n|\r", "\n", whole)


@pytest.fixture
async def http(server: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        yield http


async def by_httpx_sse(http: httpx.AsyncClient, path: str) -> list[Message]:
    async with aconnect_sse(http, "GET", path) as events:
        return [Message(event.event, event.data, event.id) async for event in events.aiter_sse()]


async def by_the_letter(http: httpx.AsyncClient, path: str) -> list[Message]:
    """A parser to the letter of the standard, which gets one byte at a time."""
    body = (await http.get(path)).content
    parser = SSEParser()
    return [message for byte in body for message in parser.feed(bytes([byte]))]


@pytest.mark.promise(number=17)
@in_pairs
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(tokens=TOKENS, text=st.text(max_size=20), cuts=st.lists(st.integers(0, 80), max_size=8))
@example(tokens=AWKWARD, text="caf\xe9 😀", cuts=[4, 7, 8])
@example(tokens=["\ud83d", "\ude00", "\ud83d"], text="", cuts=[])
@example(tokens=["a\r", "\nb"], text="", cuts=[])
@example(tokens=["a\r", "b\rc"], text="\r", cuts=[])
async def test_any_text_arrives(
    client: Redis, http: httpx.AsyncClient, tokens: list[str], text: str, cuts: list[int]
) -> None:
    """Equal as JSON, as documented as plain text, through two parsers. A part of it comes as bytes that are cut
    anywhere, also inside a character.

    Fails without the wait for the other half of a character (`_text.py`), and without the look for line ends
    (`_frames.py`).
    """
    stream_id = next(names)
    raw = text.encode()
    places = sorted({0, len(raw), *[cut for cut in cuts if cut < len(raw)]})
    script: list[Step] = [*tokens, *[raw[start:end] for start, end in pairwise(places)]]
    with anyio.fail_after(DEADLINE):
        await StreamProducer(client).run(stream_id, ScriptedSource(script))
        for read in (by_httpx_sse, by_the_letter):
            exact = [json.loads(message.data) for message in await read(http, f"/{stream_id}?format=json")]
            assert exact[-1] == {"type": "end", "data": {"status": "completed"}}
            texts = [event["data"] for event in exact[:-1]]
            assert joined(texts) == joined(tokens) + text
            plain = await read(http, f"/{stream_id}")
            assert [message.type for message in plain] == ["chunk"] * len(texts) + ["system"]
            assert "".join(message.data for message in plain[:-1]) == as_documented(joined(tokens) + text)
            assert plain[-1].data == "end"


MALFORMED = [
    "abc", "-1", "$", ">", "+", "*", "0-0-0", "1", "1-", "01-1", "1.0-1", "1-1, 2-2", "1-1 OR 1", "null",
    "18446744073709551616-1", "1-" + "1" * 10_240, "x" * 10_240,
]  # fmt: skip


@pytest.mark.promise(number=18)
@everywhere
async def test_a_last_event_id_that_is_malformed_is_400(client: Redis, server: Served) -> None:
    """By header and by query, for a stream that is there and for one that is not. The answer does not repeat it.

    Fails without the strictness about the whole id (`_events.py`).
    """
    await StreamProducer(client).run("s", ScriptedSource(["a"]))
    for cursor in MALFORMED:
        for path, headers in (
            ("/s", {"Last-Event-ID": cursor}),
            (f"/s?last_event_id={quote(cursor)}", {}),
            ("/unknown", {"Last-Event-ID": cursor}),
        ):
            async with request(server.port, path, headers=headers) as response:
                assert response.status == 400, cursor[:30]
                assert json.loads(await response.read_all())["error"]["code"] == "invalid_event_id"
                assert len(response.body) < 200


@pytest.mark.promise(number=18)
@everywhere
@pytest.mark.parametrize("live", [True, False], ids=["live", "ended"])
async def test_a_last_event_id_that_is_no_event_of_the_stream_is_a_full_replay(
    client: Redis, server: Served, *, live: bool
) -> None:
    """Empty: from the start. Another run's, or from the future: `reset`, then from the start. Never a skip.

    Fails without the question whether a cursor has a place (`_hub.py`).
    """
    other = (await StreamProducer(client).run("other", ScriptedSource(["a", "b", "c"]))).last_id
    assert other is not None
    gate = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(StreamProducer(client).run, "s", ScriptedSource(["one", "two", gate, "three"]))
        await gate.reached()
        async with request(server.port, "/s") as response:
            first, second = parse(await response.read_until(b"data: two\n\n"))
        if not live:
            gate.open()
            async with request(server.port, "/s") as response:
                await response.read_all()
        place = EventID.parse(second.last_event_id)
        elsewhere = [
            other,
            place._replace(sequence=1000),
            place._replace(generation=place.generation + 86_400_000),
            place._replace(generation=place.generation - 1),
            EventID(0, 0),
            EventID(2**64 - 1, 2**64 - 1),
        ]
        bodies: list[bytes] = []

        async def read(path: str, headers: dict[str, str]) -> None:
            async with request(server.port, path, headers=headers) as response:
                assert response.status == 200
                await response.read_until(b"data: two\n\n")
                gate.open()
                bodies.append(await response.read_all())

        cursors = ["", *map(str, elsewhere)]
        async with anyio.create_task_group() as readers:
            for cursor in cursors:
                readers.start_soon(read, "/s", {"Last-Event-ID": cursor})
                readers.start_soon(read, f"/s?last_event_id={cursor}", {})
    contents = [[(message.type, message.data) for message in parse(body)] for body in bodies]
    whole = [("chunk", "one"), ("chunk", "two"), ("chunk", "three"), ("system", "end")]
    assert contents.count(whole) == 2
    assert contents.count([("system", "reset"), *whole]) == 2 * len(elsewhere)
    for body in bodies:
        ids = [message.last_event_id for message in parse(body) if message.data != "reset"]
        assert [EventID.parse(event_id).sequence for event_id in ids] == [1, 2, 3, 4]
    assert first.last_event_id != second.last_event_id
