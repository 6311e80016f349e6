"""A real cluster on this machine, and ways to move its slots and lose its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

from redis import Redis as SyncRedis
from redis.asyncio import RedisCluster
from redis.crc import key_slot

from core.replication import BINARY
from core.streams import log_key
from resumable_stream.embedded import EmbeddedValkey, free_port
from support import connections_of_this_process, keys_without_ttl, wait_until_sync

SLOTS = 16384


class Node:
    """One server of the cluster, a client that looks at it from outside, and its id in the cluster."""

    def __init__(self, server: EmbeddedValkey, bus: int) -> None:
        self.server = server
        self.bus = bus
        self.admin = SyncRedis(port=server.port, decode_responses=True)
        self.id = str(self.ask("CLUSTER", "MYID"))

    @property
    def port(self) -> int:
        return self.server.port

    def ask(self, *command: Any) -> Any:
        """Ask this server itself, whatever it says about slots."""
        return self.admin.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py has not annotated it

    def says(self) -> dict[str, str]:
        """Its view of the cluster."""
        reply = self.ask("CLUSTER", "INFO")
        return reply if isinstance(reply, dict) else dict(line.split(":") for line in reply.split())

    @property
    def is_primary(self) -> bool:
        """Whether it takes writes."""
        return bool(self.admin.info("replication")["role"] == "master")

    def ranges(self) -> list[tuple[int, int]]:
        """The slots that it has, as it sees it itself."""
        parts = [part.split("-") for part in self._slots() if not part.startswith("[")]
        return [(int(part[0]), int(part[-1])) for part in parts]

    def open_slots(self) -> list[int]:
        """The slots that are being moved to it or from it."""
        return [int(part[1:].split("-")[0]) for part in self._slots() if part.startswith("[")]

    def view(self) -> frozenset[tuple[str, ...]]:
        """Who has which slots, as it sees that."""
        lines = (line.split(" ") for line in self.ask("CLUSTER", "NODES").splitlines())
        return frozenset((line[0], *(part for part in line[8:] if not part.startswith("["))) for line in lines)

    def _slots(self) -> list[str]:
        (own,) = (line.split(" ") for line in self.ask("CLUSTER", "NODES").splitlines() if "myself" in line)
        return [str(part) for part in own[8:]]

    def keys(self) -> int:
        """How many keys it has."""
        return int(self.ask("DBSIZE"))

    def refusals(self, code: str) -> int:
        """How often it has answered with an error of this kind."""
        return int(self.admin.info("errorstats").get(f"errorstat_{code}", {"count": 0})["count"])

    def connections(self) -> int:
        """How many of its clients are sockets of this process, not counting the one that asks."""
        return len(connections_of_this_process(self.admin))


class Nodes:
    """All of them. Slots are spread evenly over the first ``primaries``."""

    def __init__(self, nodes: list[Node]) -> None:
        self.all = nodes

    def client(self, **settings: Any) -> RedisCluster:
        """A client with default settings. It is told of one node, and not connected."""
        return RedisCluster(host="127.0.0.1", port=self.all[0].port, **settings)

    def clear(self) -> None:
        """Remove all keys, close the slots that a test has left open, and wait until all agree on who has what."""
        for node in self.all:
            if node.is_primary:
                node.admin.flushall()
            for slot in node.open_slots():
                node.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        wait_until_sync(lambda: len({node.view() for node in self.all}) == 1, what="the nodes agree on who has what")

    def nothing_left(self) -> bool:
        """Whether this process has no connection to any node, and no key is left that never expires."""
        for node in self.all:
            assert connections_of_this_process(node.admin) == {}, "connections were left open"
            if node.is_primary:
                assert keys_without_ttl(node.admin) == [], "keys were left that never expire"
        return True

    def calls_of(self, command: str) -> int:
        """How often all nodes together have executed a command."""
        counts = (node.admin.info("commandstats").get(f"cmdstat_{command}", {"calls": 0}) for node in self.all)
        return sum(int(count["calls"]) for count in counts)

    def slot(self, stream_id: str) -> int:
        """Where a stream's keys are."""
        return key_slot(log_key(stream_id).encode())

    def owner(self, stream_id: str) -> Node:
        """The primary that has a stream's slot."""
        slot = self.slot(stream_id)
        return next(node for node in self.all if any(first <= slot <= last for first, last in node.ranges()))

    def other(self, *nodes: Node) -> Node:
        """A primary that is none of these."""
        return next(node for node in self.all if node not in nodes and node.is_primary)

    def name_on(self, node: Node, prefix: str = "s") -> str:
        """A stream id that belongs on a node."""
        return self.names_on(node, 1, prefix)[0]

    def names_on(self, node: Node, number: int, prefix: str = "s") -> list[str]:
        """Stream ids that belong on a node, each in a slot of its own: a slot moves with all that is in it."""
        ranges = node.ranges()
        found: dict[int, str] = {}
        candidates = (f"{prefix}{one}" for one in count())
        while len(found) < number:
            slot = self.slot(name := next(candidates))
            if any(first <= slot <= last for first, last in ranges):
                found.setdefault(slot, name)
        return list(found.values())

    def begin_move(self, stream_id: str, target: Node) -> Node:
        """Open a stream's slot for moving key by key. Returns who has it.

        Of two moves in a row, the second waits until all have heard of the first: the new owner must take an epoch that
        nobody else has taken, or the others may never agree.
        """
        wait_until_sync(lambda: len({node.says()["cluster_current_epoch"] for node in self.all}) == 1, what="one epoch")
        source, slot = self.owner(stream_id), self.slot(stream_id)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        return source

    def move_keys(self, stream_id: str, source: Node, target: Node, *parts: str) -> None:
        """Send a stream's keys over, as far as they are there: ``log``, ``state``."""
        keys = [f"rs1:{{{stream_id}}}:{part}" for part in parts]
        assert source.admin.migrate("127.0.0.1", target.port, keys, 0, 30_000) in ("OK", "NOKEY")

    def end_move(self, stream_id: str, source: Node, target: Node) -> None:
        """Give the slot, which is empty by now, to its new owner."""
        slot = self.slot(stream_id)
        for node in (target, source, *(node for node in self.all if node.is_primary)):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def give(self, ranges: list[tuple[int, int]], target: Node) -> None:
        """Give whole ranges of slots, in which there are no keys, to a node."""
        target.ask("CLUSTER", "BUMPEPOCH")  # or what the old owner has just said of itself would still be believed
        for node in (target, *(node for node in self.all if node is not target)):
            with node.admin.pipeline(transaction=False) as commands:
                for first, last in ranges:
                    for slot in range(first, last + 1):
                        commands.cluster("SETSLOT", slot, "NODE", target.id)
                commands.execute()

    def move(self, stream_id: str, target: Node) -> None:
        """Move a stream with its slot, all at once."""
        source = self.begin_move(stream_id, target)
        self.move_keys(stream_id, source, target, "log", "state")
        self.end_move(stream_id, source, target)


