"""The load process: viewers who read SSE bytes as cheaply as Python can, told what to do by lines of JSON.

No event loop and no HTTP parser: one ``epoll``, one buffer, and frames counted by their blank lines. When a token was
made stands in the frames; a part of the viewers reads all of that.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import socket
import statistics
import sys
import time
from array import array
from typing import Any

_BUFFER = 256 * 1024
_AT_ONCE = 64
_LF = 10
_LAST_CHUNK = b"0\r\n\r\n"
_STAMP = re.compile(rb"data: (\d+\.\d{6})\n")


class Viewer:
    """One response that is being read."""

    __slots__ = ("broken", "done", "frames", "head", "newline", "sampled", "sock", "tail")

    def __init__(self, sock: socket.socket, *, sampled: bool) -> None:
        self.sock = sock
        self.sampled = sampled
        self.head = False
        self.newline = False
        self.tail = b""
        self.frames = 0
        self.done = self.broken = False


class Load:
    """Viewers, and what they have seen."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._viewers: dict[int, Viewer] = {}  # those that are open, by descriptor
        self._all: list[Viewer] = []
        self._heads = self._frames = 0
        self._delays = array("d")
        self._measuring = False
        self._start = self._cpu = 0.0

    def turn(self, timeout: float) -> bool:
        """Read what is there; whether a command waits."""
        commanded = False
        for fd, _ in self._epoll.poll(timeout):
            viewer = self._viewers.get(fd)
            if viewer is None:
                commanded = True
            else:
                self._read(viewer)
        return commanded

    def _read(self, viewer: Viewer) -> None:
        try:
            size = viewer.sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if size == 0:
            viewer.broken = not viewer.done
            self._finish(viewer)
            return
        if not viewer.head:
            viewer.head = True
            self._heads += 1
            assert self._buffer.startswith(b"HTTP/1.1 200"), bytes(self._view[:200])
        buffer = self._buffer
        frames = buffer.count(b"\n\n", 0, size)
        if viewer.newline and buffer[0] == _LF:  # a blank line that came in two parts
            frames += 1
        viewer.newline = buffer[size - 1] == _LF and not buffer.endswith(b"\n\n", 0, size)
        viewer.frames += frames
        self._frames += frames
        if self._measuring and viewer.sampled:
            now = time.monotonic()
            data = viewer.tail + bytes(self._view[:size])
            self._delays.extend([now - float(made) for made in _STAMP.findall(data)])
            viewer.tail = data[data.rfind(b"\n") + 1 :][-64:]
        if buffer.endswith(_LAST_CHUNK, 0, size):
            viewer.done = True
            self._finish(viewer)

    def _finish(self, viewer: Viewer) -> None:
        del self._viewers[viewer.sock.fileno()]
        self._epoll.unregister(viewer.sock.fileno())
        viewer.sock.close()

    def connect(self, port: int, paths: list[str], sample: int) -> dict[str, Any]:
        """Open a viewer for each path and wait for the heads of all; every so many'th reads the times of tokens."""
        started = time.monotonic()
        for number, path in enumerate(paths):
            sock = socket.create_connection((f"127.0.0.{1 + number // 20_000}", port), timeout=20)
            sock.setblocking(False)
            viewer = self._viewers[sock.fileno()] = Viewer(sock, sampled=number % sample == 0)
            self._all.append(viewer)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            sock.send(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            while number - self._heads >= _AT_ONCE:
                self.turn(1.0)
        while self._heads < len(paths):
            self.turn(1.0)
            assert time.monotonic() - started < 120, "not every viewer was answered"
        return {"seconds": time.monotonic() - started}

    def begin(self) -> dict[str, Any]:
        """Count from now on."""
        self._frames, self._delays, self._measuring = 0, array("d"), True
        self._start, self._cpu = time.monotonic(), time.process_time()
        return {}

    def end(self) -> dict[str, Any]:
        """What was read since the beginning."""
        seconds = time.monotonic() - self._start
        cuts = statistics.quantiles(self._delays, n=100) if len(self._delays) > 1 else [0.0] * 99
        self._measuring = False
        busy = (time.process_time() - self._cpu) / seconds
        return {"frames": self._frames, "seconds": seconds, "busy": busy, "p50": cuts[49], "p99": cuts[98]}

    def finish(self, seconds: float) -> dict[str, Any]:
        """Read to the end of all responses, or until the time is over."""
        deadline = time.monotonic() + seconds
        while self._viewers and (left := deadline - time.monotonic()) > 0:
            self.turn(left)
        counts = [viewer.frames for viewer in self._all]
        ended = sum(viewer.done for viewer in self._all)
        return {"ended": ended, "least": min(counts), "most": max(counts)}

    def replay(self, port: int, path: str, viewers: int, seconds: float) -> dict[str, Any]:
        """Have viewers read one stream to its end, all at once, and say how long that took."""
        self.begin()
        self._measuring = False  # the tokens say nothing
        self.connect(port, [path] * viewers, 1)
        return {**self.finish(seconds), **self.end()}


def main() -> None:
    """Obey until told to stop."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    load = Load()
    pending = b""
    while True:
        if not load.turn(5.0):
            continue
        data = os.read(sys.stdin.fileno(), 2**20)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            name = command.pop("do")
            if name == "stop":
                return
            print(json.dumps(getattr(load, name)(**command)), flush=True)


if __name__ == "__main__":
    main()
