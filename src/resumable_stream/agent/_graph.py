"""The default agent: a model that may call tools, in LangChain's agent loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware.types import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from ._summary import SummaryMiddleware, SummaryOptions


def build_graph(
    model: BaseChatModel,
    tools: Sequence[BaseTool | Callable[..., Any] | dict[str, Any]] = (),
    *,
    system_prompt: str | None = None,
    summary: SummaryOptions | None = SummaryOptions(),  # noqa: B008 - frozen
    summary_model: BaseChatModel | None = None,
    middleware: Sequence[AgentMiddleware[Any, Any, Any]] = (),
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Build the agent's graph.

    Args:
        model: the chat model that answers.
        tools: what it may call; a dict is a tool that the provider runs itself.
        system_prompt: what it is told before every conversation.
        summary: how long conversations are shortened for the model; ``None`` sends them whole.
        summary_model: the model that summarises, by default ``model``.
        middleware: middleware of LangChain, outside the summary.
        checkpointer: leave it out for `LangGraphAgent`, which brings one for each run.
    """
    chain: list[AgentMiddleware[Any, Any, Any]] = list(middleware)
    if summary is not None:
        chain.append(SummaryMiddleware(summary_model or model, summary))
    return create_agent(
        model,
        list(tools),
        system_prompt=system_prompt,
        middleware=chain,
        checkpointer=checkpointer,
    )
