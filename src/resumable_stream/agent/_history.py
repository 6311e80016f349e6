"""The messages of a thread as people see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage

from ._content import plain, reasoning_of, text_of
from ._protocol import HistoryMessage, ToolStatus, ToolUse
from ._repair import CANCELLED, STOPPED

RUN: Final = "run_id"
"""Set in the ``response_metadata`` of a question: the run that answers it."""


def history_of(messages: Sequence[AnyMessage], questions: Sequence[Mapping[str, Any]] = ()) -> list[HistoryMessage]:
    """Normalise: people's messages and the agent's, tool results with their calls, nothing else.

    Args:
        messages: of a thread.
        questions: what it waits for.
    """
    results = _results(messages)
    history = []
    run_id: str | None = None
    for index, message in enumerate(messages):
        if isinstance(message, HumanMessage):
            if "lc_source" in message.additional_kwargs:  # a summary in the place of what was said
                continue
            run_id = message.response_metadata.get(RUN)
            history.append(HistoryMessage(type="human", content=text_of(message), id=message.id or "", run_id=run_id))
        elif isinstance(message, AIMessage):
            history.append(
                HistoryMessage(
                    type="ai",
                    content=text_of(message),
                    id=message.id or "",
                    run_id=run_id,
                    stopped=bool(message.response_metadata.get(STOPPED)),
                    tool_calls=tuple(_use(call, results.get((index, call["id"]))) for call in message.tool_calls),
                    reasoning=reasoning_of(message),
                )
            )
    if history and questions:
        last = history[-1]
        uses = [replace(use, status="waiting") if use.status == "running" else use for use in last.tool_calls]
        history[-1] = replace(last, interrupts=tuple(questions), tool_calls=tuple(uses))
    return history


def _results(messages: Sequence[AnyMessage]) -> dict[tuple[int, str | None], ToolMessage]:
    """The results by the place of the message that asked for them, and the call's id, which may be used again."""
    asked: dict[str | None, int] = {}
    results: dict[tuple[int, str | None], ToolMessage] = {}
    for index, message in enumerate(messages):
        if isinstance(message, AIMessage):
            asked.update((call["id"], index) for call in message.tool_calls)
        elif isinstance(message, ToolMessage) and message.tool_call_id in asked:
            results[asked[message.tool_call_id], message.tool_call_id] = message
    return results


def _use(call: ToolCall, result: ToolMessage | None) -> ToolUse:
    use = ToolUse(id=call["id"] or "", name=call["name"], args=plain(call["args"]))
    if result is None:
        return use
    status: ToolStatus = "cancelled" if result.response_metadata.get(CANCELLED) else result.status
    return replace(use, result=text_of(result), status=status)
