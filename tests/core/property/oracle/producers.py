"""What producers were told: an acknowledgement is true, an end holds all that was sent, an error has a reason."""

from __future__ import annotations

from collections import defaultdict

from .facts import ID, Facts, tokens_of

_ENDINGS = ("completed", "failed", "cancelled")
_CLEARS = frozenset({"drop both", "flush", "delete", "restart empty"})


def check_producers(facts: Facts) -> list[str]:
    """What is wrong with the answers that producers got."""
    wrong: list[str] = []
    sent: dict[str, list[str]] = defaultdict(list)
    claimed: dict[str, int] = {}
    begun: dict[str, int] = {}
    wishes: dict[str, set[str]] = defaultdict(set)
    for at, (process, phase, operation, value) in enumerate(facts.history):
        if not process.startswith("p"):
            continue
        if phase == "invoke":
            begun[process] = at
            if operation == "end":
                wishes[process].add(value)
        elif phase == "ok" and operation == "claim":
            claimed[process] = at
            if (other := _holder(facts, claimed, process, at)) is not None:
                wrong.append(f"{process} has got the stream at {at}, though {other} holds it")
        elif phase == "ok" and operation == "send":
            sent[process].append(value)
        elif phase == "ok" and operation in ("flush", "end"):
            event_id = value[1] if operation == "end" else value
            problem = _acknowledged(facts, process, begun[process], at, event_id, sent[process])
            wrong += [f"{process} {operation} at {at}: {what}" for what in problem]
            if operation == "end" and value[0] == "active":
                wrong += [] if "active" in wishes[process] else [f"{process} at {at}: it has handed over unasked"]
            elif operation == "end" and facts.known.get(event_id, ("end", value[0])) != ("end", value[0]):
                wrong.append(f"{process} at {at}: its end {value} is {facts.known[event_id]}")
        elif phase == "fail" and (reason := _without_reason(facts, process, value, claimed, begun[process], at)):
            wrong.append(f"{process} {operation} at {at}: {reason}")
    return wrong + _check_ends(facts, sent, wishes, claimed) + _check_orphans(facts)


def _acknowledged(facts: Facts, process: str, begin: int, at: int, event_id: ID | None, sent: list[str]) -> list[str]:
    look = facts.look_after(at)
    if look is None or facts.upheaval(begin, look.end):
        return []
    if event_id is None:
        return [f"{sent} was acknowledged without an id"] if sent else []
    wrong = []
    if event_id not in facts.logged and not facts.bounded:
        wrong.append(f"{event_id} was acknowledged and is not in the log")
    if look.events is None or not look.events or (look.events[-1][0] or (0, 0)) < event_id:
        wrong.append(f"the log ends before {event_id}, which was acknowledged")
    if not facts.bounded:
        written = _written(facts, process, event_id)
        wrong += [f"{token} was acknowledged and is not in the log" for token in sent if token not in written]
    return wrong


def _written(facts: Facts, process: str, until: ID) -> set[str]:
    """The tokens of a producer in the log, up to an event."""
    return {
        f"{producer}.{index};"
        for event_id in facts.logged
        if event_id <= until
        for producer, index in tokens_of((event_id, *facts.known[event_id])) or ()
        if producer == process
    }


def _without_reason(facts: Facts, process: str, error: str, claimed: dict[str, int], begin: int, at: int) -> str | None:
    """An error that nothing in the history explains."""
    since = claimed.get(process, begin)
    after = facts.look_after(at)
    until = after.end if after is not None else len(facts.history)
    if error == "lost":
        return None if facts.upheaval(since, until) else "the stream is called lost, and nobody removed it"
    if error == "fenced":
        return None if _overtaken(facts, process, since, until) else "it was fenced, and nobody took the stream"
    if error == "exists":
        return None if _taken(facts, process, begin, until) else "the claim was refused, and the stream is free"
    return None if error in ("unavailable", "too late") else f"an error that it must not get: {error}"


