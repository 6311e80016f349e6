"""What of the app is measured, where OpenTelemetry is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.runs import Database, Nobody, RunObserver

from ._agents import AgentPlan

if TYPE_CHECKING:
    from resumable_stream.telemetry import Telemetry

_PROVIDERS: Final = {
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
"""OpenTelemetry's names for providers, where they are others than LangChain's."""


def shared_telemetry() -> Telemetry | None:
    """The telemetry of this process's global providers; ``None`` where nobody has set one up, or none is installed."""
    try:
        from resumable_stream.telemetry import Telemetry, is_set_up
    except ModuleNotFoundError:
        return None
    return Telemetry.shared() if is_set_up() else None


def observe(
    telemetry: Telemetry | None,
    plan: AgentPlan,
    *,
    database: Database,
    producer: StreamProducer,
    consumer: StreamConsumer,
    refused: Mapping[tuple[int, str], int],
) -> RunObserver:
    """Have everything measured that an app consists of. Returns who is to be told of runs."""
    if telemetry is None:
        return Nobody()
    telemetry.observe(producer, consumer)
    telemetry.observe_pool(database.pool)
    telemetry.observe_refusals(refused)
    provider = None if plan.provider is None else _PROVIDERS.get(plan.provider, plan.provider)
    return telemetry.runs(provider=provider, model=plan.model)
