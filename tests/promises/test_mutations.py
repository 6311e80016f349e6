"""The changes that `mutants` makes can still be made: their lines are there, and their tests."""

from __future__ import annotations

from pathlib import Path

from promises.mutants import KNOWN, ROOT


def test_the_line_of_every_mutation_is_there_once() -> None:
    sources = ROOT / "src" / "resumable_stream"
    found = {(one.file, one.snippet): (sources / one.file).read_text().count(one.snippet) for one in KNOWN}
    assert {line: count for line, count in found.items() if count != 1} == {}


def test_the_test_of_every_mutation_is_there() -> None:
    for one in KNOWN:
        file, _, name = one.test.partition("::")
        source = (Path(__file__).parent / file).read_text()
        assert f"def {name.partition('[')[0]}(" in source, f"{one.without}: {one.test}"
