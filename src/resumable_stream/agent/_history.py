"""The messages of a thread as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from ._content import plain, reasoning_of, text_of
from ._protocol import HistoryMessage, ToolStatus, ToolUse
from ._repair import CANCELLED, STOPPED

RUN: Final = "run_id"
"""Set in the ``response_metadata`` of a question: the run that answers it."""


def history_of(messages: Sequence[AnyMessage]) -> list[HistoryMessage]:
    """Normalise: people's messages and the agent's, tool results with their calls, nothing else."""
    results = {one.tool_call_id: one for one in messages if isinstance(one, ToolMessage)}
    history = []
    run_id: str | None = None
    for message in messages:
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
                    tool_calls=tuple(
                        _use(call["id"] or "", call["name"], plain(call["args"]), results)
                        for call in message.tool_calls
                    ),
                    reasoning=reasoning_of(message),
                )
            )
    return history


def _use(call_id: str, name: str, args: dict[str, object], results: dict[str, ToolMessage]) -> ToolUse:
    result = results.get(call_id)
    if result is None:
        return ToolUse(id=call_id, name=name, args=args)
    status: ToolStatus = "cancelled" if result.response_metadata.get(CANCELLED) else result.status
    return ToolUse(id=call_id, name=name, args=args, result=text_of(result), status=status)
