"""What threads and runs are, as values. Nothing here does I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from resumable_stream.logs import about

TEXT = "text"
TITLE = "title"
RESTARTED = "restarted"
MESSAGE_END = "message_end"
TOOL_CALL = "tool_call"
TOOL_RESULT = "tool_result"


class Strategy(StrEnum):
    """What a message does when its thread has an active run.

    ``REJECT``: it is refused. ``INTERRUPT``: the run is stopped, what it has said stays, and the message is answered.
    """

    REJECT = "reject"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that somebody sends; or answers to what a thread waits for.

    Attributes:
        owner: who sends it, as ``identify`` named them.
        text: what is said; empty for answers.
        thread_id: the thread it belongs to; ``None`` starts a new one.
        idempotency_key: the same key from the same owner gets the same run, however often it is sent.
        answers: a person's answers, by the ids of the interrupts that the thread waits at.
        after_id: for answers, the id of the thread's last message.
        strategy: what happens when the thread is busy.
    """

    owner: str
    text: str
    thread_id: UUID | None = None
    idempotency_key: str | None = None
    answers: Mapping[str, Any] | None = field(default=None, hash=False)
    after_id: str | None = None
    strategy: Strategy = Strategy.REJECT

    @property
    def digest(self) -> bytes:
        """What must be equal when the same idempotency key comes again."""
        thread = None if self.thread_id is None else str(self.thread_id)
        what = [self.text, thread] if self.answers is None else [self.text, thread, dict(self.answers)]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).digest()


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
        message_id: the id that the human message has in the history; for answers, the last message's before them.
        ended_ago: seconds since it let its thread go; ``None`` while it holds it, whether it is alive or not.
        followed: whether some reader has asked for its stream already.
        names_thread: whether the thread had no name when the run began.
        answers: what a person has answered; the message is empty then.
        attempts: how often a process has begun to answer. The newest attempt is the one that counts.
        handovers: how many of them were passed on in order; the others died, or are at work.
        trace: where in a trace it was accepted, for whoever measures.
        age: seconds since it was accepted, when its attempt began.
        attempt: of this process, where it has one; what it does to the thread is refused once there is a newer one.
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
    answers: Mapping[str, Any] | None = field(default=None, hash=False)
    attempts: int = 0
    handovers: int = 0
    trace: str | None = None
    age: float = 0.0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ThreadCursor:
    """Where a page of threads begins: after this one, newest activity first."""

    last_activity_time: datetime
    id: UUID


def stream_id_of(run_id: UUID) -> str:
    """The stream that a run writes."""
    return f"run:{run_id}"


def about_run(run: Run) -> AbstractContextManager[None]:
    """Lines that are logged in the block are about the run."""
    return about(run_id=run.id, thread_id=run.thread_id, stream_id=run.stream_id)
