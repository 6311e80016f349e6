"""The app of the load test: LangChain's agent loop with a search tool, a scripted model, checkpoints in PostgreSQL."""

from __future__ import annotations

import os

from resumable_stream.agent import build_graph
from resumable_stream.app import ChatApp, create_app, load_settings
from resumable_stream.demo import ScriptedChatModel, search_tool


def app() -> ChatApp:
    """For ``uvicorn --factory`` and ``resumable-stream worker --app``."""
    model = ScriptedChatModel(tokens_per_second=float(os.environ["TOKENS_PER_SECOND"]))
    graph = build_graph(model, [search_tool()])
    return create_app(load_settings(_env_file=None), agent=graph, ui=False)
