"""Tables in the documentation say what the code says."""

from __future__ import annotations

import re
from typing import Any

from docs.pages import ROOT
from resumable_stream.app import Settings
from resumable_stream.app._operations import ERROR_STATUS, OPERATIONS


def test_the_table_of_settings_is_complete_and_right() -> None:
    expected = [
        f"| `{name.upper()}` | {_default(field.get_default(), required=field.is_required())} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    assert rows_of("settings.md", "# Settings") == expected, "the table should be:\n" + "\n".join(expected)


def test_the_table_of_routes_has_every_operation() -> None:
    routes = [re.split(r"[`|]", row)[2] for row in rows_of("http.md", "## Routes")]
    assert routes == [*(f"{one.method} {one.path}" for one in OPERATIONS), "GET /"]


def test_the_table_of_errors_has_every_code_with_its_status() -> None:
    codes = [row.split("|")[1:3] for row in rows_of("http.md", "## Errors")]
    listed = {code.strip(" `"): int(status) for code, status in codes}
    assert listed == {code: status for code, (status, _) in ERROR_STATUS.items()}


def _default(value: Any, *, required: bool) -> str:
    if required:
        return "required"
    if value is None or value == ():
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def rows_of(page: str, heading: str) -> list[str]:
    """The body of the first table below a heading."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    table = re.search(rf"^{heading}$.*?^\|-[-|]*\|\n((?:^\|[^\n]*\n)*)", text, re.MULTILINE | re.DOTALL)
    assert table is not None, f"{page} has no table below {heading!r}"
    return table[1].splitlines()
