"""Any text in any event, encoded, torn into any pieces and read by parsers that others wrote."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resumable_stream import EVENT_SOURCE, JSON, EventID, StreamEvent
from resumable_stream._sse import KEEP_ALIVE, retry_line
from sse.judging import judge, value_of
from sse.parsers import Audience
from sse.texts import CUTS, HOSTILE, JSON_VALUES, TEXTS, as_text, torn, whole
from sse.wire import frames_of

IDS = st.builds(EventID, st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1))
TYPES = st.sampled_from(["text", "reasoning", "tool_call", "own_kind"])
PATIENT = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def numbered(texts: list[str], kind: str = "text") -> list[StreamEvent]:
    return [StreamEvent(kind, text, EventID(7, number)) for number, text in enumerate(texts, 1)]


def body_of(events: list[StreamEvent], dialect: Any) -> bytes:
    """Frames as a response sends them, with silence before each."""
    frames = [dialect.encode(event) for event in events]
    return KEEP_ALIVE + retry_line() + KEEP_ALIVE.join(frames) + KEEP_ALIVE


@PATIENT
@given(st.lists(TEXTS, min_size=1, max_size=4), CUTS)
@example(list(HOSTILE), [])
@example(list(HOSTILE), list(range(3000)))
def test_text_arrives_as_documented_in_the_text_format(audience: Audience, texts: list[str], cuts: list[int]) -> None:
    body = body_of(numbered(texts), EVENT_SOURCE)
    assert frames_of(body) == [(f"7-{number}", "chunk") for number in range(1, len(texts) + 1)]
    messages = judge(audience, torn(body, cuts), as_json=False)
    assert [message.data for message in messages] == [as_text(text) for text in texts]
    assert [message.last_event_id for message in messages] == [str(event.id) for event in numbered(texts)]


@PATIENT
@given(st.lists(TEXTS, min_size=1, max_size=4), CUTS)
@example(list(HOSTILE), [])
@example(list(HOSTILE), list(range(3000)))
@example(["\ud83d\ude00"], [])
def test_text_is_exact_in_the_json_format(audience: Audience, texts: list[str], cuts: list[int]) -> None:
    body = body_of(numbered(texts), JSON)
    assert frames_of(body) == [(f"7-{number}", "") for number in range(1, len(texts) + 1)]
    messages = judge(audience, torn(body, cuts), as_json=True)
    assert [value_of(message).get("data", "") for message in messages] == [whole(text) for text in texts]


@PATIENT
@given(TYPES, st.dictionaries(TEXTS, JSON_VALUES, max_size=4), IDS, CUTS)
@example("text", {"\ud83d\ude00": ["\ud83d\ude00"]}, EventID(7, 1), [])
def test_structured_data_is_exact_in_the_json_format(
    audience: Audience, kind: str, data: dict[str, Any], event_id: EventID, cuts: list[int]
) -> None:
    """No data becomes another field, and it is compact: without blanks between the values."""
    body = JSON.encode(StreamEvent(kind, data, event_id))
    assert frames_of(body) == [(str(event_id), "")]
    (message,) = judge(audience, torn(body, cuts), as_json=True)
    same = json.loads(json.dumps(data))  # with halves of pairs that meet put together, as in `whole`
    assert value_of(message) == ({"type": kind, "data": same} if data else {"type": kind})
    assert message.last_event_id == str(event_id)
    assert re.sub(r'"(?:[^"\\]|\\.)*"', "", message.data).count(" ") == 0


@PATIENT
@given(TEXTS, IDS, CUTS)
@example("a\nid: 9-9\revent: x\r\n\r\ndata: y\0", EventID(7, 1), [])
def test_the_name_of_a_tool_stays_data(audience: Audience, name: str, event_id: EventID, cuts: list[int]) -> None:
    """Fails with the name in the event line, or without `_LINE_END` (`_sse.py`)."""
    body = EVENT_SOURCE.encode(StreamEvent("tool_call", {"name": name}, event_id))
    assert frames_of(body) == [(str(event_id), "tool_call")]
    (message,) = judge(audience, torn(body, cuts), as_json=False)
    assert (message.type, message.data, message.last_event_id) == ("tool_call", as_text(name), str(event_id))


@PATIENT
@given(IDS)
def test_an_id_fits_into_a_header_of_a_request(event_id: EventID) -> None:
    """A colon would make it unsafe for CORS, which browsers ask the server about first; over 128 bytes as well."""
    for dialect in (EVENT_SOURCE, JSON):
        ((sent, _),) = frames_of(dialect.encode(StreamEvent("text", "x", event_id)))
        assert re.fullmatch(r"[0-9-]{1,128}", sent)
        assert EventID.parse(sent) == event_id


def test_a_json_parser_may_refuse_half_a_surrogate_pair(audience: Audience) -> None:
    """As docs/clients.md warns: the escape is JSON, and not Unicode. Only the half itself is written so."""
    body = body_of(numbered(["é\ud83d"]), JSON)
    assert rb"\ud83d" in body
    refusals = {p.name for p, heard in audience.hear([body], as_json=True, halves=False) if isinstance(heard, str)}
    assert refusals == {parser.name for parser in audience.parsers if not parser.halves}
