"""The command ``resumable-stream``: ``demo`` needs nothing but itself, ``serve`` and ``worker`` configured servers.

Exit codes: 0 after a stop that was asked for, 1 when something could not be started, 2 when the
command line, the settings or the installed packages do not suffice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from .._errors import ResumableStreamError
from ._errors import CommandError

DISTRIBUTION: Final = "resumable-stream-redis"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: without the program's name; those of this process when not given.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except KeyboardInterrupt:
        return 130  # asked for a second time: everything was stopped, but not in order
    except CommandError as error:
        return _fail(str(error), error.code)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("resumable_stream"):
            raise
        return _fail(_install_line(error, options.extra), 2)
    except ResumableStreamError as error:
        return _fail(str(error), 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resumable-stream",
        description="A chat whose answers survive reloads, dropped connections and crashes.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version(DISTRIBUTION)}")
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser(
        "demo",
        help="run everything here: embedded Valkey and PostgreSQL, a scripted model, no key",
        description="Run the chat with an embedded Valkey, an embedded PostgreSQL and a scripted "
        "model. Nothing has to be installed or configured. Ctrl-C stops all of it.",
    )
    _add_address(demo)
    demo.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where conversations are kept (default: in the user's data folder)",
    )
    demo.set_defaults(command=_run_demo, extra="demo")

    serve = commands.add_parser(
        "serve",
        help="run the chat on the servers and the model that the environment names",
        description="Run the chat on configured servers: REDIS_URL, DATABASE_URL, LLM_PROVIDER and "
        "its key, from the environment or from .env in the current folder.",
    )
    _add_address(serve)
    _add_log_format(serve)
    serve.set_defaults(command=_run_serve, extra="app")

    worker = commands.add_parser(
        "worker",
        help="answer the messages that servers take with RUN_EXECUTOR=worker",
        description="Execute runs beside the servers, from a queue in Redis. It reads the same settings.",
    )
    worker.add_argument(
        "--app", metavar="MODULE:NAME", help="an app of yours, or a function that makes it (default: that of `serve`)"
    )
    worker.add_argument(
        "--concurrency", type=_count, default=100, metavar="N", help="how many runs at once (%(default)s)"
    )
    _add_log_format(worker)
    worker.set_defaults(command=_run_worker, extra="worker")
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on, 0 for any (%(default)s)")


def _add_log_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        help="how the log looks (default: what LOG_FORMAT says, or text)",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return int(text)


def _run_demo(options: argparse.Namespace) -> None:
    _say(f"resumable-stream {version(DISTRIBUTION)}: starting the demo")
    from ._demo import run_demo  # takes seconds, and needs the extra

    run_demo(host=options.host, port=options.port, data_dir=options.data_dir, say=_say)


def _run_serve(options: argparse.Namespace) -> None:
    from ._serve import run_server  # takes seconds, and needs the extra

    run_server(host=options.host, port=options.port, log_format=options.log_format, say=_say)


def _run_worker(options: argparse.Namespace) -> None:
    from ._worker import run_worker  # takes seconds, and needs the extra

    run_worker(app=options.app, concurrency=options.concurrency, log_format=options.log_format, say=_say)


def _say(text: str, end: str = "\n") -> None:
    with suppress(OSError):  # the terminal may be gone, which must not stop an orderly end
        sys.stdout.write(text + end)
        sys.stdout.flush()


def _fail(message: str, code: int) -> int:
    with suppress(OSError):
        sys.stderr.write(f"resumable-stream: {message}\n")
    return code


def _install_line(error: ModuleNotFoundError, extra: str) -> str:
    if extra != "demo" and "pip install" in str(error):
        return str(error)  # it names the extra of a provider
    package = (error.name or "").partition(".")[0]
    return f"{package} is not installed. Run: pip install '{DISTRIBUTION}[{extra}]'"
