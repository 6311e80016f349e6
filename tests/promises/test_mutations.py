"""The lists of promises and of mutations are about what is there: lines that stand in the sources once, and tests.

Whether the tests fail is a question for `make mutants`, which takes minutes.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from promises.mutations import MUTATIONS, Mutation
from promises.mutations_chat import CHAT_MUTATIONS
from promises.mutations_cluster import CLUSTER_MUTATIONS
from promises.mutations_runs import RUNS_MUTATIONS

TESTS = Path(__file__).parent
ROOT = TESTS.parents[1]
PROMISES = {*range(1, 12), 14, 16, 17, 18, 19, 21, 24}
PROMISES_OF_THE_CHAT_APP = {1, 2, 12, 13, 15, 19, 20, 22, 23}


class Promised(NamedTuple):
    """A test of a promise.

    Attributes:
        number: the promise's.
        extent: how much of the matrix it runs on.
        docstring: in one line.
    """

    number: int
    extent: str
    docstring: str


@cache
def promised(folder: str = "") -> dict[str, Promised]:
    """Every test with the mark of a promise in a folder, by its file and name."""
    found = {}
    for path in sorted((TESTS / folder).glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                marks = " ".join(map(ast.unparse, node.decorator_list))
                if number := re.search(r"promise\(number=(\d+)\)", marks):
                    extent = re.search(r"\b(?:in_(pairs|corners)|everywhere)\b", marks)
                    words = " ".join((ast.get_docstring(node) or "").split())
                    found[f"{path.relative_to(TESTS)}::{node.name}"] = Promised(
                        int(number[1]), (extent and extent[1]) or "everywhere", words
                    )
    return found


def name_of(mutation: Mutation) -> str:
    return mutation.without


@pytest.mark.parametrize("mutation", MUTATIONS + CLUSTER_MUTATIONS + CHAT_MUTATIONS + RUNS_MUTATIONS, ids=name_of)
def test_a_mutation_changes_a_line_that_is_there_once(mutation: Mutation) -> None:
    source = (ROOT / "src" / "resumable_stream" / mutation.file).read_text()
    assert source.count(mutation.snippet) == 1
    ast.parse(source.replace(mutation.snippet, mutation.replacement))


@pytest.mark.parametrize("mutation", MUTATIONS + CHAT_MUTATIONS, ids=name_of)
def test_a_mutation_is_told_where_its_test_is(mutation: Mutation) -> None:
    """The docstring says without what the test fails."""
    told = (promised() | promised("chat"))[mutation.test].docstring.partition("Fails without ")[2]
    assert f"{mutation.without} (`{mutation.file}`)" in told


@pytest.mark.parametrize("mutation", CLUSTER_MUTATIONS + RUNS_MUTATIONS, ids=name_of)
def test_a_mutation_of_other_tests_is_told_where_its_test_is(mutation: Mutation) -> None:
    file, _, name = mutation.test.partition("::")
    (test,) = (
        node
        for node in ast.parse((TESTS / file).read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    )
    told = " ".join((ast.get_docstring(test) or "").split()).partition("Fails without ")[2]
    assert f"{mutation.without} (`{mutation.file}`)" in told


def test_every_promise_and_every_test_of_one_has_a_mutation() -> None:
    assert {one.number for one in promised().values()} == PROMISES
    assert {mutation.test for mutation in MUTATIONS} == promised().keys()
    assert {one.number for one in promised("chat").values()} == PROMISES_OF_THE_CHAT_APP
    assert {mutation.test for mutation in CHAT_MUTATIONS} == promised("chat").keys()


def test_the_table_in_the_documentation_says_where_each_promise_is_tested_and_on_what() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*\| `([\w.]+)` \| ([\w, ]+) \|$", text, re.MULTILINE)
    told = {(int(number), file, extent) for number, file, extents in rows for extent in extents.split(", ")}
    assert told == {(one.number, test.partition("::")[0], one.extent) for test, one in promised().items()}


def test_the_table_of_the_chat_app_says_where_each_promise_is_tested() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    told = re.findall(r"^\| (\d+) \|.*\| `(chat/[\w.]+)` \|[^|`]+\|$", text, re.MULTILINE)
    assert {(int(number), file) for number, file in told} == {
        (one.number, test.partition("::")[0]) for test, one in promised("chat").items()
    }
