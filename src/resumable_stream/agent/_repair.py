"""Keeping a conversation in a shape that providers accept: every tool call is followed by its result.

A run that is stopped or killed can leave a call without one. Pure functions over messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, RemoveMessage, ToolMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from ._content import text_of

CANCELLED: Final = "cancelled"
"""Set in the ``response_metadata`` of a result that stands for one which never came."""
STOPPED: Final = "stopped"
"""Set in the ``response_metadata`` of an answer that ends where its run was stopped."""
_NO_RESULT: Final = "Cancelled: the run ended before this tool did."


def mend(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The messages with a result for each tool call, right after it. Equal to the given ones if those were well.

    Ids of calls need not be unique in a conversation: some models count from 0 in each message.
    """
    mended: list[AnyMessage] = []
    placed: set[int] = set()
    for index, message in enumerate(messages):
        if id(message) in placed:
            continue
        mended.append(message)
        if not isinstance(message, AIMessage):
            continue
        waiting = _calls(message)
        for follower in messages[index + 1 :]:
            if not isinstance(follower, ToolMessage) or follower.tool_call_id not in waiting:
                break
            del waiting[follower.tool_call_id]
            mended.append(follower)
            placed.add(id(follower))
        for call_id, name in waiting.items():
            result = _late_result(messages[index + 1 :], call_id) or _cancelled(message, call_id, name)
            mended.append(result)
            placed.add(id(result))
    return mended


def _calls(message: AIMessage) -> dict[str, str | None]:
    """Ids and names of a message's calls. One whose arguments are no JSON is sent to OpenAI too, and wants a result."""
    calls: list[Mapping[str, Any]] = [*message.tool_calls, *message.invalid_tool_calls]
    return {call["id"]: call["name"] for call in calls if call["id"]}


def _late_result(messages: Sequence[AnyMessage], call_id: str) -> ToolMessage | None:
    """The result of a call that came after other messages, but before the id was used again."""
    for message in messages:
        if isinstance(message, ToolMessage) and message.tool_call_id == call_id:
            return message
        if isinstance(message, AIMessage) and call_id in _calls(message):
            break
    return None


def _cancelled(message: AIMessage, call_id: str, name: str | None) -> ToolMessage:
    return ToolMessage(
        _NO_RESULT,
        id=f"cancelled-{message.id}-{call_id}",
        tool_call_id=call_id,
        name=name,
        status="error",
        response_metadata={CANCELLED: True},
    )


def change(old: Sequence[AnyMessage], new: Sequence[AnyMessage]) -> list[BaseMessage]:
    """What to write to the state's messages to get from one list to the other."""
    if len(old) <= len(new) and all(one.id == other.id for one, other in zip(old, new, strict=False)):
        return [one for number, one in enumerate(new) if number >= len(old) or one is not old[number]]
    return [RemoveMessage(REMOVE_ALL_MESSAGES), *new]


def stopped(messages: Sequence[AnyMessage], place: int, text: str, message_id: str) -> list[AnyMessage]:
    """The messages after a turn was stopped: mended, with what was said, and marked.

    Args:
        messages: all of the thread.
        place: where the turn's question is; for a turn with answers, the last message before it.
        text: all that the run said.
        message_id: the id for a message with the part that is not among the messages.
    """
    mended = mend(messages)
    rest = unsaved(messages[place + 1 :], text)
    mark = {STOPPED: True}
    if rest.strip():  # Anthropic takes no message of blanks
        return [*mended, AIMessage(rest, id=message_id, response_metadata=mark)]
    first = next(index for index, one in enumerate(mended) if one is messages[place])
    for index in range(len(mended) - 1, first - 1, -1):
        last = mended[index]
        if isinstance(last, AIMessage):
            if not last.response_metadata.get(STOPPED):
                marked = {**last.response_metadata, **mark}
                mended[index] = last.model_copy(update={"response_metadata": marked})
            break
    return mended


def unsaved(messages: Sequence[AnyMessage], text: str) -> str:
    """The part of a run's text that none of its saved messages has.

    A saved message may be ahead of the text: it was finished before all of it was read.
    """
    for message in messages:
        if isinstance(message, AIMessage):
            saved = text_of(message)
            if saved.startswith(text):
                return ""
            text = text.removeprefix(saved)
    return text
