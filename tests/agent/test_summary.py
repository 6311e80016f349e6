"""Long conversations are shortened for the model, and for nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from agent.conftest import make_model
from agent.helpers import answer, new_turn, of_type, text
from agent.provider_wire import Call, Failure, Gate, ProviderWire, Reply
from resumable_stream.agent import LangGraphAgent, SummaryOptions, build_graph
from resumable_stream.agent._checkpoint import Pool
from resumable_stream.agent._summary import _cut

FEW = SummaryOptions(trigger_messages=4, keep_messages=2)


def asked(wire: ProviderWire, number: int = -1) -> list[str]:
    """The texts that a request sent, for OpenAI's wire."""
    return [str(message.get("content")) for message in wire.requests[number].body["messages"]]


async def talk(agent: LangGraphAgent, wire: ProviderWire, thread_id: str, *words: str) -> None:
    for word in words:
        wire.script(Reply(text=["re: ", word]))
        assert text(await answer(agent, new_turn(word, thread_id))) == f"re: {word}"


async def test_the_model_sees_a_summary_and_the_end_while_the_history_has_everything(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), summary=FEW), pool)
    thread_id = new_turn().thread_id
    await talk(agent, wire, thread_id, "one", "two")
    wire.script(Reply(text=["NOTES ", "A\0B"]), Reply(text=["re: ", "three"]))

    events = await answer(agent, new_turn("three", thread_id))

    assert text(events) == "re: three"
    assert len(of_type(events, "message_start")) == 1
    sent = str(wire.requests[-1].body)
    assert "NOTES A" in sent
    assert "one" not in sent
    assert "re: two" in sent
    assert "three" in sent
    assert [message.content for message in await agent.history(thread_id)] == [
        "one",
        "re: one",
        "two",
        "re: two",
        "three",
        "re: three",
    ]


async def test_a_summary_is_used_again_and_extended_not_made_anew(wire: ProviderWire, pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url), summary=FEW), pool)
    thread_id = new_turn().thread_id
    await talk(agent, wire, thread_id, "one", "two")
    wire.script(Reply(text=["NOTES 1"]))
    await talk(agent, wire, thread_id, "three")
    before = len(wire.requests)

    await talk(agent, wire, thread_id, "four")

    assert len(wire.requests) == before + 1, "the summary of the turn before is used"
    assert "NOTES 1" in asked(wire)[0]
    assert asked(wire)[1:] == ["re: two", "three", "re: three", "four"]

    wire.script(Reply(text=["NOTES 2"]))
    await talk(agent, wire, thread_id, "five")

    notes, _ = wire.requests[-2:]
    material = str(notes.body["messages"][-1]["content"])
    assert "NOTES 1" in material
    assert "three" in material
    assert "User: one" not in material, "what the old notes cover is not read again"
    assert "NOTES 2" in asked(wire)[0]


async def test_a_summary_is_made_when_there_are_many_tokens(wire: ProviderWire, pool: Pool) -> None:
    options = SummaryOptions(trigger_tokens=1000, keep_tokens=300, trigger_messages=None)
    agent = LangGraphAgent(build_graph(make_model(wire.url), summary=options), pool)
    thread_id = new_turn().thread_id
    long = "word " * 400
    await talk(agent, wire, thread_id, long)
    wire.script(Reply(text=["NOTES"]))

    await talk(agent, wire, thread_id, "short")

    assert "NOTES" in asked(wire)[0]
    assert asked(wire)[1:] == ["short"]


async def test_without_triggers_everything_is_sent(wire: ProviderWire, pool: Pool) -> None:
    never = SummaryOptions(trigger_tokens=None, trigger_messages=None)
    for options in (never, None):
        agent = LangGraphAgent(build_graph(make_model(wire.url), summary=options), pool)
        thread_id = new_turn().thread_id
        await talk(agent, wire, thread_id, *(str(number) for number in range(5)))
        assert len(asked(wire)) == 9


async def test_another_model_may_summarise(wire: ProviderWire, pool: Pool) -> None:
    small = make_model(wire.url, temperature=0.25)
    graph = build_graph(make_model(wire.url), summary=FEW, summary_model=small)
    agent = LangGraphAgent(graph, pool)
    thread_id = new_turn().thread_id
    await talk(agent, wire, thread_id, "one", "two")
    wire.script(Reply(text=["NOTES"]))

    await talk(agent, wire, thread_id, "three")

    assert [request.body.get("temperature") for request in wire.requests] == [None, None, 0.25, None]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Failure(400, "invalid_request_error", "sk-secret"), id="refused"),
        pytest.param(Reply(text=[" "]), id="empty"),
        pytest.param(Reply(text=["a", "b"], gate=Gate()), id="silent"),
    ],
)
async def test_a_summariser_that_fails_costs_old_messages_not_the_answer(
    wire: ProviderWire, pool: Pool, caplog: pytest.LogCaptureFixture, broken: Reply | Failure
) -> None:
    options = SummaryOptions(trigger_messages=4, keep_messages=2, timeout=1.0)
    agent = LangGraphAgent(build_graph(make_model(wire.url), summary=options), pool)
    thread_id = new_turn().thread_id
    await talk(agent, wire, thread_id, "one", "two")
    wire.script(broken)

    await talk(agent, wire, thread_id, "three")

    assert asked(wire) == ["(The beginning of this conversation is left out.)", "re: two", "three"]
    (record,) = caplog.records
    assert record.getMessage().startswith("no summary was made: ")
    assert "sk-secret" not in caplog.text
    before = len(wire.requests)
    wire.script(Reply(text=["NOTES"]))  # not asked for so soon: this is the answer
    assert text(await answer(agent, new_turn("four", thread_id))) == "NOTES"
    assert len(wire.requests) == before + 1
    assert len(await agent.history(thread_id)) == 8


