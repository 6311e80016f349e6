"""Changes the library line by line, as `mutations` and its neighbours say, and wants a test to fail each time.

    python -m promises.mutants [WORDS ...]

With words only the mutations in which one of them stands, such as a file or a test. The sources stay as they are: each
change is made to a copy, which is imported in their place. Prints a table; the exit status is 1 when a change went
unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from promises.mutations import MUTATIONS, Mutation
from promises.mutations_chat import CHAT_MUTATIONS
from promises.mutations_cluster import CLUSTER_MUTATIONS
from promises.mutations_runs import RUNS_MUTATIONS

ROOT = Path(__file__).parents[2]
FAILED = 1
"""pytest's exit status when tests failed; others say that it could not run them."""


def run(sources: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests on a copy of the sources, to the first failure."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(sources), str(ROOT / "tests")])}
    nodes = [f"tests/promises/{test}" for test in tests]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *nodes]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def verdict(folder: Path, mutation: Mutation) -> tuple[bool, str]:
    """Make one change and look whether its test fails."""
    sources = Path(tempfile.mkdtemp(dir=folder))
    package = shutil.copytree(ROOT / "src" / "resumable_stream", sources / "resumable_stream")
    path = package / mutation.file
    source = path.read_text()
    if source.count(mutation.snippet) != 1:
        return False, "the line is not there once"
    path.write_text(source.replace(mutation.snippet, mutation.replacement))
    began = time.monotonic()
    result = run(sources, [mutation.test])
    seconds = time.monotonic() - began
    if result.returncode == FAILED:
        return True, f"fails after {seconds:.0f} s"
    return False, "PASSES" if result.returncode == 0 else f"cannot be run:\n{result.stdout}{result.stderr}"


def main(words: Sequence[str]) -> int:
    known = MUTATIONS + CLUSTER_MUTATIONS + CHAT_MUTATIONS + RUNS_MUTATIONS
    chosen = [one for one in known if not words or any(word in " ".join(one) for word in words)]
    if not chosen:
        print("No mutation has such a word in it.")
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        untouched = Path(shutil.copytree(ROOT / "src", folder / "untouched"))
        before = run(untouched, sorted({one.test for one in chosen}))
        if before.returncode != 0:
            print("The tests fail without any change:\n" + before.stdout + before.stderr)
            return 1
        noticed = True
        width = max(len(one.without) for one in chosen)
        with ThreadPoolExecutor(int(os.environ.get("WORKERS", "2"))) as pool:
            for mutation, (killed, how) in zip(chosen, pool.map(partial(verdict, folder), chosen), strict=True):
                noticed = noticed and killed
                test = mutation.test.partition("::")[2]
                print(
                    f"{'ok  ' if killed else 'LOOK'}  {mutation.without:{width}}  {mutation.file:14} {test}  {how}",
                    flush=True,
                )
    return 0 if noticed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
