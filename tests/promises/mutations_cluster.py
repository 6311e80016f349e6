"""What the promises rest on in a cluster; the tests are those of the core's cluster. See `mutations.py`."""

from __future__ import annotations

from typing import Final

from promises.mutations import Mutation

BASIC: Final = "../core/test_cluster.py::"
MOVES: Final = "../core/test_cluster_moves.py::"
FAILOVER: Final = "../core/test_cluster_failover.py::"

CLUSTER_MUTATIONS: Final = (
    Mutation(
        f"{BASIC}test_streams_on_all_nodes_share_two_connections_to_each",
        "telling our own unsubscriptions from the server's",
        "_nodes.py",
        'if self._orders and self._orders[0] == (b"SUNSUBSCRIBE", channel):',
        "if False:",
    ),
    Mutation(
        f"{BASIC}test_a_bare_producer_remembers_the_map_and_keeps_no_connection",
        "the map that outlives connections",
        "_log.py",
        "Cluster(self._redis, self._slots, self.counts)",
        "Cluster(self._redis, SlotMap(self._redis.nodes_manager.remap_host_port), self.counts)",
    ),
    Mutation(
        f"{BASIC}test_a_client_with_any_settings_works",
        "taking `READONLY` out of the settings",
        "_nodes.py",
        ', "redis_connect_func": None',
        "",
    ),
    Mutation(
        f"{BASIC}test_the_addresses_that_the_client_maps_are_used",
        "the mapping of addresses",
        "_slots.py",
        "return self._remap(host if known in _SAME_HOST else known, port)",
        "return (host if known in _SAME_HOST else known, port)",
    ),
    Mutation(
        f"{MOVES}test_a_stream_is_written_and_read_in_every_state_of_a_move",
        "the word to those who listen at the old owner",
        "_cluster.py",
        '                source.link.post(pack(b"SPUBLISH", channel, POKE))',
        "                pass",
    ),
    Mutation(
        f"{MOVES}test_a_stream_is_written_and_read_in_every_state_of_a_move",
        "`ASKING`",
        "_links.py",
        "self._send(_ASKING).add_done_callback(_ignore)",
        "pass",
    ),
    Mutation(
        f"{MOVES}test_streams_begin_and_end_in_a_slot_that_is_being_moved",
        "the scripts with one key",
        "_cluster.py",
        'if alone is not None and isinstance(reply, ServerError) and str(reply).startswith("TRYAGAIN"):',
        "if alone is None:",
    ),
    Mutation(
        f"{MOVES}test_streams_begin_and_end_in_a_slot_that_is_being_moved",
        "deleting key by key",
        "_scripts.py",
        "redis.call('DEL', log) + redis.call('DEL', state)",
        "redis.call('DEL', log, state)",
    ),
    Mutation(
        f"{MOVES}test_a_redirection_is_enough_to_follow_one_slot",
        "asking again for a subscription that the server has dropped",
        "_nodes.py",
        "super()._on_dropped(channel)",
        "pass",
    ),
    Mutation(
        f"{MOVES}test_many_moves_cost_few_questions_for_the_map",
        "the pause between two questions for the map",
        "_cluster.py",
        "self._next_look = loop.time() + MAP_INTERVAL",
        "pass",
    ),
    Mutation(
        f"{MOVES}test_a_redirection_is_enough_to_follow_one_slot",
        "noting what `MOVED` says",
        "_cluster.py",
        "                        self._moved(node, str(reply))\n",
        "",
    ),
    Mutation(
        f"{MOVES}test_a_redirection_is_enough_to_follow_one_slot",
        "giving back a channel that is refused",
        "_nodes.py",
        "self._board.refused(channel, self._node, str(error))",
        "pass",
    ),
    Mutation(
        f"{MOVES}test_a_node_that_has_no_slots_any_more_is_let_go",
        "letting go of a node without slots",
        "_cluster.py",
        "if address in owners or node.asked:",
        "if True:",
    ),
    Mutation(
        f"{MOVES}test_a_move_that_stops_half_way_is_waited_for_and_then_told",
        "waiting where the server says `TRYAGAIN`",
        "_nodes.py",
        '"TRYAGAIN", ',
        "",
    ),
    Mutation(
        f"{FAILOVER}test_a_client_that_was_told_of_a_replica_finds_the_primaries",
        "asking replicas for the map too",
        "_wire.py",
        "return await in_a_task(_question(connection, *command))",
        "assert not is_replica(await in_a_task(_greet(connection)))\n"
        "        return await in_a_task(_question(connection, *command))",
    ),
    Mutation(
        f"{FAILOVER}test_a_stream_goes_on_at_the_replica_when_its_primary_has_died",
        "a command's second try after a lost connection",
        "_cluster.py",
        "                    error = exc\n",
        "                    raise\n",
    ),
    Mutation(
        f"{FAILOVER}test_a_halted_primary_is_left_and_not_believed_when_it_wakes_up",
        "asking the others when a node is silent",
        "_cluster.py",
        "if node.link.silence > QUIET:",
        "if False:",
    ),
    Mutation(
        f"{FAILOVER}test_streams_of_a_node_without_a_replica_wait_for_it",
        "waiting where the server says `CLUSTERDOWN`",
        "_nodes.py",
        '"CLUSTERDOWN", ',
        "",
    ),
)
