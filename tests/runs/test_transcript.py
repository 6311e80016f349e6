"""What the readers of a run hold, by the rule that they follow."""

from __future__ import annotations

from resumable_stream import StreamEvent
from resumable_stream.agent import Told
from resumable_stream.runs._transcript import Transcript

FIRST = [
    StreamEvent("text", "one "),
    StreamEvent("tool_call", {"id": "a", "name": "search", "args": {}}),
    StreamEvent("message_end", {"message_id": "m1"}),
    StreamEvent("tool_result", {"id": "a"}),
]
BEGUN = [StreamEvent("text", "tw"), StreamEvent("tool_call", {"id": "b", "name": "search", "args": {}})]
AGAIN = [StreamEvent("restarted", ""), StreamEvent("text", "two"), StreamEvent("message_end", {"message_id": "m2"})]


def transcript(events: list[StreamEvent]) -> Transcript:
    said = Transcript()
    for event in events:
        said.add(event)
    return said


def test_all_text_counts_while_an_attempt_goes_on() -> None:
    assert transcript(FIRST + BEGUN).text == "one tw"


def test_what_no_message_end_closed_is_void_after_a_restart() -> None:
    """Fails without the dropping of what was begun (`runs/_transcript.py`)."""
    said = transcript(FIRST + BEGUN + AGAIN)
    assert said.text == "one two"
    assert said.told == Told(messages=frozenset({"m1", "m2"}), calls={"a": FIRST[1].data}, results=frozenset({"a"}))


def test_a_call_that_was_changed_behind_the_end_of_its_message_is_as_it_was_before_after_a_restart() -> None:
    changed = StreamEvent("tool_call", {"id": "a", "name": "search", "args": {"q": "x"}})
    assert transcript([*FIRST, changed, AGAIN[0]]).told.calls == {"a": FIRST[1].data}
    assert transcript([*FIRST, changed, *AGAIN[1:]]).told.calls == {"a": changed.data}
