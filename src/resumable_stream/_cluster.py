"""The servers of a cluster as one: each command and each subscription goes to the primary that has its slot.

A map of the slots is asked for when it is first needed and whenever a server contradicts it or cannot be reached.
Each primary that is used has two connections, as a single server has. redis-py's cluster client is not asked for
anything but its settings.

While a slot is moved key by key, the two keys of a stream go one after the other, and the slot's subscriptions
stay behind with the old owner until the last key has gone:

* ``ASK``: both keys are at the new owner, or nowhere. The command goes there, behind an ``ASKING``. There is nobody
  to hear what the script publishes there, so the listeners at the old owner are told to look at the log.
* ``TRYAGAIN`` of the old owner: only one of them has gone. That passes.
* ``TRYAGAIN`` of the new owner, after ``ASK``: one of them is nowhere, as with a stream that is new. The server
  refuses every command that names two keys of which one is missing, for as long as the slot moves. As both were gone
  from the old owner, none can come after; so the script is run with the second key as a mere argument.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
from redis.asyncio import RedisCluster

from ._counts import Counts
from ._errors import LogUnavailable
from ._links import CommandLink, Listener, backoff
from ._nodes import PASSING, Node, Place, client_of
from ._replicas import Unconfirmed
from ._scripts import POKE, Script
from ._slots import Address, SlotMap
from ._wire import ServerError, ask, bulk, pack

PATIENCE: Final = 1.5
"""Seconds for which one command is tried again where a cluster says, or looks as if, it will soon be better."""

MAP_INTERVAL: Final = 0.2
"""Seconds between two questions for the map, at least."""

QUIET: Final = 1.0
"""Seconds of silence after which the others are asked whether a server still has its slots; it is waited for longer."""

MAP_TIMEOUT: Final = 1.0
"""Seconds that one server has to answer with its map before another is asked."""


class Cluster:
    """Commands and sharded channels in a cluster. Its connections live until it is closed."""

    def __init__(self, redis: RedisCluster, slots: SlotMap, counts: Counts) -> None:
        self.counts = counts
        self._redis = redis
        self._slots = slots
        self._nodes: dict[Address, Node] = {}
        self._places: dict[bytes, Place] = {}
        self._hint: Address | None = None
        self._suspects: set[Address] = set()
        self._looking: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._looked = asyncio.Event()
        self._trouble: Exception | None = None  # of the last look that found nothing
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._timer = asyncio.get_running_loop().call_later(QUIET, self._check_silence)

    # Commands.

    async def evaluate(
        self, script: Script, slot: int, count: int, arguments: bytes, channels: Sequence[bytes], replicas: int
    ) -> Any:
        """Run a script whose first two arguments, of ``count``, are its keys.

        Args:
            script: the script.
            slot: of its keys.
            count: how many arguments there are.
            arguments: packed.
            channels: where it may publish.
            replicas: how many must have what it wrote.

        Raises:
            LogUnavailable: as `call`.
        """
        for head in (b"$7\r\nEVALSHA\r\n" + bulk(script.sha), b"$4\r\nEVAL\r\n" + bulk(script.source)):
            start = b"*%d\r\n" % (count + 3) + head
            reply = await self.call(
                slot,
                start + b"$1\r\n2\r\n" + arguments,
                lambda start=start: start + b"$1\r\n1\r\n" + arguments,  # type: ignore[misc] # it is bytes
                channels,
                replicas,
            )
            if not (isinstance(reply, ServerError) and str(reply).startswith("NOSCRIPT")):
                break
        return reply

    def link(self, slot: int) -> CommandLink | None:
        """The line to whoever is thought to have a slot; ``None`` when nobody is."""
        node = self._owner(slot)
        return node.link if node is not None else None

    async def call(
        self,
        slot: int,
        command: bytes,
        alone: Callable[[], bytes] | None = None,
        channels: Sequence[bytes] = (),
        replicas: int = 0,
    ) -> Any:
        """Send one packed command to whoever has its slot and return the reply; an error reply is a `ServerError`.

        Args:
            slot: of all the keys that it has.
            command: the command. It may be executed more than once.
            alone: makes the same command with its first key only, the others being arguments.
            channels: where it may publish.
            replicas: how many must have what it wrote.

        Raises:
            LogUnavailable: no reply within `PATIENCE` seconds that is about the command, or no connection.
        """
        deadline = time.monotonic() + PATIENCE
        attempt = 0
        while True:
            error: Exception | None = None
            node = self._owner(slot)
            if node is not None:
                try:
                    reply = await node.link.call(command, replicas)
                    if isinstance(reply, ServerError) and str(reply).startswith("ASK "):
                        reply = await self._ask(node, str(reply), command, alone, channels, replicas)
                    if not isinstance(reply, ServerError) or not str(reply).startswith(PASSING):
                        return reply
                    error = reply
                    if str(reply).startswith("MOVED "):
                        self._moved(node, str(reply))
                        if attempt == 0:
                            attempt = 1
                            continue
                    else:
                        self._suspects.add(node.address)  # others may know better, such as when it is cut off from them
                except Unconfirmed:
                    raise
                except LogUnavailable as exc:
                    error = exc
                    self._suspects.add(node.address)
            left = deadline - time.monotonic()
            if self._closed or left <= 0:
                raise LogUnavailable("the cluster does not serve the stream now") from error or self._trouble
            self._look()
            with anyio.move_on_after(min(left, backoff(attempt))):
                await self._looked.wait()
            attempt += 1

    async def _ask(
        self,
        source: Node,
        error: str,
        command: bytes,
        alone: Callable[[], bytes] | None,
        channels: Sequence[bytes],
        replicas: int,
    ) -> Any:
        """Do it at the server to which the slot is being moved."""
        target = self._node(self._slots.redirection(error, source.address[0])[1])
        target.asked = True
        reply = await target.link.call_asking(command, replicas)
        if alone is not None and isinstance(reply, ServerError) and str(reply).startswith("TRYAGAIN"):
            reply = await target.link.call_asking(alone(), replicas)
        if not isinstance(reply, ServerError):
            for channel in channels:
                source.link.post(pack(b"SPUBLISH", channel, POKE))
        return reply

    def _moved(self, node: Node, error: str) -> None:
        slot, address = self._slots.redirection(error, node.address[0])
        self._slots.move(slot, address)
        self._hint = address
        self._look()

    # Channels: what `Subscriber` does for one server.

    def subscribe(self, channel: bytes, listener: Listener) -> None:
        """Begin to listen. ``on_subscribed`` tells when it is so, and whenever the channel has moved."""
        place = self._places.get(channel)
        if place is None:
            place = self._places[channel] = Place(channel, listener)
            place.move(self._owner(place.slot))
        else:
            place.add(listener)
        if place.node is None:
            self._look()

    def unsubscribe(self, channel: bytes, listener: Listener) -> None:
        """Stop listening; a listener that is unknown, or gone already, is ignored."""
        place = self._places.get(channel)
        if place is not None and place.remove(listener):
            del self._places[channel]

    def refused(self, channel: bytes, node: Node, error: str) -> None:
        """Listen where the server says, once; else where the map will say."""
        place = self._places.get(channel)
        if place is None or place.node is not node:
            return
        place.node = None
        if error.startswith("MOVED "):
            self._moved(node, error)
            if not place.redirected:
                place.redirected = True
                place.move(self._owner(place.slot))
        self._look()

    def dropped(self, node: Node) -> None:
        """Ask for the map: the server knows the new one."""
        self._hint = node.address
        self._look()

    def _check_silence(self) -> None:
        for node in self._nodes.values():
            if node.link.silence > QUIET:
                self._suspects.add(node.address)
                self._look()
        self._timer = asyncio.get_running_loop().call_later(QUIET, self._check_silence)

    # The servers, and the map.

    def _owner(self, slot: int) -> Node | None:
        address = self._slots.owner(slot)
        return None if address is None else self._node(address)

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(self._redis, address, self)
        return node

    def _look(self) -> None:
        """Have the map asked for soon, and subscriptions follow it."""
        if self._looking is None and not self._closed:
            self._looking = asyncio.create_task(self._look_around(), name="resumable_stream cluster map")

    async def _look_around(self) -> None:
        """Ask for the map, until every channel has a place where it is served."""
        loop = asyncio.get_running_loop()
        attempt = 0
        try:
            while True:
                await anyio.sleep(max(0.0, self._next_look - loop.time()))
                owners = await self._ask_for_map()
                self._next_look = loop.time() + MAP_INTERVAL
                if owners is not None:
                    self._slots.fill(owners)
                    self._settle()
                looked, self._looked = self._looked, asyncio.Event()
                looked.set()
                if all(place.node is not None for place in self._places.values()):
                    return
                await anyio.sleep(backoff(attempt))
                attempt += 1
        finally:
            self._looking = None

    async def _ask_for_map(self) -> list[Address | None] | None:
        """The view of the first server that answers with all slots, else the fullest; ``None`` when nobody answers."""
        best: list[Address | None] | None = None
        hint, self._hint = self._hint, None
        suspects, self._suspects = self._suspects, set()
        for address in self._candidates(hint, suspects):
            node = self._nodes.get(address)
            try:
                with anyio.move_on_after(MAP_TIMEOUT):
                    if node is not None and node.link.connected:
                        reply = await node.link.call(pack(b"CLUSTER", b"SLOTS"))
                        if isinstance(reply, ServerError):
                            raise reply
                    else:  # any server will do, also a replica
                        reply = await ask(client_of(self._redis, address), "CLUSTER", "SLOTS")
                    owners = self._slots.parse(reply, address[0])
                    if best is None or owners.count(None) < best.count(None):
                        best = owners
            except Exception as exc:  # noqa: BLE001 - also what the caller's own `address_remap` raises
                self._trouble = exc
            if best is not None and None not in best:
                break
        return None if best is None or not any(best) else best

    def _candidates(self, hint: Address | None, suspects: set[Address]) -> list[Address]:
        """Whom to ask for the map: who should know, who is connected, who was there, who was named at first."""
        known = {*self._slots.owners, *self._nodes}
        started = {(str(node.host), int(node.port)) for node in self._redis.nodes_manager.startup_nodes.values()}

        def rank(address: Address) -> tuple[bool, bool, bool, bool, float]:
            node = self._nodes.get(address)
            connected = node is not None and node.link.connected
            return (
                address in suspects,
                address != hint,
                not connected,
                address not in known,
                random.random(),  # noqa: S311 - spreads load, guards nothing
            )

        return sorted(known | started, key=rank)

    def _settle(self) -> None:
        """Bring subscriptions to where the map says, and let go of servers that it does not name."""
        for place in self._places.values():
            place.redirected = False
            node = self._owner(place.slot)
            if node is not place.node:
                place.move(node)
        owners = self._slots.owners
        for address, node in tuple(self._nodes.items()):
            if address in owners or node.asked:
                node.asked = False
                continue
            del self._nodes[address]
            task = asyncio.create_task(node.aclose(), name="resumable_stream node close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Stop listening and close all connections; calls under way fail."""
        self._closed = True
        self._timer.cancel()
        looking, nodes = self._looking, tuple(self._nodes.values())
        self._places.clear()
        self._nodes.clear()
        with anyio.CancelScope(shield=True):
            if looking is not None:
                looking.cancel()
                await asyncio.wait([looking])
            await asyncio.gather(*(node.aclose() for node in nodes))
            if self._closing:
                await asyncio.wait(self._closing)
