"""Commands, paths and links in the README and the documentation exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, all_blocks, name_of

_LINES = [line for block in all_blocks("sh") for line in block.code.splitlines() if line.strip()]


def test_every_make_target_exists() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\bmake ([a-z]+)`", page.read_text(encoding="utf-8"))}
    named |= {line.split()[1] for line in _LINES if line.startswith("make ")}
    assert {"demo", "test", "docs", "check"} <= named <= targets


def test_what_is_installed_is_this_distribution_with_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = [shlex.split(line, comments=True)[2:] for line in _LINES if line.startswith("pip install")]
    assert installed
    for name, _, extras in (requirement.partition("[") for (requirement,) in installed):
        assert name == project["name"]
        assert {extra for extra in extras.rstrip("]").split(",") if extra} <= set(project["optional-dependencies"])


@pytest.mark.parametrize("line", [line for line in _LINES if line.startswith("resumable-stream ")])
def test_every_call_of_the_command_is_understood(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    code = "import sys; from resumable_stream.cli import _parser; _parser().parse_args(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_shell_lines_begin_with_a_command_that_a_reader_has() -> None:
    known = {"make", "pip", "resumable-stream", "export", "curl"}
    assert {line.split()[0] for line in _LINES} <= known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`(?:python |sh )?((?:examples|docs|tests)/[\w./-]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)]
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_the_pages_build_strictly_and_ask_no_other_host_for_anything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(PAGES)
    outside = re.compile(
        r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*\shref=["']?(?:https?:)?//"""
    )
    assert [page.name for page in pages if outside.search(page.read_text(encoding="utf-8"))] == []
