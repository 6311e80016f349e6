"""What can happen in a history, one step at a time, and how often: each theme has a mixture of its own.

A step is drawn without a look at the world, so that a history can be drawn again; where it makes no sense, it does
nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from hypothesis import strategies as st

from core.property.producers import Ending
from core.property.readers import Form
from core.property.world import World
from resumable_stream import Status
from resumable_stream.testing import FaultProxy


class Step(ABC):
    """One thing that happens."""

    @abstractmethod
    async def take(self, world: World) -> None:
        """Let it happen."""


@dataclass(frozen=True)
class Produce(Step):
    count: int
    kind: str
    flush: bool
    fault: str

    async def take(self, world: World) -> None:
        await world.produce(self.count, kind=self.kind, flush=self.flush, fault=self.fault)


@dataclass(frozen=True)
class End(Step):
    how: Ending

    async def take(self, world: World) -> None:
        await world.end(self.how)


@dataclass(frozen=True)
class Stop(Step):
    async def take(self, world: World) -> None:
        await world.stop()


@dataclass(frozen=True)
class HandOver(Step):
    """The producer lets the stream go, and perhaps another one goes on."""

    count: int

    async def take(self, world: World) -> None:
        await world.end("active")
        if self.count:
            await world.pause(0.005)
            await world.produce(self.count, kind="text", flush=True)


@dataclass(frozen=True)
class Reserve(Step):
    """A stream is made, perhaps in the place of one that is deleted, and waits for a producer."""

    delete: bool

    async def take(self, world: World) -> None:
        if self.delete:
            await world.delete()
        await world.reserve()


@dataclass(frozen=True)
class EndOrphan(Step):
    """A stream is ended if it has no producer; first one may begin."""

    status: Status
    begin: bool

    async def take(self, world: World) -> None:
        if self.begin:
            await world.produce(1, kind="text", flush=True)
        await world.end_orphan(self.status)


@dataclass(frozen=True)
class Rival(Step):
    """Somebody else would like to produce the stream, too."""

    async def take(self, world: World) -> None:
        await world.rival()


@dataclass(frozen=True)
class Replace(Step):
    """The producer crashes and another takes the stream; a zombie comes back later. A consumer may be late to learn."""

    zombie: bool
    slow: int | None

    async def take(self, world: World) -> None:
        if self.slow is not None:
            await Disturb(self.slow, "slow", 20).take(world)
        await world.replace(zombie=self.zombie)


@dataclass(frozen=True)
class Connect(Step):
    """A reader comes: without a cursor, or with the id of some event, or with one near it."""

    which: int
    form: Form
    cursor: int | None
    shift: tuple[int, int]
    count: int
    wait: bool

    async def take(self, world: World) -> None:
        after = None if self.cursor is None else world.cursor(self.cursor, self.shift)
        await world.read(self.which, self.form, after, count=self.count, wait=0.3 if self.wait else 0.0)


@dataclass(frozen=True)
class ReadMore(Step):
    reader: int
    count: int

    async def take(self, world: World) -> None:
        await world.read_more(self.reader, self.count)


@dataclass(frozen=True)
class Resume(Step):
    """A reader is cut off and comes back with its last id, perhaps to the other process."""

    reader: int
    which: int
    form: Form
    count: int

    async def take(self, world: World) -> None:
        await world.resume(self.reader, self.which, self.form, count=self.count)


@dataclass(frozen=True)
class Settle(Step):
    """All faults of the network are taken away, and there is time."""

    async def take(self, world: World) -> None:
        await world.heal()
        await world.pause(0.005)


FAULTS: Final[dict[str, Callable[[FaultProxy, int], Any]]] = {
    "cut": lambda proxy, _: proxy.cut(),
    "reset": lambda proxy, _: proxy.reset_peer(),
    "lose a reply": lambda proxy, number: proxy.drop_reply("EVALSHA", nth=1 + number % 3, keep=number % 5),
    "lose a request": lambda proxy, number: proxy.drop_request("EVALSHA", nth=1 + number % 3, keep=number % 40),
    "lose a page": lambda proxy, number: proxy.drop_reply("XRANGE", keep=number),
    "cut commands": lambda proxy, number: proxy.to_server.cut_after(number * 9),
    "cut replies": lambda proxy, number: proxy.to_client.cut_after(number * 9),
    "slices": lambda proxy, number: setattr(proxy.to_client, "slice_size", 1 + number),
    "slow": lambda proxy, number: setattr(proxy.to_server, "latency", number / 5000),
    "hold commands": lambda proxy, _: proxy.to_server.hold(),
    "hold replies": lambda proxy, _: proxy.to_client.hold(),
    "down": lambda proxy, _: proxy.down(),
    "up": lambda proxy, _: proxy.up(),
    "heal": lambda proxy, _: proxy.heal(),
}


@dataclass(frozen=True)
class Disturb(Step):
    which: int
    fault: str
    number: int

    async def take(self, world: World) -> None:
        await world.disturb(self.which, self.fault, lambda proxy: FAULTS[self.fault](proxy, self.number))


@dataclass(frozen=True)
class LoseNotifications(Step):
    """A consumer is cut off while events are written, and is late to find out."""

    which: int
    count: int

    async def take(self, world: World) -> None:
        await Disturb(self.which, "slow", 20).take(world)
        await Disturb(self.which, "cut", 0).take(world)
        await world.produce(self.count, kind="text", flush=True)


@dataclass(frozen=True)
class AskServer(Step):
    command: str

    async def take(self, world: World) -> None:
        await world.ask_server(self.command)


@dataclass(frozen=True)
class Restart(Step):
    async def take(self, world: World) -> None:
        await world.restart()


@dataclass(frozen=True)
class Trim(Step):
    keep: int

    async def take(self, world: World) -> None:
        await world.trim(self.keep)


@dataclass(frozen=True)
class Remove(Step):
    """One event that is not the newest is deleted."""

    number: int

    async def take(self, world: World) -> None:
        await world.remove(self.number)


@dataclass(frozen=True)
class Lose(Step):
    """Keys go; with the state alone, also some of the newest events. The producer may have something to say."""

    what: str
    newest: int
    then: int

    async def take(self, world: World) -> None:
        await world.drop(self.what, newest=self.newest)
        if world.producer is not None:
            await world.produce(self.then, kind="text", flush=True)


@dataclass(frozen=True)
class MakeAgain(Step):
    """Another stream of the same name, before anybody has noticed that the first is gone; one may be reading it."""

    what: str
    count: int
    slow: int | None
    form: Form
    pause: float

    async def take(self, world: World) -> None:
        if self.slow is not None:
            await world.produce(8, kind="text", flush=False)
            await world.pause(0.005)
            await Disturb(self.slow, "slow", 30).take(world)
            await world.read(self.slow, self.form, None)
            await world.pause(self.pause)
        await world.drop(self.what)
        await world.produce(self.count, kind="text", flush=self.slow is None, anew=True)


@dataclass(frozen=True)
class FailOver(Step):
    """What is written now is lost with the primary; when the producer crashes too, nobody can write it again."""

    count: int
    crash: bool

    async def take(self, world: World) -> None:
        await world.fail_over(self.count, crash=self.crash)


@dataclass(frozen=True)
class Snapshot(Step):
    async def take(self, world: World) -> None:
        await world.snapshot()


@dataclass(frozen=True)
class RollBack(Step):
    async def take(self, world: World) -> None:
        await world.roll_back()


_numbers = st.integers(0, 30)
_which = st.integers(0, 1)
_forms: st.SearchStrategy[Form] = st.sampled_from(["events", "json", "event source"])
_endings: st.SearchStrategy[Ending] = st.sampled_from(["completed", "failed", "cancelled"])

_produce = st.builds(
    Produce,
    count=st.sampled_from([1, 2, 3, 5, 8]),
    kind=st.sampled_from(["text", "bytes", "event"]),
    flush=st.booleans(),
    fault=st.sampled_from(["", "", "reply", "request"]),
)
_connect = st.builds(
    Connect,
    which=_which,
    form=_forms,
    cursor=st.none() | _numbers,
    shift=st.sampled_from([(0, 0), (0, 0), (0, 0), (0, 1), (0, 7), (0, -1), (1, 0), (-1, 0)]),
    count=_numbers,
    wait=st.booleans(),
)
_resume = st.builds(Resume, reader=_numbers, which=_which, form=_forms, count=_numbers)
_read_more = st.builds(ReadMore, reader=_numbers, count=st.integers(1, 9))
_settle = st.just(Settle())
_usual: list[st.SearchStrategy[Step]] = [_produce] * 4 + [_connect] * 3 + [_resume] * 2 + [_read_more, _settle]

_disturb = st.builds(Disturb, which=_numbers, fault=st.sampled_from(sorted(FAULTS)), number=_numbers)
_lose_notifications = st.builds(LoseNotifications, which=_which, count=st.integers(1, 5))
_ask = st.builds(
    AskServer, command=st.sampled_from(["SCRIPT FLUSH", "CLIENT KILL TYPE pubsub", "CLIENT KILL TYPE normal"])
)
_end = st.builds(End, how=_endings)
_stop = st.just(Stop())
_rival = st.just(Rival())
_hand_over = st.builds(HandOver, count=st.sampled_from([0, 0, 1, 3]))
_reserve = st.builds(Reserve, delete=st.booleans())
_end_orphan = st.builds(EndOrphan, status=st.sampled_from([Status.CANCELLED, Status.LOST]), begin=st.booleans())
_replace = st.builds(Replace, zombie=st.booleans(), slow=st.none() | _which)
_restart = st.just(Restart())
_trim = st.builds(Trim, keep=st.integers(0, 8))
_remove = st.builds(Remove, number=_numbers)
_lose = st.builds(
    Lose,
    what=st.sampled_from(["drop log", "drop state", "drop state", "drop both", "flush", "expire"]),
    newest=st.integers(0, 3),
    then=st.integers(0, 3),
)
_delete = st.just(Lose("delete", newest=0, then=0))
_make_again = st.builds(
    MakeAgain,
    what=st.sampled_from(["delete", "flush"]),
    count=st.integers(1, 9),
    slow=st.none() | _which,
    form=_forms,
    pause=st.sampled_from([0.0, 0.005, 0.01, 0.02]),
)
_fail_over = st.builds(FailOver, count=st.integers(1, 5), crash=st.booleans())
_snapshots = st.sampled_from([Snapshot(), RollBack()])

Theme = Literal["network", "crashes", "endings", "takeovers", "removals", "losses", "failovers", "restarts", "anything"]
_SPECIAL: Final[dict[Theme, list[st.SearchStrategy[Step]]]] = {
    "network": [_disturb] * 6 + [_lose_notifications] * 3 + [_ask] * 2,
    "crashes": [_replace] * 3 + [_disturb] * 2 + [_lose_notifications, _end, _rival],
    "endings": [_end] * 2 + [_stop, _delete, _make_again, _disturb, _disturb, _lose_notifications, _rival],
    "takeovers": [_hand_over] * 5 + [_reserve] * 2 + [_end_orphan] * 3 + [_stop, _rival, _disturb, _disturb],
    "removals": [_trim] * 3 + [_remove] * 3 + [_disturb, _lose_notifications],
    "losses": [_lose] * 3 + [_make_again] * 2 + [_delete, _disturb, _replace],
    "failovers": [_fail_over] * 3 + [_snapshots] * 2 + [_replace, _disturb],
    "restarts": [_restart] * 2 + [_disturb] * 2 + [_lose_notifications, _ask],
    "anything": [
        _disturb, _lose_notifications, _ask, _end, _stop, _rival, _replace, _restart, _trim, _remove, _lose, _delete,
        _make_again, _fail_over, _snapshots, _hand_over, _reserve, _end_orphan,
    ],
}  # fmt: skip
THEMES: Final[dict[Theme, st.SearchStrategy[Step]]] = {
    theme: st.one_of(_usual + special) for theme, special in _SPECIAL.items()
}
NOTIFIED: Final[frozenset[Theme]] = frozenset({"network", "endings", "takeovers", "removals", "restarts"})
"""Themes in which readers are told of everything that happens, so that they need not look by themselves."""
