"""Where the demo keeps conversations, and that only one demo does so at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ._errors import CommandError


def default_data_dir() -> Path:
    """The user's folder for the data of programs, by the custom of the platform.

    For root it is a folder of the system: PostgreSQL, which refuses to run as root, could not get
    at its data below ``/root``.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/resumable-stream-demo")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "resumable-stream-demo"
    base = os.environ.get("XDG_DATA_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return folder / "resumable-stream-demo"


class DataFolder:
    """A folder that no other demo uses.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    def announce(self, address: str) -> None:
        """Say where this demo is found, for the message that another one gets."""
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} at {address}\n")
        self._lock.flush()


@contextmanager
def data_folder(path: Path) -> Iterator[DataFolder]:
    """Make the folder and keep other demos out, until the end of the block or of the process.

    Raises:
        CommandError: another demo uses it, or it cannot be written.
    """
    import fcntl  # not there on Windows, where the embedded servers do not run either

    path = path.expanduser().resolve()
    try:
        # Root's servers run as another account, which must get through.
        path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        lock = (path / "demo.lock").open("a+")
    except OSError as error:
        raise CommandError(f"cannot use the data folder {path}: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            user = lock.read().strip() or "it is just starting"
            raise CommandError(f"another demo uses {path} ({user}). Stop it, or give another --data-dir.") from None
        yield DataFolder(path, lock)
