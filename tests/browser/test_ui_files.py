"""The UI's files themselves: small, complete, and without anything that a strict policy forbids."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

UI = files("resumable_stream.app") / "ui"
SOURCES = {entry.name: entry.read_text("utf-8") for entry in UI.iterdir()}
SCRIPTS = sorted(name for name in SOURCES if name.endswith(".js"))


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_each_file_is_small(name: str) -> None:
    assert len(SOURCES[name].splitlines()) < 400


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_html_or_code_from_text(name: str) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|DOMParser|\beval\b|Function\("
    assert re.findall(forbidden, re.sub(r"//.*|/\*.*?\*/", "", SOURCES[name], flags=re.DOTALL)) == []


def test_the_page_has_nothing_inline() -> None:
    page = SOURCES["index.html"]
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page) == []


def test_every_address_is_on_the_same_server() -> None:
    namespace = "http://www.w3.org/2000/svg"
    for name, text in SOURCES.items():
        found = re.findall(r"""["'(](?:https?:)?//[\w.-]+[^"')]*""", text.replace(namespace, ""))
        assert [one for one in found if not one.endswith(("https://", "http://"))] == [], name


def test_the_page_names_every_file_once() -> None:
    named = re.findall(r'(?:href|src)="ui/([^"]+)"', SOURCES["index.html"])
    assert set(named) == set(SOURCES) - {"index.html"}
    imported = {one for name in SCRIPTS for one in re.findall(r'from "\./([^"]+)"', SOURCES[name])}
    assert imported == set(SCRIPTS) - {"main.js"}
