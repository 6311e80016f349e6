"""The packaged documentation, cut into sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_DIRECTIVE = re.compile(r"::: |--8<-- |    (options|members|heading_level|show_)")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a page and what stands below it.

    Attributes:
        page: the file's path below the documentation folder.
        title: the page's first heading.
        heading: the section's own heading; empty for what stands before the first one.
        prose: the text, as one line without the signs of Markdown.
        code: the lines of its examples.
    """

    page: str
    title: str
    heading: str
    prose: str
    code: str = ""


def documentation() -> Iterator[Section]:
    """The sections of the documentation that came with the package, page by page."""
    for page, markdown in sorted(_pages(_folder(), "")):
        yield from sections(page, markdown)


def sections(page: str, markdown: str) -> Iterator[Section]:
    """Cut one page at its headings. Sections without a text, comments and directives are left out."""
    title, heading = "", ""
    prose, code = list[str](), list[str]()
    fenced = False
    for line in [*markdown.splitlines(), "# "]:  # a last heading closes the last section
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
            continue
        if not fenced and _DIRECTIVE.match(line):
            continue
        mark = None if fenced else re.fullmatch(r"(#{1,6})\s+(.*)", line)
        if mark is None:
            (code if fenced else prose).append(line)
            continue
        text = _plain("\n".join(prose))
        if text:
            yield Section(page, title or page, heading, text, "\n".join(code))
        prose.clear()
        code.clear()
        name = _plain(mark[2])
        title, heading = (name, "") if not title and mark[1] == "#" else (title, name)


def _folder() -> Traversable:
    packaged = files("resumable_stream.demo") / "docs"
    if packaged.is_dir():
        return packaged
    # An editable install has no copy: its documentation stands in the repository.
    return Path(__file__).parents[3] / "docs"


def _pages(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _pages(entry, f"{path}{entry.name}/")
        elif entry.name.endswith(".md"):
            yield f"{path}{entry.name}", entry.read_text(encoding="utf-8")


def _plain(markdown: str) -> str:
    text = re.sub(r"<!--.*?-->", " ", markdown, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*([-+*]|\d+\.|>|\|[-:| ]+\|$)\s*", "", text, flags=re.MULTILINE)
    return " ".join(re.sub(r"[`*]+", "", text).replace("|", " ").split())
