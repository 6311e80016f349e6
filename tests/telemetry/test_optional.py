"""OpenTelemetry is optional: everything works without it, and nothing is measured where nobody has set it up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

WITHOUT = """
import sys
sys.path.insert(0, ".")

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""

CORE = """
import asyncio
from redis.asyncio import Redis
from resumable_stream import StreamConsumer, StreamProducer

async def tokens():
    yield "a"
    yield "b"

async def main():
    async with Redis.from_url(sys.argv[1]) as redis:
        await StreamProducer(redis).run("s", tokens())
        async with StreamConsumer(redis) as consumer:
            print("".join([event.data async for event in consumer.events("s") if event.type == "text"]))

asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
try:
    import resumable_stream.telemetry
except ModuleNotFoundError as error:
    print(error)
"""


APP = """
import asyncio
from contextlib import asynccontextmanager

import httpx
from app.scripted import ScriptedAgent
from app.serving import chat_on, served, settings_for
from resumable_stream.app import create_app

async def main():
    app = create_app(settings_for(sys.argv[1], sys.argv[2]), agent=ScriptedAgent())
    async with served(app) as url, chat_on(url) as chat:
        sent = await chat.send("hello")
        print(await chat.answer(sent["thread_id"]))

asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


def python(program: str, *arguments: str) -> str:
    """What a program prints, in an interpreter of its own where OpenTelemetry cannot be imported."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT + program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_core_works_without_it_and_the_room_names_the_extra(valkey_url: str, empty_redis: Redis) -> None:
    said = python(CORE, valkey_url).splitlines()
    assert said[0] == "ab"
    assert "pip install 'resumable-stream-redis[telemetry]'" in said[1]


def test_the_chat_app_works_without_it(valkey_url: str, database_url: str, empty_redis: Redis) -> None:
    assert python(APP, valkey_url, database_url).strip() == "hello"


WATCHED = """
import asyncio
import sys

sys.path.insert(0, ".")

from app.scripted import ScriptedAgent
from app.serving import chat_on, served, settings_for
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from resumable_stream.app import create_app
from resumable_stream.runs import Nobody

reader = InMemoryMetricReader()
if sys.argv[3] == "set up":
    metrics.set_meter_provider(MeterProvider([reader]))

async def main():
    app = create_app(settings_for(sys.argv[1], sys.argv[2]), agent=ScriptedAgent())
    async with served(app) as url, chat_on(url) as chat:
        sent = await chat.send("hello")
        await chat.answer(sent["thread_id"])
        data = reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics[0].metrics if data is not None else ()
        print({one.name: one.data.data_points[0].value for one in found if one.name.endswith("accepted_runs")})
        print(isinstance(app._get_services().chat._manager._observer, Nobody))

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["set up", "not set up"])
def test_an_app_measures_itself_where_a_provider_is_set_up(
    valkey_url: str, database_url: str, empty_redis: Redis, how: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCHED, valkey_url, database_url, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert result.returncode == 0, result.stderr
    counted, unwatched = result.stdout.splitlines()
    assert counted == str({"resumable_stream.run.accepted_runs": 1} if how == "set up" else {})
    assert unwatched == str(how != "set up"), "where nothing is set up no token passes through more than it has to"
