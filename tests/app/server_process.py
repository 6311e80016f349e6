"""A server as people deploy it, ``uvicorn app.server_process:app --factory``: a real graph, a scripted model."""

from __future__ import annotations

import os

from resumable_stream.agent import build_graph
from resumable_stream.app import ChatApp, create_app, load_settings
from resumable_stream.demo import ScriptedChatModel


def app() -> ChatApp:
    pace = float(os.environ["TOKENS_PER_SECOND"])
    graph = build_graph(ScriptedChatModel(tokens_per_second=pace))
    return create_app(load_settings(_env_file=None), agent=graph)
