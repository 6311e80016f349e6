"""A real Chromium, and pages that fail their test when anything goes wrong on them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect

from browser.chat_page import ChatPage
from browser.pages import PageWatch, serve_files
from browser.serving import ChatServer, chat_server, database_on

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TIMEOUT = 10_000  # milliseconds
_VIEWPORT: ViewportSize = {"width": 1280, "height": 860}


def _new_user() -> dict[str, str]:
    return {"X-User": secrets.token_hex(6)}


def _chromium() -> str | None:
    if given := os.environ.get("CHROMIUM"):
        return given
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = _chromium()
    if path is None:
        pytest.skip("no Chromium found: install it, or set CHROMIUM=/path/to/it")
    async with async_playwright() as playwright:
        expect.set_options(timeout=_TIMEOUT)
        browser = await playwright.chromium.launch(executable_path=path, args=list(_ARGS))
        yield browser
        await browser.close()


@pytest.fixture
def watch() -> Iterator[PageWatch]:
    """Afterwards no page of the test may have logged an error or asked another origin for anything."""
    watch = PageWatch()
    yield watch
    watch.check()


@pytest.fixture
async def context(browser: Browser, watch: PageWatch) -> AsyncIterator[BrowserContext]:
    """A browser and a user of its own for the test: its tabs share storage and hear one another."""
    context = await browser.new_context(viewport=_VIEWPORT, extra_http_headers=_new_user())
    context.set_default_timeout(_TIMEOUT)
    with watch.following(context):
        yield context
        await watch.look()
    await context.close()


@pytest.fixture(scope="module")
async def bare_page(browser: Browser) -> AsyncIterator[Page]:
    """An empty page that can import the UI's modules, under the UI's own content security policy."""
    page = await browser.new_page()
    await serve_files(page, Path(__file__).parents[2] / "src/resumable_stream/app/ui")
    yield page
    await page.close()


@pytest.fixture(scope="session")
def chat_database(postgres_dsn: str) -> Iterator[str]:
    with database_on(postgres_dsn) as url:
        yield url


@pytest.fixture(scope="session")
def server(valkey_url: str, chat_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    """One server for all browser tests; each test uses threads of its own."""
    log = tmp_path_factory.mktemp("chat") / "server.log"
    with chat_server(redis_url=valkey_url, database_url=chat_database, log=log) as server:
        yield server


@pytest.fixture(scope="module")
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """One tab for all tests of a module that ask for ``chat``: a new one costs most of a second."""
    context = await browser.new_context(viewport=_VIEWPORT, permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(_TIMEOUT)
    yield await context.new_page()
    await context.close()


@pytest.fixture
async def chat(tab: Page, watch: PageWatch, server: ChatServer) -> AsyncIterator[ChatPage]:
    """The page, open on a new thread, for a user of its own."""
    await tab.context.set_extra_http_headers(_new_user())
    await tab.set_viewport_size(_VIEWPORT)
    await tab.emulate_media(color_scheme="light", reduced_motion="no-preference")
    with watch.following(tab.context):
        chat = ChatPage(tab, server.url)
        await chat.load()
        yield chat
        await watch.look()
    await tab.unroute_all(behavior="ignoreErrors")
    await tab.evaluate("sessionStorage.clear()")
    await tab.goto("about:blank")
    for page in tab.context.pages:
        if page is not tab:
            await page.close()
