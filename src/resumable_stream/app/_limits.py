"""What one owner may have at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ._errors import ApiError
from ._settings import Settings

ACTIVE_RUNS: Final = 20
OPEN_STREAMS: Final = 64
_RETRY_STREAMS: Final = 5


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """How much one owner may have at once; ``None`` where there is no limit.

    Attributes:
        active_runs: runs, over all processes.
        open_streams: event streams of this process.
    """

    active_runs: int | None
    open_streams: int | None


def owner_limits(settings: Settings, *, identified: bool) -> OwnerLimits:
    """The limits of the settings, and those for what they leave open.

    Args:
        settings: the app's.
        identified: whether owners are told apart. Where everybody is one owner, a limit would let one visitor lock all
            the others out, so there is none but the one that is asked for.
    """

    def limit(wanted: int | None, usual: int) -> int | None:
        return wanted if wanted is not None or not identified else usual

    return OwnerLimits(
        active_runs=limit(settings.max_active_runs_per_owner, ACTIVE_RUNS),
        open_streams=limit(settings.max_streams_per_owner, OPEN_STREAMS),
    )


class OpenStreams:
    """Counts the open event streams of each owner, in this process.

    Args:
        limit: how many one owner may have; ``None`` for any number.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_of(self, owner: str) -> Iterator[None]:
        """Take a place for as long as the block runs.

        Raises:
            ApiError: 429 when the owner has none left.
        """
        if self._limit is not None and self._open[owner] >= self._limit:
            raise ApiError(
                429,
                "too_many_streams",
                "Too many streams are open. Close some, such as in other tabs.",
                headers={"Retry-After": str(_RETRY_STREAMS)},
            )
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
