"""What is measured: cases, the settings of a run, and the results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

OURS = "ours"
PLAIN = "plain"
BARE = "bare"
WAYS = (OURS, PLAIN, BARE)

Figures = dict[str, float]
"""What one run of one case came to, by name."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is run once in each round.

    Attributes:
        kind: which function runs it.
        way: how the streams are served: ``ours``, ``plain`` or ``bare`` (a limit, without what the scenario is about).
        streams: how many streams there are.
        viewers: how many viewers each stream has; for ``replay`` how many read the one stream at once.
        rate: tokens a second and stream.
        count: how many tokens or events, where that is not the rate times the seconds.
    """

    kind: str
    way: str
    streams: int = 1
    viewers: int = 1
    rate: float = 0.0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is made.

    Attributes:
        url: of the Redis server, which is flushed before each case.
        seconds: how long what is paced is measured.
        scale: what the counts of the scenarios are multiplied with: 1, except where only the suite is tested.
        warm: seconds before the measuring, in which everything settles.
        after: seconds for which sources go on after it, so that no end is measured.
        profile: where the profile of our server process goes.
    """

    url: str
    seconds: float = 5.0
    scale: float = 1.0
    warm: float = 1.5
    after: float = 0.5
    profile: Path | None = None

    def scaled(self, count: int) -> int:
        """A count of the scenarios at this scale."""
        return max(1, round(count * self.scale))


class Results:
    """The figures of every round."""

    def __init__(self) -> None:
        self._rounds: dict[Case, list[Figures]] = {}

    def add(self, case: Case, figures: Figures) -> None:
        self._rounds.setdefault(case, []).append(figures)

    def __getitem__(self, key: tuple[Case, str]) -> list[float]:
        """One figure of a case, a value a round; empty when the case was not run."""
        case, name = key
        return [figures[name] for figures in self._rounds.get(case, ())]


def ratios(values: list[float], base: list[float]) -> list[float]:
    """What was measured, in terms of what was measured beside it in the same round."""
    return [value / by if by else float("inf") for value, by in zip(values, base, strict=False)]


def at_least(least: float) -> Callable[[float], bool]:
    """Whether a value is as high as it should be."""
    return lambda value: value >= least


def at_most(most: float) -> Callable[[float], bool]:
    """Whether a value is as low as it should be."""
    return lambda value: value <= most


def spread(values: list[float], digits: int) -> str:
    """A median with the lowest and highest value; a dash for nothing."""
    if not values:
        return "-"
    low, middle, high = (f"{v:,.{digits}f}" for v in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: a figure of each way, and what ours should be.

    Attributes:
        scenario: ``P1`` and so on.
        figure: what is measured, with its unit.
        cells: a value a round for each way.
        limit: what the way ``bare`` is in this scenario.
        digits: decimals.
        judged: what the target speaks of, a value a round; empty when it is no target, or could not be measured.
        target: the target in words.
        reached: whether a value reaches it.
        factor: whether what is judged is a ratio, shown beside the verdict.
    """

    scenario: str
    figure: str
    cells: Mapping[str, list[float]]
    limit: str = "bare ASGI"
    digits: int = 0
    judged: list[float] | None = None
    target: str = ""
    reached: Callable[[float], bool] | None = None
    factor: bool = False

    @property
    def verdict(self) -> str:
        """Whether the median reaches the target."""
        if not self.judged or self.reached is None:
            return "" if not self.target else "not measured"
        word = "reached" if self.reached(statistics.median(self.judged)) else "**missed**"
        return f"{word}: {spread(self.judged, 2)} x" if self.factor else word

    def line(self) -> str:
        """The row in Markdown."""
        limit = spread(self.cells.get(BARE, []), self.digits)
        cells = [
            self.scenario,
            self.figure,
            spread(self.cells.get(OURS, []), self.digits),
            spread(self.cells.get(PLAIN, []), self.digits),
            f"{limit} {self.limit}" if self.cells.get(BARE) else "-",
            self.target,
            self.verdict,
        ]
        return f"| {' | '.join(cells)} |"


HEAD = """\
| | figure | resumable_stream | plain | limit | target | |
|---|---|---|---|---|---|---|"""
