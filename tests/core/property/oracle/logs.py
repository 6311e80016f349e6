"""The log itself: dense, append-only, one producer a generation, nothing after the end."""

from __future__ import annotations

from .facts import ID, REMOVALS, WIPES, Event, Facts, Look, TokenRun


def check_log(facts: Facts) -> list[str]:
    """What is wrong with the log as it was seen from time to time."""
    wrong: list[str] = []
    before: Look | None = None
    removed: set[int] = set()  # sequence numbers that were taken out of this very stream
    ever: set[int] = set()  # or out of one before, which a roll-back may bring back with its holes
    deeds = iter(facts.deeds)
    deed = next(deeds, None)
    for look in facts.looks:
        while deed is not None and deed.begin < look.begin:
            if deed.operation in WIPES:
                removed.clear()
            else:
                ever.update(event_id[1] for event_id, _, _ in deed.removed or () if event_id is not None)
                removed.update(ever if deed.operation == "roll back" else ())
                removed.update(event_id[1] for event_id, _, _ in deed.removed or () if event_id is not None)
            deed = next(deeds, None)
        wrong += [f"log at {look.end}: {what}" for what in _one_look(facts, look.events or (), removed)]
        if before is not None:
            wrong += [f"log at {look.end}: {what}" for what in _two_looks(facts, before, look)]
        before = look
    return wrong


def _one_look(facts: Facts, events: tuple[Event, ...], removed: set[int]) -> list[str]:
    wrong: list[str] = []
    run = TokenRun()
    last: ID = (0, 0)
    for number, event in enumerate(events):
        event_id, kind, data = event
        if event_id is None or event_id <= last or event_id[1] <= last[1]:
            wrong.append(f"{event_id} follows {last}")
            continue
        missing = [n for n in range(last[1] + 1, event_id[1]) if n not in removed]
        if missing and not (number == 0 and facts.bounded):
            wrong.append(f"{missing} are missing before {event_id}, and nobody removed them")
        hole = event_id[1] != last[1] + 1
        taken_over = event_id[0] != last[0]
        if taken_over and last != (0, 0) and not hole and not facts.announced(kind, data):
            wrong.append(f"the claim of {event_id} is not told: {kind}")
        if hole:
            run.skip()
        if (what := run.take(event, begins=taken_over and not hole)) is not None:
            wrong.append(what)
        if kind == "end" and number != len(events) - 1:
            wrong.append(f"something follows the end {event_id}")
        last = event_id
    return wrong


def _two_looks(facts: Facts, before: Look, now: Look) -> list[str]:
    if before.events is None or facts.upheaval(before.begin, now.end):
        return []
    if now.events is None:
        return ["it is gone, and nobody removed it"]
    gone = {
        event[0]
        for deed in facts.deeds
        if deed.operation in REMOVALS and before.begin <= deed.end and deed.begin <= now.end
        for event in deed.removed or ()
    }
    there = {event[0] for event in now.events}
    oldest = now.events[0][0] if now.events else None
    wrong = []
    for event_id, _, _ in before.events:
        trimmed = facts.bounded and oldest is not None and event_id is not None and event_id < oldest
        if event_id not in there and event_id not in gone and not trimmed:
            wrong.append(f"{event_id} is gone, and nobody removed it")
    return wrong
