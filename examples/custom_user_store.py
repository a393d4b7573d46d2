"""The application's own users table as the user store: every login is a row in it, old rows included.

The table was there first, with columns of its own. Two are added to it: ``sso_key`` makes ``create`` safe to repeat,
``mail_confirmed`` says whose address somebody vouches for. Run it with the five ``JIT_`` variables set (see
``README.md``)::

    gunicorn --chdir examples custom_user_store:application

or plug the store into any application without code: ``JIT_USER_STORE=custom_user_store:ShopUsers``. To let people keep
the rows they had, add ``JIT_LINK_POLICY=auto`` and ``JIT_OIDC_VERIFIED_DOMAINS=example.org``.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from wsgiref.types import StartResponse, WSGIEnvironment

from jit_middleware import UNSET, Conflict, Profile, ProfileChanges, Status, User
from jit_middleware.wsgi import JITMiddleware

LEGACY_TABLE = """
CREATE TABLE IF NOT EXISTS shop_users (
    nr INTEGER PRIMARY KEY AUTOINCREMENT,
    login TEXT NOT NULL UNIQUE COLLATE NOCASE,
    full_name TEXT NOT NULL DEFAULT '',
    mail TEXT COLLATE NOCASE,
    groups_csv TEXT NOT NULL DEFAULT '',
    blocked INTEGER NOT NULL DEFAULT 0
)
"""


class ShopUsers:
    """The five verbs over ``shop_users``, and ``set_roles``; one short-lived connection for each call.

    SQLite's ``NOCASE`` ignores ASCII case and nothing else, which is exactly what ``find`` and unique names need.
    ``AUTOINCREMENT`` never gives a number out again.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path or os.environ.get("SHOP_DATABASE", "shop.db")
        with self._transaction() as db:
            db.execute(LEGACY_TABLE)
            columns = {row["name"] for row in db.execute("PRAGMA table_info(shop_users)")}
            if "sso_key" not in columns:
                db.execute("ALTER TABLE shop_users ADD COLUMN sso_key TEXT")
                # The shop has mailed a link to everybody who signed up; of others the provider says it or nobody does.
                db.execute("ALTER TABLE shop_users ADD COLUMN mail_confirmed INTEGER NOT NULL DEFAULT 1")
            db.execute("CREATE UNIQUE INDEX IF NOT EXISTS shop_users_sso_key ON shop_users (sso_key)")

    def get(self, user_id: str) -> User | None:
        """The user with this number."""
        with self._transaction() as db:
            return _one(db, user_id)

    def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        """Everybody with this address or name."""
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM shop_users WHERE mail = ? OR login = ?", (email or None, username or None))
            return [_user(row) for row in rows]

    def create(self, profile: Profile) -> User:
        """A new row, or the one made for this key before."""
        with self._transaction() as db:
            made = db.execute("SELECT * FROM shop_users WHERE sso_key = ?", (profile.provisioning_key,)).fetchone()
            if made is not None:
                return _user(made)
            try:
                row = db.execute(
                    "INSERT INTO shop_users (login, full_name, mail, mail_confirmed, groups_csv, blocked, sso_key)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
                    (
                        profile.username,
                        profile.display_name or "",
                        profile.email,
                        profile.email_verified,
                        _csv(profile.roles),
                        profile.status is not Status.ACTIVE,
                        profile.provisioning_key,
                    ),
                ).fetchone()
            except sqlite3.IntegrityError as taken:
                raise Conflict("username") from taken
            return _user(row)

    def update(self, user_id: str, changes: ProfileChanges) -> User:
        """What is set in ``changes`` goes into its column; there is no column for further attributes."""
        columns: dict[str, object] = {}
        if changes.username is not UNSET:
            columns["login"] = changes.username
        if changes.email is not UNSET:
            columns["mail"] = changes.email
        if changes.email_verified is not UNSET:
            columns["mail_confirmed"] = changes.email_verified
        if changes.display_name is not UNSET:
            columns["full_name"] = changes.display_name or ""
        with self._transaction() as db:
            for column, value in columns.items():
                try:
                    db.execute(f"UPDATE shop_users SET {column} = ? WHERE CAST(nr AS TEXT) = ?", (value, user_id))
                except sqlite3.IntegrityError as taken:
                    raise Conflict("username") from taken
            user = _one(db, user_id)
        if user is None:
            raise LookupError(user_id)
        return user

    def set_active(self, user_id: str, active: bool) -> None:
        """Block or unblock."""
        with self._transaction() as db:
            db.execute("UPDATE shop_users SET blocked = ? WHERE CAST(nr AS TEXT) = ?", (not active, user_id))

    def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """Write the roles where the shop reads them."""
        with self._transaction() as db:
            db.execute("UPDATE shop_users SET groups_csv = ? WHERE CAST(nr AS TEXT) = ?", (_csv(roles), user_id))

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


def _one(db: sqlite3.Connection, user_id: str) -> User | None:
    row = db.execute("SELECT * FROM shop_users WHERE CAST(nr AS TEXT) = ?", (user_id,)).fetchone()
    return None if row is None else _user(row)


def _user(row: sqlite3.Row) -> User:
    return User(
        id=str(row["nr"]),
        username=row["login"],
        email=row["mail"],
        email_verified=bool(row["mail_confirmed"]),
        display_name=row["full_name"] or None,
        roles=tuple(sorted(set(filter(None, row["groups_csv"].split(","))))),
        status=Status.SUSPENDED if row["blocked"] else Status.ACTIVE,
    )


def _csv(roles: Sequence[str]) -> str:
    if any("," in role for role in roles):
        raise ValueError("a role with a comma would be read back as two")
    return ",".join(sorted(set(roles)))


def shop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The old application: it knows its people by their number."""
    user = environ["jit.user"]
    body = f"Hello {user.username}, customer {user.id}, your roles are {', '.join(user.roles) or 'none'}.\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


application = JITMiddleware(shop, users=ShopUsers())
