"""What each operation does: a checked call in, a response out. The rules are in the rooms below."""

from __future__ import annotations

import asyncio
import base64
import binascii
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response
from starlette.types import ASGIApp

from resumable_stream import EventID
from resumable_stream.agent import HistoryMessage, ToolUse
from resumable_stream.runs import (
    ListedThread,
    NewMessage,
    Resuming,
    Run,
    RunManager,
    ThreadCursor,
    ThreadService,
)

from ._endpoints import Call
from ._errors import ApiError
from ._schemas import (
    Message,
    MessageAccepted,
    NoBody,
    NoQuery,
    Question,
    RenameThread,
    ResumeRun,
    RunStopped,
    SendMessage,
    StopRun,
    ThreadPage,
    ThreadQuery,
    ThreadsQuery,
    ThreadSummary,
    ToolCall,
)

_MESSAGES = TypeAdapter(tuple[Message, ...])
_KEY_LENGTH = 200


class ChatRoutes:
    """Serves messages and threads.

    Args:
        closing: once set, no new runs are taken.
    """

    def __init__(
        self, *, manager: RunManager, resuming: Resuming, threads: ThreadService, closing: asyncio.Event
    ) -> None:
        self._manager = manager
        self._resuming = resuming
        self._threads = threads
        self._closing = closing

    async def send_message(self, call: Call[NoQuery, SendMessage]) -> ASGIApp:
        """Start a run, or find the one that a repeated request means."""
        headers = call.request.headers
        if cursor := headers.get("last-event-id"):
            EventID.parse(cursor)
            return _accepted(await self._manager.newest(call.owner, call.body.thread_id))
        self._not_closing()
        message = NewMessage(
            owner=call.owner,
            text=call.body.message,
            thread_id=call.body.thread_id,
            idempotency_key=_key(headers.get("idempotency-key")),
            strategy=call.body.multitask_strategy,
        )
        return _accepted(await self._manager.start(message))

    async def resume_run(self, call: Call[NoQuery, ResumeRun]) -> ASGIApp:
        """Start a run that has a person's answers, or find the one that a repeated request means."""
        self._not_closing()
        key = _key(call.request.headers.get("idempotency-key"))
        return _accepted(await self._resuming.start(call.owner, call.body.thread_id, call.body.answers, key=key))

    def _not_closing(self) -> None:
        if self._closing.is_set():
            raise ApiError(
                503,
                "shutting_down",
                "The server is about to stop. Try again: another one answers.",
                headers={"Retry-After": "1", "Connection": "close"},
            )

    async def stop_run(self, call: Call[NoQuery, StopRun]) -> ASGIApp:
        """Ask a run to stop."""
        wanted = call.body
        run = await self._manager.stop(call.owner, wanted.thread_id, wanted.run_id)
        return _json(
            RunStopped(
                thread_id=wanted.thread_id,
                run_id=None if run is None else run.id,
                stopped=run is not None,
            )
        )

    async def read_thread(self, call: Call[ThreadQuery, NoBody]) -> ASGIApp:
        """Read the history that goes with the stream."""
        history = await self._threads.history(call.owner, call.query.thread_id)
        messages = tuple(_message(one) for one in history.messages)
        response = _response(_MESSAGES.dump_json(messages, exclude_none=True))
        if history.active is not None:
            response.headers["X-Active-Run-Id"] = str(history.active.id)
        return response

    async def rename_thread(self, call: Call[ThreadQuery, RenameThread]) -> ASGIApp:
        """Rename a thread."""
        await self._threads.rename(call.owner, call.query.thread_id, call.body.chat_name)
        return Response(status_code=204)

    async def delete_thread(self, call: Call[ThreadQuery, NoBody]) -> ASGIApp:
        """Delete a thread."""
        await self._threads.delete(call.owner, call.query.thread_id)
        return Response(status_code=204)

    async def list_threads(self, call: Call[ThreadsQuery, NoBody]) -> ASGIApp:
        """List threads, one page."""
        after = None if call.query.cursor is None else _read_cursor(call.query.cursor)
        listed, following = await self._threads.page(call.owner, limit=call.query.limit, after=after)
        return _json(
            ThreadPage(
                threads=tuple(_summary(one) for one in listed),
                next_cursor=None if following is None else _write_cursor(following),
            )
        )


def _accepted(run: Run) -> Response:
    return _json(MessageAccepted(thread_id=run.thread_id, run_id=run.id, stream_id=run.stream_id))


def _json(model: BaseModel) -> Response:
    return _response(model.model_dump_json(exclude_none=True).encode())


def _response(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _key(value: str | None) -> str | None:
    if value is None:
        return None
    if not 0 < len(value) <= _KEY_LENGTH or not all("!" <= char <= "~" for char in value):
        raise ApiError(
            422,
            "invalid_request",
            "The request is not valid.",
            detail=[
                {
                    "loc": ["header", "Idempotency-Key"],
                    "type": "value_error",
                    "message": f"a key has 1 to {_KEY_LENGTH} visible ASCII characters",
                }
            ],
        )
    return value


def _message(message: HistoryMessage) -> Message:
    return Message(
        type=message.type,
        content=message.content,
        id=message.id,
        run_id=message.run_id,
        stopped=True if message.stopped else None,
        tool_calls=tuple(_tool_call(use) for use in message.tool_calls) or None,
        reasoning=message.reasoning or None,
        interrupts=tuple(Question(id=one["id"], value=one["value"]) for one in message.interrupts) or None,
    )


def _tool_call(use: ToolUse) -> ToolCall:
    return ToolCall(id=use.id, name=use.name, args=dict(use.args), result=use.result, status=use.status)


def _summary(listed: ListedThread) -> ThreadSummary:
    thread = listed.thread
    return ThreadSummary(
        id=thread.id,
        chat_name=thread.chat_name,
        created_time=thread.created_time,
        last_activity_time=thread.last_activity_time,
        active=listed.active is not None,
        run_id=None if listed.active is None else listed.active.id,
    )


def _write_cursor(cursor: ThreadCursor) -> str:
    text = f"{cursor.last_activity_time.isoformat()}~{cursor.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str) -> ThreadCursor:
    try:
        padded = text + "=" * (-len(text) % 4)
        time, _, thread_id = base64.b64decode(padded, b"-_", validate=True).decode().partition("~")
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is None:
            raise ValueError("a moment without its offset")
        return ThreadCursor(moment, UUID(thread_id))
    except (ValueError, binascii.Error):
        raise ApiError(
            422,
            "invalid_request",
            "The request is not valid.",
            detail=[
                {
                    "loc": ["query", "cursor"],
                    "type": "value_error",
                    "message": "pass next_cursor as it was",
                }
            ],
        ) from None
