"""Who is calling: what ``identify`` may say, checked at the border."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from resumable_stream.logs import get_logger

from ._errors import ApiError

logger = get_logger("resumable_stream.app")

ANONYMOUS: Final = "anonymous"
_OWNER_LENGTH: Final = 255


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller who is known, and until when.

    Attributes:
        owner: whose threads these are: 1 to 255 characters.
        expires_at: when that ends, such as when a token expires: later requests get a 401, and open streams end then,
            between two frames. It has a time zone. ``None``: it does not end while a stream is open.
    """

    owner: str
    expires_at: datetime | None = None

    @property
    def remaining(self) -> float | None:
        """The seconds until it expires, negative when it has; ``None`` when it does not."""
        return None if self.expires_at is None else (self.expires_at - datetime.now(UTC)).total_seconds()


Identified = str | Identity | None

Identify = Callable[[Request], Identified | Awaitable[Identified]]
"""Names the owner of a request; ``None`` or an exception means that nobody is known."""


def anonymous(request: Request) -> str:
    """Take everybody for one owner: all callers share all threads."""
    return ANONYMOUS


async def identify_caller(identify: Identify, request: Request) -> Identity:
    """Ask who is calling.

    Raises:
        ApiError: 401 when nobody is known, or no more.
        HTTPException: what ``identify`` raises to refuse in its own way.
        TypeError: it returned what it must not: a fault of the program, which the caller is not told about.
    """
    try:
        found = identify(request)
        answer = await found if isawaitable(found) else found
    except HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in it, the caller stays unknown
        logger.info("identify() raised %s", type(error).__qualname__)
        answer = None
    if not answer:
        raise unauthenticated()
    identity = answer if isinstance(answer, Identity) else Identity(answer)
    _check(identity)
    require_valid(identity)
    return identity


def require_valid(identity: Identity) -> None:
    """Make sure that it has not expired.

    Raises:
        ApiError: 401 when it has.
    """
    if identity.remaining is not None and identity.remaining <= 0:
        raise unauthenticated()


def unauthenticated() -> ApiError:
    """The one answer to everybody who is not known."""
    return ApiError(401, "unauthenticated", "It is not known who is calling.")


def _check(identity: Identity) -> None:
    owner, expires_at = identity.owner, identity.expires_at
    if not isinstance(owner, str) or not 0 < len(owner) <= _OWNER_LENGTH or not _storable(owner):
        raise TypeError(
            f"identify() must return a str of 1 to {_OWNER_LENGTH} characters without NUL, or an Identity with one"
        )
    if expires_at is None:
        return
    if not isinstance(expires_at, datetime) or expires_at.utcoffset() is None:
        raise TypeError("Identity.expires_at must be a datetime with a time zone, such as datetime.now(UTC) + ...")


def _storable(text: str) -> bool:
    """Whether PostgreSQL takes it."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
