"""A warning where Redis may evict streams: it would do so without an error to anybody."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ._wire import ServerError, pack

logger: Final = logging.getLogger("resumable_stream")

_QUESTION: Final = pack(b"INFO", b"memory")  # also where CONFIG is forbidden, as managed servers have it
_asked: Final[set[tuple[str, int]]] = set()
"""Addresses that this process has asked: one warning about a server is enough, however many connect to it."""


def look(address: tuple[str, int], ask: Callable[[bytes], asyncio.Future[Any]]) -> None:
    """Ask a server for its memory policy, unless that was done before, and warn when the answer is a bad one."""
    if address not in _asked:
        _asked.add(address)
        ask(_QUESTION).add_done_callback(partial(_judge, address))


def _judge(address: tuple[str, int], answer: asyncio.Future[Any]) -> None:
    if answer.cancelled() or answer.exception() is not None:
        _asked.discard(address)  # the connection was lost: the next one asks again
        return
    reply = answer.result()
    if isinstance(reply, ServerError) or not isinstance(reply, bytes):
        return  # not permitted, or not known here
    said = dict(re.findall(rb"^(maxmemory|maxmemory_policy):(\S+)", reply, re.MULTILINE))
    policy = said.get(b"maxmemory_policy", b"noeviction").decode()
    if policy != "noeviction" and said.get(b"maxmemory", b"0") != b"0":
        logger.warning(
            "the Redis server at %s:%d may evict streams while they are written and read (maxmemory-policy is %s): "
            "set maxmemory-policy to noeviction",
            *address,
            policy,
        )
