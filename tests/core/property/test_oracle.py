"""The judge is judged first: histories written by hand, good ones that it accepts and bad ones that it does not."""

from __future__ import annotations

from typing import Any

import pytest

from core.property.oracle import ID, Entry, Event, check

Story = list[Entry]


def text(sequence: int, token: int | None = None, *, producer: int = 1, generation: int = 100) -> Event:
    """The event with this number; it holds one token of a producer, by default the one of a stream without a break."""
    return (generation, sequence), "text", f"p{producer}.{sequence - 1 if token is None else token};"


def restarted(sequence: int, generation: int) -> Event:
    return (generation, sequence), "restarted", ""


def end(sequence: int, status: str = "completed", generation: int = 100) -> Event:
    return (generation, sequence), "end", status


GAP, RESET, LOST = "gap", (None, "reset", ""), (None, "end", "lost")


def gap(missed: int | None) -> Event:
    return None, GAP, missed


def claim(producer: int = 1, *words: str) -> Story:
    return [(f"p{producer}", "invoke", "claim", words), (f"p{producer}", "ok", "claim", None)]


def send(*tokens: int, producer: int = 1) -> Story:
    name = f"p{producer}"
    return [(name, phase, "send", f"{name}.{token};") for token in tokens for phase in ("invoke", "ok")]


def flush(last: ID | None, producer: int = 1) -> Story:
    return [(f"p{producer}", "invoke", "flush", None), (f"p{producer}", "ok", "flush", last)]


def finish(event: Event, producer: int = 1) -> Story:
    name = f"p{producer}"
    return [(name, "invoke", "end", event[2]), (name, "ok", "end", (event[2], event[0]))]


def end_orphan(status: str, *, ended: bool = True) -> Story:
    return [("admin", "invoke", "end orphan", status), ("admin", "ok", "end orphan", ended)]


HANDED_OVER: Story = [("p1", "invoke", "end", "active"), ("p1", "ok", "end", ("active", (100, 1)))]


def refused(operation: str, why: str, producer: int = 1) -> Story:
    name = f"p{producer}"
    return [(name, "invoke", operation, ()), (name, "fail", operation, why)]


def look(*events: Event) -> Story:
    return [("log", "invoke", "look", None), ("log", "ok", "look", events)]


def no_log() -> Story:
    return [("log", "invoke", "look", None), ("log", "ok", "look", None)]


def do(operation: str, *removed: Event, known: bool = True) -> Story:
    return [("admin", "invoke", operation, None), ("admin", "ok", operation, removed if known else None)]


def read(*events: Event, after: ID | None = None, name: str = "r1", then: str = "done") -> Story:
    phase, operation, value = ("fail", "read", then) if then in ("not found", "unavailable") else ("ok", then, None)
    return [
        (name, "invoke", "read", after),
        *[(name, "ok", "event", event) for event in events],
        (name, phase, operation, value),
    ]


WRITTEN = [*claim(), *send(0, 1, 2), *flush((100, 3)), *look(text(1), text(2), text(3))]
"""A stream with three tokens that are in the log."""
WHOLE = (text(1), text(2), text(3), end(4))
ENDED = [*WRITTEN, *finish(end(4)), *look(*WHOLE)]
"""The same stream, when it has ended."""
TAKEN_OVER = (text(1), restarted(2, 200), text(3, 0, producer=2, generation=200), end(4, generation=200))
SECOND = [
    *claim(),
    *send(0),
    *flush((100, 1)),
    *look(text(1)),
    *claim(2),
    *send(0, producer=2),
    *finish(end(4, generation=200), 2),
    *look(*TAKEN_OVER),
]
"""A stream whose first producer died behind its first token, and whose second finished it."""
ANEW = (text(1, 0, producer=2, generation=200), end(2, generation=200))
REMADE = [
    *ENDED,
    *do("drop both", *WHOLE),
    *no_log(),
    *claim(2),
    *send(0, producer=2),
    *finish(ANEW[1], 2),
    *look(*ANEW),
]
"""A stream that was removed, and another in its place."""

