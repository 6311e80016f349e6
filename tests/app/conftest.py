"""The sub-app with a scripted agent, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import Chat, by_header, chat_on, served, settings_for
from resumable_stream.app import ChatApp, Settings, create_app


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def settings(valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None) -> Settings:
    return settings_for(valkey_url, database_url)


@pytest.fixture
def app(settings: Settings, agent: ScriptedAgent) -> ChatApp:
    return create_app(settings, agent=agent, identify=by_header)


@pytest.fixture
async def url(app: ChatApp) -> AsyncIterator[str]:
    """The sub-app's address."""
    async with served(app) as address:
        yield address


@pytest.fixture
async def chat(url: str) -> AsyncIterator[Chat]:
    """A client of the user ``ann``."""
    async with chat_on(url, user="ann") as client:
        yield client


@pytest.fixture
async def stack(empty_redis: Redis, database_url: str, no_tasks_left: None) -> AsyncIterator[AsyncExitStack]:
    """Where a test keeps its server processes; they are ended before it is looked for what is left."""
    async with AsyncExitStack() as opened:
        yield opened
