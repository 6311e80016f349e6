"""Whether a request was meant for this app, and, when it changes something, comes from a page that may send it.

A browser sends cookies along with requests of any page, so that a page of somebody else's could act in the name of
whoever looks at it. Browsers say where a request comes from, in headers that no page can set: ``Sec-Fetch-Site`` (on
https and on the local machine) and ``Origin`` (with every POST, PATCH and DELETE). Programs send neither, and carry no
cookies that they were not given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ._errors import ApiError

_OWN: Final = ("same-origin", "none")
"""``none`` is the person at the browser: no page has asked for it."""
_PORT: Final = re.compile(r":\d*$")
_PORTS: Final = {"http": ":80", "https": ":443"}


class OriginCheck:
    """Refuses requests of pages that are neither the app's own nor named.

    ``X-Forwarded-Host`` is not looked at: whoever can reach the server can write it.

    Args:
        allowed: origins whose pages may do everything; ``*`` for all.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(origin.lower() for origin in allowed)

    def check(self, headers: Headers) -> None:
        """Let a request pass, or not.

        Raises:
            ApiError: 403 for a page of another origin.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site in _OWN or (site is None and origin is None):
            return
        if origin is not None and ("*" in self._allowed or origin.lower() in self._allowed):
            return
        # Without Sec-Fetch-Site it is an old browser, or one that talks plain http to another machine.
        if site is None and origin is not None and _leads_to(origin, headers.get("host", "")):
            return
        raise ApiError(403, "cross_site_request", "Pages of another origin must not do this.")


class HostCheck:
    """Refuses requests that were meant for another host.

    A page can give its own host name the address of this server (DNS rebinding); then it is of the same origin for the
    browser, and only its name shows that it is somebody else's.

    Args:
        allowed: names or addresses, without ports; empty for all.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(host.lower() for host in allowed)

    def check(self, headers: Headers) -> None:
        """Let a request pass, or not.

        Raises:
            ApiError: 421 for a host that is not this app's.
        """
        if self._allowed and _PORT.sub("", headers.get("host", "").lower()) not in self._allowed:
            raise ApiError(421, "unknown_host", "This is not a host of this app.")


def _leads_to(origin: str, host: str) -> bool:
    """Whether a page of the origin that asks its own server asks this host. TLS may have ended at a proxy."""
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    port = _PORTS.get(parts.scheme)
    if port is None or not parts.netloc:  # "null", or the page of a program
        return False
    return parts.netloc.removesuffix(port) == host.lower().removesuffix(port)