GOOD: dict[str, Story] = {
    "nothing": [],
    "all of it": [*ENDED, *read(*WHOLE)],
    "from a cursor": [*ENDED, *read(*WHOLE[2:], after=(100, 2))],
    "after the end": [*ENDED, *read(after=(100, 4))],
    "dropped and resumed": [*ENDED, *read(*WHOLE[:2], then="drop"), *read(*WHOLE[2:], after=(100, 2), name="r2")],
    "tokens together in one event": [
        *claim(),
        *send(0, 1),
        *flush((100, 1)),
        *look(((100, 1), "text", "p1.0;p1.1;")),
        *read(((100, 1), "text", "p1.0;p1.1;"), then="drop"),
    ],
    "a takeover": [*SECOND, *read(*TAKEN_OVER), *read(*TAKEN_OVER[1:], after=(100, 1), name="r2")],
    "a burial": [*WRITTEN, *read(*WHOLE[:3], end(4, "lost", 200)), *look(*WHOLE[:3], end(4, "lost", 200))],
    "a hand-over": [
        *claim(),
        *send(0),
        *HANDED_OVER,
        *look(text(1)),
        *claim(2),
        *send(0, producer=2),
        *finish(end(4, generation=200), producer=2),
        *look(text(1), restarted(2, 200), text(3, 0, producer=2, generation=200), end(4, generation=200)),
    ],
    "an end without a producer": [
        *claim(),
        *send(0),
        *HANDED_OVER,
        *end_orphan("cancelled"),
        *look(text(1), end(2, "cancelled", 200)),
        *read(text(1), end(2, "cancelled", 200)),
    ],
    "a trimmed stream": [
        *ENDED,
        *do("trim", text(1), text(2)),
        *look(*WHOLE[2:]),
        *read(gap(2), *WHOLE[2:]),
        *read(gap(None), *WHOLE[2:], name="r2"),
        *read(gap(1), *WHOLE[2:], after=(100, 1), name="r3"),
    ],
    "a hole": [*ENDED, *do("remove", text(2)), *look(text(1), *WHOLE[2:]), *read(text(1), gap(1), *WHOLE[2:])],
    "a bounded stream": [
        *claim(1, "bounded"),
        *send(0, 1, 2),
        *look(text(2)),
        *flush((100, 3)),
        *finish(end(4)),
        *look(*WHOLE[2:]),
        *read(gap(2), *WHOLE[2:]),
    ],
    "a stream that was removed under a reader": [
        *WRITTEN,
        *do("expire", known=False),
        *no_log(),
        *read(*WHOLE[:3], LOST),
        *read(after=(100, 3), name="r2", then="not found"),
        *refused("flush", "lost"),
    ],
    "a stream that was made anew": [*REMADE, *read(RESET, *ANEW, after=(100, 3)), *read(*ANEW, name="r2")],
    "a cursor that was made up": [*ENDED, *read(RESET, *WHOLE, after=(100, 9))],
    "a producer that was overtaken": [*SECOND[:-2], *refused("flush", "fenced"), *SECOND[-2:]],
    "two producers, one after the other": [
        *claim(1, "long lease"),
        *finish(end(1)),
        *look(end(1)),
        *do("drop both", end(1)),
        *claim(2, "long lease"),
    ],
    "a refused claim": [*ENDED, *refused("claim", "exists", 2)],
    "Redis away when the reader came": [*ENDED, *read(then="unavailable")],
}

