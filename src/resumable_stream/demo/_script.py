"""What the scripted model answers: always the same tokens for the same prompt."""

from __future__ import annotations

import json
import re
import zlib
from typing import Final

from ._topics import TOPICS, Topic

LONG_TOKENS: Final = 400
"""About how many tokens an answer to a prompt with "long" in it has."""

NOT_SEARCHED: Final = "Nothing was searched: the call was refused, stopped, or failed."
"""The answer when the search tool gave no result."""

_TOKEN: Final = re.compile(r"\s?\w{1,8}|\s+|[^\w\s]{1,4}")
_FITTING: Final = (
    "You asked: *{}*. Here is the short version.",
    "A good question: *{}*.",
    "Let us look at *{}*.",
    "On *{}*, a few things matter.",
)
_OTHER: Final = (
    "I am a script and know nothing of *{}*, but I can tell you about this library.",
    "*{}* is beyond a scripted model. What I do know is how this stream reaches you.",
    "No model is behind this demo, so *{}* must wait. Here is what you are looking at instead.",
)


def wants(prompt: str, word: str) -> bool:
    """Whether a prompt has this word (or these words), in any case."""
    return re.search(rf"\b{re.escape(word)}\b", prompt, re.IGNORECASE) is not None


def tokens(text: str) -> list[str]:
    """Cut a text into pieces of a few letters, as a model does. Joined they are the text again."""
    return _TOKEN.findall(text)


def script(prompt: str, *, found: str | None = None) -> list[str]:
    """The tokens that answer a prompt.

    Args:
        prompt: what the person wrote. "long" in it asks for some 400 tokens.
        found: what the search tool returned, when it was called for this prompt.
    """
    if found is not None:
        return tokens(_report(prompt, found))
    topics, fits = _ranked(prompt)
    parts = [_opening(prompt, fits=fits), _section(topics[0])]
    if wants(prompt, "long"):
        for topic in topics[1:]:
            longer = [*parts, _section(topic)]
            if len(tokens("\n\n".join(longer))) <= LONG_TOKENS + 50:
                parts = longer
    return tokens("\n\n".join(parts))


def title(message: str) -> str:
    """A title of at most six words for a conversation that begins with this message."""
    words = re.findall(r"[\w'\u2019-]+", message)[:6]
    text = " ".join(words).strip("'\u2019-_")
    return (text[:1].upper() + text[1:])[:60] or "New conversation"


def summary(request: str) -> str:
    """A sentence in place of earlier messages.

    Args:
        request: old notes, as made here, then lines that begin with ``User:``; any other text is
            one message.
    """
    said = re.findall(r"^User: (.*)", request, re.MULTILINE)
    subjects = [*re.findall("“(.*?)”", request), *map(title, said)] or [title(request)]
    return "Earlier in this conversation: " + ", ".join(f"“{one}”" for one in subjects[-12:]) + "."


def search_query(prompt: str) -> str:
    """What to look for when a prompt asks for a search."""
    rest = re.sub(r"\b(please|can you|search|look up|for|in|the|docs?)\b", " ", prompt, flags=re.IGNORECASE)
    return " ".join(rest.split()).strip(" .?!:") or prompt.strip()


def _section(topic: Topic) -> str:
    points = "\n".join(f"- {point}" for point in topic.points)
    language, code = topic.code
    example = f"```{language}\n{code}\n```"
    return "\n\n".join((f"## {topic.title}", topic.lead, points, example, topic.more))


def _ranked(prompt: str) -> tuple[list[Topic], bool]:
    """All topics, the one that shares most words with the prompt first; whether any word fits."""
    asked = set(re.findall(r"\w+", prompt.lower()))
    # What the words leave undecided, the prompt's checksum decides: variety without chance.
    shift = _checksum(prompt) % len(TOPICS)
    order = [*TOPICS[shift:], *TOPICS[:shift]]
    order.sort(key=lambda topic: -len(asked & topic.words))
    return order, bool(asked & order[0].words)


def _opening(prompt: str, *, fits: bool) -> str:
    # Without signs that mean something in Markdown: what is shown is what was meant.
    plain = " ".join(re.sub(r"[^\w\s.,?!'\u2019:;/-]|_", " ", prompt).split())
    if len(plain) > 60:
        plain = plain[:60].rpartition(" ")[0] or plain[:60]
    plain = plain.strip(" .,?!:;/-")
    if not plain:
        return "Here is something about this library."
    openings = _FITTING if fits else _OTHER
    return openings[(_checksum(prompt) >> 8) % len(openings)].format(plain)


def _checksum(prompt: str) -> int:
    return zlib.crc32(prompt.encode("utf-8", "surrogatepass"))


def _report(prompt: str, found: str) -> str:
    hits = _hits(found)
    if not hits:
        return (
            "I have searched the documentation and found **nothing** that fits "
            f"“{search_query(prompt)}”. Try other words, for instance *last event id*."
        )
    lines = [f"I have searched the documentation for “{search_query(prompt)}”:", ""]
    for number, hit in enumerate(hits[:3], start=1):
        section = f", *{hit['section']}*" if hit.get("section") else ""
        lines.append(f"{number}. **{hit['title']}**{section}: {hit['snippet']}")
    lines += ["", "This came from the packaged documentation, not from a model's memory."]
    return "\n".join(lines)


def _hits(found: str) -> list[dict[str, str]]:
    """What can be used of a tool's result: an agent may have been given another search tool."""
    try:
        values = json.loads(found)
    except ValueError:
        return []
    needed = {"title", "snippet"}
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, dict) and needed <= value.keys()]
