"""What each promise rests on: lines of the library, each with a change that must make a test fail.

`make mutants` makes the changes one by one to a copy of the sources and runs the test: see `mutants.py`.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Mutation(NamedTuple):
    """One change to the library.

    Attributes:
        test: the test that must fail, by its file and name.
        without: what the change takes away, in the words of the test's docstring.
        file: in `src/resumable_stream`.
        snippet: stands there once.
        replacement: what is there instead.
    """

    test: str
    without: str
    file: str
    snippet: str
    replacement: str


FOREIGN: Final = "test_owners.py::test_what_is_somebody_elses_is_answered_as_what_is_not_there"
OWN: Final = "test_owners.py::test_ids_keys_and_cursors_of_lists_are_each_owners_own"

MUTATIONS: Final = (
    # 1
    Mutation(
        "test_stops_and_deaths.py::test_a_stop_from_another_process_ends_a_silent_model",
        "the notification of a stop",
        "_scripts.py",
        "redis.call('SPUBLISH', ARGV[1], '!')\nreturn 'asked'",
        "return 'asked'",
    ),
    Mutation(
        "test_stops_and_deaths.py::test_a_stop_from_another_process_ends_a_silent_model",
        "the interruption of the source",
        "_producer.py",
        "committer.on_interrupt(interrupted.set)",
        "pass",
    ),
    # 2
    Mutation(
        "test_stops_and_deaths.py::test_after_a_kill_all_readers_get_what_was_said_and_the_same_end",
        "the burial by whoever notices",
        "_fanout.py",
        "return min(SWEEP, await self._log.bury(self.names) or 0.0)",
        "return SWEEP",
    ),
    # 3
    Mutation(
        "test_stops_and_deaths.py::test_pauses_shorter_than_the_lease_change_nothing",
        "the renewal of the lease",
        "_scripts.py",
        "redis.call('HSET', state, 'l', int(now() + st[3]))",
        "",
    ),
    # 4
    Mutation(
        "test_stops_and_deaths.py::test_a_producer_that_wakes_after_a_new_claim_is_fenced",
        "the comparison of generations",
        "_scripts.py",
        "if st[1] ~= ARGV[2] then",
        "if false then",
    ),
    Mutation(
        "test_stops_and_deaths.py::test_a_producer_that_wakes_after_its_burial_is_fenced",
        "the generation of a burial",
        "_scripts.py",
        "redis.call('HSET', state, 'g', gen, 'gs', gens, 'l', '0')",
        "redis.call('HSET', state, 'l', '0')",
    ),
    Mutation(
        "test_stops_and_deaths.py::test_a_pause_that_nobody_noticed_changes_nothing",
        "the patience with a lease that has run out",
        "_scripts.py",
        "if st[1] ~= ARGV[2] then",
        "if now() > tonumber(redis.call('HGET', state, 'l')) then return {'fenced'} end\nif st[1] ~= ARGV[2] then",
    ),
    # 5
    Mutation(
        "test_faults.py::test_replies_that_are_lost_double_nothing_and_lose_nothing",
        "the meaning of a repeated id",
        "_scripts.py",
        "not string.find(reply.err, 'equal or smaller', 1, true)",
        "true",
    ),
    # 6
    Mutation(
        "test_faults.py::test_commands_and_replies_that_are_cut_in_the_middle_change_nothing",
        "the end of calls with their connection",
        "_links.py",
        "receiver.set_exception(error)",
        "pass",
    ),
    Mutation(
        "test_faults.py::test_a_history_that_is_cut_anywhere_is_read_again",
        "the patience of a reader that has begun",
        "_fanout.py",
        "if not self.ready.is_set():\n                    self._fail(exc)",
        "self._fail(exc)",
    ),
    Mutation(
        "test_faults.py::test_a_server_that_stands_still_is_left_and_found_again",
        "the meaning of a repeated id",
        "_scripts.py",
        "not string.find(reply.err, 'equal or smaller', 1, true)",
        "true",
    ),
    Mutation(
        "test_faults.py::test_a_server_that_is_killed_and_restarted_loses_nothing",
        "the repetition of an append",
        "_committer.py",
        "await anyio.sleep(backoff(attempt))",
        "raise",
    ),
    # 7
    Mutation(
        "test_readers.py::test_a_reader_that_is_cut_behind_every_frame_gets_all",
        "the place of a cursor",
        "_hub.py",
        "after if after is not None and placed else (0, 0)",
        "0, 0",
    ),
    Mutation(
        "test_readers.py::test_a_client_that_is_cut_behind_every_frame_gets_all",
        "the header of the request",
        "asgi.py",
        'if name == b"last-event-id":',
        'if name == b"event-id":',
    ),
    Mutation(
        "test_readers.py::test_a_client_that_is_cut_at_any_byte_gets_all",
        "the answer that there is nothing more",
        "asgi.py",
        "status = 204 if viewer.nothing_to_send else 200",
        "status = 200",
    ),
    # 8
    Mutation(
        "test_readers.py::test_at_whatever_moment_a_reader_comes_it_gets_the_same_text",
        "the position in a segment",
        "_hub.py",
        "span = Span(segment, self._position + 1 - first, segment.next - first)",
        "span = Span(segment, 0, segment.next - first)",
    ),
    Mutation(
        "test_readers.py::test_a_reader_that_comes_within_a_millisecond_of_the_end_misses_nothing",
        "the waking of those who wait",
        "_fanout.py",
        "self.window.append(entries)\n        self._notify()",
        "self.window.append(entries)",
    ),
    # 9
    Mutation(
        "test_losses.py::test_a_stream_that_vanishes_under_a_reader_ends_lost",
        "the end that stands in no log",
        "_fanout.py",
        'self.final = StreamEvent(END, {"status": Status.LOST.value})',
        "pass",
    ),
    Mutation(
        "test_losses.py::test_a_reader_that_comes_back_to_what_has_vanished_is_told",
        "the word for what is not there",
        "_fanout.py",
        "if not self.ready.is_set() and not known:",
        "if False:",
    ),
    Mutation(
        "test_losses.py::test_a_cursor_that_was_trimmed_away_gets_a_gap_and_then_what_there_is",
        "the gap",
        "_hub.py",
        'return Notice(StreamEvent(GAP, {"missed": missed}))',
        "return self._pass(segment)",
    ),
    Mutation(
        "test_losses.py::test_a_cursor_that_the_log_cannot_place_gets_a_reset_and_everything",
        "the reset",
        "_hub.py",
        "self._reset = not placed",
        "self._reset = False",
    ),
    Mutation(
        "test_losses.py::test_a_cursor_of_a_stream_that_was_deleted_and_made_anew_gets_a_reset",
        "the generation in a cursor",
        "_log.py",
        "if generation == cursor.generation:",
        "if True:",
    ),
    Mutation(
        "test_losses.py::test_a_stream_that_is_restarted_says_so_to_old_and_new_readers",
        "the mark between two claims",
        "_scripts.py",
        "redis.call('XADD', log, int(gen) .. '-' .. int(head), 'restarted', '')",
        "redis.call('XADD', log, int(gen) .. '-' .. int(head), 'text', '')",
    ),
    # 10
    Mutation(
        "test_idle.py::test_idle_streams_with_150_viewers_each_leave_the_client_free",
        "the sign of life on an idle connection",
        "_links.py",
        "while not answer.done() and (left := max(asked, wire.heard) + REPLY_TIMEOUT - loop.time()) > 0:",
        "while False:",
    ),
    # 11
    Mutation(
        "test_endings.py::test_a_source_that_raises_ends_its_stream_once",
        "the catch of everything",
        "_producer.py",
        "except BaseException as exc:  # noqa: BLE001 - handed to the caller of run(), who raises it",
        "except Exception as exc:",
    ),
    Mutation(
        "test_endings.py::test_a_hook_that_raises_as_the_source_is_closed_leaves_one_end",
        "the precedence of a stop",
        "_ending.py",
        "    if stopped:\n        return Status.CANCELLED, {}\n",
        "",
    ),
    Mutation(
        "test_endings.py::test_a_run_that_is_cancelled_from_outside_ends_once",
        "the shelter of the end",
        "_ending.py",
        "again = exc\n",
        "raise\n",
    ),
    Mutation(
        "test_endings.py::test_a_server_that_is_away_at_the_end_is_waited_for",
        "the patience with the end",
        "_committer.py",
        "await asyncio.wait([self._task], timeout=patience)",
        "await asyncio.wait([self._task], timeout=0)",
    ),
    Mutation(
        "test_endings.py::test_a_server_that_is_away_for_too_long_is_an_error_and_readers_get_lost",
        "the outage timeout",
        "_committer.py",
        ">= self._options.outage_timeout:",
        ">= 3600:",
    ),
    # 14
    Mutation(
        "test_viewers.py::test_a_thousand_clients_that_connect_and_are_cut_leave_nothing_behind",
        "the leaving of a viewer",
        "_hub.py",
        "self._hub.detach(self._feed)",
        "pass",
    ),
    Mutation(
        "test_viewers.py::test_a_thousand_clients_that_connect_and_are_cut_leave_nothing_behind",
        "the end of a response's timer",
        "asgi.py",
        "self.open = False\n        self._timer.cancel()",
        "self.open = False",
    ),
    # 16
    Mutation(
        "test_viewers.py::test_viewers_that_hardly_read_are_cut_and_nobody_else_notices",
        "the send timeout",
        "asgi.py",
        "self.limit.reschedule(self._loop.time())",
        "pass",
    ),
    Mutation(
        "test_viewers.py::test_viewers_that_hardly_read_are_cut_and_nobody_else_notices",
        "the bound of the window",
        "_window.py",
        "self._cost -= segments.pop(0).cost",
        "break",
    ),
    # 17
    Mutation(
        "test_wire.py::test_any_text_arrives",
        "the wait for the other half of a character",
        "_text.py",
        "text, self._half = text[:-1], text[-1]",
        "pass",
    ),
    Mutation(
        "test_wire.py::test_any_text_arrives",
        "the look for line ends",
        "_frames.py",
        r'rb"[\r\n]|',
        r'rb"[\n]|',
    ),
    # 18
    Mutation(
        "test_wire.py::test_a_last_event_id_that_is_malformed_is_400",
        "the strictness about the whole id",
        "_events.py",
        "_EVENT_ID.fullmatch(value)",
        "_EVENT_ID.match(value)",
    ),
    Mutation(
        "test_wire.py::test_a_last_event_id_that_is_no_event_of_the_stream_is_a_full_replay",
        "the question whether a cursor has a place",
        "_hub.py",
        "placed = after is None or await feed.places(after)",
        "placed = True",
    ),
    # 19
    Mutation(FOREIGN, "the owner of a run's thread", "runs/_run_store.py", "AND thread.owner = %(owner)s", ""),
    Mutation(
        FOREIGN, "the owner of a thread that gets a message", "runs/_run_store.py", 'row["holder"] != owner or ', ""
    ),
    Mutation(
        FOREIGN,
        "the owner of a thread that is read",
        "runs/_thread_store.py",
        'AND owner = %(owner)s AND deleted_time IS NULL",',
        'AND deleted_time IS NULL",',
    ),
    Mutation(
        FOREIGN,
        "the owner of a thread that is renamed",
        "runs/_thread_store.py",
        "AND owner = %(owner)s AND deleted_time IS NULL RETURNING",
        "AND deleted_time IS NULL RETURNING",
    ),
    Mutation(
        FOREIGN,
        "the owner of a thread that is deleted",
        "runs/_thread_store.py",
        "AND owner = %(owner)s AND purged_time",
        "AND purged_time",
    ),
    Mutation(
        "test_owners.py::test_a_foreign_run_or_cursor_is_as_good_as_a_made_up_one",
        "the comparison of a run's thread",
        "runs/_reading.py",
        "if run is None or run.thread_id != thread_id:",
        "if run is None:",
    ),
    Mutation(
        "test_owners.py::test_a_foreign_run_or_cursor_is_as_good_as_a_made_up_one",
        "the comparison of the thread of a run to stop",
        "runs/_manager.py",
        "if run is None or run.thread_id != thread_id:",
        "if run is None:",
    ),
    Mutation(
        OWN,
        "the owner of an idempotency key",
        "runs/_run_store.py",
        "owner = %(owner)s AND idempotency_key",
        "idempotency_key",
    ),
    Mutation(OWN, "the owner of a list", "runs/_thread_store.py", "WHERE thread.owner = %(owner)s AND", "WHERE"),
    Mutation(
        OWN,
        "the mark of a deleted thread",
        "runs/_thread_store.py",
        "SET deleted_time = coalesce(deleted_time, clock_timestamp()), chat_name",
        "SET chat_name",
    ),
    # 21
    Mutation(
        "test_idle.py::test_a_silent_model_costs_keep_alives_only_and_then_its_token_arrives",
        "the time to live that a sign of life gives",
        "_scripts.py",
        "redis.call('PEXPIRE', state, life)",
        "",
    ),
    Mutation(
        "test_idle.py::test_a_silent_model_costs_keep_alives_only_and_then_its_token_arrives",
        "the keep-alive",
        "_consumer.py",
        "            piece = KEEP_ALIVE\n",
        '            piece = b""\n',
    ),
    # 24
    Mutation(
        "test_leftovers.py::test_every_key_expires_from_the_moment_it_exists",
        "the time to live that a claim gives",
        "_scripts.py",
        "redis.call('PEXPIRE', log, retention + lease + wait)",
        "",
    ),
    Mutation(
        "test_leftovers.py::test_what_a_dead_producer_left_expires_whoever_finds_it",
        "the time to live that a burial gives",
        "_scripts.py",
        "redis.call('PEXPIRE', log, retention)\n",
        "",
    ),
    Mutation(
        "test_leftovers.py::test_nothing_is_left_of_work_that_is_cut_off_at_any_step",
        "the end of the subscriptions",
        "_log.py",
        "await subscriber.aclose()",
        "pass",
    ),
)
