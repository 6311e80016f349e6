"""Headers that every response has: no browser takes data for a page, keeps it, frames it, or lends it to others."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What a response gets where it says nothing else."""


class SecurityHeaders:
    """ASGI middleware: gives a response what of ``SAFE`` it does not say for itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
                if not scope.get("http_version", "1.1").startswith("1"):
                    del headers["Connection"]  # forbidden from HTTP/2 on, where a stream ends by itself
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
