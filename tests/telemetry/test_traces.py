"""Runs are spans of the trace of the request that sent the message; what they say is in none."""

from __future__ import annotations

import asyncio
import logging
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, chat_on, served
from resumable_stream.app import Settings, create_app
from resumable_stream.runs import Run
from resumable_stream.telemetry import _instruments as all_
from support import wait_until
from telemetry.collected import Collected
from telemetry.talking import USAGE, Instrumented, TalkingAgent


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


async def test_a_run_and_its_steps_belong_to_the_request_that_sent_the_message(
    settings: Settings, collected: Collected
) -> None:
    tracer = collected.tracers.get_tracer("test")
    app = create_app(settings, agent=TalkingAgent(tracer), telemetry=collected.telemetry)
    async with served(Instrumented(app, tracer)) as url, chat_on(url) as chat:
        sent = await chat.send("hello")
        assert await chat.answer(sent["thread_id"]) == "hello "
        await wait_until(lambda: collected.spans("invoke_agent"), what="the run has ended")
    (post,) = collected.spans("POST /v1/chat/message")
    (run,) = collected.spans("invoke_agent")
    assert parent(run) == span_id(post)
    attributes = dict(run.attributes or {})
    assert attributes["gen_ai.conversation.id"] == sent["thread_id"]
    assert attributes["resumable_stream.run.id"] == sent["run_id"]
    assert attributes["resumable_stream.stream.id"] == sent["stream_id"]
    assert attributes["resumable_stream.run.attempt"] == 1
    assert attributes["resumable_stream.status"] == "completed"
    assert run.status.status_code is StatusCode.UNSET
    assert [event.name for event in run.events] == ["resumable_stream.first_token"]

    chats, (tool,), (own,) = (collected.spans(name) for name in ("chat", "execute_tool", "HTTP call"))
    assert [parent(span) for span in (*chats, tool, own)] == [span_id(run)] * 4
    assert {span.context.trace_id for span in (post, run, *chats, tool, own) if span.context} == {
        post.context.trace_id if post.context else 0
    }
    first, second = (dict(span.attributes or {}) for span in chats)
    assert first["gen_ai.usage.input_tokens"] == USAGE["input_tokens"]
    assert first["gen_ai.usage.output_tokens"] == USAGE["output_tokens"]
    assert first["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert "gen_ai.usage.input_tokens" not in second
    assert tool.name == "execute_tool search"
    assert tool.status.status_code is StatusCode.ERROR
    assert (chats[1].start_time or 0) >= (tool.end_time or 0), "the second call began when the tool was done"
    assert "a secret" not in "".join(span.to_json() for span in collected.spans())


async def test_without_a_span_of_a_request_a_run_is_the_root_of_a_trace(
    settings: Settings, agent: ScriptedAgent, collected: Collected
) -> None:
    app = create_app(settings, agent=agent, telemetry=collected.telemetry)
    async with served(app) as url, chat_on(url) as chat:
        for text in ("one", "two"):
            await chat.answer((await chat.send(text))["thread_id"])
        await wait_until(lambda: len(collected.spans("invoke_agent")) == 2, what="both runs have ended")
    first, second = collected.spans("invoke_agent")
    assert parent(first) is parent(second) is None
    assert first.context is not None
    assert second.context is not None
    assert first.context.trace_id != second.context.trace_id


def begun(attempt: int) -> Run:
    """A run that a process has begun to answer."""
    run_id, thread_id = uuid4(), uuid4()
    return Run(run_id, 1, thread_id, "ann", "s", message="", message_id="m", attempt=attempt)


def test_whatever_span_is_current_where_a_run_is_begun_is_not_its_parent(collected: Collected) -> None:
    """A janitor's, or that of a worker which takes one run after another."""
    with collected.tracers.get_tracer("test").start_as_current_span("somebody else's"):
        collected.telemetry.runs().begin(begun(1)).end("completed", None)
    (span,) = collected.spans("invoke_agent")
    assert parent(span) is None


def test_an_attempt_that_was_passed_on_or_taken_is_no_end_of_its_run(collected: Collected) -> None:
    runs = collected.telemetry.runs()
    runs.begin(begun(1)).end("handed_over", None)
    runs.begin(begun(2)).end("taken_over", None)
    assert collected.points(all_.RUN_DURATION) == {}
    assert collected.value(all_.HANDOVERS) == 1
    assert collected.value(all_.RUN_ATTEMPTS, "first") == collected.value(all_.RUN_ATTEMPTS, "again") == 1
    statuses = [(span.attributes or {})["resumable_stream.status"] for span in collected.spans()]
    assert statuses == ["handed_over", "taken_over"]


@pytest.mark.parametrize(("words", "code"), [("one fail", "scripted"), ("one break", "error"), ("one hold", None)])
async def test_a_failure_is_an_error_with_its_code_and_never_its_text(
    settings: Settings, agent: ScriptedAgent, collected: Collected, words: str, code: str | None
) -> None:
    app = create_app(settings, agent=agent, telemetry=collected.telemetry)
    async with served(app) as url, chat_on(url) as chat:
        sent = await chat.send(words)
        if code is None:
            async with asyncio.timeout(DEADLINE):
                await agent.held.wait()
            await chat.stop(sent["thread_id"])
        await wait_until(lambda: collected.spans("invoke_agent"), what="the run has ended")
    (run,) = collected.spans("invoke_agent")
    assert (run.attributes or {}).get("error.type") == code
    if code is None:
        assert run.status.status_code is StatusCode.UNSET
        assert (run.attributes or {})["resumable_stream.status"] == "cancelled"
    else:
        assert (run.status.status_code, run.status.description) == (StatusCode.ERROR, code)
    assert "secret" not in run.to_json()
    assert "told to" not in run.to_json()


@pytest.mark.parametrize("words", ["one fail", "one break"])
async def test_every_line_about_a_run_has_the_ids_of_run_thread_and_stream(
    settings: Settings, agent: ScriptedAgent, caplog: pytest.LogCaptureFixture, words: str
) -> None:
    caplog.set_level(logging.INFO, "resumable_stream")

    async def broken(message: str) -> str | None:
        raise RuntimeError("a secret")

    agent.title = broken  # type: ignore[method-assign]
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
        sent = await chat.send(words)
        await chat.read(sent["thread_id"])
        await wait_until(lambda: len(about_runs(caplog)) >= 2, what="the failures are told")
    for record in about_runs(caplog):
        found = vars(record)
        assert {name: found.get(name) for name in ("thread_id", "run_id", "stream_id")} == sent, record.getMessage()
    assert "secret" not in caplog.text


def about_runs(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The lines of the rooms of runs."""
    return [record for record in caplog.records if record.name == "resumable_stream.app"]
