"""An OpenTelemetry SDK for each test, and an app that tells it what it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import settings_for
from resumable_stream.app import Settings
from telemetry.collected import Collected, collecting


@pytest.fixture
def collected() -> Iterator[Collected]:
    with collecting() as found:
        yield found


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def settings(valkey_url: str, database_url: str, empty_redis: Redis, no_tasks_left: None) -> Settings:
    return settings_for(valkey_url, database_url)
