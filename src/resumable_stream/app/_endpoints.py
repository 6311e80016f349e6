"""From a request to a handler: who is calling, what the models accept, and nothing beyond a bound."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ._errors import ApiError, invalid_request
from ._identity import Identify, Identity, identify_caller
from ._operations import Operation
from ._origins import HostCheck, OriginCheck
from ._schemas import NoBody
from ._sizes import check_sizes

QueryT = TypeVar("QueryT", bound=BaseModel)
BodyT = TypeVar("BodyT", bound=BaseModel)

NOBODY = Identity("")
"""The caller of an operation that does not ask."""


@dataclass(frozen=True, slots=True)
class Call(Generic[QueryT, BodyT]):
    """A request that has been checked.

    Attributes:
        caller: who is calling; ``NOBODY`` where the operation does not ask.
    """

    request: Request
    caller: Identity
    query: QueryT
    body: BodyT

    @property
    def owner(self) -> str:
        """Whose threads the call is about."""
        return self.caller.owner


Serve = Callable[[Request], Awaitable[ASGIApp]]


@dataclass(frozen=True, slots=True)
class Checks:
    """What is checked before a handler is called.

    Attributes:
        enter: raises when the app cannot serve at all.
        body_timeout: seconds for the whole body to come.
    """

    enter: Callable[[], object]
    identify: Identify
    hosts: HostCheck
    origins: OriginCheck
    body_timeout: float
    max_body_bytes: int
    max_message_chars: int

    def serve(
        self,
        operation: Operation[QueryT, BodyT],
        handler: Callable[[Call[QueryT, BodyT]], Awaitable[ASGIApp]],
    ) -> Serve:
        """Put the operation's checks before its handler."""

        async def checked(request: Request) -> ASGIApp:
            self.enter()
            if operation.secured:  # load balancers ask others by an address
                self.hosts.check(request.headers)
            if operation.method != "GET":
                self.origins.check(request.headers)
            caller = await identify_caller(self.identify, request) if operation.secured else NOBODY
            query = _query(request, operation.query)
            body = await self._body(request, operation.body)
            return await handler(Call(request, caller, query, body))

        return checked

    async def _body(self, request: Request, model: type[BodyT]) -> BodyT:
        if model is NoBody:
            return model()
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise ApiError(415, "unsupported_media_type", "The body must be application/json.")
        raw = await self._read(request)
        try:
            return model.model_validate_json(raw, context={"max_message_chars": self.max_message_chars})
        except ValidationError as error:
            raise invalid_request(error, "body") from None

    async def _read(self, request: Request) -> bytes:
        """The body, given up as soon as it is known to be too large, or too slow."""
        limit = self.max_body_bytes
        said = request.headers.get("content-length", "")
        size = int(said) if said.isascii() and said.isdigit() else 0
        chunks: list[bytes] = []
        if size <= limit:
            size = 0
            try:
                with anyio.fail_after(self.body_timeout):
                    async for chunk in request.stream():
                        size += len(chunk)
                        if size > limit:
                            break
                        chunks.append(chunk)
            except ClientDisconnect:
                raise ApiError(400, "bad_request", "The request was broken off.") from None
            except TimeoutError:
                raise ApiError(
                    408,
                    "body_timeout",
                    f"The body must come within {self.body_timeout:g} seconds.",
                    headers={"Connection": "close"},
                ) from None
        if size > limit:
            raise ApiError(413, "body_too_large", f"A body has at most {limit} bytes.")
        return b"".join(chunks)


class PathEndpoint:
    """All methods of one path, as an ASGI app, so that a 405 can name every method there is."""

    def __init__(self, methods: Mapping[str, Serve]) -> None:
        self._methods = dict(methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_sizes(scope)
        serve = self._methods.get(scope["method"])
        if serve is None:
            allowed = ", ".join(sorted(self._methods))
            raise ApiError(405, "method_not_allowed", "Method Not Allowed.", headers={"Allow": allowed})
        response = await serve(Request(scope, receive, send))
        await response(scope, receive, send)


def _query(request: Request, model: type[QueryT]) -> QueryT:
    values: dict[str, Any] = dict(request.query_params)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error, "query") from None
