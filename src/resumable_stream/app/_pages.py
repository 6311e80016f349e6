"""The files of the bundled pages: small, read once, served with strict headers and an ETag."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ._errors import ApiError

CONTENT_SECURITY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
    " 'none'"
)
"""What a bundled page may load: files of this server, nothing inline, and no text that becomes markup or a script."""

_PAGE_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
}

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One file in memory."""

    body: bytes
    media_type: str
    etag: str

    def response(self, request: Request) -> Response:
        """The file, or 304 when the browser has it."""
        headers = {"ETag": self.etag} | _PAGE_HEADERS
        known = request.headers.get("if-none-match", "")
        if self.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


class Pages:
    """The files of one packaged folder. Only what is in it can be asked for; nothing is looked up on disk."""

    def __init__(self, folder: str) -> None:
        self._pages: Mapping[str, Page] = _read(files(__package__) / folder)

    def get(self, name: str) -> Page:
        """The file of this name.

        Raises:
            ApiError: 404 when there is none.
        """
        page = self._pages.get(name)
        if page is None:
            raise ApiError(404, "not_found", "Not Found.")
        return page


def _read(folder: Traversable) -> dict[str, Page]:
    pages = {}
    for entry in folder.iterdir():
        media_type = _TYPES.get(PurePosixPath(entry.name).suffix)
        if media_type is not None and entry.is_file():
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            pages[entry.name] = Page(body, media_type, etag)
    return pages
