"""The agent that answers: the caller's own, a graph of theirs, or the ready one that the settings describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from resumable_stream.agent import Agent
from resumable_stream.runs import Pool, SetUp

from ._settings import Settings


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """How to come by the agent once there is a pool.

    Attributes:
        build: makes the agent, inside the running event loop.
        set_up: what its memory needs before the first use.
        provider: who serves the ready agent's model.
        model: the ready agent's model.
    """

    build: Callable[[Pool], Agent]
    set_up: tuple[SetUp, ...] = ()
    provider: str | None = None
    model: str | None = None


def plan_agent(agent: Any, settings: Settings) -> AgentPlan:
    """Decide what answers.

    Args:
        agent: an ``Agent``, a compiled LangGraph graph, or ``None`` for the ready agent of the settings.
        settings: what the ready agent is made of.

    Raises:
        SettingsError: the ready agent is wanted, or a model for titles, and the settings are incomplete.
        TypeError: it is none of the three.
    """
    if agent is None:
        settings.check_model()
        return AgentPlan(
            lambda pool: _ready_agent(settings, pool),
            _checkpoints(),
            provider=settings.llm_provider,
            model=settings.llm_model,
        )
    if isinstance(agent, Agent):
        return AgentPlan(lambda pool: agent)
    if hasattr(agent, "astream") and hasattr(agent, "checkpointer"):
        settings.check_title_model()
        return AgentPlan(lambda pool: _graph_agent(settings, agent, pool), _checkpoints())
    raise TypeError(
        "agent must be a compiled LangGraph graph, or an object with the methods of resumable_stream.agent.Agent"
    )


def _checkpoints() -> tuple[SetUp, ...]:
    from resumable_stream.agent import set_up_checkpoints

    return (set_up_checkpoints,)


def _graph_agent(settings: Settings, graph: Any, pool: Pool) -> Agent:
    from resumable_stream.agent import LangGraphAgent

    name = settings.llm_title_model
    return LangGraphAgent(graph, pool, title_model=None if name is None else _model(settings, name))


def _ready_agent(settings: Settings, pool: Pool) -> Agent:
    from resumable_stream.agent import LangGraphAgent, build_graph, web_search_tool

    answering = settings.llm_model or ""
    tools = [web_search_tool(tavily_api_key=settings.tavily_api_key)] if settings.web_search else []
    graph = build_graph(_model(settings, answering), tools, system_prompt=settings.system_prompt)
    return LangGraphAgent(graph, pool, title_model=_model(settings, settings.llm_title_model or answering))


def _model(settings: Settings, name: str) -> Any:
    from resumable_stream.agent import chat_model

    return chat_model(settings.llm_provider, name, api_key=settings.api_key, base_url=settings.llm_base_url)
