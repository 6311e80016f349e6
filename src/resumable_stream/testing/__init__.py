"""Tools to test streams with: a scripted source of tokens, and a TCP proxy that fails on command.

Neither needs a test framework. Both let a test prove an interleaving without sleeping: the source
stops at gates that the test opens, and the proxy loses exactly the reply that the test names.
"""

from __future__ import annotations

from ._conditions import Conditions, Direction
from ._losses import Loss
from ._proxy import FaultProxy
from ._source import Gate, ScriptedSource, Step, numbered

__all__ = [
    "Conditions",
    "Direction",
    "FaultProxy",
    "Gate",
    "Loss",
    "ScriptedSource",
    "Step",
    "numbered",
]
