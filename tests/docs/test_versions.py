"""The version is one, wherever it stands."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date

import resumable_stream
from docs.pages import ROOT


def test_package_metadata_and_changelog_have_the_same_version() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata["project"]["version"] == resumable_stream.__version__
    assert _releases()[0][0] == resumable_stream.__version__


def test_the_changelog_lists_releases_from_the_newest_with_their_dates() -> None:
    dates = [date.fromisoformat(day) for _, day in _releases()]
    assert dates == sorted(dates, reverse=True)


def test_the_changelog_names_the_layout_of_the_keys() -> None:
    from resumable_stream._names import LAYOUT

    assert f"`{LAYOUT}`" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_parsers_in_the_documentation_have_the_versions_that_the_tests_ask() -> None:
    page = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
    npm: dict[str, str] = json.loads((ROOT / "tests/sse/package.json").read_text(encoding="utf-8"))["dependencies"]
    python = dict(re.findall(r"^(.+)==(.+)$", (ROOT / ".ci/constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"^\| (?:[a-z ]+ of )?`([^`]+)` ([0-9.]+) ", page, re.MULTILINE)
    assert {name for name, _ in named} >= npm.keys()
    for name, version in named:
        assert (npm.get(name) or python[name]).startswith(f"{version}."), name


def _releases() -> list[tuple[str, str]]:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases: list[tuple[str, str]] = re.findall(r"^## \[([^]]+)\] - (\S+)$", text, re.MULTILINE)
    assert releases
    return releases
