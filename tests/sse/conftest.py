"""The parsers that judge, and streams as they come over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sse.parsers import NODE, PYTHON, Audience, Node, started, why_not_node


@pytest.fixture(scope="session")
def node_if_there() -> Iterator[Node | None]:
    if why_not_node() is not None:
        yield None
        return
    with started() as node:
        yield node


@pytest.fixture
def node(node_if_there: Node | None) -> Node:
    """The parsers from npm; without them the test skips, and says why."""
    if node_if_there is None:
        pytest.skip(why_not_node() or "")
    return node_if_there


@pytest.fixture(scope="session")
def audience(node_if_there: Node | None) -> Audience:
    """All parsers; those of Python where npm's are not there: the tests that ask for ``node`` skip then."""
    return Audience([*PYTHON, *NODE] if node_if_there is not None else PYTHON, node_if_there)
