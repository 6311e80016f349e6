"""The page about observability and the dashboard know every metric, and no other."""

from __future__ import annotations

import json
import re
from typing import Any

from docs.pages import ROOT
from docs.test_reference_tables import rows_of
from resumable_stream.telemetry import INSTRUMENTS, Instrument

_SUFFIXES = {"s": "_seconds", "By": "_bytes"}
_OF_PROMETHEUS = {"le", "instance", "job"}


def in_prometheus(instrument: Instrument) -> set[str]:
    """The names of the series that a Prometheus has of a metric, by OpenTelemetry's rules for it."""
    name = instrument.name.replace(".", "_") + _SUFFIXES.get(instrument.unit, "")
    if instrument.kind == "counter":
        return {f"{name}_total"}
    if instrument.kind == "histogram":
        return {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return {name}


def test_the_table_of_metrics_has_every_instrument() -> None:
    expected = [
        f"| `{one.name}` | {one.kind} | {one.unit} |"
        f" {', '.join(f'`{attribute}`' for attribute in one.attributes) or '-'} | {one.description} |"
        for one in INSTRUMENTS
    ]
    assert rows_of("observability.md", "## Metrics") == expected, "the table should be:\n" + "\n".join(expected)


def test_the_attributes_of_this_library_are_explained() -> None:
    page = (ROOT / "docs/observability.md").read_text()
    own = {name for one in INSTRUMENTS for name in one.attributes if name.startswith("resumable_stream.")}
    assert {name for name in own if f"| `{name}` |" not in page} == set()


def panels() -> list[dict[str, Any]]:
    board = json.loads((ROOT / "docs/grafana/resumable-stream.json").read_text())
    assert {"title", "uid", "schemaVersion", "templating", "time", "panels"} <= set(board)
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    found: list[dict[str, Any]] = board["panels"]
    return found


def test_every_metric_has_a_panel_and_every_panel_its_metrics() -> None:
    series = {name: one for one in INSTRUMENTS for name in in_prometheus(one)}
    shown = set()
    for panel in panels():
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            (name,) = re.findall(r"\b((?:resumable_stream|gen_ai|db)_\w+)\{", target["expr"])
            assert name in series, f"{panel['title']}: there is no {name}"
            shown.add(series[name].name)
            labels = {attribute.replace(".", "_") for attribute in series[name].attributes} | _OF_PROMETHEUS
            split = re.findall(r"by \(([^)]*)\)", target["expr"]) + re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            assert {label.strip() for part in split for label in part.split(",")} <= labels, target
    assert {one.name for one in INSTRUMENTS} - shown == set()


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    ids = set()
    for panel in panels():
        ids.add(panel["id"])
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len(ids) == len(panels())
