"""The API does what its document says, for requests that a machine makes up: schemathesis, a program of its own.

Environment:
    SCHEMATHESIS_EXAMPLES: how many random requests each operation gets, 8 without it; those that follow from the
        document (bounds, wrong types, other methods) are always made. With it they are others each time.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from app.serving import Chat
from resumable_stream.app._operations import OPERATIONS
from resumable_stream.runs import _reading

WISHED = os.environ.get("SCHEMATHESIS_EXAMPLES")
EXAMPLES = int(WISHED or 8)
CONFIG = Path(__file__).with_name("schemathesis.toml")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.timeout(60 + 10 * EXAMPLES)
async def test_no_request_gets_a_server_error_or_an_answer_that_the_document_does_not_tell(
    chat: Chat, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statuses, content types, headers and bodies are compared with the document; what it forbids must be refused."""
    monkeypatch.setattr(_reading, "WAIT_SECONDS", 0.05)  # of 2 s, for each thread that is not there
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIG}", "run", f"{url}/openapi.json"]
    command += ["--header=X-User: ann", "--checks=all", "--phases=examples,coverage,fuzzing,stateful"]
    command += [f"--max-examples={EXAMPLES}", "--continue-on-failure", "--no-shrink", "--warnings=off"]
    command += [] if WISHED else ["--seed=1"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    report = ESCAPES.sub("", output.decode())
    assert process.returncode == 0, report
    assert f"Tested: {len(OPERATIONS)}\n" in report, report
    (made,) = re.findall(r"(\d+) generated, \1 passed", report)
    assert int(made) > 30 * len(OPERATIONS), "it has looked at more than a handful of requests"
    assert (await chat.threads())["threads"], "messages were accepted"
