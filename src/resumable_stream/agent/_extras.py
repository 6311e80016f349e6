"""Packages that are installed only by an extra, and the line that installs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_OWN = __name__.partition(".")[0]


def install_line(extra: str) -> str:
    """The command that installs an extra of this library."""
    return f"pip install 'resumable-stream-redis[{extra}]'"


def missing(package: str, extra: str) -> ModuleNotFoundError:
    """The error for a package that is not installed."""
    return ModuleNotFoundError(f"{package} is not installed. Run: {install_line(extra)}", name=package)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Imports of other people's packages inside the block name the extra when they are missing.

    Raises:
        ModuleNotFoundError: with the line that installs the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package == _OWN or "resumable-stream-redis[" in str(error):
            raise
        raise missing(package, extra) from error


def require(package: str, extra: str) -> None:
    """Check that a package can be imported, without importing it.

    Raises:
        ModuleNotFoundError: with the line that installs the extra.
    """
    if find_spec(package) is None:
        raise missing(package, extra)
