"""The documentation as the tests see it: pages, and the code blocks in them.

A Python block stands behind a comment that says how it is tested:

    <!-- run -->                  run against a real server, after the blocks before it on the page
    <!-- from: examples/x.py -->  a part of a file that has a test of its own, word for word
    <!-- compile: the reason -->  compiled, and what it imports is imported
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<how>run|from|compile)(?:: (?P<what>[^\n]*?))? -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block.

    Attributes:
        how: ``run``, ``from`` or ``compile``; empty without a marker.
        what: what the marker says behind the colon.
        line: where its first line of code stands in the page, from 1.
    """

    page: Path
    language: str
    how: str
    what: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """The code blocks of a page in these languages, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            language=match["language"],
            how=match["how"] or "",
            what=match["what"] or "",
            line=text.count("\n", 0, match.start("code")) + 1,
            code=dedent(match["code"]),
        )
        for match in _BLOCK.finditer(text)
        if match["language"] in languages
    ]


def all_blocks(*languages: str) -> list[Block]:
    """The code blocks of all pages in these languages."""
    return [block for page in PAGES for block in blocks_of(page, *languages)]
