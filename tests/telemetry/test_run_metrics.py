"""What is measured of the chat app is what it has done."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.processes import server
from app.scripted import ScriptedAgent
from app.serving import DEADLINE, chat_on, eventually, new_thread, served
from resumable_stream.agent import build_graph
from resumable_stream.app import Settings, create_app
from resumable_stream.demo import ScriptedChatModel
from resumable_stream.telemetry import INSTRUMENTS
from resumable_stream.telemetry import _instruments as all_
from support import wait_until
from telemetry.collected import Collected, collecting
from telemetry.talking import USAGE, Instrumented, TalkingAgent


async def test_a_run_is_measured_from_its_acceptance_to_its_end(
    settings: Settings, agent: ScriptedAgent, collected: Collected
) -> None:
    app = create_app(settings, agent=agent, telemetry=collected.telemetry)
    async with served(app) as url, chat_on(url) as chat:
        sent = await chat.send("one hold two")
        async with asyncio.timeout(DEADLINE):
            await agent.held.wait()
        assert collected.value(all_.ACCEPTED_RUNS) == 1
        assert collected.value(all_.ACTIVE_RUNS) == 1
        assert collected.value(all_.RUN_ATTEMPTS, "first") == 1
        assert collected.value(all_.FIRST_TOKEN) == 1
        assert collected.value(all_.RUN_DURATION, "completed", None) == 0
        agent.release.set()
        assert await chat.answer(sent["thread_id"]) == "one two "
        await wait_until(lambda: collected.value(all_.ACTIVE_RUNS) == 0, what="the run has ended")
        assert collected.value(all_.RUN_DURATION, "completed", None) == 1
        assert collected.value(all_.FIRST_TOKEN) == 1
        assert collected.value(all_.RUN_ATTEMPTS, "again") == collected.value(all_.HANDOVERS) == 0
        (first,) = collected.points(all_.FIRST_TOKEN).values()
        (whole,) = collected.points(all_.RUN_DURATION).values()
        assert 0 < first.sum < whole.sum < DEADLINE


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [("one fail", "failed", "scripted"), ("one break", "failed", "error"), ("one hold", "cancelled", None)],
)
async def test_a_run_that_is_broken_off_is_told_by_status_and_code(
    settings: Settings, agent: ScriptedAgent, collected: Collected, words: str, status: str, code: str | None
) -> None:
    app = create_app(settings, agent=agent, telemetry=collected.telemetry)
    async with served(app) as url, chat_on(url) as chat:
        sent = await chat.send(words)
        if status == "cancelled":
            async with asyncio.timeout(DEADLINE):
                await agent.held.wait()
            assert (await chat.stop(sent["thread_id"])).json()["stopped"]
        await wait_until(lambda: collected.value(all_.RUN_DURATION, status, code) == 1, what="the run has ended so")
        assert len(collected.points(all_.RUN_DURATION)) == 1
        assert collected.value(all_.STOPS) == (status == "cancelled")
        assert collected.value(all_.ENDED_STREAMS, status) == 1


async def test_viewers_of_an_app_and_requests_that_it_refuses_are_counted(
    settings: Settings, agent: ScriptedAgent, collected: Collected
) -> None:
    settings = settings.model_copy(update={"max_active_runs_per_owner": 1})
    app = create_app(settings, agent=agent, telemetry=collected.telemetry)
    async with served(app) as url, chat_on(url) as chat:
        sent = await chat.send("one hold two")
        viewers = [asyncio.create_task(chat.answer(sent["thread_id"])) for _ in range(3)]
        await wait_until(lambda: collected.value(all_.ACTIVE_VIEWERS) == 3, what="three viewers are there")
        assert collected.value(all_.FOLLOWED_STREAMS) == 1
        assert (await chat.post("again", sent["thread_id"])).status_code == 409
        assert (await chat.post("more", new_thread())).status_code == 429
        assert (await chat.http.get("/nowhere")).status_code == 404
        agent.release.set()
        await asyncio.gather(*viewers)
        assert collected.value(all_.REFUSED, 409, "run_active") == 1
        assert collected.value(all_.REFUSED, 429, "too_many_runs") == 1
        assert collected.value(all_.REFUSED, 404, "not_found") == 1
        assert len(collected.points(all_.REFUSED)) == 3
        assert collected.value(all_.ACCEPTED_RUNS) == 1
        await wait_until(lambda: collected.value(all_.ACTIVE_VIEWERS) == 0, what="the viewers have left")
    async with served(app) as url, chat_on(url) as chat:  # its lifespan again
        assert collected.value(all_.REFUSED, 409, "run_active") == 1


async def test_the_pool_of_connections_to_postgres_is_measured(
    settings: Settings, agent: ScriptedAgent, collected: Collected
) -> None:
    app = create_app(settings, agent=agent, telemetry=collected.telemetry)
    async with served(app) as url, chat_on(url) as chat:

        async def ready() -> bool:
            return (await chat.http.get("/readyz")).status_code == 200

        await eventually(ready)
        assert collected.value(all_.POOL_MAX, "resumable_stream") == settings.database_pool_size
        assert collected.value(all_.POOL_WAITING, "resumable_stream") == 0
        async with app._get_services().readiness._database.pool.connection():
            assert collected.value(all_.POOL_COUNT, "resumable_stream", "used") >= 1
        await wait_until(
            lambda: collected.value(all_.POOL_COUNT, "resumable_stream", "idle") >= 1, what="a connection is idle"
        )


@pytest.mark.parametrize("gen_ai", [True, False])
async def test_tokens_and_times_of_models_are_taken_from_the_events(settings: Settings, gen_ai: bool) -> None:
    with collecting(gen_ai=gen_ai) as collected:
        agent = TalkingAgent(collected.tracers.get_tracer("test"))
        app = create_app(settings, agent=agent, telemetry=collected.telemetry)
        async with served(app) as url, chat_on(url) as chat:
            sent = await chat.send("hello")
            assert await chat.answer(sent["thread_id"]) == "hello "
        tokens = {kind: point.sum for (*_, kind), point in collected.points(all_.MODEL_TOKENS).items()}
        assert tokens == ({"input": USAGE["input_tokens"], "output": USAGE["output_tokens"]} if gen_ai else {})
        assert collected.value(all_.MODEL_DURATION, "chat", "unknown", None) == (2 if gen_ai else 0)


async def test_a_working_app_has_a_value_for_every_metric_there_is_and_no_other(
    settings: Settings, collected: Collected
) -> None:
    agent = TalkingAgent(collected.tracers.get_tracer("test"))
    app = create_app(settings, agent=agent, telemetry=collected.telemetry)
    async with served(app) as url, chat_on(url) as chat:
        sent = await chat.send("hello hold again")
        assert (await chat.http.get("/nowhere")).status_code == 404
        await wait_until(lambda: collected.value(all_.APPEND_DURATION) > 0, what="a sign of life was answered")
        agent.release.set()
        await chat.answer(sent["thread_id"], run_id=sent["run_id"])
        await wait_until(lambda: collected.value(all_.ACTIVE_RUNS) == 0, what="the run has ended")
        assert set(collected.metrics()) == {one.name for one in INSTRUMENTS}


LONG = "Tell me a long story"


def graph(pace: float) -> object:
    return build_graph(ScriptedChatModel(tokens_per_second=pace))


async def test_a_run_that_is_handed_over_is_two_attempts_and_one_trace(
    settings: Settings, collected: Collected
) -> None:
    settings = settings.model_copy(update={"drain_seconds": 0.2})
    second = create_app(settings, agent=graph(0), telemetry=collected.telemetry)
    async with served(second) as there:
        first = create_app(settings, agent=graph(20), telemetry=collected.telemetry)
        host = Instrumented(first, collected.tracers.get_tracer("test"))
        async with served(host) as here, chat_on(here) as chat:
            sent = await chat.send(LONG)
            await wait_until(lambda: collected.value(all_.FIRST_TOKEN) == 1, what="the first text has come")
        async with chat_on(there) as chat:
            await chat.answer(sent["thread_id"], run_id=sent["run_id"])
        await wait_until(lambda: collected.value(all_.RUN_DURATION, "completed", None) == 1, what="the run has ended")
    assert collected.value(all_.HANDOVERS) == 1
    assert collected.value(all_.RUN_ATTEMPTS, "first") == 1
    assert collected.value(all_.RUN_ATTEMPTS, "again") == 1
    assert collected.value(all_.CLAIMS, True) == 1
    assert len(collected.points(all_.RUN_DURATION)) == 1
    assert collected.value(all_.FIRST_TOKEN) == 1
    (post,) = collected.spans("POST /v1/chat/message")
    runs = collected.spans("invoke_agent")
    assert [(span.attributes or {})["resumable_stream.status"] for span in runs] == ["handed_over", "completed"]
    assert [span.parent.span_id if span.parent else None for span in runs] == [post.context.span_id] * 2


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_run_whose_process_was_killed_is_lost_or_begun_again_as_another_process_tells(
    settings: Settings, valkey_url: str, database_url: str, collected: Collected, tmp_path: Path, attempts: int
) -> None:
    settings = settings.model_copy(update={"run_max_attempts": attempts})
    app = create_app(settings, agent=graph(0), telemetry=collected.telemetry)
    async with (
        server(valkey_url, database_url, tokens_per_second=20, run_max_attempts=attempts) as other,
        served(app) as url,
        chat_on(url) as chat,
    ):
        await other.ready()
        async with chat_on(other.url) as there:
            sent = await there.send(LONG)
        events = chat.events(sent["thread_id"], run_id=sent["run_id"])
        async with asyncio.timeout(DEADLINE):
            await anext(events)
        await other.kill()
        rest = [event.data async for event in events]
        assert rest[-1] == "end"
        if attempts == 1:
            assert "lost" in rest
            assert collected.value(all_.LOST_STREAMS, "died") == 1
            assert collected.value(all_.RUN_ATTEMPTS, "again") == 0
        else:
            assert "message_restarted" in rest
            assert collected.value(all_.LOST_STREAMS, "died") == 0
            assert collected.value(all_.RUN_ATTEMPTS, "again") == 1
            await wait_until(
                lambda: collected.value(all_.RUN_DURATION, "completed", None) == 1, what="the run has ended here"
            )
        assert collected.value(all_.ACCEPTED_RUNS) == 0
