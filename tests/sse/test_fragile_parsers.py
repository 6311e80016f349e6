"""Keep-alives, `retry` and ids, read by parsers that are less strict than browsers, or more.

The streams are the server's own, recorded over HTTP. Each rule of the wire has a counterpart below that breaks it in
the record: the parsers that are named there go wrong then. So the rule is worth keeping, and a broken one is seen.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest
from redis.asyncio import Redis

from core.http_server import StreamApp, request, served
from core.sse_parser import parse
from core.streams import DEADLINE
from resumable_stream import StreamConsumer, StreamEvent, StreamProducer
from resumable_stream.testing import Gate, ScriptedSource
from sse.judging import expected, judge, shown
from sse.parsers import NODE, PYTHON, Audience
from sse.wire import KEEP_ALIVE, RETRY, frames_of

FORMATS = pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
STEPS: tuple[str | StreamEvent, ...] = (
    "one\ntwo\n",
    " thr\0\u2028ee",
    StreamEvent("tool_call", {"name": "search", "args": {}}),
    StreamEvent("tool_call", {"name": "", "args": {}}),
    "four\n\nfive",
)
TYPES = ["text", "text", "tool_call", "tool_call", "text"]


@pytest.fixture(scope="module")
async def records(valkey_url: str) -> dict[bool, bytes]:
    """One stream as JSON and as text: silence before its first event and before each other; it ends in two frames."""
    gates = [Gate() for _ in STEPS]
    script = [part for gate, step in zip(gates, STEPS, strict=True) for part in (gate, step)]
    async with (
        Redis.from_url(valkey_url) as redis,
        StreamProducer(redis) as producer,
        StreamConsumer(redis) as consumer,
        served(StreamApp(consumer, keep_alive=0.01, wait=DEADLINE)) as server,
        anyio.create_task_group() as group,
    ):
        group.start_soon(producer.run, "record", ScriptedSource([*script, anyio.Event()]))
        async with (
            request(server.port, "/record?format=json") as as_json,
            request(server.port, "/record") as as_text,
            asyncio.timeout(DEADLINE),
        ):
            for number in range(len(STEPS) + 1):
                for response in (as_json, as_text):
                    while response.body.count(b"\n\n") < number or not response.body.endswith(KEEP_ALIVE * 2):
                        assert await response.read_some()
                if number < len(STEPS):
                    gates[number].open()
            await producer.cancel("record")
            bodies = {True: await as_json.read_all(), False: await as_text.read_all()}
    return bodies


@FORMATS
async def test_silence_is_nothing_to_any_parser(audience: Audience, records: dict[bool, bytes], as_json: bool) -> None:
    """No empty event, no error, the right ids, however the bytes are cut.

    Fails with a second line feed behind `KEEP_ALIVE`, `retry_line` or an id, with a colon or a blank in an id, with
    CRLF, and with an id on the first of the two frames of an end (`_sse.py`, `_frames.py`).
    """
    body = records[as_json]
    assert body.startswith(KEEP_ALIVE * 2)
    assert body.count(b"\n\n" + KEEP_ALIVE * 2) == len(STEPS)
    ids = [event_id for event_id, _ in frames_of(body)]
    assert [event_id.partition("-")[2] for event_id in ids if event_id] == ["1", "2", "3", "4", "5", "6"]
    for chunks in (body, body.splitlines(keepends=True), [bytes([byte]) for byte in body]):
        messages = judge(audience, [chunks] if isinstance(chunks, bytes) else chunks, as_json=as_json)
        shown = [message.data for message in messages]
        if as_json:
            assert [value["type"] for value in map(json.loads, shown)] == [*TYPES, "end"]
        else:
            assert shown == ["one\ntwo\n", " thr\0\u2028ee", "search", "", "four\n\nfive", "cancelled", "end"]


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that is broken in the record, and parsers that go wrong then.

    Attributes:
        rule: the rule.
        edit: breaks it.
        parsers: who goes wrong on JSON, and those of them who read text do on text; with no ``text``, on JSON only.
    """

    rule: str
    edit: Callable[[bytes], bytes]
    parsers: set[str]
    text: bool = True


ALL_EXACT = {"eventsource-parser", "eventsource", "eventsource-client"}
BROKEN = (
    Broken(
        "no blank line behind a keep-alive",
        lambda body: body.replace(KEEP_ALIVE, KEEP_ALIVE + b"\n"),
        {"httpx-sse", "openai", "fetch-event-source"},
    ),
    Broken(
        "retry is a line of a frame with data",
        lambda body: RETRY.sub(rb"\g<0>\n", body),
        {"httpx-sse", "openai", "fetch-event-source", "langgraph-sdk", "langgraph-sdk for Python"},
    ),
    Broken(
        "the id is a line of a frame with data",
        lambda body: re.sub(rb"(?m)^id: .*\n", rb"\g<0>\n", body),
        {"httpx-sse", "openai", "fetch-event-source", "langgraph-sdk", "langgraph-sdk for Python", "sseclient-py"}
        | ALL_EXACT,
    ),
    Broken("lines do not end with CRLF", lambda body: body.replace(b"\n", b"\r\n"), {"ag-ui"}, text=False),
    Broken("lines do not end with CR", lambda body: body.replace(b"\n", b"\r"), {"ag-ui"} | ALL_EXACT, text=False),
    Broken(
        "the last frame ends with a blank line",
        lambda body: body.removesuffix(b"\n"),
        {"httpx-sse", "openai", "fetch-event-source", "langgraph-sdk for Python"} | ALL_EXACT,
    ),
    Broken(
        "an id has no NUL", lambda body: re.sub(rb"(?m)^(id: .*)", rb"\1\0", body), {"httpx-sse", "openai"} | ALL_EXACT
    ),
    Broken(
        "JSON has no control character",
        lambda body: body.replace(rb"\u0000", b"\0"),
        {parser.name for parser in (*PYTHON, *NODE)},
        text=False,
    ),
    Broken(
        "JSON has no character that ends a line for Python",
        lambda body: body.replace(rb"\u2028", "\u2028".encode()),
        {"lines of httpx"},
        text=False,
    ),
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.rule)
async def test_each_rule_keeps_parsers_from_going_wrong(
    audience: Audience, records: dict[bool, bytes], broken: Broken
) -> None:
    for as_json in (True, False) if broken.text else (True,):
        body = records[as_json]
        assert broken.edit(body) != body
        right = parse(body)
        wrong = set()
        for parser, heard in audience.hear([broken.edit(body)], as_json=as_json):
            try:
                if isinstance(heard, str) or shown(heard, as_json) != expected(parser, right, as_json):
                    wrong.add(parser.name)
            except ValueError:  # an event whose data is no JSON
                wrong.add(parser.name)
        here = {parser.name for parser in audience.parsers if as_json or parser.text is not None}
        assert wrong >= broken.parsers & here, f"{broken.parsers & here - wrong} do not mind any more"
