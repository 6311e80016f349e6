"""The benchmarks work: tiny counts, and nothing about how fast anything is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import durability
from benchmarks.__main__ import SCENARIOS, measure
from benchmarks.cases import HEAD, WAYS, Settings


@pytest.fixture(scope="module")
def settings(valkey_url: str) -> Settings:
    return Settings(valkey_url, seconds=0.2, scale=0.01, warm=0.1, after=0.1)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_has_a_figure_in_each_of_its_rows(scenario: str, settings: Settings) -> None:
    rows = measure([scenario], list(WAYS), 1, settings)
    assert rows
    for row in rows:
        assert row.line().count("|") == HEAD.splitlines()[0].count("|")
        assert row.cells, row.figure
        for way, values in row.cells.items():
            assert len(values) == 1, f"{row.figure}: nothing was measured for {way}"
            assert values[0] >= 0, f"{row.figure}: {way}"
        if row.target:
            assert row.judged, f"{row.figure} has a target that is not judged"


@pytest.mark.parametrize(
    "mode",
    [mode for mode in durability.MODES if mode.cut or not mode.replica],
    ids=lambda mode: f"{mode.name}, {mode.fault}",
)
async def test_acknowledged_events_are_lost_where_they_must_be_and_nowhere_else(mode: durability.Mode) -> None:
    """Also a test of what the documentation says: what may lose nothing loses nothing, and a loss would be seen."""
    outcome = await durability.run(replace(mode, cut=mode.cut / 4), streams=20, seconds=0.1, binary=None)
    assert outcome.acknowledged > 0
    if mode.name == "no persistence":
        assert outcome.lost == outcome.acknowledged
    elif mode.replica and not mode.survives and not mode.confirmed:
        assert outcome.lost > 0
    elif mode.settings.get("appendfsync") != "everysec":  # which may lose some, once in a hundred times
        assert outcome.lost == 0
