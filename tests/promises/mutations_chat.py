"""What the promises of the chat app rest on; the tests are in the folder `chat`. See `mutations.py`."""

from __future__ import annotations

from typing import Final

from promises.mutations import Mutation

TURNS: Final = "chat/test_turns.py::"
DEPLOYS: Final = "chat/test_deploys.py::"
SERVICES: Final = "chat/test_services.py::"

CHAT_MUTATIONS: Final = (
    # 1
    Mutation(
        "chat/test_stops.py::test_a_run_is_stopped_from_another_process_while",
        "the interruption of the source",
        "_producer.py",
        "committer.on_interrupt(interrupted.set)",
        "pass",
    ),
    Mutation(
        "chat/test_stops.py::test_a_run_is_stopped_from_another_process_while",
        "the keeping of what was said",
        "runs/_answer.py",
        "await broken_off()",
        "pass",
    ),
    # 2
    Mutation(
        "chat/test_crashes.py::test_after_a_kill_all_viewers_get_what_was_said_and_the_same_end",
        "the keeping of what a dead run has said",
        "runs/_settling.py",
        "await self._repair(run)",
        "pass",
    ),
    Mutation(
        "chat/test_crashes.py::test_after_a_kill_another_process_goes_on_and_viewers_end_with_what_the_thread_holds",
        "the adoption of runs that have lost their process",
        "runs/_janitor.py",
        "adopted += bool(await self._try(self._adopt(run)))",
        "pass",
    ),
    # 12
    Mutation(
        f"{TURNS}test_twenty_posts_with_one_key_at_two_processes_are_one_run",
        "the look for a key",
        "runs/_run_store.py",
        "return _unless_mismatched(await self._database.fetch_one(_BY_KEY, _key_of(message)), message)",
        "return None",
    ),
    Mutation(
        f"{TURNS}test_twenty_posts_without_a_key_at_two_processes_are_one_run_and_nineteen_refusals",
        "the refusal by a thread that is held",
        "runs/_run_store.py",
        'return Held(thread["active_run_id"])',
        "pass",
    ),
    Mutation(
        f"{TURNS}test_a_key_whose_process_was_killed_while_it_answered_can_be_sent_again",
        "the look for a key",
        "runs/_run_store.py",
        "return _unless_mismatched(await self._database.fetch_one(_BY_KEY, _key_of(message)), message)",
        "return None",
    ),
    # 13
    Mutation(
        f"{TURNS}test_a_thread_that_another_process_deletes_while_it_is_answered_stays_deleted",
        "the removal of streams",
        "runs/_threads.py",
        "await self._producer.delete(run.stream_id)",
        "pass",
    ),
    # 15
    Mutation(
        f"{DEPLOYS}test_a_server_that_stops_sends_200_viewers_on_and_they_lose_nothing",
        "the event that a signal sets",
        "app/_signals.py",
        "loop.call_soon_threadsafe(event.set)",
        "pass",
    ),
    Mutation(
        f"{DEPLOYS}test_a_server_that_stops_sends_200_viewers_on_and_they_lose_nothing",
        "the patience with a signal that nobody handles",
        "app/_signals.py",
        " or handler is signal.SIG_DFL",
        "",
    ),
    Mutation(
        f"{DEPLOYS}test_a_server_that_stops_sends_200_viewers_on_and_they_lose_nothing",
        "the end of streams that close",
        "asgi.py",
        "viewer.when_set(self._closing, guard.on_closing)",
        "pass",
    ),
    Mutation(
        f"{DEPLOYS}test_runs_that_outlast_the_grace_are_handed_over_and_viewers_end_with_what_the_thread_holds",
        "the hand-over",
        "runs/_executor.py",
        "ended_as = Status.ACTIVE if self.resumes else Status.LOST",
        "ended_as = Status.LOST",
    ),
    Mutation(
        f"{DEPLOYS}test_connections_are_closed_by_their_age_and_come_back_at_different_times",
        "the chance in the age of a connection",
        "_consumer.py",
        "max_age * random.uniform(0.8, 1.0)",
        "max_age",
    ),
    Mutation(
        f"{DEPLOYS}test_connections_are_closed_by_their_age_and_come_back_at_different_times",
        "the chance in the delay before clients come back",
        "_sse.py",
        "random.randint(1000, 3000)",
        "2000",
    ),
    # 19
    Mutation(
        f"{TURNS}test_what_is_deleted_or_never_was_is_404_at_every_process",
        "the thread that a run belongs to",
        "runs/_reading.py",
        "if run is None or run.thread_id != thread_id:",
        "if run is None:",
    ),
    # 20
    Mutation(
        f"{SERVICES}test_a_server_that_starts_without_its_services_says_so_and_finds_them_when_they_come",
        "the repetition of the set-up",
        "runs/_database.py",
        "await anyio.sleep(_RETRY_SECONDS)",
        "return",
    ),
    Mutation(
        f"{SERVICES}test_every_route_says_soon_that_a_service_is_away_and_all_goes_on_when_it_is_back",
        "the bound of work in PostgreSQL",
        "runs/_database.py",
        "with piece.scope:",
        "with anyio.CancelScope():",
    ),
    Mutation(
        f"{SERVICES}test_every_route_says_soon_that_a_service_is_away_and_all_goes_on_when_it_is_back",
        "the bound of a question to Redis",
        "runs/_liveness.py",
        "with anyio.fail_after(PATIENCE):",
        "with anyio.fail_after(60):",
    ),
    # 22
    Mutation(
        f"{SERVICES}test_processes_that_start_at_once_on_an_empty_database_all_come_up",
        "the set-up of the tables",
        "runs/_database.py",
        "await set_up(connection)",
        "pass",
    ),
    # 23
    Mutation(
        "chat/test_crashes.py::test_a_thread_whose_process_was_killed_in_a_tool_takes_the_next_message",
        "the burial by whoever asks",
        "_consumer.py",
        "await log.bury(names)\n                peek",
        "peek",
    ),
)
