"""What threads and runs are, as values. Nothing here does I/O."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

TEXT = "text"
TITLE = "title"


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that somebody sends.

    Attributes:
        owner: who sends it, as ``identify`` named them.
        text: what is said.
        thread_id: the thread it belongs to; ``None`` starts a new one.
        idempotency_key: the same key from the same owner gets the same run, however often it is sent.
    """

    owner: str
    text: str
    thread_id: UUID | None = None
    idempotency_key: str | None = None

    @property
    def digest(self) -> bytes:
        """What must be equal when the same idempotency key comes again."""
        thread = None if self.thread_id is None else str(self.thread_id)
        return hashlib.sha256(json.dumps([self.text, thread]).encode()).digest()


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation.

    Attributes:
        active_run_id: the run that holds the thread, as the database knows it; only its log tells whether it is alive.
    """

    id: UUID
    owner: str
    chat_name: str | None
    created_time: datetime
    last_activity_time: datetime
    active_run_id: UUID | None


@dataclass(frozen=True, slots=True)
class Run:
    """One answer of the agent; its output is one stream.

    Attributes:
        number: later runs of a thread have higher numbers.
        message_id: the id that the human message has in the history.
        ended_ago: seconds since it let its thread go; ``None`` while it holds it, whether it is alive or not.
        followed: whether some reader has asked for its stream already.
        names_thread: whether the thread had no name when the run began.
    """

    id: UUID
    number: int
    thread_id: UUID
    owner: str
    stream_id: str
    message: str
    message_id: str
    ended_ago: float | None = None
    followed: bool = False
    names_thread: bool = False


@dataclass(frozen=True, slots=True)
class ThreadCursor:
    """Where a page of threads begins: after this one, newest activity first."""

    last_activity_time: datetime
    id: UUID


def stream_id_of(run_id: UUID) -> str:
    """The stream that a run writes."""
    return f"run:{run_id}"
