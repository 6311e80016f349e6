"""The matrix that the promises are tested on: servers, and settings of the client that is passed in.

Servers are Valkey from the wheel and the `redis-server` that is installed, the oldest that is supported on Debian 12.
The client speaks RESP2 or RESP3, and returns bytes or text. How much of it a test runs on depends on what it costs:

    everywhere    all eight combinations, for what takes milliseconds
    in_pairs      four, in which every two values meet once
    in_corners    two, in which every value occurs once, for what takes seconds
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Literal, TypeAlias

import pytest

Server: TypeAlias = Literal["valkey", "redis"]
SERVERS: Final[tuple[Server, ...]] = ("valkey", "redis")


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination."""

    server: Server
    protocol: int
    decode: bool

    def __str__(self) -> str:
        return f"{self.server}-RESP{self.protocol}-{'text' if self.decode else 'bytes'}"

    @property
    def settings(self) -> dict[str, Any]:
        """Of the client, as arguments."""
        return {"protocol": self.protocol, "decode_responses": self.decode}

    def url(self, server: str) -> str:
        """The address for a client with the settings, for another process."""
        return f"{server}?protocol={self.protocol}{'&decode_responses=yes' if self.decode else ''}"


EVERY: Final = tuple(Variant(*values) for values in product(SERVERS, (2, 3), (False, True)))
PAIRS: Final = tuple(
    variant for variant in EVERY if (variant.server == "redis") ^ (variant.protocol == 3) == variant.decode
)
CORNERS: Final = (Variant("valkey", 3, decode=True), Variant("redis", 2, decode=False))

everywhere: Final = pytest.mark.parametrize("variant", EVERY, ids=str, indirect=True)
in_pairs: Final = pytest.mark.parametrize("variant", PAIRS, ids=str, indirect=True)
in_corners: Final = pytest.mark.parametrize("variant", CORNERS, ids=str, indirect=True)


def program_of(server: Server) -> str | None:
    """The program to start; ``None`` for the wheel's own. Where it is missing the test skips, or fails as told."""
    if server == "valkey":
        return None
    if path := shutil.which("redis-server"):
        return path
    if os.environ.get("REQUIRE_SERVERS"):
        pytest.fail("there is no redis-server, and REQUIRE_SERVERS is set")
    pytest.skip("no redis-server found: install it (apt-get install redis-server) to test on Redis as well")
