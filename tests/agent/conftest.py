"""Fixtures of the agent room: the providers' server, models that talk to it, a database for threads."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from langchain_core.language_models import BaseChatModel
from psycopg import sql

from agent.provider_wire import ProviderWire, provider_wire
from resumable_stream.agent import chat_model, open_pool, set_up_checkpoints
from resumable_stream.agent._checkpoint import Pool

SECRET = "sk-secret-0123456789"

PROVIDERS = ("openai", "openai-responses", "anthropic", "anthropic-thinking", "google")

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pass the warnings of other people's packages that nobody here can do anything about."""
    # google-genai makes a subclass of aiohttp's session, which aiohttp discourages.
    discouraged = "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
    # It looks into an error's body without awaiting it.
    forgotten = "ignore:coroutine 'ClientResponse.json' was never awaited:RuntimeWarning"
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(discouraged))
            item.add_marker(pytest.mark.filterwarnings(forgotten))


@pytest.fixture(autouse=True)
def rubbish_of_google(request: pytest.FixtureRequest) -> Iterator[None]:
    """See to it that what google-genai forgets is found here, where that is expected, and not in any later test."""
    yield
    if "google" in request.node.name:
        gc.collect()


def make_model(wire_url: str, provider: str = "openai", **options: Any) -> BaseChatModel:
    """A real client of a provider, set to the local server."""
    name = provider.partition("-")[0]
    if provider == "openai-responses":
        options = {"use_responses_api": True, "reasoning": {"summary": "auto"}, **options}
    elif provider == "anthropic-thinking":
        options = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048, **options}
    elif provider == "google":
        options = {"include_thoughts": True, **options}
    return chat_model(
        name,
        "scripted",
        api_key=SECRET,
        base_url=f"{wire_url}/v1" if name == "openai" else wire_url,
        max_retries=0,
        **options,
    )


@pytest.fixture
def wire() -> Iterator[ProviderWire]:
    with provider_wire() as server:
        yield server


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """Each wire in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def threads_url(postgres_dsn: str) -> Iterator[str]:
    """A database with the checkpointer's tables, for all tests that only use threads of their own."""

    async def set_up() -> None:
        async with open_pool(url) as opened:
            await set_up_checkpoints(opened)

    name = f"threads_{secrets.token_hex(6)}"
    url = urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        asyncio.run(set_up())
        yield url
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def pool(threads_url: str) -> AsyncIterator[Pool]:
    """A pool over a database that has the checkpointer's tables."""
    async with open_pool(threads_url) as opened:
        yield opened
