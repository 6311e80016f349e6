"""A short title for a conversation, by a small model."""

from __future__ import annotations

import re
from typing import Final

import anyio
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.constants import TAG_NOSTREAM

from ..logs import get_logger
from ._content import text_of, whole_characters
from ._failures import describe

logger = get_logger(__name__)

_SECONDS: Final = 20.0
_MESSAGE_CHARS: Final = 2_000
_TITLE_CHARS: Final = 60
_INSTRUCTION: Final = (
    "Write a title of two to six words for a conversation that begins with the user's message, in "
    "the language of the message. Do not answer the message. Answer with the title alone: no "
    "quotes, no full stop."
)
_LABEL: Final = re.compile(r"^(title|thread title)\s*:\s*", re.IGNORECASE)
_EDGES: Final = "*_`\"'“”„«» "
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]+")


async def title_for(message: str, model: BaseChatModel) -> str | None:
    """Ask for a title; ``None`` when the model fails, is slow or says nothing of use."""
    asked = whole_characters(message[:_MESSAGE_CHARS])
    try:
        with anyio.fail_after(_SECONDS):
            answer = await model.ainvoke(
                [SystemMessage(_INSTRUCTION), HumanMessage(asked)],
                {"tags": [TAG_NOSTREAM], "run_name": "title"},
            )
    except Exception as error:  # noqa: BLE001 - a thread without a title is no harm
        logger.warning("no title was made: %s", describe(error))
        return None
    return clean_title(text_of(answer))


def clean_title(text: str) -> str | None:
    """Make one plain line of what a model gave for a title."""
    lines = (" ".join(_UNSEEN.sub(" ", line).split()) for line in text.splitlines())
    line = next((line for line in lines if line), "")
    line = _LABEL.sub("", line.strip(_EDGES + "#"))
    line = line.strip(_EDGES).rstrip(".").strip(_EDGES)
    if len(line) > _TITLE_CHARS:
        cut = line[: _TITLE_CHARS - 1]
        line = (cut.rpartition(" ")[0] or cut).rstrip(" ,;:-") + "…"
    return line or None