async def test_a_summary_may_be_made_between_tool_calls_and_keeps_the_question(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    @tool
    def step(number: int) -> str:
        """Go a step."""
        return f"step {number} done"

    options = SummaryOptions(trigger_messages=6, keep_messages=3)
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [step], summary=options), pool)
    thoughts = [] if provider in ("openai", "anthropic") else ["hm"]
    steps = [
        Reply(
            calls=[Call(f"call_{number}_{part}", "step", {"number": number}) for part in "ab"],
            reasoning=thoughts,
        )
        for number in range(3)
    ]
    wire.script(*steps[:2], Reply(text=["NOTES"]), steps[2], Reply(text=["Done."]))
    turn = new_turn("count steps")

    events = await answer(agent, turn)

    assert text(events) == "Done."
    assert wire.left == 0
    assert len(of_type(events, "tool_result")) == 6
    assert "count steps" in str(wire.requests[-1].body)
    (_, *rest) = await agent.history(turn.thread_id)
    assert [len(message.tool_calls) for message in rest] == [2, 2, 2, 0]


async def test_a_very_long_past_is_summarised_in_parts(wire: ProviderWire, pool: Pool) -> None:
    past: list[AnyMessage] = []
    for number in range(6):
        past += [HumanMessage(f"question {number} " + "x" * 20_000), AIMessage("y" * 3_000)]
    past += [
        AIMessage("", tool_calls=[{"name": "t", "args": {"a": 1}, "id": "c"}]),
        ToolMessage("found", tool_call_id="c", name="t"),
    ]
    options = SummaryOptions(trigger_tokens=3_000, keep_tokens=500)
    agent = LangGraphAgent(build_graph(make_model(wire.url), summary=options), pool)
    turn = new_turn("now")
    await agent._bound().aupdate_state(
        {"configurable": {"thread_id": turn.thread_id}}, {"messages": past}, as_node="model"
    )
    wire.script(*(Reply(text=[f"NOTES {number}"]) for number in range(3)), Reply(text=["ok"]))

    assert text(await answer(agent, turn)) == "ok"

    materials = [str(request.body["messages"][-1]["content"]) for request in wire.requests[:3]]
    assert all(len(material) < 25_000 for material in materials)
    assert "NOTES 0" in materials[1]
    assert "NOTES 1" in materials[2]
    assert "Result of t: found" not in materials[2], "it is near enough to be sent as it is"
    assert "NOTES 2" in asked(wire)[0]


def test_a_cut_never_parts_a_call_from_its_results() -> None:
    def call(*ids: str) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": "t", "args": {}, "id": one} for one in ids])

    def result(one: str) -> ToolMessage:
        return ToolMessage("r" * 400, tool_call_id=one)

    messages: list[Any] = [
        HumanMessage("q"),
        call("a", "b"),
        result("a"),
        result("b"),
        call("c"),
        result("c"),
        AIMessage("so"),
        HumanMessage("q2"),
    ]

    def cut(start: int = 0, **options: int) -> int:
        return _cut(messages, start, SummaryOptions(trigger_tokens=None, **options))

    assert cut(keep_messages=1) == 7
    assert cut(keep_messages=3) == 4, "back to the call"
    assert cut(keep_messages=5) == 1
    assert cut(keep_messages=5, start=1) == 4, "forth, since nothing would go otherwise"
    assert cut(keep_messages=7) == 1
    assert cut(keep_messages=8) == 0
    assert cut(keep_messages=8, keep_tokens=120) == 4
    assert _cut(messages[:4], 1, SummaryOptions(keep_messages=2)) == 1, "one group is all there is"


@pytest.mark.parametrize(
    "options",
    [
        {"keep_messages": 0},
        {"keep_tokens": 0},
        {"trigger_tokens": 100, "keep_tokens": 100},
        {"trigger_messages": 10, "keep_messages": 10},
    ],
)
def test_options_that_would_summarise_at_every_turn_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SummaryOptions(**options)


async def test_a_summary_of_messages_that_are_gone_is_forgotten(wire: ProviderWire, pool: Pool) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url), summary=FEW), pool)
    turn = new_turn("one")
    wire.script(Reply(text=["re: one"]))
    await answer(agent, turn)
    await talk(agent, wire, turn.thread_id, "two")
    wire.script(Reply(text=["NOTES"]))
    await talk(agent, wire, turn.thread_id, "three")

    wire.script(Reply(text=["anew"]))
    assert text(await answer(agent, turn)) == "anew"  # the first message once more

    assert asked(wire) == ["one"]
