"""A real Chromium, and pages that fail their test when anything goes wrong on them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from browser.chat_page import ChatPage, open_chat
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
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser and a user of its own for the test: its tabs share storage and hear one another."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 860}, extra_http_headers={"X-User": secrets.token_hex(6)}
    )
    context.set_default_timeout(_TIMEOUT)
    yield context
    await context.close()


@pytest.fixture
async def watch(context: BrowserContext) -> AsyncIterator[PageWatch]:
    """Afterwards no page of the test may have logged an error or asked another origin for anything."""
    watch = PageWatch()
    context.on("page", watch.follow)
    yield watch
    await watch.check()


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


@pytest.fixture
async def chat(context: BrowserContext, watch: PageWatch, server: ChatServer) -> ChatPage:
    """The page, open on a new thread."""
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    return await open_chat(context, server.url)
