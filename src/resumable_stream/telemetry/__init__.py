"""What a process does, told to OpenTelemetry: metrics of the core and of the chat app, traces of runs.

It needs the extra ``telemetry``: ``pip install 'resumable-stream-redis[telemetry]'``, which is the API alone. Without
an SDK that is configured, nothing is measured and nothing costs anything.
"""

from __future__ import annotations

try:
    import opentelemetry.metrics  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "opentelemetry-api is not installed. Run: pip install 'resumable-stream-redis[telemetry]'", name=error.name
    ) from error

from ._instruments import INSTRUMENTS, Instrument
from ._telemetry import Telemetry, is_set_up

__all__ = ["INSTRUMENTS", "Instrument", "Telemetry", "is_set_up"]
