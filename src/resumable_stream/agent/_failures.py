"""Why a run failed, in words for its readers, and in words for the log that hold no secret.

Exceptions of providers quote keys, prompts and addresses. None of their text is used, in either place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final

import psycopg
from langgraph.errors import GraphRecursionError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from .._errors import StreamFailure

_MESSAGES: Final = {
    "provider_auth": "The model provider did not accept the server's key.",
    "provider_rate_limited": "The model provider has too much to do for this server. Try again in a moment.",
    "provider_unavailable": "The model provider cannot be reached or has a fault. Try again in a moment.",
    "provider_failed": "The call of the model failed.",
    "provider_rejected": "The model provider refused the request.",
    "context_too_long": "The conversation is too long for the model.",
    "too_many_steps": "The agent took too many steps without an answer.",
    "storage_unavailable": "The conversation could not be loaded or saved. Try again in a moment.",
    "agent_error": "The agent failed.",
}
_CLASSES: Final = {
    # LangChain's own families of errors, by name since not every version has all of them
    "ContextOverflowError": "context_too_long",
    "ModelAuthenticationError": "provider_auth",
    "ModelPermissionDeniedError": "provider_auth",
    "ModelRateLimitError": "provider_rate_limited",
}
_WORDS: Final = {
    # What providers put into the body, also where the HTTP status was 200
    "authentication_error": "provider_auth",
    "permission_error": "provider_auth",
    "invalid_api_key": "provider_auth",
    "rate_limit_error": "provider_rate_limited",
    "rate_limit_exceeded": "provider_rate_limited",
    "insufficient_quota": "provider_rate_limited",
    "overloaded_error": "provider_unavailable",
    "api_error": "provider_unavailable",
    "server_error": "provider_unavailable",
    "timeout_error": "provider_unavailable",
    "context_length_exceeded": "context_too_long",
    "request_too_large": "context_too_long",
    "invalid_request_error": "provider_rejected",
    "not_found_error": "provider_rejected",
}
_NETWORK: Final = frozenset(
    {
        "APIConnectionError",
        "ClientError",  # aiohttp; Google's class of that name has a status
        "ModelConnectionError",
        "ModelTimeoutError",
        "TransportError",  # httpx
        "OSError",  # with TimeoutError and ConnectionError
    }
)
_STORAGE: Final = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed, TooManyRequests)
_MODEL_CALLS: Final = "langchain_core.language_models"
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DEPTH: Final = 6


def failure_of(error: BaseException) -> StreamFailure:
    """Say to the readers of a run why it failed.

    Codes: ``provider_auth``, ``provider_rate_limited``, ``provider_unavailable``, ``provider_rejected``,
    ``context_too_long``, ``provider_failed`` for what else goes wrong in a model call, ``too_many_steps``,
    ``storage_unavailable``, and ``agent_error`` for all else.
    """
    code = _code(error)
    return StreamFailure(code, _MESSAGES[code])


def describe(error: BaseException) -> str:
    """Say to the log what happened and where: classes, statuses and places in the code, none of the text."""
    causes = []
    for one in _chain(error):
        facts = [f"{type(one).__module__}.{type(one).__qualname__}"]
        facts += [f"{name}={value}" for name, value in _facts(one)]
        causes.append(" ".join(facts))
    places = [f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" for trace in _traces(error.__traceback__)]
    return f"{', from '.join(causes)}; at {' > '.join(places[-_DEPTH:])}"


def _code(error: BaseException) -> str:
    called_model = False
    for one in _chain(error):
        if isinstance(one, GraphRecursionError):
            return "too_many_steps"
        if isinstance(one, _STORAGE):
            return "storage_unavailable"
        called_model = called_model or any(
            str(trace.tb_frame.f_globals.get("__name__")).startswith(_MODEL_CALLS)
            for trace in _traces(one.__traceback__)
        )
        # Otherwise a tool's own requests would be taken for the provider's.
        if called_model and (code := _provider_code(one)) is not None:
            return code
    return "provider_failed" if called_model else "agent_error"


def _provider_code(error: BaseException) -> str | None:
    names = {kind.__name__ for kind in type(error).__mro__}
    for name, code in _CLASSES.items():
        if name in names:
            return code
    facts = dict(_facts(error))
    # LangChain makes a ValueError "<code>: <text>" of an error inside a stream of OpenAI's responses.
    first = str(error).partition(":")[0] if isinstance(error, ValueError) else None
    for word in (facts.get("code"), facts.get("type"), first):
        if isinstance(word, str) and word in _WORDS:
            return _WORDS[word]
    status = facts.get("status")
    if isinstance(status, int):
        if status in (401, 403):
            return "provider_auth"
        if status == 429:
            return "provider_rate_limited"
        if status == 413:
            return "context_too_long"
        if status >= 500 or status in (408, 409):
            return "provider_unavailable"
        if status >= 400:
            return "provider_rejected"
    return "provider_unavailable" if names & _NETWORK else None


def _facts(error: BaseException) -> Iterator[tuple[str, str | int]]:
    """What an error of a provider has that is neither secret nor text: status, code, type, request id."""
    response = getattr(error, "response", None)
    code = getattr(error, "code", None)
    for status in (getattr(error, "status_code", None), getattr(response, "status_code", None), code):
        if isinstance(status, int) and 100 <= status <= 599:
            yield "status", status
            break
    body = getattr(error, "body", None)
    inner: Any = body.get("error", body) if isinstance(body, Mapping) else {}
    inner = inner if isinstance(inner, Mapping) else {}
    found = {
        "code": code or inner.get("code"),
        "type": getattr(error, "type", None) or inner.get("type"),
        "request_id": getattr(error, "request_id", None),
    }
    for name, value in found.items():
        if isinstance(value, str) and _WORD.fullmatch(value):
            yield name, value


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, the latest first."""
    one: BaseException | None = error
    for _ in range(_DEPTH):
        if one is None:
            return
        yield one
        inner = one.exceptions[0] if isinstance(one, BaseExceptionGroup) else None
        one = inner or one.__cause__ or one.__context__


def _traces(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next
