"""A LangGraph agent as a source of events: model, web search, memory in Postgres, and the translation of streams.

`Turn`, `Agent` and what they are made of need no other package; everything else needs the extra ``app`` and is
imported when it is first asked for::

    pip install 'resumable-stream-redis[app]'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._protocol import Agent, HistoryMessage, Told, ToolUse, Turn

if TYPE_CHECKING:
    from ._agent import LangGraphAgent
    from ._checkpoint import checkpoint_saver, open_pool, set_up_checkpoints
    from ._graph import build_graph
    from ._models import chat_model
    from ._search import web_search_tool
    from ._summary import SummaryMiddleware, SummaryOptions

__all__ = [  # noqa: RUF022 - grouped by what they are for
    # What an agent is; implement it with anything
    "Agent",
    "Turn",
    "Told",
    "HistoryMessage",
    "ToolUse",
    # A LangGraph graph as an agent
    "LangGraphAgent",
    # Building the default graph
    "build_graph",
    "chat_model",
    "web_search_tool",
    "SummaryMiddleware",
    "SummaryOptions",
    # Memory in Postgres
    "open_pool",
    "set_up_checkpoints",
    "checkpoint_saver",
]

_HOMES = {
    "LangGraphAgent": "_agent",
    "build_graph": "_graph",
    "chat_model": "_models",
    "web_search_tool": "_search",
    "SummaryMiddleware": "_summary",
    "SummaryOptions": "_summary",
    "open_pool": "_checkpoint",
    "set_up_checkpoints": "_checkpoint",
    "checkpoint_saver": "_checkpoint",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from ._extras import needs

    with needs("app"):
        return getattr(import_module(f"{__name__}.{home}"), name)
