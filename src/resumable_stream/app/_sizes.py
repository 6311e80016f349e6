"""How large a request may be before its body: the query and the headers. Servers have limits too, each its own."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from ._errors import ApiError

QUERY_BYTES: Final = 16 * 1024
HEADER_BYTES: Final = 32 * 1024
HEADER_COUNT: Final = 128


def check_sizes(scope: Scope) -> None:
    """Refuse what no client of this API needs, before anything reads it.

    Raises:
        ApiError: 414 or 431.
    """
    if len(scope.get("query_string", b"")) > QUERY_BYTES:
        raise ApiError(414, "uri_too_long", f"A query has at most {QUERY_BYTES} bytes.")
    headers = scope["headers"]
    if len(headers) > HEADER_COUNT or sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES:
        raise ApiError(
            431, "headers_too_large", f"A request has at most {HEADER_COUNT} headers and {HEADER_BYTES} bytes of them."
        )
