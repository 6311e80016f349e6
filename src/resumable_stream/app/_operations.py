"""Every operation of the API, described once: routes, checks and the API's document all come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from ._schemas import (
    EVENT_ID_PATTERN,
    Health,
    Message,
    MessageAccepted,
    NoBody,
    NoQuery,
    Readiness,
    RenameThread,
    ResumeRun,
    RunStopped,
    SendMessage,
    StopRun,
    StreamQuery,
    ThreadPage,
    ThreadQuery,
    ThreadsQuery,
)

QueryT = TypeVar("QueryT")
BodyT = TypeVar("BodyT")

Method = Literal["GET", "POST", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Header:
    """A header that a request may have, or that a response has.

    Attributes:
        pattern: what its value looks like, for the document.
    """

    name: str
    description: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[QueryT, BodyT]):
    """One method on one path.

    Attributes:
        id: its name in the document, and of the method that serves it.
        query: the model of the parameters in the address.
        body: the model of the JSON body.
        result: the type of the JSON answer; ``None`` when there is no body.
        stream: whether the answer is an event stream.
        secured: whether ``identify`` is asked who is calling.
        errors: the codes that a client should expect, beside those that any operation can have.
    """

    id: str
    method: Method
    path: str
    tag: str
    summary: str
    description: str
    query: type[QueryT]
    body: type[BodyT]
    headers: tuple[Header, ...] = ()
    status: int = 200
    result: Any = None
    result_description: str = "Done."
    result_headers: tuple[Header, ...] = ()
    stream: bool = False
    secured: bool = True
    errors: tuple[str, ...] = ()


LAST_EVENT_ID: Final = Header(
    "Last-Event-ID", "The id of the last event that was received. What follows it is sent.", EVENT_ID_PATTERN
)
IDEMPOTENCY_KEY: Final = Header(
    "Idempotency-Key",
    "Up to 200 visible ASCII characters, new for each message. The same key gets the same run, so a request"
    " whose answer was lost can be sent again.",
    "^[!-~]{1,200}$",
)

STREAM_TEXT: Final = """
Server-Sent Events of a run, live and replayed from one log; the run goes on whoever listens.

- **With a cursor** (`Last-Event-ID`, or `last_event_id` in the address): what follows that event, also when the run has
  ended meanwhile; 204 when that is nothing. The cursor finds its run by itself.
- **With `run_id` and no cursor**: that run from its first event, for as long as it is kept.
- **With neither**: the active run from its first event, or one that ended less than 5 s ago. When there is none, the
  request waits up to 2 s for one to begin, so the stream may be opened while the message is being sent; then 204.

| event | data |
|---|---|
| `chunk` | text of the answer, as it is; a line feed begins another `data:` line |
| `tool_call` | the name of a tool that is about to run |
| `system` | `message_ended` · `message_restarted`: drop the message's partial text · \
`interrupted`: waiting for a person · \
`gap`: events were lost, the rest follows · `reset`: reload the history, the stream follows from its first event · \
`error`, `cancelled` or `lost`: why the run ended early · `end`: always last, close the stream |

Each frame has an `id`, but those that stand in no log. With `format=json` there is no `event:` line, and the data
is `{"type": …, "data": …}`: `text`, `reasoning` (strings), `message_start`, `message_end` (ids, finish reason, usage),
`tool_call`, `tool_result`, `title`, `interrupted`, `restarted`, `gap`, `reset`, and `end` with
`{"status", "code", "message"}`, where status is `completed`, `failed`, `cancelled` or `lost`.

