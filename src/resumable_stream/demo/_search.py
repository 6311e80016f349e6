"""A search over the packaged documentation: BM25 over its sections, as a LangChain tool."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from ._docs import Section, documentation

# The usual constants of BM25: how soon more of the same word stops to count, and how much a long
# section pays for its length.
_SATURATION: Final = 1.2
_LENGTH: Final = 0.75
_SNIPPET: Final = 240
_STOP_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do does for from how i in is it of on or that the there this "
        "to was what when where which who why will with you",
    )
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A section that was found, with the part of it that fits best."""

    page: str
    title: str
    section: str
    snippet: str


class DocumentationIndex:
    """An index of sections in memory.

    Args:
        sections: what can be found.
    """

    def __init__(self, sections: Iterable[Section]) -> None:
        self._sections = tuple(sections)
        # A word in a heading says more about a section than one in its text.
        self._counts = [
            Counter(_words(f"{one.title} {one.heading} {one.heading} {one.prose} {one.code}")) for one in self._sections
        ]
        self._lengths = [counts.total() for counts in self._counts]
        self._mean = sum(self._lengths) / len(self._lengths) if self._lengths else 0.0
        self._containing = Counter(word for counts in self._counts for word in counts)

    def search(self, query: str, *, limit: int = 3) -> list[Hit]:
        """The best sections for some words, best first; empty when no word occurs anywhere."""
        words = set(_words(query))
        scored = [(self._score(words, index), index) for index in range(len(self._sections))]
        best = sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: -pair[0])
        found = (self._sections[index] for _, index in best[:limit])
        return [Hit(one.page, one.title, one.heading, _snippet(one.prose, words)) for one in found]

    def _score(self, words: set[str], index: int) -> float:
        counts, score = self._counts[index], 0.0
        penalty = 1 - _LENGTH + _LENGTH * self._lengths[index] / self._mean
        for word in words & counts.keys():
            often = self._containing[word]
            rarity = math.log(1 + (len(self._counts) - often + 0.5) / (often + 0.5))
            count = counts[word]
            score += rarity * count * (_SATURATION + 1) / (count + _SATURATION * penalty)
        return score


class _Query(BaseModel):
    query: str = Field(description="a few words")


def search_tool() -> BaseTool:
    """A LangChain tool ``search`` over the packaged documentation.

    It returns JSON text: a list of objects with ``page``, ``title``, ``section`` and ``snippet``.
    """
    index = DocumentationIndex(documentation())

    def search(query: str) -> str:
        return json.dumps([asdict(hit) for hit in index.search(query)], ensure_ascii=False)

    return StructuredTool.from_function(
        search,
        name="search",
        description="Search the documentation of resumable_stream.",
        args_schema=_Query,
    )


def _words(text: str) -> list[str]:
    return [
        # The ends of words are cut off roughly: "streams" finds "stream", "resuming" "resume".
        re.sub(r"(?<=\w{3})(ing|ed|es|s|e)$", "", word)
        for word in re.findall(r"[^\W_]+", text.lower())
        if word not in _STOP_WORDS
    ]


def _snippet(prose: str, words: set[str]) -> str:
    """What begins with the sentence that has most of the words."""
    sentences = re.split(r"(?<=[.!?:])\s+", prose)
    scores = [len(words & set(_words(sentence))) for sentence in sentences]
    text = " ".join(sentences[scores.index(max(scores)) :])
    return text if len(text) <= _SNIPPET else text[:_SNIPPET].rpartition(" ")[0] + " …"
