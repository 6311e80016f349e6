"""What runs that outlive their process rest on: takeovers in the core, attempts, the queue. See `mutations.py`."""

from __future__ import annotations

from typing import Final

from promises.mutations import Mutation

FENCE: Final = "../runs/test_fence.py::"
STILL: Final = "../runs/test_standing_still.py::"
TAKEOVER: Final = "../core/test_takeover.py::"
ATTEMPTS: Final = "../runs/test_attempts.py::"

RUNS_MUTATIONS: Final = (
    Mutation(
        f"{TAKEOVER}test_readers_wait_for_an_heir_as_long_as_the_takeover_lasts",
        "the window of a takeover",
        "_scripts.py",
        "due = math.max(due, tonumber(st[2]) + tonumber(st[6] or '0'))",
        "due = due",
    ),
    Mutation(
        f"{TAKEOVER}test_a_producer_that_was_not_heard_of_is_given_the_grace_before_its_stream_is_an_orphan",
        "the date of abandonment",
        "_scripts.py",
        "local abandoned = left == 0 and st[5] and tonumber(st[5]) <= t and 1 or 0",
        "local abandoned = left == 0 and 1 or 0",
    ),
    Mutation(
        f"{TAKEOVER}test_a_source_that_hands_over_leaves_a_stream_that_another_goes_on_with",
        "the early end of the lease",
        "_scripts.py",
        "redis.call('HSET', state, 'l', t, 'b', t)",
        "",
    ),
    Mutation(
        f"{TAKEOVER}test_letting_go_of_a_stream_that_has_changed_hands_changes_nothing",
        "the generation in a release",
        "_scripts.py",
        "if g ~= ARGV[2] then return {'fenced'} end",
        "",
    ),
    Mutation(
        f"{TAKEOVER}test_a_reserved_stream_can_be_read_before_it_has_a_producer",
        "the origin of a log without events",
        "_scripts.py",
        "gens = st[3] .. ';' .. int(gen) .. ':0'",
        "gens = int(gen) .. ':0'",
    ),
    Mutation(
        f"{TAKEOVER}test_a_stream_is_reserved_once",
        "the refusal to reserve what is there",
        "_scripts.py",
        "if ARGV[6] == '2' and st[1] then return {'live'} end",
        "",
    ),
    Mutation(
        f"{TAKEOVER}test_nothing_is_made_where_an_existing_stream_is_wanted",
        "the refusal to make a stream",
        "_scripts.py",
        "then return {'missing'} end",
        "then end",
    ),
    Mutation(
        f"{TAKEOVER}test_a_stream_without_a_producer_can_be_ended_at_once",
        "the end that waits for no heir",
        "_scripts.py",
        "if ARGV[5] ~= '1' then due",
        "if true then due",
    ),
    Mutation(
        f"{ATTEMPTS}test_a_process_that_lost_its_run_keeps_nothing_of_it",
        "the silence of who was fenced",
        "runs/_executor.py",
        "elif not attempt.fenced:",
        "else:",
    ),
    Mutation(
        f"{ATTEMPTS}test_an_older_attempt_may_not_touch_the_thread",
        "the number of the attempt",
        "runs/_run_store.py",
        " AND (%(attempt)s = 0 OR EXISTS",
        " AND (%(attempt)s >= 0 OR EXISTS",
    ),
    Mutation(
        f"{ATTEMPTS}test_an_attempt_may_save_nothing_once_its_run_holds_the_thread_no_more",
        "the look who holds the thread",
        "runs/_fence.py",
        'thread.active_run_id = run.id"',
        'thread.id = run.thread_id"',
    ),
    Mutation(
        f"{ATTEMPTS}test_an_agent_that_leaves_off_without_being_asked_to_is_begun_only_so_often",
        "the wish to drain",
        "runs/_executor.py",
        "if not attempt.passed_on and (self._draining.is_set() or not attempt.asked):",
        "if not attempt.passed_on:",
    ),
    Mutation(
        f"{ATTEMPTS}test_a_message_whose_acceptance_was_in_doubt_is_not_taken_back_once_it_is_being_answered",
        "the look whether it has begun",
        "runs/_run_store.py",
        "WHERE id = %(id)s AND attempts = 0",
        "WHERE id = %(id)s",
    ),
    Mutation(
        f"{ATTEMPTS}test_a_hand_over_is_counted_before_others_see_the_run_without_a_process",
        "the count before the release",
        "runs/_executor.py",
        "if self.resumes and self._draining.is_set():\n            await self._pass_on(attempt)",
        "if self.resumes and self._draining.is_set():\n            attempt.unkept = True",
    ),
    Mutation(
        f"{ATTEMPTS}test_a_hand_over_is_counted_before_others_see_the_run_without_a_process",
        "the hand-over on cancellation",
        "runs/_executor.py",
        "ended_as = Status.ACTIVE if self.resumes else Status.LOST",
        "ended_as = Status.LOST",
    ),
    Mutation(
        f"{ATTEMPTS}test_a_hand_over_is_counted_before_others_see_the_run_without_a_process",
        "the adoption",
        "runs/_janitor.py",
        "if adopted < _ADOPTED:",
        "if False:",
    ),
    Mutation(
        f"{ATTEMPTS}test_a_run_is_not_given_up_by_what_was_known_of_it_a_while_ago",
        "the second look before a run is given up",
        "runs/_settling.py",
        "if now.attempts - now.handovers < self._max_attempts:",
        "if False:",
    ),
    Mutation(
        f"{ATTEMPTS}test_a_stop_that_meets_a_hand_over_keeps_the_answer",
        "the repair of what was not kept",
        "runs/_executor.py",
        "elif outcome is _Outcome.UNTOUCHED or (outcome is _Outcome.ENDED and attempt.unkept):",
        "elif outcome is _Outcome.UNTOUCHED:",
    ),
    Mutation(
        f"{ATTEMPTS}test_a_thread_that_was_deleted_under_a_process_that_lost_its_run_stays_deleted",
        "the forgetting by whoever has asked the agent",
        "runs/_executor.py",
        "if attempt.asked and await self._threads.is_deleted",
        "if outcome is _Outcome.ENDED and await self._threads.is_deleted",
    ),
    Mutation(
        "../runs/test_beginning.py::test_an_attempt_whose_counting_was_in_doubt_is_counted_once",
        "the token of the attempt",
        "runs/_run_store.py",
        " OR run.begun_by = %(token)s)",
        ")",
    ),
    Mutation(
        "../runs/test_beginning.py::test_a_process_that_stood_still_before_it_began_takes_the_run_from_nobody",
        "the count that was read before the claim",
        "runs/_run_store.py",
        '" AND (run.attempts = %(known)s OR run.begun_by = %(token)s)"',
        '" "',
    ),
    Mutation(
        f"{ATTEMPTS}test_who_could_not_repair_a_thread_gives_the_right_back",
        "the return of the right",
        "runs/_settling.py",
        "await self._runs.end_repair(run)  # for whoever comes next",
        "pass",
    ),
    Mutation(
        "../runs/test_settling.py::test_a_message_that_waited_is_answered_though_redis_has_lost_its_stream",
        "the second reservation",
        "runs/_settling.py",
        "await self._reserve_again(run)",
        "pass",
    ),
    Mutation(
        "../runs/test_transcript.py::test_what_no_message_end_closed_is_void_after_a_restart",
        "the dropping of what was begun",
        "runs/_transcript.py",
        "elif event.type == RESTARTED:\n            self._begun.clear()",
        "elif event.type == RESTARTED:\n            pass",
    ),
    Mutation(
        "../runs/test_queue.py::test_a_worker_that_lost_its_connection_takes_new_runs_while_an_old_one_goes_on",
        "the independence of runs from docket",
        "runs/_queue.py",
        'self._tasks.start_soon(self._perform_one, UUID(run_id), name=f"perform {run_id}")',
        "await self._perform_one(UUID(run_id))",
    ),
    Mutation(
        "../app/test_workers.py::test_a_worker_that_is_told_to_stop_takes_no_more_messages",
        "the end of the queue",
        "app/_services.py",
        "tasks.start_soon(_until, rooms.closing, queue.keep_open)",
        "tasks.start_soon(queue.keep_open)",
    ),
    Mutation(
        f"{FENCE}test_an_older_one_does_not",
        "what is sent last in each writing transaction",
        "agent/_checkpoint.py",
        "                await fence.check(cursor)",
        "                pass",
    ),
    Mutation(
        f"{FENCE}test_another_one_begins_only_when_a_write_under_way_is_in_the_database",
        "the row's lock",
        "runs/_fence.py",
        " FOR SHARE",
        "",
    ),
    Mutation(
        f"{STILL}test_another_process_goes_on_though_one_stands_still_in_a_write",
        "the lock that comes first",
        "agent/_checkpoint.py",
        "                await fence.enter(cursor)",
        "                pass",
    ),
    Mutation(
        f"{STILL}test_another_process_goes_on_though_one_stands_still_in_a_write",
        "the end of who keeps a newer attempt waiting",
        "runs/_fence.py",
        'await database.fetch(_END_WRITES, {"id": run.id, "known": run.attempts})',
        "pass",
    ),
    Mutation(
        f"{STILL}test_a_thread_is_let_go_though_the_process_of_its_run_stands_still_in_a_write",
        "what the run was known as",
        "runs/_fence.py",
        ' AND run.attempts = %(known)s"\n    " AND writer',
        '"\n    " AND writer',
    ),
    Mutation(
        "../core/test_recreated.py::test_who_comes_after_the_new_claim_reads_the_new_stream_though_the_first_reader"
        "_is_still_loading_the_old_one",
        "the second look at a feed that was not ready",
        "_hub.py",
        "if was_ready or not joined or failed:",
        "if True:",
    ),
    Mutation(
        "../core/test_arrivals.py::test_who_comes_after_the_claim_is_not_told_what_was_found_before_it",
        "the question whether what a feed found is older than the newcomer",
        "_fanout.py",
        "if isinstance(self.failure, StreamNotFound):  # as an older",
        "if False:  # as an older",
    ),
    Mutation(
        "../core/test_arrivals.py::test_who_comes_to_a_stream_that_goes_away_as_the_consumer_is_closed_leaves_nothing"
        "_behind",
        "the question whether the hub is closed",
        "_hub.py",
        "                if self._closed:",
        "                if False:",
    ),
    Mutation(
        "../runs/test_superseded.py::test_a_process_whose_run_was_given_up_saves_nothing_more_though_runs_are_begun"
        "_once",
        "the guard of runs that are begun once",
        "runs/_executor.py",
        "guard=self._runs.fence(run))\n            if self.resumes:",
        "guard=self._runs.fence(run) if self.resumes else None)\n            if self.resumes:",
    ),
    Mutation(
        "../agent/test_changed_calls.py::test_who_goes_on_tells_a_call_as_it_was_changed_behind_the_end_of_its_message",
        "what calls were told as",
        "agent/_start.py",
        'if told.calls.get(call["id"] or "", event.data) != event.data:',
        "if False:",
    ),
    Mutation(
        "../runs/test_beginning.py::test_a_run_whose_thread_is_deleted_before_it_begins_is_withdrawn_not_handed_over",
        "the look whether the thread is deleted",
        "runs/_run_store.py",
        '%(id)s AND deleted_time IS NULL",',
        '%(id)s",',
    ),
    Mutation(
        "../runs/test_beginning.py::test_a_hand_over_whose_counting_was_in_doubt_is_counted_once",
        "the count that the attempt began with",
        "runs/_run_store.py",
        "handovers = %(known)s + 1",
        "handovers = handovers + 1",
    ),
)
