"""What readers saw: the next event and no other, or else they were told; and an end."""

from __future__ import annotations

from dataclasses import dataclass, field

from .facts import ID, UPHEAVALS, WIPES, Event, Facts, TokenRun

_SURE_OF_WHAT_WENT = frozenset({"drop log", "drop both", "flush", "drop state", "roll back", "trim away"})
_BRINGS_BACK = frozenset({"roll back"})


@dataclass(slots=True)
class Session:
    """One connection of a reader."""

    name: str
    begin: int
    after: ID | None
    events: list[tuple[int, Event]] = field(default_factory=list)
    outcome: str = "open"
    closed: int = 0


def check_readers(facts: Facts) -> list[str]:
    """What is wrong with what the readers saw."""
    sessions: dict[str, Session] = {}
    for at, (process, phase, operation, value) in enumerate(facts.history):
        if not process.startswith("r"):
            continue
        if phase == "invoke" and operation == "read":
            sessions[process] = Session(process, at, value)
            continue
        session = sessions[process]
        if operation == "event":
            session.events.append((at, value))
        elif session.outcome == "open":
            session.outcome = str(value) if phase == "fail" else operation
            session.closed = at
    return [f"{one.name}: {what}" for one in sessions.values() for what in _Judge(facts, one).judge()]


class _Judge:
    """Follows one session from its cursor to its end."""

    def __init__(self, facts: Facts, session: Session) -> None:
        self._facts = facts
        self._session = session
        self._wrong: list[str] = []
        self._cursor = session.after
        self._run = TokenRun()
        self._skipped: int | None = 0  # events that a gap has told of; None: it did not say how many
        self._ended = False
        self._resumed = session.after is not None  # nothing has come after the cursor yet

    def judge(self) -> list[str]:
        for at, event in self._session.events:
            if self._ended:
                self._wrong.append(f"{event} at {at} follows the end")
            self._take(at, event)
        self._check_outcome()
        return self._wrong

    def _take(self, at: int, event: Event) -> None:
        event_id, kind, data = event
        if kind in ("gap", "reset") and event_id is not None:
            self._wrong.append(f"a {kind} at {at} carries the id {event_id}")
        if kind == "gap":
            self._gap(at, data)
        elif kind == "reset":
            self._reset(at)
        elif kind == "end" and event_id is None:
            self._ended = True
            self._lost(at, data)
        elif event_id is None:
            self._wrong.append(f"a {kind} at {at} has no id")
        else:
            self._next(at, event_id, event)

    def _gap(self, at: int, missed: int | None) -> None:
        if missed is not None and missed < 1:
            self._wrong.append(f"a gap at {at} of {missed}")
        self._skipped = None if missed is None or self._skipped is None else self._skipped + missed

    def _reset(self, at: int) -> None:
        cursor = self._cursor
        facts = self._facts
        # A cursor that was made up may well be an event's id later.
        made_up = self._resumed and facts.first_seen.get(cursor or (0, 0), at) >= self._session.begin
        # To who has nothing a reset does no harm: the process may be late to learn of what happened before.
        held = 0 if cursor is None or made_up else facts.since(cursor)
        if not made_up and not facts.upheaval(held, at):
            self._wrong.append(f"a reset at {at} after {cursor}, though the log can place it")
        self._cursor, self._skipped = None, 0
        self._resumed = False
        self._run = TokenRun()

    def _lost(self, at: int, status: object) -> None:
        if status != "lost":
            self._wrong.append(f"an end at {at} that stands in no log is {status}")
        facts = self._facts
        # A stream that was trimmed to nothing, or rolled back, may be replaced by a claim at any time after.
        replaced = facts.upheaval(0, at, of=UPHEAVALS - WIPES)
        if not facts.upheaval(0, at) or (facts.was_there(self._session.begin, at) and not replaced):
            self._wrong.append(f"the stream is called lost at {at}, and nobody removed it")

    def _next(self, at: int, event_id: ID, event: Event) -> None:
        facts = self._facts
        last = self._cursor or (0, 0)
        if self._resumed:
            self._resumed = False
            if last not in facts.known and not facts.bounded:
                self._wrong.append(f"went on at {at} from a cursor that nobody ever had: {last}")
        told = self._skipped != 0
        expected = last[1] + 1 + (self._skipped or 0)
        if event_id[1] != expected and not (self._skipped is None and event_id[1] > expected):
            self._wrong.append(f"{event_id} at {at} follows {last} and a gap of {self._skipped}")
        elif told:
            self._check_gone(at, last, event_id)
        if event_id[0] < last[0]:
            self._wrong.append(f"{event_id} at {at} is of an older claim than {last}")
        new_claim = event_id[0] != last[0]
        if new_claim and last != (0, 0) and not told and not self._facts.announced(event[1], event[2]):
            self._wrong.append(f"the claim of {event_id} at {at} was not told: {event[1]}")
        if told:
            self._run.skip()
        if (what := self._run.take(event, begins=new_claim and not told)) is not None:
            self._wrong.append(f"{what}, at {at}")
        if event_id not in facts.logged and self._never_logged(at):
            self._wrong.append(f"{event_id} at {at} was never in the log")
        self._cursor, self._skipped = event_id, 0
        self._ended = event[1] == "end"

    def _check_gone(self, at: int, last: ID, event_id: ID) -> None:
        """What a gap says to be missing must be missing from then on: only a roll-back brings back what was removed."""
        facts = self._facts
        if facts.bounded and facts.upheaval(0, at, of=_BRINGS_BACK):
            return
        before = {event[0] for deed in facts.deeds if deed.begin < at for event in deed.removed or ()}
        for look in facts.looks:
            if look.begin < at:
                continue
            if facts.upheaval(at, look.end, of=_BRINGS_BACK):
                return
            for there, _, _ in look.events or ():
                if there is not None and last < there < event_id and there[1] > last[1] and there not in before:
                    self._wrong.append(f"a gap before {event_id} at {at}, though {there} is still there")
                    return

    def _never_logged(self, at: int) -> bool:
        """Whether an event that nobody saw in the log cannot have been there between two looks."""
        after = self._facts.look_after(at)
        if after is None or self._facts.bounded:
            return False
        return not self._facts.upheaval(0, after.end, of=UPHEAVALS - _SURE_OF_WHAT_WENT)

    def _check_outcome(self) -> None:
        session, facts = self._session, self._facts
        match session.outcome:
            case "done":
                at_the_end = session.after is not None and facts.known.get(session.after, ("",))[0] == "end"
                if not self._ended and (session.events or not at_the_end):
                    self._wrong.append("is over without an end")
            case "open" | "stuck":
                self._wrong.append("got no end")
            case "drop":
                pass
            case "not found":
                if session.events or facts.was_there(session.begin, session.closed):
                    self._wrong.append(f"was told at {session.closed} that there is no stream")
            case "unavailable" if not session.events:
                pass
            case other:
                self._wrong.append(f"got an error that it must not get: {other}")
