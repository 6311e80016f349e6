"""What the commands' log looks like: uvicorn's lines and the library's own in one form, on standard error."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

from uvicorn.config import LOGGING_CONFIG

LogFormat = Literal["text", "json"]


def log_config(form: LogFormat, *, quiet: bool = False) -> dict[str, Any]:
    """For ``logging.config.dictConfig``: uvicorn's usual lines, or one JSON object a line for all loggers there are.

    Args:
        form: how lines look.
        quiet: warnings only, of the library's own.
    """
    if form == "text":
        config = deepcopy(LOGGING_CONFIG)
        if not quiet:
            config["loggers"]["resumable_stream"] = {"handlers": ["default"], "level": "INFO"}
        return config
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "resumable_stream.logs.JsonFormatter"}},
        "filters": {"context": {"()": "resumable_stream.logs.ContextFilter"}},
        "handlers": {
            "json": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["context"],
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["json"], "level": "WARNING"},
        "loggers": {name: {"level": "WARNING" if quiet else "INFO"} for name in ("uvicorn", "resumable_stream")},
    }
