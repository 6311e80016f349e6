"""The servers of a cluster, one by one: our connections to each, and what is listened to there."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.crc import key_slot

from ._counts import Counts
from ._links import CommandLink, Listener, Subscriber
from ._slots import Address
from ._wire import ServerError

PASSING: Final = (
    "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY", "NOREPLICAS",
    "ERR Script attempted to access",
)  # fmt: skip
"""How the errors begin that say nothing about the command, but about the cluster at this moment."""

_OF_THE_CLIENT: Final = ("max_connections", "response_callbacks", "event_dispatcher", "maint", "oss_", "himport")
"""How the settings begin that redis-py's cluster client keeps for itself."""


class Board(Protocol):
    """Who is told what a server does not do any more."""

    counts: Counts

    def refused(self, channel: bytes, node: Node, error: str) -> None:
        """A server does not take a subscription."""

    def dropped(self, node: Node) -> None:
        """A server has ended a subscription: slots are moving."""


def client_of(redis: RedisCluster, address: Address) -> Redis:
    """A client with the settings of a cluster's, for one server; it is not connected."""
    settings: dict[str, Any] = {
        name: value for name, value in redis.get_connection_kwargs().items() if not name.startswith(_OF_THE_CLIENT)
    }
    # A connect function is only there to make replicas readable: stale reads are none of ours.
    settings |= {"host": address[0], "port": address[1], "protocol": 2, "redis_connect_func": None}
    return Redis(connection_pool=ConnectionPool(**settings))


class Node:
    """One server and our connections to it, which are not made before they are needed.

    Attributes:
        asked: whether a slot was being moved to it when the map was last settled; it may have none yet.
    """

    def __init__(self, redis: RedisCluster, address: Address, board: Board) -> None:
        client = client_of(redis, address)
        self.address = address
        self.asked = False
        self.subscriber = NodeSubscriber(client, board, self)
        self.link = CommandLink(client, self.subscriber)

    async def aclose(self) -> None:
        await self.subscriber.aclose()
        await self.link.aclose()


class Place:
    """A channel, and who listens to it.

    Attributes:
        slot: the channel's.
        node: the server where it is listened to; ``None`` while one is sought.
        redirected: whether one server has named another since the map was last settled.
    """

    def __init__(self, channel: bytes, listener: Listener) -> None:
        self.channel = channel
        self.slot = key_slot(channel)
        self.node: Node | None = None
        self.redirected = False
        self._listeners = [listener]

    def add(self, listener: Listener) -> None:
        self._listeners.append(listener)
        if self.node is not None:
            self.node.subscriber.subscribe(self.channel, listener)

    def remove(self, listener: Listener) -> bool:
        """Returns whether nobody listens any more."""
        if listener in self._listeners:
            self._listeners.remove(listener)
            if self.node is not None:
                self.node.subscriber.unsubscribe(self.channel, listener)
        return not self._listeners

    def move(self, node: Node | None) -> None:
        before, self.node = self.node, node
        for listener in self._listeners:
            if before is not None:
                before.subscriber.unsubscribe(self.channel, listener)
            if node is not None:
                node.subscriber.subscribe(self.channel, listener)


class NodeSubscriber(Subscriber):
    """The channels of one server of a cluster. What it does not serve any more is given back to the cluster."""

    def __init__(self, redis: Redis, board: Board, node: Node) -> None:
        super().__init__(redis, board.counts)
        self._board = board
        self._node = node
        # What was asked for, in order, and not answered yet: an error does not say what it answers.
        self._orders: deque[tuple[bytes, bytes]] = deque()

    def _order(self, verb: bytes, channel: bytes) -> None:
        super()._order(verb, channel)
        if self._transport is not None:
            self._orders.append((verb, channel))

    def _on_connected(self) -> None:
        self._orders.clear()
        super()._on_connected()

    def _on_confirmed(self, channel: bytes) -> None:
        while self._orders and self._orders.popleft() != (b"SSUBSCRIBE", channel):
            pass
        super()._on_confirmed(channel)

    def _on_dropped(self, channel: bytes) -> None:
        if self._orders and self._orders[0] == (b"SUNSUBSCRIBE", channel):
            self._orders.popleft()
        else:
            super()._on_dropped(channel)  # if the slot has gone, the refusal says where
            self._board.dropped(self._node)

    def _on_error(self, error: ServerError) -> None:
        if not str(error).startswith(PASSING):
            super()._on_error(error)
        elif self._orders:
            verb, channel = self._orders.popleft()
            # The answer to a SUNSUBSCRIBE may have come as a push before: then this is about nothing.
            about = verb == b"SSUBSCRIBE" and (not str(error).startswith("MOVED ") or _concerns(error, channel))
            if about and self._listeners.pop(channel, None) is not None:
                self._board.refused(channel, self._node, str(error))


def _concerns(error: ServerError, channel: bytes) -> bool:
    """Whether a redirection is about the channel's slot."""
    return str(error).split(" ")[1] == str(key_slot(channel))
