"""Frames to the byte: what each event becomes, and that no data can become anything else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sse_parser import Message, SSEParser, parse
from resumable_stream import EVENT_SOURCE, JSON, EventID, EventSourceDialect, JSONDialect, StreamEvent
from resumable_stream._sse import HEADERS, KEEP_ALIVE, frame, retry_line

ID = EventID(1_700_000_000_000, 7)
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
FIELD = [
    "\r",
    "\n",
    "\r\n",
    "data: ",
    "id: 9-9\n",
    "event: x\n\n",
    ":",
    " ",
    "\0",
    "\ufeff",
    "\u2028",
    "\x85",
    "a",
    "é",
]
HOSTILE_TEXT = st.lists(st.sampled_from(FIELD), max_size=20).map("".join)

EXACT: list[tuple[StreamEvent, str]] = [
    (StreamEvent("text", "Hel"), "id: I\nevent: chunk\ndata: Hel\n\n"),
    (StreamEvent("text", " x "), "id: I\nevent: chunk\ndata:  x \n\n"),
    (StreamEvent("text", "a\nb\r\nc\rd"), "id: I\nevent: chunk\ndata: a\ndata: b\ndata: c\ndata: d\n\n"),
    (StreamEvent("text", "\n"), "id: I\nevent: chunk\ndata: \ndata: \n\n"),
    (StreamEvent("tool_call", {"id": "1", "name": "search", "args": {}}), "id: I\nevent: tool_call\ndata: search\n\n"),
    (StreamEvent("tool_call", "search"), "id: I\nevent: tool_call\ndata: search\n\n"),
    (StreamEvent("message_end", {"message_id": "m"}), "id: I\nevent: system\ndata: message_ended\n\n"),
    (StreamEvent("interrupted", {"interrupts": []}), "id: I\nevent: system\ndata: interrupted\n\n"),
    (StreamEvent("restarted"), "id: I\nevent: system\ndata: message_restarted\n\n"),
    (StreamEvent("reasoning", "hm"), ""),
    (StreamEvent("tool_result", {"id": "1"}), ""),
    (StreamEvent("message_start", {"message_id": "m"}), ""),
    (StreamEvent("title", {"title": "t"}), ""),
    (StreamEvent("own_kind", "x"), ""),
    (StreamEvent("end", {"status": "completed"}), "id: I\nevent: system\ndata: end\n\n"),
    (
        StreamEvent("end", {"status": "failed", "code": "error", "message": "No."}),
        "event: system\ndata: error\n\nid: I\nevent: system\ndata: end\n\n",
    ),
    (
        StreamEvent("end", {"status": "cancelled"}),
        "event: system\ndata: cancelled\n\nid: I\nevent: system\ndata: end\n\n",
    ),
    (StreamEvent("end", {"status": "lost"}), "event: system\ndata: lost\n\nid: I\nevent: system\ndata: end\n\n"),
]


@pytest.mark.parametrize(("event", "expected"), EXACT)
def test_an_event_in_the_event_source_dialect(event: StreamEvent, expected: str) -> None:
    placed = StreamEvent(event.type, event.data, ID)
    assert EVENT_SOURCE.encode(placed).decode() == expected.replace("I\n", f"{ID}\n")


@pytest.mark.parametrize("kind", ["gap", "reset"])
def test_what_stands_in_no_log_has_no_id(kind: str) -> None:
    event = StreamEvent(kind, {"missed": 3} if kind == "gap" else "")
    assert EVENT_SOURCE.encode(event) == f"event: system\ndata: {kind}\n\n".encode()
    assert b"id:" not in JSON.encode(event)
    lost = StreamEvent("end", {"status": "lost"})
    assert EVENT_SOURCE.encode(lost) == b"event: system\ndata: lost\n\nevent: system\ndata: end\n\n"
    assert JSON.encode(lost) == b'data: {"type":"end","data":{"status":"lost"}}\n\n'


def test_an_event_in_the_json_dialect() -> None:
    """Compact, in UTF-8, without an event line, `data` left out where it is empty."""
    event = StreamEvent("tool_call", {"id": "1", "name": "é", "args": {"a": [1, None]}}, ID)
    assert JSON.encode(event).decode() == (
        f'id: {ID}\ndata: {{"type":"tool_call","data":{{"id":"1","name":"é","args":{{"a":[1,null]}}}}}}\n\n'
    )
    assert JSON.encode(StreamEvent("restarted", "", ID)).decode() == f'id: {ID}\ndata: {{"type":"restarted"}}\n\n'


def test_a_keep_alive_is_one_comment_line() -> None:
    assert KEEP_ALIVE == b": ka\n"
    parser = SSEParser()
    assert parser.feed(KEEP_ALIVE * 3) == []
    assert parser.empty_blocks == 0


def test_the_retry_is_a_line_that_differs_from_client_to_client() -> None:
    lines = {retry_line() for _ in range(100)}
    assert len(lines) > 10
    for line in lines:
        assert re.fullmatch(rb"retry: [123]\d{3}\n", line)


def test_the_headers_are_in_lower_case_and_say_what_proxies_must_not_do() -> None:
    headers = dict(HEADERS)
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache, no-transform"
    assert headers[b"x-accel-buffering"] == b"no"


def test_dialects_are_values_that_can_be_keys() -> None:
    """Frames are kept per dialect."""
    assert {EVENT_SOURCE: 1, JSON: 2}[EVENT_SOURCE] == 1
    assert isinstance(EVENT_SOURCE, EventSourceDialect)
    assert isinstance(JSON, JSONDialect)


def normalised(text: str) -> str:
    """What the text dialect promises: any line end is a line feed, half a surrogate pair is U+FFFD."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return re.sub(r"\r\n|\r", "\n", whole)


