"""What the package promises about itself: its public names, its needs, and the way its imports point."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from redis import Redis

import resumable_stream

PACKAGE = Path(resumable_stream.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

RANKS = {
    "core": 0,
    "testing": 1,
    "embedded": 1,
    "agent": 1,
    "starlette": 1,
    "telemetry": 1,
    "runs": 2,
    "demo": 2,
    "app": 3,
    "cli": 4,
}
"""A room may import from rooms of a lower rank only."""

CORE_NEEDS = {"anyio", "hiredis", "redis", "resumable_stream"}

ROUND_TRIP = """
import asyncio, sys
import resumable_stream.asgi, resumable_stream.testing
from redis.asyncio import Redis
from resumable_stream import StreamConsumer, StreamProducer

async def tokens():
    yield "a"
    yield "b"

async def main():
    async with Redis.from_url(sys.argv[1]) as redis:
        await StreamProducer(redis).run("s", tokens())
        async with StreamConsumer(redis) as consumer:
            print("".join([event.data async for event in consumer.events("s") if event.type == "text"]))

asyncio.run(main())
"""


def name_of(path: Path) -> str:
    """The module's dotted name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room that a module of the package belongs to."""
    part = [*module.split("."), ""][1]
    return part if part in RANKS else "core"


def imports_of(path: Path) -> Iterator[str]:
    """The dotted names that a module imports, wherever it does."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                yield submodule if submodule in NAMES else source


NAMES = {name_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward(path: Path) -> None:
    """The core imports nothing but redis and anyio; no room imports one that stands above it."""
    module = name_of(path)
    room = room_of(module)
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top == "resumable_stream":
            other = room_of(imported)
            assert other == room or RANKS[other] < RANKS[room], f"{module} imports {imported}"
        elif room in {"core", "testing"}:
            assert top in CORE_NEEDS or top in sys.stdlib_module_names, f"{module} imports {imported}"


def test_no_module_imports_itself_by_a_detour() -> None:
    """`TopologicalSorter` raises on a circle. Facades are what their modules are, so they may not be used inside."""
    graph = {name_of(path): {*imports_of(path)} & NAMES - {name_of(path)} for path in MODULES}
    order = list(TopologicalSorter(graph).static_order())
    assert order[-1] in NAMES


def test_only_the_rooms_of_the_log_speak_to_redis() -> None:
    """Everything else gets a client and passes it on."""
    speakers = {"_cluster", "_links", "_log", "_names", "_nodes", "_primary", "_wire"}
    for path in MODULES:
        room, module = room_of(name_of(path)), path.stem
        if room == "core" and module not in speakers:
            tree = ast.parse(path.read_text())
            names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
                     if node.module and node.module.split(".")[0] == "redis"]  # fmt: skip
            assert set(names) <= {"Redis", "RedisCluster"}, module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_one_concept(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400


def test_every_public_name_is_there_and_documented() -> None:
    """And nothing else that looks public."""
    assert len(set(resumable_stream.__all__)) == len(resumable_stream.__all__)
    for name in resumable_stream.__all__:
        value = getattr(resumable_stream, name)
        if isinstance(value, type):
            assert value.__doc__, name
    namespace = {name for name in vars(resumable_stream) if not name.startswith("_")}
    submodules = {name.split(".")[1] for name in NAMES if "." in name}
    assert namespace - submodules == set(resumable_stream.__all__) - {"__version__"}


def test_every_error_is_public_and_of_one_family() -> None:
    from resumable_stream import _errors

    errors = {name for name, value in vars(_errors).items() if isinstance(value, type)}
    assert errors <= set(resumable_stream.__all__)
    for name in errors:
        assert issubclass(getattr(resumable_stream, name), resumable_stream.ResumableStreamError)


def test_the_version_is_that_of_the_distribution() -> None:
    assert resumable_stream.__version__ == version("resumable-stream-redis")


def requirements(name: str, extras: frozenset[str] = frozenset()) -> Iterator[str]:
    """A distribution and everything that it needs here."""
    yield name
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        contexts = [{"extra": extra} for extra in (extras or {""})]
        if requirement.marker is None or any(requirement.marker.evaluate(context) for context in contexts):
            yield from requirements(requirement.name, frozenset(requirement.extras))


def test_the_core_works_where_only_redis_and_anyio_are_installed(
    tmp_path: Path, valkey_url: str, empty_redis: Redis
) -> None:
    """A fresh interpreter that can import these and the standard library, and nothing else."""
    for name in {*requirements("redis", frozenset({"hiredis"})), *requirements("anyio")}:
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files if not file.parts[0].startswith((".", "_"))}:
            link = tmp_path / top
            if not link.exists():
                link.symlink_to(Path(str(distribution(name).locate_file(top))))
    (tmp_path / "resumable_stream").symlink_to(PACKAGE)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{ROUND_TRIP}"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", program, valkey_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("ab\n", "", 0)
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program.replace("resumable_stream.asgi", "starlette"), valkey_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "No module named 'starlette'" in result.stderr, "the interpreter can import more than it should"
