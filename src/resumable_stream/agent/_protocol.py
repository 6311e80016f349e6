"""What the sub-app asks of an agent. Plain values and one protocol: nothing here needs LangGraph.

Any object with these five methods can be served, whatever it is built with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from .._events import StreamEvent

ToolStatus = Literal["running", "waiting", "success", "error", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the stream of a run has had of it, when an earlier attempt broke off.

    Attributes:
        messages: ids of messages whose ``message_end`` is in the stream.
        calls: the data of the newest ``tool_call`` in the stream, by the ids of the calls.
        results: ids of tool calls whose ``tool_result`` is in the stream.
    """

    messages: frozenset[str] = frozenset()
    calls: Mapping[str, object] = field(default_factory=dict, hash=False)
    results: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a person, to be answered; or a person's answers to what a thread waits for.

    Attributes:
        thread_id: the conversation.
        run_id: the run that answers; its events are one stream.
        message: what the person wrote; empty for a turn with answers.
        message_id: the id that the message has in the history, chosen by the caller. A second turn with the same id
            takes the place of the first one's message instead of adding another. For a turn with answers: the id of
            the last message that the thread had when it was interrupted.
        owner: whom the thread belongs to. Ownership has been checked when an agent sees it.
        answers: a person's answers, by the ids that the event ``interrupted`` gave. The thread goes on where it waits.
        told: ``None`` for the first attempt. Otherwise an earlier attempt of the same run broke off, because its
            process died or was drained: the agent goes on where it was, and tells what the stream has not had. What
            the stream has after its last ``message_end`` counts as not told: readers have dropped it.
        drain: once it is set, the agent stops at the next step where it loses nothing, and raises `StreamHandOver`.
            What it has said by then is saved, and another process can go on.
        guard: says whether this attempt is still the newest. To be asked before anything is saved: a process that stood
            still for long may wake up when another goes on with its run.
    """

    thread_id: str
    run_id: str
    message: str
    message_id: str
    owner: str
    answers: Mapping[str, Any] | None = field(default=None, hash=False)
    told: Told | None = None
    drain: asyncio.Event | None = field(default=None, compare=False, repr=False)
    guard: Callable[[], Awaitable[bool]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A tool call of the agent, with its result when there is one.

    Attributes:
        id: the call's id, the same as in the events ``tool_call`` and ``tool_result``.
        result: what the tool returned, or what went wrong; ``None`` while the status is ``running`` or ``waiting``.
        status: ``waiting`` while the thread waits for a person, ``cancelled`` when the run ended before the tool did.
    """

    id: str
    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    result: str | None = None
    status: ToolStatus = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryMessage:
    """One message of a conversation as people see it. Tool results are part of the message that asked for them.

    Attributes:
        id: the id that the event ``message_end`` gave, or the turn's ``message_id``.
        run_id: the run that answers the question, where it is known; also for what later runs, with a person's answers,
            have added.
        stopped: the answer ends here because its run was stopped or died.
        reasoning: what the model thought before it answered, where the provider tells.
        interrupts: on the last message of a thread that waits for a person: what it asks, each with ``id`` and
            ``value`` as in the event ``interrupted``.
    """

    type: Literal["human", "ai"]
    content: str
    id: str
    run_id: str | None = None
    stopped: bool = False
    tool_calls: tuple[ToolUse, ...] = ()
    reasoning: str = ""
    interrupts: tuple[Mapping[str, Any], ...] = ()


@runtime_checkable
class Agent(Protocol):
    """Answers turns, and remembers conversations. Calls for different threads run at the same time.

    The caller sees to it that a thread has one turn at a time, and that a thread is idle when it is deleted.

    One that can go on with a broken-off run has besides an attribute ``resumable`` that is true. Otherwise it never
    gets turns with ``told``, and does not look at ``drain``.
    """

    def stream(self, turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        """Answer a turn, event by event.

        Writes neither titles nor terminal events. When it ends by itself, `history` has the answer. It is closed or
        cancelled to stop it, and has let go of the thread when that returns.

        Raises:
            StreamFailure: the answer failed, in words that the reader may see.
            StreamHandOver: it stopped because of ``turn.drain``, and can be continued.
        """
        ...

    async def history(self, thread_id: str) -> list[HistoryMessage]:
        """The messages of a thread, oldest first; empty when there is no such thread."""
        ...

    async def keep_partial(self, turn: Turn, text: str) -> None:
        """Save what a stopped or dead run had said, so that the history shows it and the next turn works.

        Doing it again changes nothing, and neither does doing it after a run that was complete, or for a thread that
        waits for a person.

        Args:
            turn: the turn that was being answered.
            text: all ``text`` events of the run that readers have, joined.
        """
        ...

    async def title(self, message: str) -> str | None:
        """A short title for a thread that begins with this message; ``None`` when there is none to be had."""
        ...

    async def delete(self, thread_id: str) -> None:
        """Forget a thread. Unknown threads are no error."""
        ...
