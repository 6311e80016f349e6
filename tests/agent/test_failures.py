"""A run that fails says why in a code and words of ours; what others say stays with them."""

from __future__ import annotations

import traceback
from types import MappingProxyType

import httpx
import pytest
from langchain_core.tools import tool
from psycopg_pool import PoolTimeout

from agent.conftest import SECRET, make_model
from agent.helpers import answer, fail, look_up, new_turn, text
from agent.provider_wire import Call, Failure, Gate, ProviderWire, Reply
from resumable_stream._errors import StreamFailure
from resumable_stream.agent import LangGraphAgent, build_graph
from resumable_stream.agent._checkpoint import Pool
from resumable_stream.agent._failures import _provider_code, describe, failure_of
from support import free_port

RUDE = f"Incorrect API key provided: {SECRET} at https://internal.example"


async def failure(agent: LangGraphAgent, caplog: pytest.LogCaptureFixture) -> StreamFailure:
    """How a turn fails; nothing that the provider said may show anywhere."""
    with pytest.raises(StreamFailure) as caught:
        await answer(agent, new_turn())
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert SECRET not in shown
    assert "internal.example" not in shown
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert caught.value.code in record.getMessage()
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, "authentication_error", "provider_auth"),
        (403, "permission_error", "provider_auth"),
        (400, "invalid_request_error", "provider_rejected"),
        (404, "not_found_error", "provider_rejected"),
        (413, "request_too_large", "context_too_long"),
        (429, "rate_limit_error", "provider_rate_limited"),
        (500, "api_error", "provider_unavailable"),
        (503, "overloaded_error", "provider_unavailable"),
    ],
)
async def test_what_the_provider_refuses_has_a_code(
    wire: ProviderWire,
    pool: Pool,
    provider: str,
    caplog: pytest.LogCaptureFixture,
    status: int,
    kind: str,
    code: str,
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    wire.script(Failure(status, kind, RUDE))

    failed = await failure(agent, caplog)

    assert failed.code == code
    assert failed.message.endswith(".")


@pytest.mark.parametrize(
    ("provider", "kind", "message"),
    [
        ("openai", "context_length_exceeded", "This model's maximum context length is 8192 tokens."),
        ("anthropic", "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        (
            "google",
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
    ],
)
async def test_a_conversation_too_long_for_the_model_is_told_as_that(
    wire: ProviderWire,
    pool: Pool,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    kind: str,
    message: str,
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    wire.script(Failure(400, kind, message + RUDE))

    assert (await failure(agent, caplog)).code == "context_too_long"


@pytest.mark.parametrize(
    ("provider", "kind", "code"),
    [
        ("openai", "server_error", "provider_unavailable"),
        ("openai", "insufficient_quota", "provider_rate_limited"),
        ("openai-responses", "server_error", "provider_unavailable"),
        ("openai-responses", "a_new_code", "provider_failed"),
        ("anthropic", "overloaded_error", "provider_unavailable"),
        ("anthropic", "rate_limit_error", "provider_rate_limited"),
    ],
)
async def test_an_error_inside_the_stream_has_a_code_too(
    wire: ProviderWire,
    pool: Pool,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    kind: str,
    code: str,
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    wire.script(Failure(200, kind, RUDE, text=["Hel"]))

    assert (await failure(agent, caplog)).code == code


async def test_a_provider_that_is_not_there_is_unavailable(
    pool: Pool, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    agent = LangGraphAgent(build_graph(make_model(nobody, provider)), pool)

    assert (await failure(agent, caplog)).code == "provider_unavailable"


async def test_a_connection_that_breaks_in_the_middle_makes_the_provider_unavailable(
    wire: ProviderWire, pool: Pool, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    wire.script(Reply(text=["Hel", "lo", " you"], broken=True), Reply(text=["Fine."]))
    turn = new_turn()

    said, failed = await fail(agent, turn)

    assert text(said) == "Hello"
    assert failed.code == "provider_unavailable"
    assert text(await answer(agent, new_turn("again", turn.thread_id))) == "Fine."


async def test_what_was_said_before_a_failure_can_be_kept(wire: ProviderWire, pool: Pool, provider: str) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up]), pool)
    asking = Reply(
        text=["See. "],
        calls=[Call("call_a", "look_up", {"word": "cat"})],
        reasoning=["hm"] if provider == "anthropic-thinking" else [],
    )
    wire.script(asking, Reply(text=["Hel", "lo", " you", "!"], broken=True), Reply(text=["Fine."]))
    turn = new_turn()
    said, _ = await fail(agent, turn)

    await agent.keep_partial(turn, text(said))

    assert text(said) == "See. Hello"
    history = await agent.history(turn.thread_id)
    assert "".join(message.content for message in history[1:]) == text(said)
    assert history[-1].stopped
    assert text(await answer(agent, new_turn("again", turn.thread_id))) == "Fine."


async def test_a_silent_model_is_given_up(wire: ProviderWire, pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    for provider in ("openai", "anthropic"):
        caplog.clear()
        agent = LangGraphAgent(build_graph(make_model(wire.url, provider, timeout=0.3)), pool)
        wire.script(Reply(text=["Hel", "lo"], gate=Gate()))
        with pytest.raises(StreamFailure) as caught:
            await answer(agent, new_turn())
        assert caught.value.code == "provider_unavailable"


async def test_a_tool_that_fails_is_the_agents_error_whatever_it_looks_like(
    wire: ProviderWire, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    def fetch() -> str:
        """Fetch."""
        request = httpx.Request("GET", "https://internal.example")
        raise httpx.HTTPStatusError(RUDE, request=request, response=httpx.Response(401, request=request))

    agent = LangGraphAgent(build_graph(make_model(wire.url), [fetch]), pool)
    wire.script(Reply(calls=[Call("call_a", "fetch", {})]))

    failed = await failure(agent, caplog)

    assert failed.code == "agent_error"
    assert "httpx.HTTPStatusError status=401" in caplog.text
    assert "test_failures:" in caplog.text, "the log says where"


async def test_after_a_tool_has_failed_the_next_turn_works(wire: ProviderWire, pool: Pool) -> None:
    @tool
    def fail() -> str:
        """Fail."""
        raise RuntimeError

    agent = LangGraphAgent(build_graph(make_model(wire.url), [fail]), pool)
    wire.script(Reply(calls=[Call("call_a", "fail", {})]), Reply(text=["Fine."]))
    turn = new_turn()
    with pytest.raises(StreamFailure):
        await answer(agent, turn)

    assert text(await answer(agent, new_turn("again", turn.thread_id))) == "Fine."


async def test_a_tool_may_choose_the_words(wire: ProviderWire, pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    @tool
    def spend() -> str:
        """Spend."""
        raise StreamFailure("budget_spent", "This month's budget is spent.")

    agent = LangGraphAgent(build_graph(make_model(wire.url), [spend]), pool)
    wire.script(Reply(calls=[Call("call_a", "spend", {})]))

    with pytest.raises(StreamFailure) as caught:
        await answer(agent, new_turn())

    assert (caught.value.code, caught.value.message) == ("budget_spent", "This month's budget is spent.")
    assert caplog.records == []


async def test_an_agent_that_goes_round_in_circles_is_ended(
    wire: ProviderWire, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url), [look_up]), pool, max_steps=6)
    wire.script(*(Reply(calls=[Call(f"call_{n}", "look_up", {"word": "cat"})]) for n in range(9)))

    assert (await failure(agent, caplog)).code == "too_many_steps"


async def test_a_database_that_goes_away_is_told_as_that(
    wire: ProviderWire, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    async def cut() -> str:
        """Cut the connection to the database."""
        await pool.close()
        return "cut"

    agent = LangGraphAgent(build_graph(make_model(wire.url), [cut]), pool)
    wire.script(Reply(calls=[Call("call_a", "cut", {})]), Reply(text=["x"]))

    assert (await failure(agent, caplog)).code == "storage_unavailable"


def test_the_cause_decides_also_inside_a_group() -> None:
    timeout = PoolTimeout(RUDE)
    group = ExceptionGroup("several", [timeout, RuntimeError(RUDE)])

    assert failure_of(group).code == "storage_unavailable"
    assert describe(group) == "builtins.ExceptionGroup, from psycopg_pool.PoolTimeout; at "


def test_a_description_holds_only_what_looks_like_a_name() -> None:
    class Odd(Exception):
        status_code = 700
        code = "a code with blanks"
        type = "odd_error"
        request_id = "req_1"
        body = MappingProxyType({"error": "text"})

    described = describe(Odd(RUDE))

    assert described.endswith("Odd type=odd_error request_id=req_1; at ")


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"status_code": 403}, "provider_auth"),
        ({"status_code": 429}, "provider_rate_limited"),
        ({"status_code": 413}, "context_too_long"),
        ({"status_code": 529}, "provider_unavailable"),
        ({"status_code": 409}, "provider_unavailable"),
        ({"code": 422}, "provider_rejected"),
        ({"status_code": 302}, None),
        ({"body": {"error": {"type": "overloaded_error"}}, "status_code": 200}, "provider_unavailable"),
        ({"code": "invalid_api_key"}, "provider_auth"),
    ],
)
def test_errors_of_other_providers_are_judged_by_what_they_carry(facts: dict[str, object], code: str | None) -> None:
    error = RuntimeError(RUDE)
    error.__dict__.update(facts)

    assert _provider_code(error) == code
