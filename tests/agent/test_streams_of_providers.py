"""Every provider's wire gives the same events."""

from __future__ import annotations

from agent.conftest import make_model
from agent.helpers import answer, look_up, new_turn, of_type, text, types
from agent.provider_wire import Call, ProviderWire, Reply
from resumable_stream.agent import LangGraphAgent, build_graph
from resumable_stream.agent._checkpoint import Pool

_THINKING = ("openai-responses", "anthropic-thinking", "google")


def _thoughts(provider: str) -> list[str]:
    """A model that thinks does so before each tool call, and wants its thoughts back."""
    return ["hm"] if provider in _THINKING else []


async def test_an_answer_is_text_between_the_start_and_the_end_of_its_message(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    wire.script(Reply(text=["Hel", "lo, ", "Wörld 🎉\n", " x"]))
    turn = new_turn()

    events = await answer(agent, turn)

    assert types(events) == ["message_start", "text", "message_end"]
    assert of_type(events, "text") == ["Hel", "lo, ", "Wörld 🎉\n", " x"]
    (end,) = of_type(events, "message_end")
    assert end["finish_reason"] == "stop"
    assert end["usage"] == {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
    question, reply = await agent.history(turn.thread_id)
    assert (question.type, question.content, question.id) == ("human", "hello", turn.message_id)
    assert (reply.type, reply.content, reply.id) == ("ai", "Hello, Wörld 🎉\n x", end["message_id"])
    assert question.run_id == reply.run_id == turn.run_id
    assert not reply.stopped


async def test_a_tool_call_is_told_once_complete_and_before_its_result(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up]), pool)
    wire.script(
        Reply(
            text=["Let me ", "see."],
            calls=[Call("call_a", "look_up", {"word": "cat"}), Call("call_b", "look_up", {"word": "dog"})],
            reasoning=_thoughts(provider),
        ),
        Reply(text=["A cat ", "is a tac."]),
    )
    turn = new_turn()

    events = await answer(agent, turn)

    expected = ["message_start", "text", "tool_call", "message_end", "tool_result"]
    if provider in _THINKING:
        expected.insert(1, "reasoning")
    assert types(events) == [*expected, "message_start", "text", "message_end"]
    calls = of_type(events, "tool_call")
    assert [(call["name"], call["args"]) for call in calls] == [
        ("look_up", {"word": "cat"}),
        ("look_up", {"word": "dog"}),
    ]
    results = {result["id"]: result for result in of_type(events, "tool_result")}
    assert [results[call["id"]]["content"] for call in calls] == ["cat means tac", "dog means god"]
    assert {result["status"] for result in results.values()} == {"success"}
    first, last = of_type(events, "message_end")
    assert (first["finish_reason"], last["finish_reason"]) == ("tool_calls", "stop")
    _, asking, answered = await agent.history(turn.thread_id)
    assert (asking.id, answered.id) == (first["message_id"], last["message_id"])
    assert asking.content + answered.content == text(events) == "Let me see.A cat is a tac."
    assert [(use.id, use.name, use.status, use.result) for use in asking.tool_calls] == [
        (calls[0]["id"], "look_up", "success", "cat means tac"),
        (calls[1]["id"], "look_up", "success", "dog means god"),
    ]


async def test_reasoning_is_told_apart_from_text(wire: ProviderWire, pool: Pool, provider: str) -> None:
    if provider not in _THINKING:
        return
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    wire.script(Reply(reasoning=["Think", " first."], text=["Done", "."]))
    turn = new_turn()

    events = await answer(agent, turn)

    assert types(events) == ["message_start", "reasoning", "text", "message_end"]
    assert "".join(of_type(events, "reasoning")) == "Think first."
    assert text(events) == "Done."
    reply = (await agent.history(turn.thread_id))[-1]
    assert (reply.reasoning, reply.content) == ("Think first.", "Done.")


async def test_a_tool_call_without_text_has_its_message_too(wire: ProviderWire, pool: Pool, provider: str) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up]), pool)
    asking = Reply(calls=[Call("call_a", "look_up", {"word": "cat"})], reasoning=_thoughts(provider))
    wire.script(asking, Reply(text=["ok"]))

    events = await answer(agent, new_turn())

    assert [kind for kind in types(events) if kind != "reasoning"] == [
        "message_start",
        "tool_call",
        "message_end",
        "tool_result",
        "message_start",
        "text",
        "message_end",
    ]


async def test_an_answer_cut_by_the_output_limit_says_so(wire: ProviderWire, pool: Pool, provider: str) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider)), pool)
    wire.script(Reply(text=["and so", " on"], length=True))

    events = await answer(agent, new_turn())

    assert of_type(events, "message_end")[0]["finish_reason"] == "length"


async def test_a_model_that_does_not_stream_gives_its_text_at_once(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    model = make_model(wire.url, provider, disable_streaming=True)
    agent = LangGraphAgent(build_graph(model, [look_up]), pool)
    wire.script(
        Reply(
            text=["One ", "moment."],
            calls=[Call("call_a", "look_up", {"word": "cat"})],
            reasoning=_thoughts(provider),
        ),
        Reply(text=["Hel", "lo"]),
    )
    turn = new_turn()

    events = await answer(agent, turn)

    assert of_type(events, "text") == ["One moment.", "Hello"]
    assert [kind for kind in types(events) if kind != "reasoning"] == [
        "message_start",
        "text",
        "tool_call",
        "message_end",
        "tool_result",
        "message_start",
        "text",
        "message_end",
    ]
    ids = [message.id for message in await agent.history(turn.thread_id) if message.type == "ai"]
    assert ids == [end["message_id"] for end in of_type(events, "message_end")]


async def test_a_second_turn_sends_the_first_one_in_a_shape_that_the_provider_takes(
    wire: ProviderWire, pool: Pool, provider: str
) -> None:
    agent = LangGraphAgent(build_graph(make_model(wire.url, provider), [look_up]), pool)
    wire.script(
        Reply(
            text=["Wait."],
            calls=[Call("call_a", "look_up", {"word": "cat"})],
            reasoning=_thoughts(provider),
        ),
        Reply(text=["First"]),
        Reply(text=["Second"]),
    )
    turn = new_turn()
    await answer(agent, turn)

    events = await answer(agent, new_turn("and?", turn.thread_id))

    assert text(events) == "Second"
    assert [message.content for message in await agent.history(turn.thread_id)] == [
        "hello",
        "Wait.",
        "First",
        "and?",
        "Second",
    ]
