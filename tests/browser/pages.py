"""What browser tests share: watching pages, and serving the UI's files without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Page, Route, WebError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}

# The policy of the page forbids other origins, which would be an error on the console: this is the second look.
_FOREIGN = """() => performance.getEntriesByType("resource").map((each) => each.name)
    .filter((name) => !name.startsWith(`${location.origin}/`) && !name.startsWith("data:"))
    .map((name) => `request to another origin: ${name}`)"""


class PageWatch:
    """Collects what must not happen on any page.

    Attributes:
        network_errors_expected: the test itself breaks connections or has requests refused, which Chromium reports
            on the console.
    """

    def __init__(self) -> None:
        self.network_errors_expected = False
        self._found: list[str] = []
        self._contexts: list[BrowserContext] = []

    @contextmanager
    def following(self, context: BrowserContext) -> Iterator[None]:
        """Watch all pages of the context, also those that are opened meanwhile."""
        listeners: list[tuple[Literal["console", "weberror"], Callable[..., None]]] = [
            ("console", self._console),
            ("weberror", self._exception),
        ]
        for event, listener in listeners:
            context.on(event, listener)
        self._contexts.append(context)
        yield
        for event, listener in listeners:
            context.remove_listener(event, listener)

    async def look(self) -> None:
        """See what the pages that are open now have asked for."""
        for context in self._contexts:
            for page in context.pages:
                self._found += await page.evaluate(_FOREIGN)

    def check(self) -> None:
        found = [
            line for line in self._found if not (self.network_errors_expected and "Failed to load resource" in line)
        ]
        assert found == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._found.append(f"console: {message.text} ({message.location.get('url')})")

    def _exception(self, error: WebError) -> None:
        self._found.append(f"exception: {error.error}")


async def serve_files(page: Page, folder: Path) -> None:
    """Open an empty page at an address below which the folder's files are, as the app serves them."""

    async def answer(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path == "/":
            headers = {"Content-Type": "text/html", "Content-Security-Policy": POLICY}
            await route.fulfill(status=200, headers=headers, body="<!doctype html><title>test</title>")
        else:
            file = folder / Path(path).name
            body = file.read_bytes() if file.is_file() else b""
            await route.fulfill(
                status=200 if body else 404,
                headers={"Content-Type": _TYPES.get(file.suffix, "text/plain")},
                body=body,
            )

    await page.route("http://ui.test/**", answer)
    await page.goto("http://ui.test/")
