"""Messages of every shape, as history, as text, as reasons to stop."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from resumable_stream.agent import HistoryMessage, ToolUse
from resumable_stream.agent._content import finish_reason, plain, reasoning_of, usage, whole_characters
from resumable_stream.agent._history import history_of
from resumable_stream.agent._repair import change, mend, stopped, unsaved


def call(*ids: str, **options: Any) -> AIMessage:
    calls: list[dict[str, Any]] = [{"name": f"tool {one}", "args": {}, "id": one} for one in ids]
    return AIMessage(options.pop("content", ""), tool_calls=calls, **options)


def test_a_history_has_people_and_the_agent_only() -> None:
    messages: list[AnyMessage] = [
        SystemMessage("be nice", id="s"),
        HumanMessage("summary", id="x", additional_kwargs={"lc_source": "summarization"}),
        HumanMessage([{"type": "text", "text": "look "}, {"type": "text", "text": "here"}], id="h"),
        call("a", "b", "c", "d", id="m", content="so"),
        ToolMessage("fine", tool_call_id="a", name="tool a"),
        ToolMessage("bad", tool_call_id="b", name="tool b", status="error"),
        ToolMessage("gone", tool_call_id="c", response_metadata={"cancelled": True}, status="error"),
    ]

    question, reply = history_of(messages)

    assert question == HistoryMessage(type="human", content="look here", id="h")
    assert (reply.content, reply.run_id) == ("so", None)
    assert reply.tool_calls == (
        ToolUse(id="a", name="tool a", result="fine", status="success"),
        ToolUse(id="b", name="tool b", result="bad", status="error"),
        ToolUse(id="c", name="tool c", result="gone", status="cancelled"),
        ToolUse(id="d", name="tool d"),
    )
    assert reply.tool_calls[-1].status == "running"


@pytest.mark.parametrize(
    ("content", "aside", "reasoning"),
    [
        ("text", {}, ""),
        ("text", {"reasoning_content": "hm"}, "hm"),
        ("text", {"reasoning_content": {"odd": 1}}, ""),
        ([{"type": "thinking", "thinking": "a"}, {"type": "thinking", "signature": "s"}, "text"], {}, "a"),
        ([{"type": "reasoning", "reasoning": "a"}, {"type": "text", "text": "b"}], {}, "a"),
        ([{"type": "reasoning", "summary": [{"text": "a"}, {"text": "b"}]}], {}, "ab"),
        ([{"type": "reasoning", "id": "rs"}], {}, ""),
    ],
)
def test_reasoning_is_found_in_every_shape(content: Any, aside: dict[str, Any], reasoning: str) -> None:
    assert reasoning_of(AIMessage(content, additional_kwargs=aside)) == reasoning


@pytest.mark.parametrize(
    ("metadata", "calls", "reason"),
    [
        ({}, [], None),
        ({}, ["a"], "tool_calls"),
        ({"finish_reason": "stop"}, [], "stop"),
        ({"finish_reason": "STOP"}, ["a"], "tool_calls"),
        ({"finish_reason": "MAX_TOKENS"}, [], "length"),
        ({"stop_reason": "max_tokens"}, ["a"], "length"),
        ({"stop_reason": "refusal"}, [], "content_filter"),
        ({"status": "completed"}, [], "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, [], "content_filter"),
        ({"finish_reason": "Some_New_Thing"}, [], "some_new_thing"),
        ({"finish_reason": 7}, [], None),
    ],
)
def test_reasons_to_stop_have_one_vocabulary(metadata: dict[str, Any], calls: list[str], reason: str | None) -> None:
    message = call(*calls, response_metadata=metadata)

    assert finish_reason(message) == reason
    assert usage(message) is None


def test_a_call_without_a_result_gets_one_and_nothing_else_is_touched() -> None:
    good: list[AnyMessage] = [
        HumanMessage("q", id="h"),
        call("a", "b", id="m"),
        ToolMessage("2", tool_call_id="b", id="t2"),
        ToolMessage("1", tool_call_id="a", id="t1"),
        AIMessage("done", id="n"),
    ]
    assert mend(good) == good
    assert change(good, mend(good)) == []

    broken = [*good[:3], *good[4:]]
    mended = mend(broken)
    assert [one.id for one in mended] == ["h", "m", "t2", "cancelled-m-a", "n"]
    assert [one.id for one in change(broken, mended)] == ["__remove_all__", *(one.id for one in mended)]

    at_the_end = good[:3]
    (added,) = change(at_the_end, mend(at_the_end))
    assert isinstance(added, ToolMessage)
    assert (added.tool_call_id, added.name, added.status) == ("a", "tool a", "error")


def test_a_result_that_came_too_late_is_put_in_its_place() -> None:
    late = ToolMessage("1", tool_call_id="a", id="t")
    messages: list[AnyMessage] = [call("a", id="m"), HumanMessage("q", id="h"), late]

    assert [one.id for one in mend(messages)] == ["m", "t", "h"]


def test_ids_of_calls_may_be_used_again() -> None:
    messages: list[AnyMessage] = [
        call("call_0", id="m1"),
        ToolMessage("one", tool_call_id="call_0", id="t1"),
        call("call_0", id="m2"),
        HumanMessage("?", id="h"),
        call("call_0", id="m3"),
        ToolMessage("three", tool_call_id="call_0", id="t3"),
        ToolMessage("lost", tool_call_id="call_9", id="t9"),
    ]

    mended = mend(messages)

    assert [one.id for one in mended] == ["m1", "t1", "m2", "cancelled-m2-call_0", "h", "m3", "t3", "t9"]
    uses = [use for message in history_of(mended) for use in message.tool_calls]
    assert [(use.result, use.status) for use in uses] == [
        ("one", "success"),
        ("Cancelled: the run ended before this tool did.", "cancelled"),
        ("three", "success"),
    ]


def test_calls_that_could_not_be_read_and_calls_without_an_id_are_seen_to() -> None:
    garbled = AIMessage(
        "",
        id="m",
        invalid_tool_calls=[{"name": None, "args": "{", "id": "a", "error": None}],
        tool_calls=[{"name": "t", "args": {}, "id": None}],
    )
    orphan = ToolMessage("?", tool_call_id="z", id="z")

    messages: list[AnyMessage] = [garbled, orphan]

    assert [one.id for one in mend(messages)] == ["m", "cancelled-m-a", "z"]


def test_what_was_said_is_saved_once() -> None:
    saved: list[AnyMessage] = [AIMessage("One. ", id="a"), AIMessage("", id="b"), AIMessage("Two. ", id="c")]
    assert unsaved(saved, "One. Two. Thr") == "Thr"
    assert unsaved(saved[2:], "One. Two. Thr") == "One. Two. Thr"
    assert unsaved(saved, "One. Tw") == "", "the thread is ahead of the stream"

    asked: list[AnyMessage] = [AIMessage("One. ", id="before"), HumanMessage("?", id="h")]
    *_, last = stopped([*asked, *saved], 1, "One. Two. Thr", "p")
    assert (last.id, last.content, last.response_metadata) == ("p", "Thr", {"stopped": True})

    marked = stopped([*asked, *saved], 1, "One. Two. ", "p")
    assert [one.response_metadata for one in marked] == [{}, {}, {}, {}, {"stopped": True}]
    assert stopped(marked, 1, "One. Two. ", "p") == marked
    assert saved[-1].response_metadata == {}, "the given message is left alone"
    assert stopped(asked, 1, " ", "p") == asked


def test_a_turn_with_answers_that_was_stopped_marks_the_message_that_asked() -> None:
    asking = call("a", "b", content="May I?", id="m")
    done = ToolMessage("ok", tool_call_id="b", id="r")

    first, cancelled, result = stopped([HumanMessage("?", id="h"), asking, done], 1, "", "p")[1:]

    assert (first.id, first.response_metadata) == ("m", {"stopped": True})
    assert (result, cancelled.id) == (done, "cancelled-m-a") or (cancelled, result.id) == (done, "cancelled-m-a")


def test_anything_becomes_json() -> None:
    loop: list[Any] = []
    loop.append(loop)

    assert plain({"a": float("inf"), "b": {1, 2} and (1, 2)}) == {"a": "Infinity", "b": [1, 2]}
    assert plain(loop) == "[[...]]"
    assert plain({(1, 2): 3}) == "{(1, 2): 3}"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("ascii", "ascii"),
        ("ä", "ä"),
        ("\ud83d\ude00", "😀"),
        ("a\ud83db", "a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_halves_of_characters_are_joined_or_replaced(text: str, whole: str) -> None:
    assert whole_characters(text) == whole
