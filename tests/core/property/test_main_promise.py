"""The main promise, over histories that hypothesis makes up: what a reader gets has no hole, no repetition, an end.

A real server, real connections through a proxy that fails, two consumers, any number of producers one after the other.
Everything that happens is written down and judged by `core.property.oracle`, which knows nothing of the library.

Environment:
    PROPERTY_EXAMPLES: how many histories. They are random then, and a failure is made as small as it gets; without it
        they are the same hundred each time.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from core.property.oracle import check
from core.property.producers import Ending
from core.property.setting import Setting
from core.property.steps import NOTIFIED, THEMES, Step, Theme
from core.property.world import World
from resumable_stream.embedded import EmbeddedValkey

NIGHTLY = os.environ.get("PROPERTY_EXAMPLES")

# Otherwise a failure is not made smaller: that takes minutes, and the history says what happened.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink] if NIGHTLY else [Phase.explicit, Phase.generate]
SETTINGS = settings(
    max_examples=math.ceil(int(NIGHTLY or 100) / len(THEMES)),
    derandomize=not NIGHTLY,
    phases=PHASES,
    print_blob=True,
    report_multiple_bugs=False,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

Servers = tuple[EmbeddedValkey, EmbeddedValkey]
"""One that keeps nothing, and one that has each write on the disk before it answers."""


class Histories(RuleBasedStateMachine):
    """One example is one history. What is drawn never depends on what happened, so that it can be drawn again."""

    def __init__(self, servers: Servers, theme: Theme) -> None:
        super().__init__()
        self._servers = servers
        self._theme = theme
        self._runner = asyncio.Runner()
        self._world: World | None = None
        self._ending: Ending | None = None
        self._cut = False

    @initialize(
        setting=st.builds(
            Setting,
            durable=st.booleans(),
            notified=st.booleans(),
            small=st.booleans(),
            pulled=st.sampled_from([False, False, True]),
            max_events=st.sampled_from([None, None, None, 5]),
            flush_interval=st.sampled_from([0.0, 0.0, 0.005]),
            buffer_bytes=st.sampled_from([1024 * 1024, 150]),
            takeover=st.sampled_from([0.0, 0.0, 0.4]),
        ),
        begun=st.sampled_from([True, True, True, False]),
        cut=st.booleans(),
        ending=st.sampled_from(["completed", "completed", "failed", "cancelled", None]),
    )
    def begin(self, setting: Setting, begun: bool, cut: bool, ending: Ending | None) -> None:
        """``begun``: there is a stream with a reader in each process; ``cut``: the end comes while they are cut off."""
        setting = replace(setting, notified=setting.notified and self._theme in NOTIFIED)
        self._cut, self._ending = cut, ending
        world = World(self._servers[setting.durable], setting)
        self._runner.run(world.begin(begun=begun))
        self._world = world

    def take(self, step: Step, pause: float) -> None:
        """Do one thing, let the rest of the world go on for a moment, and look at the log."""
        world = self._world
        assert world is not None

        async def do() -> None:
            await step.take(world)
            await world.pause(pause)
            await world.look()

        self._runner.run(do())

    def teardown(self) -> None:
        world = self._world
        if world is None:
            self._runner.close()
            return
        try:
            self._runner.run(world.finish(self._ending, cut=self._cut))
        finally:
            self._runner.run(world.close())
            self._runner.close()
        wrong = check(world.history.entries)
        assert not wrong, "\n".join(["the history is wrong:", *wrong, "", str(world.setting), str(world.history)])


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    binary = os.environ.get("TEST_REDIS_SERVER")
    small = {"stream-node-max-entries": "3"}  # so that few events are enough to be trimmed
    durable = small | {"appendfsync": "always", "auto-aof-rewrite-min-size": "512kb"}
    with (
        EmbeddedValkey(binary=binary, settings=small) as one,
        EmbeddedValkey(binary=binary, appendonly=True, settings=durable) as other,
    ):
        yield one, other


@pytest.mark.timeout(0 if NIGHTLY else 120)
@pytest.mark.parametrize("theme", THEMES)
def test_readers_get_every_event_once_and_in_order_or_are_told(servers: Servers, theme: Theme) -> None:
    class OneTheme(Histories):
        def __init__(self) -> None:
            super().__init__(servers, theme)

        @rule(step=THEMES[theme], pause=st.sampled_from([0.0, 0.0, 0.001, 0.005]))
        def then(self, step: Step, pause: float) -> None:
            self.take(step, pause)

    run_state_machine_as_test(OneTheme, settings=SETTINGS)