BAD: dict[str, tuple[str, Story]] = {
    "an event twice": ("follows", [*ENDED, *read(text(1), text(1), *WHOLE[1:])]),
    "an event again after a resume": ("follows", [*ENDED, *read(*WHOLE[1:], after=(100, 2))]),
    "an event left out": ("follows", [*ENDED, *read(text(1), *WHOLE[2:])]),
    "the first event left out": ("follows", [*ENDED, *read(*WHOLE[1:])]),
    "an event left out at a resume": ("follows", [*ENDED, *read(*WHOLE[2:], after=(100, 1))]),
    "the wrong order": ("follows", [*ENDED, *read(text(1), text(3), text(2), end(4))]),
    "no end": ("without an end", [*ENDED, *read(*WHOLE[:3])]),
    "nothing after a cursor that is not the end": ("without an end", [*ENDED, *read(after=(100, 2))]),
    "a reader that waits for ever": ("got no end", [*ENDED, *read(*WHOLE[:3], then="stuck")]),
    "a reader of whom nothing more is heard": ("got no end", [*ENDED, *read(*WHOLE[:3])[:-1]]),
    "an event after the end": ("follows the end", [*ENDED, *read(*WHOLE, end(5, "lost", 200))]),
    "a gap of too few": ("follows", [*ENDED, *do("trim", *WHOLE[:2]), *look(*WHOLE[2:]), *read(gap(1), *WHOLE[2:])]),
    "a gap of too many": ("follows", [*ENDED, *do("trim", *WHOLE[:2]), *look(*WHOLE[2:]), *read(gap(3), *WHOLE[2:])]),
    "a gap of nothing": ("of 0", [*ENDED, *read(gap(0), *WHOLE)]),
    "a gap where nothing is missing": ("still there", [*ENDED[:-2], *read(text(1), gap(1), *WHOLE[2:]), *look(*WHOLE)]),
    "a gap with an id": ("carries the id", [*ENDED, *read(text(1), ((100, 2), GAP, 1), *WHOLE[2:])]),
    "a reset without need": ("though the log can place it", [*ENDED, *read(RESET, *WHOLE, after=(100, 2))]),
    "a reset in the middle": ("though the log can place it", [*ENDED, *read(*WHOLE[:2], RESET, *WHOLE)]),
    "lost without need": ("nobody removed it", [*ENDED, *read(text(1), LOST)]),
    "lost because of what was lost before": ("nobody removed it", [*REMADE, *read(LOST)]),
    "refused because of what was removed before": (
        "is free",
        [*ENDED, *do("drop both", *WHOLE), *no_log(), *refused("claim", "exists", 2)],
    ),
    "completed, in no log": ("stands in no log", [*ENDED, *do("flush", *WHOLE), *read((None, "end", "completed"))]),
    "not found though it is there": ("no stream", [*ENDED, *read(then="not found")]),
    "an event without an id": ("has no id", [*ENDED, *read((None, "text", "p1.0;"), *WHOLE)]),
    "an event that nobody wrote": (
        "never in the log",
        [*WRITTEN, *read(*WHOLE[:3], text(4), then="drop"), *look(*WHOLE[:3])],
    ),
    "readers who disagree": ("stands for", [*ENDED, *read(*WHOLE), *read(text(1), text(2, 2), *WHOLE[2:], name="r2")]),
    "text that nobody sent": ("what nobody sent", [*ENDED, *read(((100, 1), "text", "p1.0;x"), *WHOLE[1:])]),
    "a takeover that is not told": ("not told", [*SECOND, *read(text(1), *TAKEN_OVER[2:])]),
    "the old stream goes on in the new one": ("not told", [*REMADE, *read(ANEW[1], after=(100, 1))]),
    "a cursor that was made up is believed": ("nobody ever had", [*ENDED, *read(end(4), after=(99, 3))]),
    "text of a fenced producer": (
        "generation 200 is written by p2 and by p1",
        [*SECOND[:-4], *look(*TAKEN_OVER[:3], text(4, 1, generation=200))],
    ),
    "text of a fenced producer, under its own claim": (
        "of an older claim",
        [*SECOND, *read(*TAKEN_OVER[:2], text(3, 1), then="drop")],
    ),
    "an error that no reader must get": (
        "must not get",
        [*ENDED, ("r1", "invoke", "read", None), ("r1", "fail", "read", "KeyError")],
    ),
    "Redis away in the middle": ("must not get", [*ENDED, *read(*WHOLE[:2], then="unavailable")]),
    "two ends": ("follows the end", [*ENDED, *look(*WHOLE, end(5, "lost", 200))]),
    "a token after the end": ("follows the end", [*ENDED, *look(*WHOLE, text(5, 3))]),
    "a hole in the log": ("nobody removed them", [*claim(), *send(0, 1, 2), *look(text(1), text(3))]),
    "a log without its beginning": ("nobody removed them", [*claim(), *send(0, 1, 2), *look(text(2), text(3))]),
    "a log that was born again without its beginning": (
        "nobody removed them",
        [*WRITTEN, *do("drop log", *WHOLE[:3]), *no_log(), *look(text(4))],
    ),
    "a token twice in the log": ("follows", [*claim(), *send(0, 1), *look(text(1), text(2, 0), text(3, 1))]),
    "a token left out of the log": ("follows", [*claim(), *send(0, 1, 2), *look(text(1), text(2, 2))]),
    "the first token left out of the log": ("follows", [*claim(), *send(0, 1), *look(text(1, 1))]),
    "an event that changes in the log": ("stands for", [*WRITTEN, *look(text(1), text(2, 2), text(3))]),
    "an event that goes from the log": ("nobody removed", [*WRITTEN, *look(*WHOLE[:2])]),
    "a log that goes": ("it is gone", [*WRITTEN, *no_log()]),
    "a trim that removes more": ("nobody removed it", [*WRITTEN, *do("trim", text(1)), *look(text(3))]),
    "a takeover that is not told in the log": (
        "not told",
        [*claim(), *send(0), *look(text(1)), *look(text(1), text(2, 0, producer=2, generation=200))],
    ),
    "acknowledged and never written": ("acknowledged", [*claim(), *send(0), *flush((100, 1)), *look()]),
    "acknowledged before it is written": (
        "p1.1; was acknowledged",
        [*claim(), *send(0, 1), *flush((100, 1)), *look(text(1)), *look(text(1), text(2))],
    ),
    "acknowledged and lost by a durable server": (
        "acknowledged",
        [*claim(), *send(0, 1), *flush((100, 2)), *do("restart"), *look(text(1))],
    ),
    "acknowledged without an id": ("without an id", [*claim(), *send(0), *flush(None), *look(text(1))]),
    "completed without all that was sent": (
        "without p1.2;",
        [*claim(), *send(0, 1, 2), *finish(end(3)), *look(*WHOLE[:2], end(3))],
    ),
    "an end that was not wanted": ("wanted", [*WRITTEN, *look(*WHOLE)]),
    "an end that differs from what was told": (
        "is ('end', 'failed')",
        [*WRITTEN, *finish(end(4)), *look(*WHOLE[:3], end(4, "failed"))],
    ),
    "a living producer's stream that ends lost": (
        "is lost, in the generation",
        [*WRITTEN, *look(*WHOLE[:3], end(4, "lost"))],
    ),
    "two producers at once": ("though p1 holds it", [*claim(1, "long lease"), *send(0), *claim(2, "long lease")]),
    "fenced by nobody": ("nobody took", [*WRITTEN, *refused("flush", "fenced"), *look(*WHOLE[:3])]),
    "lost, though it is there": ("called lost", [*WRITTEN, *refused("flush", "lost"), *look(*WHOLE[:3])]),
    "a claim that meets itself": ("is free", [*refused("claim", "exists"), *look()]),
    "an error that nobody handled": (
        "never retrieved",
        [*ENDED, ("loop", "fail", "exception was never retrieved", "x")],
    ),
    "an end that nobody wrote, after a hand-over": (
        "not told",
        [*claim(), *send(0), *HANDED_OVER, *look(text(1), end(2, "cancelled", 200))],
    ),
    "a hand-over that nobody asked for": (
        "handed over unasked",
        [*claim(), *send(0), ("p1", "invoke", "end", "failed"), HANDED_OVER[1], *look(text(1))],
    ),
    "a hand-over that leaves something behind": (
        "p1.1; was acknowledged",
        [*claim(), *send(0, 1), *HANDED_OVER, *look(text(1))],
    ),
    "an end without a producer that is not there": (
        "called ended",
        [*claim(), *send(0), *HANDED_OVER, *end_orphan("lost"), *look(text(1))],
    ),
    "an end without a producer, though there is one": (
        "though p1 holds it",
        [*claim(1, "long lease"), *send(0), *end_orphan("lost"), *look(text(1), end(2, "lost", 200))],
    ),
    "an error that no producer must get": ("must not get", [*WRITTEN, ("p1", "fail", "end", "KeyError")]),
}


@pytest.mark.parametrize("story", GOOD.values(), ids=GOOD.keys())
def test_a_good_history_is_accepted(story: Story) -> None:
    assert check(story) == []


@pytest.mark.parametrize(("complaint", "story"), BAD.values(), ids=BAD.keys())
def test_a_bad_history_is_refused_for_what_is_wrong(complaint: str, story: Story) -> None:
    assert complaint in "; ".join(check(story))


def test_what_a_roll_back_took_may_be_read_again() -> None:
    """The reader had three events, a failover lost two of them, and the stream was buried behind the first."""
    buried = end(2, "lost", 200)
    begun: Any = [("r1", "ok", "event", event) for event in WHOLE[:3]]
    again: Any = [("r1", "ok", "event", event) for event in (RESET, text(1), buried)]
    story = [
        *WRITTEN,
        ("r1", "invoke", "read", None),
        *begun,
        *do("roll back", text(2), text(3)),
        *look(text(1)),
        *again,
        ("r1", "ok", "done", None),
        *look(text(1), buried),
    ]
    assert check(story) == []
    without = [entry for entry in story if entry[0] != "admin"]
    assert len(check(without)) >= 2
