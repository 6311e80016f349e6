"""The shapes of requests and answers. The API's document is generated from them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from resumable_stream.runs import Strategy

CHAT_NAME_LENGTH = 200
EVENT_ID_PATTERN = "^((0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18}))?$"

# For the document: no NUL, and something that is no white space, as `_plain_text` checks it.
_BLANK = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_PLAIN: JsonDict = {"pattern": rf"^[^\x00]*[^\x00{_BLANK}][^\x00]*$"}


class Body(BaseModel):
    """A JSON body. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=10_000_000)


class Query(BaseModel):
    """Parameters in the address. Unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class NoQuery(Query):
    """No parameters."""


class NoBody(Body):
    """No body."""


def _plain_text(value: str) -> str:
    if "\0" in value:
        raise ValueError("the NUL character is not allowed")
    if not value.strip():
        raise ValueError("it must not be blank")
    return value


class SendMessage(Body):
    """A message for a thread."""

    message: str = Field(
        description="What is said to the agent.", examples=["What is a lease?"], json_schema_extra=_PLAIN
    )
    thread_id: UUID | None = Field(
        default=None,
        description="The thread that it belongs to. A new thread begins when it is left out, or not in use yet.",
    )
    multitask_strategy: Strategy = Field(
        default=Strategy.REJECT,
        description="What happens when the thread is busy. `reject`: 409. `interrupt`: the active run is stopped, what"
        " it has said stays, and this message is answered.",
    )

    @field_validator("message")
    @classmethod
    def _message(cls, value: str, info: ValidationInfo) -> str:
        longest = (info.context or {}).get("max_message_chars")
        if longest is not None and len(value) > longest:
            raise ValueError(f"a message has at most {longest} characters")
        return _plain_text(value)


class MessageAccepted(Body):
    """The run that answers the message. Its events are on the stream from now on."""

    thread_id: UUID
    run_id: UUID
    stream_id: str


def _has_no_number_beyond_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


class ResumeRun(Body):
    """A person's answers to what a thread waits for."""

    thread_id: UUID
    answers: dict[Annotated[str, Field(min_length=1, max_length=200)], Any] = Field(
        description="Any JSON for each `id` among the thread's `interrupts`. Those that are left out are asked again.",
        min_length=1,
        max_length=100,
        examples=[{"0123456789abcdef0123456789abcdef": {"decisions": [{"type": "approve"}]}}],
    )

    @field_validator("answers")
    @classmethod
    def _answers(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not _has_no_number_beyond_json(value):
            raise ValueError("NaN and Infinity are no JSON")
        return value


class StopRun(Body):
    """Which run is to stop."""

    thread_id: UUID
    run_id: UUID | None = Field(default=None, description="Stop only this run. Left out: whichever run is active.")


class RunStopped(Body):
    """What a stop has done."""

    thread_id: UUID
    run_id: UUID | None = Field(default=None, description="The run that was told to stop.")
    stopped: bool = Field(description="Whether there was an active run to stop.")


class RenameThread(Body):
    """A new name for a thread."""

    chat_name: str = Field(max_length=CHAT_NAME_LENGTH, examples=["Leases in Redis"], json_schema_extra=_PLAIN)

    @field_validator("chat_name")
    @classmethod
    def _chat_name(cls, value: str) -> str:
        return " ".join(_plain_text(value).split())


class ToolCall(Body):
    """A tool that the agent has used."""

    id: str
    name: str
    args: dict[str, Any]
    result: str | None = Field(default=None, description="Left out while there is none.")
    status: Literal["running", "waiting", "success", "error", "cancelled"] = Field(
        description="`waiting`: for a person's answer, see `interrupts`."
    )


class Question(Body):
    """What a thread waits for a person to say."""

    id: str = Field(description="Names the question in the answers of `POST /v1/chat/resume`.")
    value: Any = Field(description="Whatever the agent asks with, as JSON.")


class Message(Body):
    """One message of a thread's history."""

    type: Literal["human", "ai"]
    content: str
    id: str
    run_id: str | None = Field(default=None, description="The run that answers the question.")
    stopped: Literal[True] | None = Field(
        default=None, description="There when the answer was broken off: stopped, failed or crashed."
    )
    tool_calls: tuple[ToolCall, ...] | None = None
    reasoning: str | None = None
    interrupts: tuple[Question, ...] | None = Field(
        default=None, description="On the last message of a thread that waits for a person: what it asks."
    )


class ThreadSummary(Body):
    """A thread, as lists show it."""

    id: UUID
    chat_name: str | None = Field(default=None, description="Left out while the thread has none.")
    created_time: datetime
    last_activity_time: datetime
    active: bool = Field(description="Whether a run is active.")
    run_id: UUID | None = Field(default=None, description="The active run.")


class ThreadPage(Body):
    """Threads, newest activity first."""

    threads: tuple[ThreadSummary, ...]
    next_cursor: str | None = Field(
        default=None, description="Pass it as ``cursor`` for the next page. Left out on the last."
    )


class Health(Body):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Body):
    """Whether requests can be served, and what is missing."""

    status: Literal["ready", "not_ready", "draining"] = Field(
        description="With `draining` the server is about to stop: send requests to another one."
    )
    redis: Literal["ok", "unavailable"]
    postgres: Literal["ok", "unavailable", "read_only", "not_set_up"] = Field(
        description="`read_only` is a standby; `not_set_up` can be reached, and its tables are not there yet."
    )
    queue: Literal["ok", "unavailable"] | None = Field(
        default=None, description="The queue of runs, where worker processes execute them."
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        description="How many of them there are: those that gave a sign of life in the last ten seconds. With 0 a"
        " server is still ready: messages are accepted, and answered when there is one.",
    )


class ErrorInfo(Body):
    """What went wrong."""

    code: str = Field(description="Stable, for programs.", examples=["thread_not_found"])
    message: str = Field(description="For people.")
    detail: tuple[dict[str, Any], ...] = ()


class ErrorBody(Body):
    """The one form of every error."""

    error: ErrorInfo


class ThreadQuery(Query):
    """Which thread."""

    thread_id: UUID


class StreamQuery(Query):
    """Which stream, and from where."""

    thread_id: UUID
    run_id: UUID | None = Field(
        default=None,
        description="This run, in full, for as long as it is kept. Left out: the thread's current one.",
    )
    last_event_id: str | None = Field(
        default=None,
        description="Resume after this event, where the Last-Event-ID header cannot be set. The header wins.",
        json_schema_extra={"pattern": EVENT_ID_PATTERN},
    )
    format: Literal["json"] | None = Field(
        default=None, description="``json``: each frame's data is a typed event as JSON."
    )


class ThreadsQuery(Query):
    """Which page."""

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200, description="From ``next_cursor``.")
