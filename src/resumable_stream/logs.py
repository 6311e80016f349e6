"""Log lines for machines: what they are about, and one JSON object a line. The standard library is enough.

The library's own lines about a run carry ``run_id``, ``thread_id`` and ``stream_id`` as attributes of the record, and
those about a stream ``stream_id``, whatever formats them. They name kinds of errors and never hold what people or
models have said.
"""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["ContextFilter", "JsonFormatter", "about", "get_logger"]

_NOTHING: Final[Mapping[str, str]] = {}
_about: ContextVar[Mapping[str, str]] = ContextVar("resumable_stream.logs", default=_NOTHING)

_KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
"""What every record has, and what uvicorn adds for terminals."""


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Say what the lines that are logged in the block, and in tasks that begin in it, are about.

    Blocks nest: what the outer one says is kept. Not for a block with a ``yield`` of an async generator in it.
    """
    token = _about.set({**_about.get(), **{name: str(value) for name, value in ids.items()}})
    try:
        yield
    finally:
        _about.reset(token)


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Gives records what `about` has said, under what the line itself says in ``extra``."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        if known := _about.get():
            kwargs["extra"] = {**known, **(kwargs.get("extra") or _NOTHING)}
        return msg, kwargs


def get_logger(name: str) -> logging.LoggerAdapter[logging.Logger]:
    """A logger whose records say what they are about."""
    return _Logger(logging.getLogger(name))


class ContextFilter(logging.Filter):
    """Gives the records of other libraries, too, what they are about. For a handler; it lets everything pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is not there. Lines of this library have said themselves what they are about, or nothing."""
        if record.name.partition(".")[0] != "resumable_stream":
            for name, value in _about.get().items():
                vars(record).setdefault(name, value)
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, and the attributes that a line was given.

    The text of an exception is left out, as it can quote what nobody should read: ``exception`` has its kind and where
    it was raised.

    Args:
        exception_text: give the whole traceback, with the text, as ``traceback``.
    """

    def __init__(self, *, exception_text: bool = False) -> None:
        super().__init__()
        self._exception_text = exception_text

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: _plain(value)
            for name, value in vars(record).items()
            if name not in _KNOWN and not name.startswith("_") and name not in line
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            line["exception"] = {
                "type": f"{type(error).__module__}.{type(error).__qualname__}",
                "stack": [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(error.__traceback__)],
            }
            if self._exception_text:
                line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"))


def _plain(value: object) -> object:
    """What JSON can hold."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)
