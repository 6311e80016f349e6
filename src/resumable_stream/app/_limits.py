"""What one owner may have at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ._settings import Settings

ACTIVE_RUNS: Final = 20


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """How much one owner may have at once; ``None`` where there is no limit.

    Attributes:
        active_runs: runs, over all processes.
    """

    active_runs: int | None


def owner_limits(settings: Settings, *, identified: bool) -> OwnerLimits:
    """The limits of the settings, and those for what they leave open.

    Args:
        settings: the app's.
        identified: whether owners are told apart. Where everybody is one owner, a limit would let one visitor lock all
            the others out, so there is none but the one that is asked for.
    """

    def limit(wanted: int | None, usual: int) -> int | None:
        return wanted if wanted is not None or not identified else usual

    return OwnerLimits(active_runs=limit(settings.max_active_runs_per_owner, ACTIVE_RUNS))
