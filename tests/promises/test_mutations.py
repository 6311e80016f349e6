"""The list of mutations is about what is there: lines that stand in the sources once, and tests that exist.

Whether the tests fail is a question for `make mutants`, which takes minutes.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from promises.mutations import MUTATIONS, Mutation

TESTS = Path(__file__).parent
SOURCES = TESTS.parents[1] / "src" / "resumable_stream"
PROMISES = {*range(1, 12), 14, 16, 17, 18, 21, 24}


@cache
def promised() -> dict[str, tuple[int, str]]:
    """Every test with the mark of a promise, by its file and name: the promise's number, and the docstring."""
    found = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                marks = [ast.unparse(one) for one in node.decorator_list]
                numbers = [
                    int(mark[mark.index("=") + 1 : -1]) for mark in marks if mark.startswith("pytest.mark.promise(")
                ]
                if numbers:
                    found[f"{path.name}::{node.name}"] = (numbers[0], " ".join((ast.get_docstring(node) or "").split()))
    return found


def name_of(mutation: Mutation) -> str:
    return mutation.without


@pytest.mark.parametrize("mutation", MUTATIONS, ids=name_of)
def test_a_mutation_changes_a_line_that_is_there_once(mutation: Mutation) -> None:
    source = (SOURCES / mutation.file).read_text()
    assert source.count(mutation.snippet) == 1
    ast.parse(source.replace(mutation.snippet, mutation.replacement))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=name_of)
def test_a_mutation_is_told_where_its_test_is(mutation: Mutation) -> None:
    """The docstring says without what the test fails."""
    _, docstring = promised()[mutation.test]
    assert f"{mutation.without} (`{mutation.file}`)" in docstring.partition("Fails without ")[2]


def test_every_promise_and_every_test_of_one_has_a_mutation() -> None:
    tests = promised()
    assert {number for number, _ in tests.values()} == PROMISES
    assert {mutation.test for mutation in MUTATIONS} == tests.keys()
