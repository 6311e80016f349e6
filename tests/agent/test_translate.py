"""The translator alone, with parts in orders and shapes that are hard to bring about."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langgraph.types import Interrupt

from resumable_stream._events import StreamEvent
from resumable_stream.agent._translate import Translator, calls_of

MODEL = frozenset({("model",)})


def feed(translator: Translator, *parts: tuple[str, Any], inside: tuple[str, ...] = ()) -> list[Any]:
    """What comes out, as pairs of type and data."""
    events: list[StreamEvent] = []
    for mode, data in parts:
        events += translator.feed(inside, mode, data)
    return [(event.type, event.data) for event in events]


def said(message: AIMessage, task: str = "model:1", **metadata: str) -> tuple[str, Any]:
    node = task.partition(":")[0]
    return "messages", (message, {"langgraph_node": node, "langgraph_checkpoint_ns": task, **metadata})


def chunk(text: str, message_id: str) -> AIMessageChunk:
    return AIMessageChunk(content=text, id=message_id)


def wrote(*messages: Any, node: str = "model") -> tuple[str, Any]:
    return "updates", {node: {"messages": list(messages)}}


def test_an_id_that_changes_to_the_providers_does_not_begin_a_message() -> None:
    translator = Translator(MODEL)

    out = feed(
        translator,
        said(chunk("a", "resp_1")),
        said(chunk("b", "lc_run--1")),
        said(chunk("c", "lc_run--1")),
        said(AIMessage("abc", id="resp_1")),
        wrote(AIMessage("abc", id="resp_1")),
        said(chunk("late", "lc_run--1")),
    )

    assert out == [
        ("message_start", {"message_id": "resp_1"}),
        ("text", "a"),
        ("text", "b"),
        ("text", "c"),
        ("message_end", {"message_id": "resp_1"}),
    ]


def test_a_node_that_tries_again_begins_its_message_again() -> None:
    out = feed(
        Translator(MODEL),
        said(chunk("Hel", "lc_run--1")),
        said(chunk("Hello", "lc_run--2")),
        wrote(AIMessage("Hello", id="lc_run--2")),
    )

    assert out == [
        ("message_start", {"message_id": "lc_run--1"}),
        ("text", "Hel"),
        ("message_start", {"message_id": "lc_run--2"}),
        ("text", "Hello"),
        ("message_end", {"message_id": "lc_run--2"}),
    ]


def test_two_calls_at_once_in_one_task_are_told_apart_by_their_ids() -> None:
    out = feed(
        Translator(MODEL),
        said(chunk("a", "run-1")),
        said(chunk("x", "run-2")),
        said(chunk("b", "run-1")),
        wrote(AIMessage("ab", id="run-1"), AIMessage("x", id="run-2")),
    )

    assert [kind for kind, _ in out].count("message_start") == 2
    assert [data for kind, data in out if kind == "message_end"] == [{"message_id": "run-1"}, {"message_id": "run-2"}]


def test_a_message_that_was_never_streamed_is_given_whole_and_only_once() -> None:
    translator = Translator(MODEL)

    out = feed(
        translator,
        wrote(AIMessage("Hello", id="m")),
        said(AIMessage("Hello", id="m")),
        wrote(AIMessage("Hello", id="m")),
    )

    assert out == [
        ("message_start", {"message_id": "m"}),
        ("text", "Hello"),
        ("message_end", {"message_id": "m"}),
    ]


def test_a_message_without_an_id_has_no_end_since_the_history_names_it_later() -> None:
    assert feed(Translator(MODEL), wrote({"role": "assistant", "content": "Hello"})) == [
        ("message_start", {"message_id": ""}),
        ("text", "Hello"),
    ]


def test_messages_of_before_the_run_are_not_told_again() -> None:
    translator = Translator(MODEL, {"old", "old result"})

    assert not feed(
        translator,
        wrote(
            AIMessage("before", id="old", tool_calls=[{"name": "t", "args": {}, "id": "c"}]),
            ToolMessage("r", tool_call_id="c", id="old result"),
            HumanMessage("q"),
        ),
        said(AIMessage("before", id="old")),
    )


def test_a_call_and_its_result_are_told_once_from_whichever_node() -> None:
    asking = AIMessage("", id="1", tool_calls=[{"name": "t", "args": {"a": 1}, "id": "c"}])
    result = ToolMessage("r", tool_call_id="c", id="r1", name="t")

    out = feed(
        Translator(MODEL),
        wrote(asking, node="planner"),
        wrote(asking, node="reviewer"),
        wrote(result, node="tools"),
        wrote(result, node="other"),
    )

    assert out == [
        ("tool_call", {"id": "c", "name": "t", "args": {"a": 1}}),
        ("tool_result", {"id": "c", "name": "t", "content": "r", "status": "success"}),
    ]


def test_a_call_that_a_hook_has_changed_is_told_again_and_others_are_not() -> None:
    """Also one of a message that was there before the run; ids of calls may be used again in another message."""

    def asking(message_id: str, *words: str) -> AIMessage:
        calls = [{"id": f"c{number}", "name": "look_up", "args": {"word": word}} for number, word in enumerate(words)]
        return AIMessage("", id=message_id, tool_calls=calls)

    before = asking("m0", "ant", "bee")
    translator = Translator(MODEL, {"m0"}, calls_of(before))

    out = feed(translator, wrote(asking("m1", "cat", "dog")))
    assert [data["args"] for kind, data in out if kind == "tool_call"] == [{"word": "cat"}, {"word": "dog"}]
    assert feed(translator, wrote(before, asking("m1", "cat", "dog"), node="hook")) == []
    changed = {"id": "c1", "name": "look_up", "args": {"word": "emu"}}
    assert feed(translator, wrote(before, asking("m1", "cat", "emu"), node="hook")) == [("tool_call", changed)]
    assert feed(translator, wrote(asking("m1", "cat", "emu"), node="hook")) == []
    changed = {"id": "c0", "name": "look_up", "args": {"word": "fly"}}
    assert feed(translator, wrote(asking("m0", "fly", "bee"), node="hook")) == [("tool_call", changed)]


def test_ids_of_calls_may_be_used_again() -> None:
    parts = [
        wrote(
            AIMessage("", id=f"m{n}", tool_calls=[{"name": "t", "args": {}, "id": "call_0"}]),
            ToolMessage(str(n), tool_call_id="call_0", id=f"r{n}"),
            node="planner",
        )
        for n in range(2)
    ]

    kinds = [kind for kind, _ in feed(Translator(MODEL), *parts)]

    assert kinds == ["tool_call", "tool_result", "tool_call", "tool_result"]


def test_calls_that_middleware_makes_for_itself_are_silent() -> None:
    assert not feed(
        Translator(MODEL),
        said(chunk("x", "1"), lc_source="summarization"),
        said(chunk("x", "2"), lc_internal_call="token"),
        said(chunk("x", "3"), task="Title.after_agent:1"),
        ("messages", (HumanMessage("x"), {"langgraph_node": "model"})),
    )


def test_only_subgraphs_that_were_asked_for_are_heard() -> None:
    translator = Translator(frozenset({("outer", "model")}))
    assert translator.subgraphs

    assert not feed(translator, said(chunk("x", "1")), inside=("other:1",))
    assert feed(translator, said(chunk("x", "1")), inside=("outer:1",))[-1] == ("text", "x")


def test_what_several_tasks_ask_is_told_once_and_last() -> None:
    translator = Translator(MODEL)
    assert list(translator.end()) == []

    out = feed(
        translator,
        ("updates", {"__interrupt__": (Interrupt(1, id="inner"),)}),
        inside=("outer:1",),
    )
    out += feed(
        translator,
        ("updates", {"__interrupt__": (Interrupt("why", id="i"),)}),
        said(chunk("x", "1")),
        ("updates", {"__interrupt__": (Interrupt("how", id="j"),)}),
    )

    assert [kind for kind, _ in out] == ["message_start", "text"]
    assert list(translator.end()) == [
        StreamEvent("interrupted", {"interrupts": [{"id": "i", "value": "why"}, {"id": "j", "value": "how"}]})
    ]


def test_updates_without_messages_are_nothing() -> None:
    updates: list[Any] = [None, {}, {"messages": None}, [], "odd", {"other": 1}]

    assert feed(Translator(MODEL), *(("updates", {"model": update}) for update in updates)) == []
