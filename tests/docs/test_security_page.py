"""The threat model names tests that are there, and all of those that were written for it."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from docs.pages import ROOT

TESTS = ROOT / "tests"
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| threat |")
]
WRITTEN_FOR_IT = ("app/test_security_caps.py", "app/test_security_identity.py", "app/test_security_origins.py",
                  "app/test_security_secrets.py", "browser/test_security.py", "promises/test_owners.py")  # fmt: skip

MUST_STILL_WORK = {
    "test_there_is_a_usual_limit_where_owners_are_told_apart_and_none_where_they_are_not",
    "test_streams_have_a_usual_limit_only_where_owners_are_told_apart",
    "test_an_identity_without_an_end_is_as_good_as_a_name",
    "test_programs_and_own_pages_are_let_in",
    "test_what_is_refused_has_changed_nothing",
}
"""Tests of the other side: what is no threat passes."""


@cache
def names_in(file: str) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {function.name for function in functions if function.name.startswith("test_")}


def test_there_are_threats() -> None:
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_threat_has_a_defence_and_a_test_that_is_there(row: list[str]) -> None:
    threat, defence, test = row
    assert threat
    assert defence
    named = re.fullmatch(r"`([\w/]+\.py)::(\w+)`", test)
    assert named, "it is written `file::name`"
    assert named[2] in names_in(named[1])


@pytest.mark.parametrize("file", WRITTEN_FOR_IT)
def test_tests_that_were_written_for_it_are_on_the_page(file: str) -> None:
    told = {name for path, name in re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE) if path == file}
    assert names_in(file) - told <= MUST_STILL_WORK
