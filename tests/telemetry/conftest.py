"""An OpenTelemetry SDK for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from telemetry.collected import Collected, collecting


@pytest.fixture
def collected() -> Iterator[Collected]:
    with collecting() as found:
        yield found