@contextmanager
def cluster_nodes(primaries: int = 3, *, replicas: int = 0, timeout: int = 5000) -> Iterator[Nodes]:
    """Start a cluster. The first primaries have a replica each, as far as there are any.

    Args:
        primaries: how many nodes have slots.
        replicas: how many more follow one of them.
        timeout: milliseconds after which a node that is silent counts as failed.
    """
    buses = [free_port() for _ in range(primaries + replicas)]
    servers = [
        EmbeddedValkey(
            binary=BINARY,
            appendonly=True,
            settings={
                "cluster-enabled": "yes",
                "cluster-port": str(bus),
                "cluster-node-timeout": str(timeout),
                "cluster-require-full-coverage": "no",
                "cluster-replica-validity-factor": "0",
                "cluster-allow-replica-migration": "no",
                "repl-diskless-sync-delay": "0",
            },
        )
        for bus in buses
    ]
    try:
        with ThreadPoolExecutor(len(servers)) as starters:
            list(starters.map(EmbeddedValkey.start, servers))
        nodes = [Node(server, bus) for server, bus in zip(servers, buses, strict=True)]
        _form(nodes, primaries)
        yield Nodes(nodes)
        for node in nodes:
            node.admin.close()
    finally:
        for server in servers:
            server.close()


def _form(nodes: list[Node], primaries: int) -> None:
    for number, node in enumerate(nodes):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if number < primaries:
            first, after = number * SLOTS // primaries, (number + 1) * SLOTS // primaries
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for earlier in nodes[:number]:  # each pair: hearing of others by gossip takes seconds
            earlier.ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)

    def all_met() -> bool:
        views = [[line.split(" ") for line in node.ask("CLUSTER", "NODES").splitlines()] for node in nodes]
        return all({line[0] for line in view} == {node.id for node in nodes} for view in views)

    wait_until_sync(all_met, what="the nodes know each other")
    for primary, replica in zip(nodes, nodes[primaries:], strict=False):
        replica.ask("CLUSTER", "REPLICATE", primary.id)

    def ready() -> bool:
        links = [node.admin.info("replication") for node in nodes[primaries:]]
        views = [node.says() for node in nodes]
        return (
            all(view["cluster_state"] == "ok" and view["cluster_slots_ok"] == str(SLOTS) for view in views)
            and all(link.get("master_link_status") == "up" for link in links)
        )  # fmt: skip

    wait_until_sync(ready, what="the cluster works")
