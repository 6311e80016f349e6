"""Titles: short, one line, or none."""

from __future__ import annotations

import asyncio

import pytest

from agent.conftest import SECRET, make_model
from agent.helpers import WAIT, answer, new_turn, text
from agent.provider_wire import Failure, Gate, ProviderWire, Reply
from resumable_stream.agent import LangGraphAgent, build_graph
from resumable_stream.agent import _title as title_module
from resumable_stream.agent._checkpoint import Pool
from resumable_stream.agent._title import clean_title


async def test_the_small_model_is_asked_for_a_title(wire: ProviderWire, pool: Pool, provider: str) -> None:
    model = make_model(wire.url, provider)
    agent = LangGraphAgent(build_graph(model), pool, title_model=model)
    wire.script(Reply(text=['"Cats ', 'and Dogs."\n'], reasoning=["hm"]))

    assert await agent.title("tell me about cats \ud83d and dogs " + "x" * 9000) == "Cats and Dogs"

    assert len(str(wire.requests[-1].body)) < 4000


async def test_a_title_made_during_a_run_does_not_show_in_its_stream(wire: ProviderWire, pool: Pool) -> None:
    model = make_model(wire.url)
    agent = LangGraphAgent(build_graph(model), pool, title_model=model)
    gate = Gate()
    wire.script(Reply(text=["One ", "two"], gate=gate), Reply(text=["A Title"]))
    run = asyncio.create_task(answer(agent, new_turn()))
    assert await asyncio.to_thread(gate.reached.wait, WAIT)

    assert await agent.title("hello") == "A Title"
    gate.open()

    assert text(await run) == "One two"


async def test_without_a_model_there_is_no_title(pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model("http://127.0.0.1:9")), pool)

    assert await agent.title("hello") is None


async def test_a_model_that_fails_or_is_slow_gives_no_title(
    wire: ProviderWire,
    pool: Pool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model(wire.url)
    agent = LangGraphAgent(build_graph(model), pool, title_model=model)
    wire.script(Failure(401, "invalid_api_key", SECRET))
    assert await agent.title("hello") is None
    assert "status=401" in caplog.text
    assert SECRET not in caplog.text

    monkeypatch.setattr(title_module, "_SECONDS", 0.2)
    wire.script(Reply(text=["late"], gate=Gate()))
    wire.script(Reply(text=["too", "late"], gate=Gate()))
    assert await agent.title("hello") is None
    assert "TimeoutError" in caplog.text


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Cats", "Cats"),
        ("Title: Cats", "Cats"),
        ("**Title:** Cats", "Cats"),
        ("# Cats and\tdogs\nmore", "Cats and dogs"),
        ("\n\n“Cats”.\n", "Cats"),
        ("„Katzen«", "Katzen"),
        ("Who is C. S. Lewis?", "Who is C. S. Lewis?"),
        ("a\0b\u202ec\x9fd", "a b c d"),
        ("👩‍👩‍👧 family", "👩‍👩‍👧 family"),
        ("word " * 30, "word word word word word word word word word word word…"),
        ("x" * 80, "x" * 59 + "…"),
        ("", None),
        (' "." ', None),
    ],
)
def test_what_a_model_says_becomes_one_plain_line(said: str, title: str | None) -> None:
    assert clean_title(said) == title