@given(st.one_of(ANY_TEXT, HOSTILE_TEXT))
def test_any_text_is_one_frame_and_nothing_else(text: str) -> None:
    """No data can forge an id, an event name or another frame."""
    encoded = EVENT_SOURCE.encode(StreamEvent("text", text, ID))
    parser = SSEParser()
    assert parser.feed(encoded) == [Message("chunk", normalised(text), str(ID))]
    assert parser.empty_blocks == 0
    assert parser.comments == []
    assert b"\r" not in encoded
    assert encoded.endswith(b"\n\n")


@given(st.one_of(ANY_TEXT, HOSTILE_TEXT))
def test_any_text_is_exact_in_json(text: str) -> None:
    encoded = JSON.encode(StreamEvent("text", text, ID))
    (message,) = parse(encoded)
    same = json.loads(json.dumps(text))  # with halves of pairs that meet put together
    assert json.loads(message.data) == ({"type": "text", "data": same} if text else {"type": "text"})
    assert message.last_event_id == str(ID)
    assert encoded.count(b"\n") == 3
    assert b"\r" not in encoded


def test_json_is_one_line_for_readers_who_split_as_python_does() -> None:
    """Many a script reads `response.iter_lines()` of httpx, which ends lines wherever `str.splitlines` does."""
    text = "é a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r\n"
    for data in (text, {text: [text]}):
        encoded = JSON.encode(StreamEvent("own_kind", data, ID)).decode()
        id_line, line, blank = encoded.splitlines()
        assert (id_line, blank) == (f"id: {ID}", "")
        assert json.loads(line.removeprefix("data: "))["data"] == data
        assert "é" in line  # the rest is as it was


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), HOSTILE_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(HOSTILE_TEXT, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(HOSTILE_TEXT, JSON_VALUES, max_size=4))
def test_any_structured_data_is_exact_in_json(data: dict[str, Any]) -> None:
    (message,) = parse(JSON.encode(StreamEvent("own_kind", data, ID)))
    assert json.loads(message.data).get("data", {}) == data


@given(HOSTILE_TEXT)
def test_a_hostile_tool_name_stays_data(name: str) -> None:
    (message,) = parse(EVENT_SOURCE.encode(StreamEvent("tool_call", {"name": name}, ID)))
    assert message == Message("tool_call", normalised(name), str(ID))


@given(st.lists(HOSTILE_TEXT, max_size=8), st.integers(1, 9))
def test_frames_cut_into_any_packets_are_read_the_same(texts: list[str], size: int) -> None:
    stream = KEEP_ALIVE + retry_line() + b"".join(EVENT_SOURCE.encode(StreamEvent("text", text, ID)) for text in texts)
    parser = SSEParser()
    messages: list[Message] = []
    for at in range(0, len(stream), size):
        messages += parser.feed(stream[at : at + size])
    assert [message.data for message in messages] == [normalised(text) for text in texts]


def test_a_frame_needs_neither_name_nor_id() -> None:
    assert frame("x") == b"data: x\n\n"
    assert frame("", event="e") == b"event: e\ndata: \n\n"
