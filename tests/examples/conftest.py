"""What the examples run against: real servers, a provider's wire, a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Page, async_playwright
from redis.asyncio import Redis

from agent.provider_wire import ProviderWire, provider_wire

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture
def wire() -> Iterator[ProviderWire]:
    """A server that speaks a provider's protocol."""
    with provider_wire() as server:
        yield server


@pytest.fixture
def environment(redis: Redis, valkey_url: str, database_url: str, wire: ProviderWire) -> dict[str, str]:
    """What the chat app is told, as the examples tell their readers to."""
    return {
        "REDIS_URL": valkey_url,
        "DATABASE_URL": database_url,
        "OPENAI_API_KEY": "sk-not-a-key",
        "OPENAI_BASE_URL": f"{wire.url}/v1",
        "LLM_BASE_URL": f"{wire.url}/v1",
        "LLM_MODEL": "scripted",
    }


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page in a real Chromium, which must not log an error."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium found: install it, or set CHROMIUM=/path/to/it")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page()
        page.set_default_timeout(20_000)  # milliseconds
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        await browser.close()
        assert errors == []
