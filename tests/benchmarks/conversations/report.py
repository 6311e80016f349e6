"""The tables that a run of the load test ends with."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.conversations.chaos import Blow
from benchmarks.conversations.judge import Verdict
from benchmarks.conversations.meter import Meter, Process, slope

_WARM_SECONDS = 30.0
"""A process grows in the beginning: imports, pools, first connections."""
_SHOWN = 20


def report(
    verdict: Verdict, reports: Sequence[dict[str, Any]], blows: Sequence[Blow], meter: Meter, seconds: float
) -> Iterator[str]:
    """The lines of the report."""
    counts: Counter[str] = Counter()
    for one in reports:
        counts.update({name: number for name, number in one["counts"].items() if number and name != "open"})
    answers = [answer for one in reports for answer in one["answers"]]
    yield "| | |"
    yield "|---|---|"
    yield f"| messages accepted | {verdict.accepted:,} |"
    yield f"| answered exactly once, as they should | {verdict.answered:,} |"
    yield f"| of these stopped on request, the partial answer kept | {verdict.partial:,} |"
    yield f"| viewers who stopped an answer that the thread has more of | {verdict.ahead} |"
    yield f"| lost | {len(verdict.losses)} |"
    yield f"| doubled | {len(verdict.doubles)} |"
    yield f"| other faults | {len(verdict.problems)} |"
    signals = Counter(f"{blow.name.split()[0]} {blow.signal}" for blow in blows)
    yield f"| processes ended | {len(blows)}: {_listed(signals)} |"
    yield f"| viewers were told | {_listed(verdict.words)} |"
    yield f"| open streams at most | {counts.pop('most open', 0):,} |"
    for name, chosen in (
        ("first text after, all, s", answers),
        ("first text after, undisturbed, s", [answer for answer in answers if answer["calm"]]),
    ):
        waited = sorted(answer["waited"] for answer in chosen if answer["waited"] is not None)
        if waited:
            p50, p99 = (waited[int(share * (len(waited) - 1))] for share in (0.5, 0.99))
            yield f"| {name}: p50, p99, most ({len(waited):,}) | {p50:.2f}, {p99:.2f}, {waited[-1]:.2f} |"
    yield f"| posts a second | {counts['posts'] / seconds:,.1f} |"
    elapsed = max(seconds, meter.storage[-1].after)  # with the answers that were under way in the end
    yield f"| tokens delivered a second, over {elapsed:.0f} s | {counts['tokens'] / elapsed:,.0f} |"
    yield f"| machine busy: mean, most | {sum(meter.busy) / len(meter.busy):.0f} %, {max(meter.busy):.0f} % |"
    yield f"| clients counted | {_listed(counts)} |"
    yield f"| left in Redis without a time to live | {_listed(Counter(verdict.left))} |"
    yield from _storage(meter)
    yield from _processes(meter, elapsed)
    faults = verdict.faults
    yield ""
    yield "No fault." if not faults else f"{len(faults)} faults:"
    for fault in faults[:_SHOWN]:
        yield f"- {fault}"


def _storage(meter: Meter) -> Iterator[str]:
    points = [meter.storage[index] for index in (0, len(meter.storage) // 2, -1)]
    yield ""
    yield "| | start | middle | end | most |"
    yield "|---|---|---|---|---|"
    for label, name, form in (
        ("Redis memory, MB", "redis_mb", ",.1f"),
        ("Redis keys", "redis_keys", ",d"),
        ("Redis connections", "redis_clients", ",d"),
        ("PostgreSQL connections", "postgres_connections", ",d"),
    ):
        values = [getattr(point, name) for point in points] + [max(getattr(one, name) for one in meter.storage)]
        yield f"| {label} | " + " | ".join(format(value, form) for value in values) + " |"


def _processes(meter: Meter, seconds: float) -> Iterator[str]:
    total = seconds * (os.cpu_count() or 1)
    yield ""
    yield "| processor time, replacements' starts too | s | share of the machine |"
    yield "|---|---|---|"
    for name, cpu in sorted(meter.cpu_by_name().items()):
        yield f"| {name} | {cpu:.1f} | {100 * cpu / total:.0f} % |"
    yield ""
    yield "| process | lived, s | MB: start | middle | end | growth after the first 30 s, MB/min |"
    yield "|---|---|---|---|---|---|"
    for pid, process in meter.processes.items():
        if not process.child:
            yield _memory(pid, process)


def _memory(pid: int, process: Process) -> str:
    samples = process.samples
    begin, end = samples[0][0], samples[-1][0]
    warm = [one for one in samples if one[0] - begin >= _WARM_SECONDS]
    growth = f"{slope(warm):+.1f}" if warm and end - warm[0][0] >= _WARM_SECONDS else ""
    points = " | ".join(f"{samples[index][1]:.0f}" for index in (0, len(samples) // 2, -1))
    return f"| {process.name} ({pid}) | {end - begin:.0f} | {points} | {growth} |"


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counter.items())) or "nothing"
