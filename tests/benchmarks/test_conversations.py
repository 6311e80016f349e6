"""The load test in small, with its kills; and its judge, who must see what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.conversations.judge import Verdict, judge_thread
from benchmarks.conversations.plan import expected
from benchmarks.conversations.report import report
from benchmarks.conversations.run import Load, run

QUESTION = "What is a lease?"
SEARCH = "Search for qx1zx1"


@pytest.mark.timeout(300)
async def test_every_message_is_answered_once_while_processes_are_killed(tmp_path: Path) -> None:
    load = Load(
        conversations=30,
        seconds=10,
        pause=0.5,
        pace=40,
        kills=3,
        seed=7,
        clients=1,
        settings={"stream_lease_seconds": 2, "shutdown_grace_seconds": 1, "drain_seconds": 1},
    )
    outcome = await run(load, tmp_path, interval=1.0, say=lambda _: None)
    lines = list(report(outcome.verdict, outcome.reports, outcome.blows, outcome.meter, load.seconds))
    assert outcome.verdict.faults == [], "\n".join([*lines, *outcome.log[-50:]])
    assert outcome.verdict.answered == outcome.verdict.accepted >= load.conversations
    assert len(outcome.blows) == 3
    assert "No fault." in lines


def seen(prompt: str, **changes: Any) -> dict[str, Any]:
    """What a client saw of an answer."""
    text = expected(prompt)
    viewer = {"text": text, "ended": True, "words": {"end": 1}, "disorder": [], "events": 10}
    viewer |= {name: value for name, value in changes.items() if name in viewer}
    return {
        "thread_id": "t",
        "run_id": f"run of {prompt}",
        "prompt": prompt,
        "stopped": changes.get("stopped", False),
        "viewers": [viewer],
    }


def kept(prompt: str, text: str | None = None) -> list[dict[str, Any]]:
    """What the thread has."""
    run_id = f"run of {prompt}"
    answer = {"type": "ai", "content": expected(prompt) if text is None else text, "run_id": run_id}
    called = {"type": "ai", "content": "", "run_id": run_id, "tool_calls": [{"id": "1"}]}
    return [
        {"type": "human", "content": prompt, "run_id": run_id},
        *([called] if prompt == SEARCH else []),
        answer,
    ]


def judged(answers: list[dict[str, Any]], messages: list[dict[str, Any]]) -> Verdict:
    verdict = Verdict()
    judge_thread(answers, messages, verdict)
    return verdict


def test_the_judge_finds_nothing_where_nothing_is_wrong() -> None:
    verdict = judged([seen(QUESTION), seen(SEARCH)], kept(QUESTION) + kept(SEARCH))
    assert verdict.faults == []
    assert verdict.answered == 2


def test_an_answer_that_was_stopped_may_be_the_beginning_of_the_whole() -> None:
    verdict = judged(
        [seen(QUESTION, stopped=True, text=expected(QUESTION)[:9])], kept(QUESTION, expected(QUESTION)[:9])
    )
    assert verdict.faults == []
    assert verdict.partial == 1


def test_a_viewer_who_stopped_may_have_less_than_the_thread_and_is_counted() -> None:
    verdict = judged([seen(QUESTION, stopped=True, text=expected(QUESTION)[:9])], kept(QUESTION))
    assert verdict.faults == []
    assert verdict.ahead == 1


WRONG: dict[str, tuple[str, Callable[[], Verdict]]] = {
    "no answer": ("losses", lambda: judged([seen(QUESTION, text="")], kept(QUESTION)[:1])),
    "half an answer": ("losses", lambda: judged([seen(QUESTION)], kept(QUESTION, expected(QUESTION)[:50]))),
    "no question": ("losses", lambda: judged([seen(QUESTION)], kept(QUESTION)[1:])),
    "two answers": ("doubles", lambda: judged([seen(QUESTION)], kept(QUESTION) + kept(QUESTION)[1:])),
    "two questions": ("doubles", lambda: judged([seen(QUESTION)], kept(QUESTION)[:1] + kept(QUESTION))),
    "two tool calls": ("doubles", lambda: judged([seen(SEARCH)], kept(SEARCH)[:2] + kept(SEARCH)[1:])),
    "a run that nobody knows": ("problems", lambda: judged([seen(QUESTION)], kept(QUESTION) + kept(SEARCH))),
    "another order": ("problems", lambda: judged([seen(QUESTION), seen(SEARCH)], kept(SEARCH) + kept(QUESTION))),
    "a viewer with less": ("losses", lambda: judged([seen(QUESTION, text=expected(QUESTION)[:-1])], kept(QUESTION))),
    "a viewer with more": ("doubles", lambda: judged([seen(QUESTION, text=expected(QUESTION) + "!")], kept(QUESTION))),
    "a viewer without an end": ("losses", lambda: judged([seen(QUESTION, ended=False)], kept(QUESTION))),
    "ids out of order": ("doubles", lambda: judged([seen(QUESTION, disorder=["1-1 after 1-2"])], kept(QUESTION))),
    "a lost stream": ("problems", lambda: judged([seen(QUESTION, words={"lost": 1, "end": 1})], kept(QUESTION))),
    "a stopped answer that the thread has less of": (
        "doubles",
        lambda: judged([seen(QUESTION, stopped=True)], kept(QUESTION, expected(QUESTION)[:9])),
    ),
    "a stopped answer that is none": (
        "problems",
        lambda: judged([seen(QUESTION, stopped=True, text="Else")], kept(QUESTION, "Else")),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_judge_sees(wrong: str) -> None:
    kind, judging = WRONG[wrong]
    verdict = judging()
    assert getattr(verdict, kind), verdict
    assert verdict.answered < verdict.accepted or kind == "problems"
