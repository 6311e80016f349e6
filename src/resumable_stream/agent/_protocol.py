"""What the sub-app asks of an agent. Plain values and one protocol: nothing here needs LangGraph.

Any object with these five methods can be served, whatever it is built with.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from .._events import StreamEvent

ToolStatus = Literal["running", "success", "error", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a person, to be answered.

    Attributes:
        thread_id: the conversation.
        run_id: this attempt to answer; its events are one stream.
        message: what the person wrote.
        message_id: the id that the message has in the history, chosen by the caller. A second turn with the same id
            takes the place of the first one's message instead of adding another.
        owner: whom the thread belongs to. Ownership has been checked when an agent sees it.
    """

    thread_id: str
    run_id: str
    message: str
    message_id: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A tool call of the agent, with its result when there is one.

    Attributes:
        id: the call's id, the same as in the events ``tool_call`` and ``tool_result``.
        result: what the tool returned, or what went wrong; ``None`` while the status is ``running``.
        status: ``cancelled`` when the run ended before the tool did.
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
        run_id: the run that the message belongs to, where it is known.
        stopped: the answer ends here because its run was stopped or died.
        reasoning: what the model thought before it answered, where the provider tells.
    """

    type: Literal["human", "ai"]
    content: str
    id: str
    run_id: str | None = None
    stopped: bool = False
    tool_calls: tuple[ToolUse, ...] = ()
    reasoning: str = ""


@runtime_checkable
class Agent(Protocol):
    """Answers turns, and remembers conversations. Calls for different threads run at the same time.

    The caller sees to it that a thread has one turn at a time, and that a thread is idle when it is deleted.
    """

    def stream(self, turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        """Answer a turn, event by event.

        Writes neither titles nor terminal events. When it ends by itself, `history` has the answer. It is closed or
        cancelled to stop it, and has let go of the thread when that returns.

        Raises:
            StreamFailure: the answer failed, in words that the reader may see.
        """
        ...

    async def history(self, thread_id: str) -> list[HistoryMessage]:
        """The messages of a thread, oldest first; empty when there is no such thread."""
        ...

    async def keep_partial(self, turn: Turn, text: str) -> None:
        """Save what a stopped or dead run had said, so that the history shows it and the next turn works.

        Doing it again changes nothing, and neither does doing it after a run that was complete.

        Args:
            turn: the turn that was being answered.
            text: all ``text`` events of the run, joined.
        """
        ...

    async def title(self, message: str) -> str | None:
        """A short title for a thread that begins with this message; ``None`` when there is none to be had."""
        ...

    async def delete(self, thread_id: str) -> None:
        """Forget a thread. Unknown threads are no error."""
        ...
