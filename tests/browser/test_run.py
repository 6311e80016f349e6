"""What a run has said, from its events: the reducer by itself, and the history in the same form."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.browser

REDUCE = """async (events) => {
    const { Run, textOf, turnsOf } = await import("/ui/run.js");
    const asking = events[0]?.type ? turnsOf([events.shift()])[0] : null;
    const run = new Run("r", asking);
    const fresh = events.map(([id, type, data]) => run.apply(type, data, id));
    const { parts, status, notes, questions } = run.turn;
    return { fresh, parts, status, questions, notes: [...notes], text: textOf(run.turn), cursor: run.cursor,
        incomplete: run.incomplete, error: run.error };
}"""
TURNS = """async (messages) => {
    const { turnsOf } = await import("/ui/run.js");
    return turnsOf(messages).map(({ notes, ...turn }) => turn);
}"""
TEXT = [["1-1", "message_start", {"message_id": "m"}], ["1-2", "text", "a"], ["1-3", "text", "b"]]
END = ["1-9", "end", {"status": "completed"}]


async def test_text_is_joined_and_a_new_message_is_a_new_part(bare_page: Page) -> None:
    more = [["1-4", "message_end", {"message_id": "m"}], ["1-5", "text", "c"]]
    run = await bare_page.evaluate(REDUCE, [*TEXT, *more])
    assert run["parts"] == [{"kind": "text", "text": "ab"}, {"kind": "text", "text": "c"}]
    assert (run["text"], run["cursor"], run["status"]) == ("ab\n\nc", "1-5", "streaming")
    assert not run["incomplete"]


async def test_reading_again_from_any_point_changes_nothing(bare_page: Page) -> None:
    once = await bare_page.evaluate(REDUCE, TEXT)
    for start in range(len(TEXT)):
        again = await bare_page.evaluate(REDUCE, [*TEXT, *TEXT[start:]])
        assert again["fresh"] == [True] * 3 + [False] * (3 - start)
        assert {**again, "fresh": 0} == {**once, "fresh": 0}


async def test_nothing_counts_after_the_end(bare_page: Page) -> None:
    run = await bare_page.evaluate(REDUCE, [*TEXT, END, ["1-10", "text", "late"], ["1-11", "end", {"status": "lost"}]])
    assert (run["text"], run["status"]) == ("ab", "completed")


async def test_tools_are_found_by_their_id(bare_page: Page) -> None:
    run = await bare_page.evaluate(
        REDUCE,
        [
            ["1-1", "tool_call", {"id": "x", "name": "search", "args": {"q": "1"}}],
            ["1-2", "tool_call", {"id": "y", "name": "search", "args": {"q": "2"}}],
            ["1-3", "tool_result", {"id": "y", "name": "search", "content": "two", "status": "success"}],
            ["1-4", "tool_result", {"id": "z", "name": "other", "content": "three", "status": "error"}],
            ["1-5", "end", {"status": "cancelled"}],
        ],
    )
    assert [(part["id"], part["status"], part.get("result")) for part in run["parts"]] == [
        ("x", "stopped", None),
        ("y", "success", "two"),
        ("z", "error", "three"),
    ]


async def test_a_call_that_is_told_again_before_its_result_is_the_same_one_changed(bare_page: Page) -> None:
    """Behind its result it is another one: some models use ids again."""
    calls = [["1-1", "tool_call", {"id": "x", "name": "search", "args": {"q": "1"}}]]
    calls += [["1-2", "tool_call", {"id": "x", "name": "search", "args": {"q": "2"}}]]
    calls += [["1-3", "tool_result", {"id": "x", "name": "search", "content": "two", "status": "success"}]]
    calls += [["1-4", "tool_call", {"id": "x", "name": "search", "args": {"q": "3"}}]]
    calls += [["1-5", "tool_result", {"id": "x", "name": "search", "content": "three", "status": "error"}]]
    run = await bare_page.evaluate(REDUCE, calls)
    assert [(part["args"], part["status"], part["result"]) for part in run["parts"]] == [
        ({"q": "2"}, "success", "two"),
        ({"q": "3"}, "error", "three"),
    ]


async def test_reasoning_stands_apart(bare_page: Page) -> None:
    events = [["1-1", "reasoning", "Hm"], ["1-2", "reasoning", "m."], ["1-3", "text", "Yes."]]
    run = await bare_page.evaluate(REDUCE, events)
    assert run["parts"] == [{"kind": "reasoning", "text": "Hmm."}, {"kind": "text", "text": "Yes."}]


async def test_a_restart_drops_what_came_after_the_last_message_that_was_complete(bare_page: Page) -> None:
    run = await bare_page.evaluate(REDUCE, [*TEXT, ["2-4", "restarted"], ["2-5", "text", "new"]])
    assert (run["text"], run["incomplete"], run["cursor"]) == ("new", True, "2-5")

    call = {"id": "x", "name": "search", "args": {}}
    once = [*TEXT, ["1-4", "tool_call", call], ["1-5", "message_end", {"message_id": "m"}]]
    lost = [["1-6", "tool_result", {"id": "x", "name": "search", "content": "lost"}], ["1-7", "text", "lost"]]
    for dropped in (lost, lost[:1], []):
        n = 6 + len(dropped)
        run = await bare_page.evaluate(REDUCE, [*once, *dropped, [f"2-{n}", "restarted"], [f"2-{n + 1}", "text", "c"]])
        assert run["text"] == "ab\n\nc"
        assert [part["status"] for part in run["parts"] if part["kind"] == "tool"] == ["running"]
        again = [*once, *dropped, [f"2-{n}", "restarted"], [f"2-{n + 1}", "text", "c"], [f"3-{n + 2}", "restarted"]]
        assert (await bare_page.evaluate(REDUCE, again))["text"] == "ab"


async def test_a_run_with_a_persons_answer_goes_on_with_the_turn_that_asked(bare_page: Page) -> None:
    question = {"id": "i", "value": "Really?"}
    call = {"id": "x", "name": "search", "args": {}, "status": "waiting"}
    asking = {"type": "ai", "content": "May I?", "id": "m", "tool_calls": [call], "interrupts": [question]}
    result = ["1-1", "tool_result", {"id": "x", "name": "search", "content": "found", "status": "success"}]

    run = await bare_page.evaluate(REDUCE, [asking])
    assert [part.get("status") for part in run["parts"]] == [None, "running"]
    assert run["questions"] == []
    run = await bare_page.evaluate(REDUCE, [asking, result, ["1-2", "text", "Yes."], END])
    assert run["text"] == "May I?\n\nYes."
    assert [part.get("result") for part in run["parts"]] == [None, "found", None]
    run = await bare_page.evaluate(REDUCE, [asking, result, ["2-2", "restarted"]])
    assert [part.get("status") for part in run["parts"]] == [None, "running"], "what was asked before is kept"


async def test_what_a_person_is_asked_comes_from_the_stream_and_from_the_history(bare_page: Page) -> None:
    question = {"id": "i", "value": "Really?"}
    call = {"id": "x", "name": "search", "args": {}}
    events = [["1-1", "tool_call", call], ["1-2", "interrupted", {"interrupts": [question]}], END]
    run = await bare_page.evaluate(REDUCE, events)
    assert run["questions"] == [question]
    assert [part["status"] for part in run["parts"]] == ["waiting"]

    waiting = {**call, "status": "waiting"}
    messages: list[dict[str, Any]] = [{"type": "human", "content": "Q", "id": "1"}]
    asking = {"type": "ai", "content": "", "id": "2", "tool_calls": [waiting], "interrupts": [question]}
    for history in ([*messages, asking], [{**messages[0], "interrupts": [question]}]):
        human, turn = await bare_page.evaluate(TURNS, history)
        assert (human["kind"], turn["questions"]) == ("human", [question])
    assert await bare_page.evaluate(TURNS, messages) == [human]


@pytest.mark.parametrize(
    ("events", "note"),
    [
        ([["", "gap"]], "gap"),
        ([["1-1", "interrupted", {"interrupts": [{"id": "i", "value": "Really?"}]}]], "interrupted"),
        ([["1-1", "message_end", {"message_id": "m", "finish_reason": "length"}]], "length"),
        ([["1-1", "message_end", {"message_id": "m", "finish_reason": "content_filter"}]], "content_filter"),
    ],
)
async def test_what_a_reader_should_know_is_noted(bare_page: Page, events: list[Any], note: str) -> None:
    assert (await bare_page.evaluate(REDUCE, events))["notes"] == [note]


async def test_events_without_an_id_of_their_own_count_though_the_browser_repeats_the_last_one(bare_page: Page) -> None:
    run = await bare_page.evaluate(
        REDUCE, [*TEXT, ["1-3", "gap"], ["1-3", "end", {"status": "lost", "message": "Gone."}]]
    )
    assert (run["notes"], run["status"], run["error"]) == (["gap"], "lost", "Gone.")


async def test_a_hole_that_nobody_told_of_is_noticed(bare_page: Page) -> None:
    assert (await bare_page.evaluate(REDUCE, [*TEXT, ["1-5", "text", "d"]]))["incomplete"]


async def test_an_unknown_event_is_passed_over(bare_page: Page) -> None:
    run = await bare_page.evaluate(REDUCE, [*TEXT, ["1-4", "brand_new", {"x": 1}], ["1-5", "text", "c"]])
    assert (run["text"], run["incomplete"]) == ("abc", False)


async def test_the_history_has_the_same_form(bare_page: Page) -> None:
    call = {"id": "x", "name": "search", "args": {"q": "1"}, "result": "found", "status": "success"}
    turns = await bare_page.evaluate(
        TURNS,
        [
            {"type": "human", "content": "Q", "id": "1"},
            {"type": "ai", "content": "", "id": "2", "reasoning": "Hm.", "tool_calls": [call]},
            {"type": "ai", "content": "A", "id": "3"},
            {"type": "human", "content": "R", "id": "4"},
            {"type": "ai", "content": "B", "id": "5", "stopped": True},
        ],
    )
    assert turns == [
        {"kind": "human", "text": "Q"},
        {
            "kind": "ai",
            "status": "completed",
            "questions": [],
            "parts": [{"kind": "reasoning", "text": "Hm."}, {"kind": "tool", **call}, {"kind": "text", "text": "A"}],
        },
        {"kind": "human", "text": "R"},
        {"kind": "ai", "status": "cancelled", "questions": [], "parts": [{"kind": "text", "text": "B"}]},
    ]
