"""One judgement of a stream's bytes by all parsers together."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from core.sse_parser import Message, SSEParser
from sse.parsers import Audience, Parser
from sse.texts import Run, joined

HALF = re.compile("[\ud800-\udfff]")


def judge(audience: Audience, chunks: Sequence[bytes], *, as_json: bool) -> list[Message]:
    """What a parser to the letter of the standard makes of the chunks; every other parser must make the same of them.

    The same events, with the same names, data and ids, none more and none less, and no error.
    """
    standard = SSEParser()
    messages = [message for chunk in chunks for message in standard.feed(chunk)]
    assert standard.empty_blocks == 0, "some clients make an empty event of a blank line behind nothing"
    assert set(standard.comments) <= {" ka"}
    halves = as_json and any(HALF.search(json.dumps(value_of(m), ensure_ascii=False)) for m in messages)
    for parser, heard in audience.hear(chunks, as_json=as_json, halves=halves):
        assert not isinstance(heard, str), f"{parser.name} refuses the stream: {heard}"
        assert shown(heard, as_json) == expected(parser, messages, as_json), f"{parser.name} got something else"
    return messages


def value_of(message: Message) -> Any:
    """The data of a message of the JSON format."""
    return json.loads(message.data)


def shown(heard: Sequence[Message], as_json: bool) -> list[tuple[str, Any, str]]:
    """As a client sees it: the id that it would come back with is the last one that it was told."""
    seen, last = [], ""
    for message in heard:
        last = message.last_event_id or last
        seen.append((message.type, value_of(message) if as_json else message.data, last))
    return seen


def expected(parser: Parser, messages: Sequence[Message], as_json: bool) -> list[tuple[str, Any, str]]:
    """What a parser should show of the messages that are in a stream."""
    made_of = parser.text or str
    return [
        (
            message.type if parser.named else "",
            value_of(message) if as_json else made_of(message.data),
            message.last_event_id if parser.ids else "",
        )
        for message in messages
    ]


def runs_of(messages: Sequence[Message]) -> tuple[Run, ...]:
    """What messages of the text format say, without the end and what else is said about the stream itself."""
    return joined([Run(message.type, message.data) for message in messages if message.type != "system"])


def json_runs_of(messages: Sequence[Message]) -> tuple[Run, ...]:
    """The same of messages of the JSON format."""
    runs = []
    for value in map(value_of, messages):
        if value["type"] == "text":
            runs.append(Run("chunk", value["data"]))
        elif value["type"] == "tool_call":
            name = value["data"]["name"]
            assert value["data"] == {"name": name, "args": {name: [name]}}
            runs.append(Run("tool_call", name))
    return joined(runs)
