"""One format for every error: ``{"error": {"code", "message", "detail"}}``. Nothing of what failed inside gets out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from resumable_stream import EventIDError, LogUnavailable
from resumable_stream.app._headers import SAFE
from resumable_stream.logs import get_logger
from resumable_stream.runs import (
    IdempotencyMismatch,
    NotInterrupted,
    RunActive,
    RunNotFound,
    ThreadNotFound,
    TooManyRuns,
    Unavailable,
    UnknownInterrupt,
)

logger = get_logger("resumable_stream.app")

_RETRY_RUNS = 5  # seconds; answers take about so long

ENTER_LIFESPAN = (
    "The sub-app's lifespan was not entered: a mounted app's lifespan is never run by its host. Add it to the host:"
    " FastAPI(lifespan=chat.lifespan) or Starlette(lifespan=chat.lifespan), where chat = create_app(...)."
    " A host with a lifespan of its own writes inside it: async with chat.lifespan(app): yield"
)


class LifespanNotEntered(RuntimeError):
    """The sub-app was used before anybody entered its ``lifespan``; the text says which line is missing."""

    def __init__(self) -> None:
        super().__init__(ENTER_LIFESPAN)


class ApiError(Exception):
    """An error as a client sees it.

    Attributes:
        status: the HTTP status.
        code: stable, for programs.
        message: for people.
        detail: more, as JSON objects.
        headers: for the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = tuple(detail)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Make the response."""
        content: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail:
            content["detail"] = list(self.detail)
        return JSONResponse({"error": content}, self.status, headers=self.headers)


_DETAILS = 20
_NAME_LENGTH = 100


def invalid_request(error: ValidationError, where: str) -> ApiError:
    """The 422 for what a model refuses. It names fields and reasons, never values, and not all where there are many."""
    detail = [
        {
            "loc": [where, *(part[:_NAME_LENGTH] if isinstance(part, str) else part for part in item["loc"])],
            "type": item["type"],
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors(include_url=False, include_input=False, include_context=False)[:_DETAILS]
    ]
    return ApiError(422, "invalid_request", "The request is not valid.", detail=detail)


def _active(error: RunActive) -> ApiError:
    run = error.run
    ids = {
        "thread_id": str(run.thread_id),
        "run_id": str(run.id),
        "stream_id": run.stream_id,
    }
    return ApiError(
        409, "run_active", "The thread is busy: a run is active. Stop it, or wait for its end.", detail=[ids]
    )


def _unavailable(service: str) -> ApiError:
    names = {"redis": "Redis", "postgres": "PostgreSQL"}
    return ApiError(
        503,
        f"{service}_unavailable",
        f"{names[service]} cannot be reached now. Try again soon.",
        headers={"Retry-After": "1"},
    )


def as_api_error(error: Exception) -> ApiError | None:
    """What a client is told about an error; ``None`` when it is none that was expected."""
    match error:
        case ApiError():
            return error
        case ThreadNotFound():
            return ApiError(404, "thread_not_found", "There is no such thread.")
        case RunNotFound():
            return ApiError(404, "run_not_found", "The thread has no such run.")
        case RunActive():
            return _active(error)
        case NotInterrupted():
            return ApiError(409, "not_interrupted", "The conversation does not wait for an answer.")
        case UnknownInterrupt():
            detail = [{"id": one} for one in error.open]
            return ApiError(422, "unknown_interrupt", "The conversation waits for other answers.", detail=detail)
        case IdempotencyMismatch():
            return ApiError(422, "idempotency_mismatch", "This Idempotency-Key was used for another message.")
        case TooManyRuns():
            return ApiError(
                429,
                "too_many_runs",
                "Too many answers are under way. Wait for one to end, or stop one.",
                headers={"Retry-After": str(_RETRY_RUNS)},
            )
        case EventIDError():
            return ApiError(400, "invalid_event_id", "The event id must be one that this stream has sent.")
        case Unavailable():
            logger.warning("%s is not available: %s", error.service, type(error.__cause__).__name__)
            return _unavailable(error.service)
        case LogUnavailable():
            logger.warning("redis is not available: %s", type(error.__cause__).__name__)
            return _unavailable("redis")
        case HTTPException():
            return _from_http(error)
    return None


def _from_http(error: HTTPException) -> ApiError:
    codes = {404: "not_found", 401: "unauthenticated", 413: "body_too_large"}
    phrase = HTTPStatus(error.status_code).phrase
    code = codes.get(error.status_code, phrase.lower().replace(" ", "_").replace("-", "_"))
    return ApiError(error.status_code, code, f"{phrase}.", headers=error.headers)


class ErrorAnswers:
    """Answers errors.

    Attributes:
        refused: how many were answered, by HTTP status and code.
    """

    def __init__(self) -> None:
        self.refused: Counter[tuple[int, str]] = Counter()

    async def on_expected(self, request: Request, error: Exception) -> Response:
        """Answer an error that has a meaning for clients."""
        known = as_api_error(error)
        if known is None:
            raise error
        return self._answer(known)

    async def on_unexpected(self, request: Request, error: Exception) -> Response:
        """Answer anything else; the server's log gets the exception, as Starlette raises it again."""
        if isinstance(error, LifespanNotEntered):
            response = self._answer(ApiError(500, "lifespan_not_entered", ENTER_LIFESPAN))
        else:
            response = self._answer(ApiError(500, "internal_error", "Something went wrong on the server."))
        response.headers.update(SAFE)  # Starlette answers these outside of all middleware
        return response

    def _answer(self, error: ApiError) -> Response:
        self.refused[error.status, error.code] += 1
        return error.response()


EXPECTED: tuple[type[Exception], ...] = (
    ApiError,
    ThreadNotFound,
    RunNotFound,
    RunActive,
    NotInterrupted,
    UnknownInterrupt,
    IdempotencyMismatch,
    TooManyRuns,
    EventIDError,
    Unavailable,
    LogUnavailable,
    HTTPException,
)
"""The exceptions that `ErrorAnswers.on_expected` answers."""
