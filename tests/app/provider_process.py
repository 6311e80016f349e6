"""The sub-app with real clients of two providers, which talk to ``WIRE_URL``: Anthropic's below /anthropic.

Each has a database of its own: on the same one, either would go on with the runs of the other.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount

from agent.conftest import make_model
from app.server_process import search
from resumable_stream.agent import build_graph
from resumable_stream.app import create_app, load_settings


def app() -> Starlette:
    openai, anthropic = (
        create_app(
            load_settings(_env_file=None, database_url=os.environ[database]),
            agent=build_graph(make_model(os.environ["WIRE_URL"], name), [search]),
        )
        for name, database in (("openai", "DATABASE_URL"), ("anthropic", "ANTHROPIC_DATABASE_URL"))
    )

    @asynccontextmanager
    async def lifespan(host: Starlette) -> AsyncIterator[None]:
        async with openai.lifespan(), anthropic.lifespan():
            yield

    return Starlette(routes=[Mount("/anthropic", anthropic), Mount("/", openai)], lifespan=lifespan)
