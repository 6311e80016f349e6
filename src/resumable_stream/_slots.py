"""Which server of a cluster has which slot, as far as is known. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

SLOTS: Final = 16384

Address = tuple[str, int]
"""A host and a port, as a client reaches them."""

Remap = Callable[[str, int], Address]
"""Makes an address that a client can reach of one that the servers know."""

_SAME_HOST: Final = ("", "?")


class SlotMap:
    """The primary of each slot. Filled from one server's view, corrected by what others say."""

    def __init__(self, remap: Remap) -> None:
        self._remap = remap
        self._owners: list[Address | None] = [None] * SLOTS
        self.owners: set[Address] = set()
        """Who has slots. Also who has had one, until the map is filled again."""

    def owner(self, slot: int) -> Address | None:
        """Who has a slot."""
        return self._owners[slot]

    def move(self, slot: int, address: Address) -> None:
        """Note that a server has a slot now."""
        self._owners[slot] = address
        self.owners.add(address)

    def fill(self, owners: list[Address | None]) -> None:
        """Replace all that was known."""
        self._owners = owners
        self.owners = {address for address in owners if address is not None}

    def parse(self, reply: Any, host: str) -> list[Address | None]:
        """The owners that a reply to ``CLUSTER SLOTS`` names; ``host`` is the server that was asked.

        Raises:
            ValueError: it is something else.
        """
        owners: list[Address | None] = [None] * SLOTS
        try:
            for first, last, primary, *_ in reply:
                address = self._address(primary[0], primary[1], host)
                owners[first : last + 1] = [address] * (last + 1 - first)
        except (TypeError, IndexError, AttributeError) as exc:
            raise ValueError("not a reply to CLUSTER SLOTS") from exc
        if len(owners) != SLOTS:
            raise ValueError("there are no such slots")
        return owners

    def redirection(self, error: str, host: str) -> tuple[int, Address]:
        """The slot and the server that ``MOVED`` or ``ASK`` names; ``host`` is the server that said it.

        Raises:
            ValueError: it is something else.
        """
        _, slot, address = error.split(" ")
        name, _, port = address.rpartition(":")
        return int(slot), self._address(name.encode(), int(port), host)

    def _address(self, name: bytes | None, port: int, host: str) -> Address:
        known = (name or b"").decode()
        return self._remap(host if known in _SAME_HOST else known, port)