A silent stream has a comment every 15 s. A connection is closed after some minutes; `EventSource` comes back by itself.
""".strip()

SEND_MESSAGE: Final = Operation(
    id="send_message",
    method="POST",
    path="/v1/chat/message",
    tag="chat",
    summary="Send a message",
    description="Starts a run that answers the message, and returns at once. The run goes on in the background. With a"
    " `Last-Event-ID` header, as clients send that repeat a request to resume it, no run is started: the thread's"
    " newest run is returned.",
    query=NoQuery,
    body=SendMessage,
    headers=(IDEMPOTENCY_KEY, LAST_EVENT_ID),
    result=MessageAccepted,
    result_description="The run has begun.",
    errors=(
        "invalid_event_id",
        "thread_not_found",
        "run_not_found",
        "run_active",
        "idempotency_mismatch",
        "too_many_runs",
    ),
)
RESUME_RUN: Final = Operation(
    id="resume_run",
    method="POST",
    path="/v1/chat/resume",
    tag="chat",
    summary="Answer what the thread waits for",
    description="A run that ended as `interrupted` left its thread waiting for a person: `GET /v1/thread` shows what it"
    " asks, as `interrupts` of the last message. The answers start a run that goes on from there. Sending a message"
    " instead goes on without an answer.",
    query=NoQuery,
    body=ResumeRun,
    headers=(IDEMPOTENCY_KEY,),
    result=MessageAccepted,
    result_description="The run has begun.",
    errors=(
        "thread_not_found",
        "run_active",
        "not_interrupted",
        "unknown_interrupt",
        "idempotency_mismatch",
        "too_many_runs",
    ),
)
READ_STREAM: Final = Operation(
    id="read_stream",
    method="GET",
    path="/v1/chat/stream",
    tag="chat",
    summary="Follow a run",
    description=STREAM_TEXT,
    query=StreamQuery,
    body=NoBody,
    headers=(LAST_EVENT_ID,),
    result_description="Events, until the run's `end`.",
    stream=True,
    errors=("invalid_event_id", "thread_not_found", "run_not_found", "too_many_streams"),
)
STOP_RUN: Final = Operation(
    id="stop_run",
    method="POST",
    path="/v1/chat/stop",
    tag="chat",
    summary="Stop a run",
    description="Asks the active run to stop, wherever it runs. What it has said stays in the thread. Repeating it is"
    " harmless; a `run_id` that is not active any more stops nothing.",
    query=NoQuery,
    body=StopRun,
    result=RunStopped,
    result_description="Said whether there was something to stop. The stream's `end` tells when it has stopped.",
    errors=("thread_not_found", "run_not_found"),
)
READ_THREAD: Final = Operation(
    id="read_thread",
    method="GET",
    path="/v1/thread",
    tag="threads",
    summary="Read a thread's history",
    description="The messages, oldest first. While a run is active the list ends with the message that it answers, and"
    " everything after comes from the stream; `X-Active-Run-Id` names the run.",
    query=ThreadQuery,
    body=NoBody,
    result=list[Message],
    result_description="The messages.",
    result_headers=(Header("X-Active-Run-Id", "The active run. Not there when none is active."),),
    errors=("thread_not_found",),
)
RENAME_THREAD: Final = Operation(
    id="rename_thread",
    method="PATCH",
    path="/v1/thread",
    tag="threads",
    summary="Rename a thread",
    description="Gives the thread a name. No title that is made up later replaces it.",
    query=ThreadQuery,
    body=RenameThread,
    status=204,
    errors=("thread_not_found",),
)
DELETE_THREAD: Final = Operation(
    id="delete_thread",
    method="DELETE",
    path="/v1/thread",
    tag="threads",
    summary="Delete a thread",
    description="Stops the active run first, then removes history, runs and streams. The id cannot be used again.",
    query=ThreadQuery,
    body=NoBody,
    status=204,
    errors=("thread_not_found",),
)
LIST_THREADS: Final = Operation(
    id="list_threads",
    method="GET",
    path="/v1/threads",
    tag="threads",
    summary="List threads",
    description="The caller's threads, newest activity first, page by page.",
    query=ThreadsQuery,
    body=NoBody,
    result=ThreadPage,
    result_description="One page.",
)
HEALTHZ: Final = Operation(
    id="healthz",
    method="GET",
    path="/healthz",
    tag="health",
    summary="Is the process alive?",
    description="Answers whenever the process does.",
    query=NoQuery,
    body=NoBody,
    result=Health,
    result_description="It is.",
    secured=False,
)
READYZ: Final = Operation(
    id="readyz",
    method="GET",
    path="/readyz",
    tag="health",
    summary="Can it serve?",
    description="Asks Redis and PostgreSQL for a sign of life, at most once a second, and says what is missing."
    " The status is 503, with the same body, if something is, or if the server is about to stop.",
    query=NoQuery,
    body=NoBody,
    result=Readiness,
    result_description="Nothing is missing.",
    secured=False,
)

OPERATIONS: Final[tuple[Operation[Any, Any], ...]] = (
    SEND_MESSAGE,
    RESUME_RUN,
    READ_STREAM,
    STOP_RUN,
    READ_THREAD,
    RENAME_THREAD,
    DELETE_THREAD,
    LIST_THREADS,
    HEALTHZ,
    READYZ,
)
"""All of them, in the order of the document."""

ERROR_STATUS: Final = {
    "invalid_event_id": (400, "The event id is not one that this stream has sent."),
    "unauthenticated": (401, "The caller is not known, or not any more."),
    "cross_site_request": (403, "A page of another origin has sent it."),
    "thread_not_found": (404, "No such thread, or not the caller's."),
    "run_not_found": (404, "The thread has no such run."),
    "body_timeout": (408, "The body took too long to come."),
    "run_active": (409, "The thread is busy; `detail` names the active run."),
    "not_interrupted": (409, "The thread does not wait for an answer."),
    "body_too_large": (413, "The body is too large."),
    "uri_too_long": (414, "The query is too long."),
    "unsupported_media_type": (415, "The body must be `application/json`."),
    "unknown_host": (421, "The app is not known by this host name."),
    "invalid_request": (422, "The request is not valid; `detail` names fields and reasons."),
    "unknown_interrupt": (422, "The thread waits for other answers; `detail` names them."),
    "idempotency_mismatch": (422, "The Idempotency-Key was used for another message."),
    "too_many_runs": (429, "The caller has as many active runs as one may have; `Retry-After` says when to try again."),
    "too_many_streams": (
        429,
        "The caller has as many open streams as one may have; `Retry-After` says when to try again.",
    ),
    "headers_too_large": (431, "The headers are too many, or too large."),
    "redis_unavailable": (503, "Redis cannot be reached now."),
    "postgres_unavailable": (503, "PostgreSQL cannot be reached now."),
    "shutting_down": (503, "The server is about to stop; ask again, another one answers."),
}
"""The status of each error code, and what it means."""
