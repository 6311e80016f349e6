"""Where a turn takes up its thread: at a person's answers, or where an earlier attempt broke off. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolCall, ToolMessage
from langgraph.types import Command, StateSnapshot

from .._errors import StreamFailure
from .._events import StreamEvent
from ._history import RUN
from ._protocol import Told, Turn
from ._translate import CallKey, Path, calls_of, interrupted, tool_calls, tool_result, whole

OVER: Final = object()
"""In the place of an input: there is nothing left to run."""


@dataclass(frozen=True, slots=True)
class Start:
    """How to go on with a thread.

    Attributes:
        input: what the graph is run with; ``None`` runs what is next.
        known: ids of messages that are not to be told when they come by.
        untold: what the stream has to have first.
        calls: the tool calls in these messages: who changes one has it told again.
    """

    input: Any
    known: frozenset[str]
    untold: tuple[StreamEvent, ...] = ()
    calls: Mapping[CallKey, ToolCall] = field(default_factory=dict)


def messages_of(snapshot: StateSnapshot) -> list[AnyMessage]:
    """The messages of a state."""
    found = snapshot.values.get("messages", ()) if isinstance(snapshot.values, dict) else ()
    return [cast("AnyMessage", one) for one in found if isinstance(one, BaseMessage)]


def index_of(messages: Sequence[AnyMessage], message_id: str) -> int | None:
    """The place of a message."""
    return next((index for index, one in enumerate(messages) if one.id == message_id), None)


def answered(snapshot: StateSnapshot, turn: Turn) -> Start:
    """Give a thread that waits for a person the answers.

    Raises:
        StreamFailure: it does not wait, or not for these answers. It is as it was.
    """
    waiting = {one.id for one in snapshot.interrupts}
    answers = turn.answers or {}
    if not waiting:
        raise StreamFailure("not_interrupted", "The conversation does not wait for an answer.")
    if not answers or not waiting >= answers.keys():
        raise StreamFailure("unknown_interrupt", "The conversation waits for the answer to another question.")
    messages = messages_of(snapshot)
    return Start(Command(resume=dict(answers)), _ids(messages), calls=_calls(messages))


def continued(snapshot: StateSnapshot, turn: Turn, told: Told, answering: Collection[Path]) -> Start | None:
    """Go on where an earlier attempt at the same turn broke off; ``None`` if that left nothing of it.

    The snapshot has the states of subgraphs if one of the answering nodes is in one.
    """
    messages = messages_of(snapshot)
    place = index_of(messages, turn.message_id)
    if turn.answers is None and (place is None or messages[place].response_metadata.get(RUN) != turn.run_id):
        return None
    after = messages[place + 1 :] if place is not None else []
    known = _ids(messages)
    after += [one for one in _inside(snapshot, (), answering) if one.id not in known]
    untold = list(_untold(after, told))
    waiting = {one.id for one in snapshot.interrupts}
    answers = {name: value for name, value in (turn.answers or {}).items() if name in waiting}
    start: Any = None
    if answers:
        start = Command(resume=answers)
    elif not snapshot.tasks:
        start = OVER
    elif waiting and len(snapshot.next) == sum(bool(task.interrupts) for task in snapshot.tasks):
        start = OVER
        untold.append(interrupted(snapshot.interrupts))
    return Start(start, known | _ids(after) | told.messages, tuple(untold), _calls(messages))


def _ids(messages: Sequence[AnyMessage]) -> frozenset[str]:
    return frozenset(one.id for one in messages if one.id)


def _calls(messages: Sequence[AnyMessage]) -> dict[CallKey, ToolCall]:
    return {key: call for one in messages if isinstance(one, AIMessage) for key, call in calls_of(one).items()}


def _inside(snapshot: StateSnapshot, path: Path, answering: Collection[Path]) -> Iterator[AnyMessage]:
    """Messages of subgraphs that are under way, if their text is told."""
    for task in snapshot.tasks:
        inner = (*path, task.name)
        if isinstance(task.state, StateSnapshot) and any(inner == one[: len(inner)] for one in answering):
            yield from messages_of(task.state)
            yield from _inside(task.state, inner, answering)


def _untold(messages: Sequence[AnyMessage], told: Told) -> Iterator[StreamEvent]:
    """What the stream lacks of the messages of a turn.

    Readers have dropped all that came after the last end of a message: also calls of that message that a hook had
    changed, as far as they were told at all.
    """
    ended = [index for index, one in enumerate(messages) if one.id in told.messages]
    last = ended[-1] if ended else -1
    for index, message in enumerate(messages):
        if isinstance(message, AIMessage) and message.id not in told.messages:
            if index > last:
                yield from whole(message)
            else:  # of a node whose text is not the answer
                calls = [call for call in message.tool_calls if call["id"] not in told.calls]
                yield from tool_calls(message.model_copy(update={"tool_calls": calls}))
        elif isinstance(message, AIMessage) and index == last:
            for call, event in zip(message.tool_calls, tool_calls(message), strict=True):
                if told.calls.get(call["id"] or "", event.data) != event.data:
                    yield event
        elif isinstance(message, ToolMessage) and (index > last or message.tool_call_id not in told.results):
            yield tool_result(message)
