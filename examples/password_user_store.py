"""A user store of an application with a login of its own: passwords, API tokens, changes of address that wait.

It offers every optional verb, so that people can tie their old account to the identity they sign in with by giving its
password once (``JIT_LINK_POLICY=confirm``), and so that whatever opened the account before is shut when they do. Run it
with the five ``JIT_`` variables set (see ``README.md``)::

    gunicorn --chdir examples password_user_store:application
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from wsgiref.types import StartResponse, WSGIEnvironment

from jit_middleware import UNSET, Conflict, Profile, ProfileChanges, Status, User
from jit_middleware.wsgi import JITMiddleware

TABLES = (
    """
    CREATE TABLE IF NOT EXISTS people (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        login TEXT NOT NULL UNIQUE COLLATE NOCASE,
        mail TEXT COLLATE NOCASE,
        mail_confirmed INTEGER NOT NULL DEFAULT 0,
        roles TEXT NOT NULL DEFAULT '',
        password TEXT,
        blocked INTEGER NOT NULL DEFAULT 0,
        sso_key TEXT UNIQUE
    )
    """,
    "CREATE TABLE IF NOT EXISTS api_tokens (token TEXT PRIMARY KEY, person INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS waiting_changes (code TEXT PRIMARY KEY, person INTEGER NOT NULL, mail TEXT NOT NULL)",
)


class Accounts:
    """The five verbs and all optional ones over ``people``; one short-lived connection for each call."""

    def __init__(self, path: str | None = None) -> None:
        self._path = path or os.environ.get("PEOPLE_DATABASE", "people.db")
        with self._transaction() as db:
            for table in TABLES:
                db.execute(table)

    # --- the five verbs -------------------------------------------------------------------------------------------

    def get(self, user_id: str) -> User | None:
        """The person with this number."""
        with self._transaction() as db:
            return _one(db, user_id)

    def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        """Everybody with this address or name."""
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM people WHERE mail = ? OR login = ?", (email or None, username or None))
            return [_user(row) for row in rows]

    def create(self, profile: Profile) -> User:
        """A new row without a password, or the one made for this key before."""
        with self._transaction() as db:
            made = db.execute("SELECT * FROM people WHERE sso_key = ?", (profile.provisioning_key,)).fetchone()
            if made is not None:
                return _user(made)
            values = (
                profile.username,
                profile.email,
                profile.email_verified,
                " ".join(sorted(set(profile.roles))),
                profile.status is not Status.ACTIVE,
                profile.provisioning_key,
            )
            try:
                row = db.execute(
                    "INSERT INTO people (login, mail, mail_confirmed, roles, blocked, sso_key)"
                    " VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
                    values,
                ).fetchone()
            except sqlite3.IntegrityError as taken:
                raise Conflict("username") from taken
            return _user(row)

    def update(self, user_id: str, changes: ProfileChanges) -> User:
        """What is set in ``changes`` goes into its column."""
        columns = {"login": changes.username, "mail": changes.email, "mail_confirmed": changes.email_verified}
        with self._transaction() as db:
            for column, value in columns.items():
                if value is not UNSET:
                    try:
                        db.execute(f"UPDATE people SET {column} = ? WHERE CAST(id AS TEXT) = ?", (value, user_id))
                    except sqlite3.IntegrityError as taken:
                        raise Conflict("username") from taken
            user = _one(db, user_id)
        if user is None:
            raise LookupError(user_id)
        return user

    def set_active(self, user_id: str, active: bool) -> None:
        """Block or unblock."""
        self._change("UPDATE people SET blocked = ? WHERE CAST(id AS TEXT) = ?", not active, user_id)

    # --- the optional ones ----------------------------------------------------------------------------------------

    def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """Write the roles where the application reads them."""
        self._change("UPDATE people SET roles = ? WHERE CAST(id AS TEXT) = ?", " ".join(sorted(set(roles))), user_id)

    def has_password(self, user_id: str) -> bool:
        """Whether there is a password, right or wrong."""
        return self._password(user_id) is not None

    def check_password(self, user_id: str, password: str) -> bool:
        """Whether this is it."""
        kept = self._password(user_id)
        return kept is not None and matches(password, kept)

    def revoke_credentials(self, user_id: str) -> None:
        """Password, tokens and waiting changes of address go: from now on the person signs in with the provider."""
        self._change("UPDATE people SET password = NULL WHERE CAST(id AS TEXT) = ?", user_id)
        self._change("DELETE FROM api_tokens WHERE CAST(person AS TEXT) = ?", user_id)
        self._change("DELETE FROM waiting_changes WHERE CAST(person AS TEXT) = ?", user_id)

    def delete(self, user_id: str) -> None:
        """The row stays for the application's own references, and tells nothing of the person."""
        self.revoke_credentials(user_id)
        self._change(
            "UPDATE people SET login = 'gone-' || id, mail = NULL, roles = '', blocked = 1, sso_key = NULL"
            " WHERE CAST(id AS TEXT) = ?",
            user_id,
        )

    def list_users(self, *, after: str | None = None, limit: int = 1000) -> Sequence[User]:
        """Everybody in the order of their numbers."""
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM people WHERE id > ? ORDER BY id LIMIT ?", (int(after or 0), limit))
            return [_user(row) for row in rows]

    # --- the application's own login ------------------------------------------------------------------------------

    def register(self, login: str, mail: str, password: str, *, mail_confirmed: bool = False) -> User:
        """Somebody signs up as they always could."""
        with self._transaction() as db:
            row = db.execute(
                "INSERT INTO people (login, mail, mail_confirmed, password) VALUES (?, ?, ?, ?) RETURNING *",
                (login, mail, mail_confirmed, hashed(password)),
            ).fetchone()
            return _user(row)

    def new_token(self, user_id: str) -> str:
        """A token for the application's API."""
        token = secrets.token_urlsafe(24)
        self._change("INSERT INTO api_tokens (token, person) VALUES (?, ?)", token, int(user_id))
        return token

    def ask_to_change_mail(self, user_id: str, mail: str) -> str:
        """The code that is sent to the new address, to be given to :meth:`change_mail`."""
        code = secrets.token_urlsafe(24)
        self._change("INSERT INTO waiting_changes (code, person, mail) VALUES (?, ?, ?)", code, int(user_id), mail)
        return code

    def change_mail(self, code: str) -> bool:
        """Whether the code was still good; the address is changed and confirmed then."""
        with self._transaction() as db:
            waiting = db.execute("DELETE FROM waiting_changes WHERE code = ? RETURNING *", (code,)).fetchone()
            if waiting is not None:
                new = (waiting["mail"], waiting["person"])
                db.execute("UPDATE people SET mail = ?, mail_confirmed = 1 WHERE id = ?", new)
            return waiting is not None

    def whose_token(self, token: str) -> str | None:
        """The id of whoever has this token."""
        with self._transaction() as db:
            row = db.execute("SELECT person FROM api_tokens WHERE token = ?", (token,)).fetchone()
            return None if row is None else str(row["person"])

    # --- how ------------------------------------------------------------------------------------------------------

    def _password(self, user_id: str) -> str | None:
        with self._transaction() as db:
            row = db.execute("SELECT password FROM people WHERE CAST(id AS TEXT) = ?", (user_id,)).fetchone()
            return None if row is None else row["password"]

    def _change(self, statement: str, *values: object) -> None:
        with self._transaction() as db:
            db.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def hashed(password: str) -> str:
    """The password as it is kept: salted, and slow to guess (RFC 7914)."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${_scrypt(password, salt).hex()}"


def matches(password: str, kept: str) -> bool:
    """Whether this is the password that was kept."""
    salt, _, digest = kept.partition("$")
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)).hex(), digest)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def _one(db: sqlite3.Connection, user_id: str) -> User | None:
    row = db.execute("SELECT * FROM people WHERE CAST(id AS TEXT) = ?", (user_id,)).fetchone()
    return None if row is None else _user(row)


def _user(row: sqlite3.Row) -> User:
    return User(
        id=str(row["id"]),
        username=row["login"],
        email=row["mail"],
        email_verified=bool(row["mail_confirmed"]),
        roles=tuple(sorted(set(row["roles"].split()))),
        status=Status.SUSPENDED if row["blocked"] else Status.ACTIVE,
    )


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The old application."""
    user = environ["jit.user"]
    body = f"Hello {user.username}, number {user.id}, your roles are {', '.join(user.roles) or 'none'}.\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


application = JITMiddleware(app, users=Accounts())
