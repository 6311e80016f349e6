"""An independent judge of histories: what was done to one stream and what everybody saw of it.

It imports nothing of the library. A history is a list of plain tuples ``(process, phase, operation, value)`` in the
order in which things happened, as in Jepsen: an ``invoke`` is followed by an ``ok`` (it happened), a ``fail`` (it did
not) or an ``info`` (nobody knows) of the same process. An event is ``(id, kind, data)`` with ``(generation, sequence)``
for the id, ``None`` where it has none; kinds are ``text``, ``tool_call``, ``restarted``, ``gap``, ``reset``, ``end``.
Text is made of tokens such as ``p1.0;``, the first of producer p1, so that each token says whose it is and which.

==========  ==================================================================================================
process     operations
==========  ==================================================================================================
``p…``      ``claim``, with ``bounded`` when only the newest events are kept, and ``long lease`` when nobody else can
            claim the stream in the time of the history; ``send`` a token; ``flush``, ok with the last id; ``end`` with
            a status, ok with ``(status, id)``; the status is ``active`` when it hands the stream over. What fails says
            why: ``exists``, ``fenced``, ``lost``, ``unavailable``
``r…``      one connection of a reader: ``read`` after a cursor; then ``event`` for each event; ``done`` when the
            iterator is over; ``drop`` when the reader left; ``stuck`` when it should have been over and was not
``admin``   what is done to Redis, with the events that it removed (``None``: not known): see `facts`; ``stop``;
            ``reserve``; ``end orphan`` with a status, ok with whether the stream has an end or is not there
``log``     ``look``: ``None`` when there is no log, else its events, as they are in Redis
``loop``    anything that it says is an error that nobody handled
``net``     faults of the network, for people to read
==========  ==================================================================================================

`check` returns what is wrong, in words; an empty list is a good history.
"""

from __future__ import annotations

from collections.abc import Sequence

from .facts import ID, Entry, Event, Facts
from .logs import check_log
from .producers import check_producers
from .readers import check_readers

__all__ = ["ID", "Entry", "Event", "check"]


def check(history: Sequence[Entry]) -> list[str]:
    """What is wrong with a history."""
    facts = Facts(history)
    return [*facts.conflicts, *check_log(facts), *check_producers(facts), *check_readers(facts)]