def _holder(facts: Facts, claimed: dict[str, int], process: str, at: int) -> str | None:
    """Who still holds the stream at a position: its lease is long, and nothing has come of its end."""
    for other, since in claimed.items():
        told = [entry for entry in facts.history[: at + 1] if entry[0] == other]
        patient = any(operation == "claim" and value and "long lease" in value for _, _, operation, value in told)
        ending = any(operation == "end" or phase == "fail" for _, phase, operation, _ in told)
        if other != process and patient and not ending and not facts.upheaval(since, at):
            return other
    return None


def _overtaken(facts: Facts, process: str, since: int, until: int) -> bool:
    if facts.upheaval(since, until):
        return True
    mine = max((g for g, owner in facts.owner.items() if owner == process), default=0)
    if any(event_id[0] > mine and facts.first_seen[event_id] <= until for event_id in facts.known):
        return True
    return any(
        other.startswith("p") and other != process and operation == "claim" and phase in ("ok", "info")
        for other, phase, operation, _ in facts.history[since:until]
    )


def _taken(facts: Facts, process: str, begin: int, until: int) -> bool:
    """Whether anybody else may hold the stream, or it has ended, since it was last removed whole."""
    removed = [deed.begin for deed in facts.deeds if deed.operation in _CLEARS and deed.end < begin]
    since = max(removed, default=0)
    return any(
        (other.startswith("p") and other != process and operation == "claim" and phase in ("ok", "info"))
        or (other == "log" and value and value[-1][1] == "end")
        for other, phase, operation, value in facts.history[since:until]
    ) or facts.upheaval(since, until, of=frozenset({"roll back"}))


def _check_orphans(facts: Facts) -> list[str]:
    """A stream that is said to be ended has an end, unless it is gone, and had no living producer."""
    wrong = []
    claimed: dict[str, int] = {}
    for at, (process, phase, operation, value) in enumerate(facts.history):
        if (phase, operation) == ("ok", "claim"):
            claimed[process] = at
        if (process, phase, operation, value) != ("admin", "ok", "end orphan", True):
            continue
        if (holder := _holder(facts, claimed, process, at)) is not None:
            wrong.append(f"the stream was ended at {at}, though {holder} holds it")
        look = facts.look_after(at)
        if look is None or look.events is None or facts.upheaval(at, look.end):
            continue
        again = any(entry[1:3] == ("ok", "claim") or entry[2] == "reserve" for entry in facts.history[at : look.end])
        if not again and (not look.events or look.events[-1][1] != "end"):
            wrong.append(f"the stream was called ended at {at}, and is not")
    return wrong


def _check_ends(
    facts: Facts, sent: dict[str, list[str]], wishes: dict[str, set[str]], claimed: dict[str, int]
) -> list[str]:
    """Each end in the log was wanted by the producer of its generation, and all that was sent stands before it."""
    wrong = []
    for event_id, (kind, status) in facts.known.items():
        if kind != "end":
            continue
        owner = facts.owner.get(event_id[0])
        if status == "lost":
            if owner is not None and status not in wishes[owner]:
                wrong.append(f"the end {event_id} is lost, in the generation of {owner}")
            continue
        if status not in _ENDINGS:
            wrong.append(f"the end {event_id} has a strange status: {status}")
        if owner is None:
            continue
        asked = status == "cancelled" and facts.stopped is not None and facts.stopped < facts.first_seen[event_id]
        if status not in wishes[owner] and not asked:
            wrong.append(f"the end {event_id} is {status}, and {owner} wanted {sorted(wishes[owner])}")
        seen = facts.first_seen[event_id]
        if not facts.bounded and not facts.upheaval(claimed.get(owner, 0), seen):
            written = _written(facts, owner, event_id)
            wrong += [f"the end {event_id} came without {token}" for token in sent[owner] if token not in written]
    return wrong
