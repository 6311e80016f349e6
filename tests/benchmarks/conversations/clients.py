"""A process of clients: its share of the conversations, then a line of JSON with all that they saw."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from benchmarks.conversations.conversation import Conversation
from benchmarks.conversations.viewer import Servers
from benchmarks.serving import raise_file_limit


async def converse(spec: dict[str, Any]) -> dict[str, Any]:
    """Have all conversations of this process, each begun at a moment of its own within the ramp."""
    counts: Counter[str] = Counter()
    until = time.monotonic() + spec["seconds"]
    chance = random.Random(f"{spec['seed']}/{spec['first']}")
    servers = Servers(spec["ports"], chance)
    conversations = [
        Conversation(spec["seed"], number, servers, counts, pause=spec["pause"])
        for number in range(spec["first"], spec["first"] + spec["count"])
    ]

    async def one(conversation: Conversation, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            await conversation.go_on(until)
        except Exception as error:  # noqa: BLE001 - the verdict has to tell it, and the others go on
            conversation.problems.append(f"the client broke: {error!r}")

    await asyncio.gather(*(one(each, chance.uniform(0, spec["ramp"])) for each in conversations))
    return {
        "answers": [asdict(answer) for each in conversations for answer in each.answers],
        "problems": [problem for each in conversations for problem in each.problems],
        "counts": dict(counts),
    }


def main() -> None:
    """Converse as the specification in the first argument says."""
    raise_file_limit()
    sys.stdout.write(json.dumps({"begun": True}) + "\n")
    sys.stdout.flush()
    found = asyncio.run(converse(json.loads(sys.argv[1])))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
