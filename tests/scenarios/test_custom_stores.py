"""The main job with the users kept in the app's own store, outside the ledger: the same stories, and what can go wrong
between two places that know nothing of each other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jit_middleware import ConfigurationError, Profile, ProfileChanges, Status, StoreUnavailable, User
from jit_middleware.bridge import step
from jit_middleware.errors import Conflict as OurConflict
from jit_middleware.model import UNSET, IdentityLink
from jit_middleware.outside import open_ledger
from jit_middleware.settings import Settings
from jit_middleware.testing.contract import UserStoreContract
from tests.peers.oidc_provider import Provider
from tests.scenarios.conftest import SECRET, Stage, StageBuilder

TABLE = """
CREATE TABLE IF NOT EXISTS members (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    came_by TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    mail TEXT COLLATE NOCASE,
    sure INTEGER NOT NULL DEFAULT 0,
    shown TEXT,
    more TEXT NOT NULL DEFAULT '{}',
    roles TEXT NOT NULL DEFAULT '[]',
    standing TEXT NOT NULL DEFAULT 'active'
)
"""
COLUMNS = {"username": "name", "email": "mail", "email_verified": "sure", "display_name": "shown"}


class Conflict(Exception):
    """The store's own exception: it need not import ours, the name is the contract (``ports.UserStore``)."""


class Members:
    """A club's members in a SQLite file of their own; every call is a connection of its own.

    ``trouble`` maps ``"before create"`` or ``"after create"`` to what is raised there.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.trouble: dict[str, Exception] = {}
        self.taken: Callable[[str], Exception] = Conflict
        with self._open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(TABLE)

    def get(self, user_id: str) -> User | None:
        with self._call("get"), self._open() as db:
            return self._one(db, "CAST(number AS TEXT) = ?", user_id)

    def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        column, wanted = ("mail", email) if email is not None else ("name", username)
        with self._call("find"), self._open() as db:
            return [self._user(row) for row in db.execute(f"SELECT * FROM members WHERE {column} = ?", (wanted,))]

    def create(self, profile: Profile) -> User:
        values = (
            profile.provisioning_key,
            profile.username,
            profile.email,
            profile.email_verified,
            profile.display_name,
            json.dumps(dict(profile.attributes)),
            json.dumps(sorted(set(profile.roles))),
        )
        with self._call("create"), self._open() as db:
            try:
                db.execute(
                    "INSERT INTO members (came_by, name, mail, sure, shown, more, roles) VALUES (?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (came_by) DO NOTHING",
                    values,
                )
            except sqlite3.IntegrityError:
                raise self.taken(f"{profile.username} <{profile.email}> is a member already") from None
            made = self._one(db, "came_by = ?", profile.provisioning_key)
            assert made is not None
            return made

    def update(self, user_id: str, changes: ProfileChanges) -> User:
        with self._call("update"), self._open() as db:
            for field, column in COLUMNS.items():
                value = getattr(changes, field)
                if value is not UNSET:
                    try:
                        db.execute(f"UPDATE members SET {column} = ? WHERE number = ?", (value, user_id))
                    except sqlite3.IntegrityError:
                        raise self.taken("that name is a member's already") from None
            if changes.attributes is not UNSET:
                more = json.dumps(dict(changes.attributes))  # type: ignore[call-overload]
                db.execute("UPDATE members SET more = ? WHERE number = ?", (more, user_id))
            user = self._one(db, "CAST(number AS TEXT) = ?", user_id)
            if user is None:
                raise LookupError("no such member")
            return user

    def set_active(self, user_id: str, active: bool) -> None:
        self.stand(user_id, Status.ACTIVE if active else Status.SUSPENDED)

    def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        with self._call("set_roles"), self._open() as db:
            db.execute("UPDATE members SET roles = ? WHERE number = ?", (json.dumps(sorted(set(roles))), user_id))

    # --- what the club does on its own ------------------------------------------------------------------------------

    def stand(self, user_id: str, status: Status) -> None:
        with self._open() as db:
            db.execute("UPDATE members SET standing = ? WHERE number = ?", (status.value, user_id))

    def expel(self, user_id: str) -> None:
        with self._open() as db:
            db.execute("DELETE FROM members WHERE number = ?", (user_id,))

    def everybody(self) -> list[User]:
        with self._open() as db:
            return [self._user(row) for row in db.execute("SELECT * FROM members ORDER BY number")]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.file, timeout=20)
        db.row_factory = sqlite3.Row
        try:
            with db:
                yield db
        finally:
            db.close()

    @contextmanager
    def _call(self, verb: str) -> Iterator[None]:
        if f"before {verb}" in self.trouble:
            raise self.trouble[f"before {verb}"]
        yield  # the connection is inside this, so it has committed by now
        if f"after {verb}" in self.trouble:
            raise self.trouble[f"after {verb}"]

    def _one(self, db: sqlite3.Connection, where: str, value: str) -> User | None:
        row = db.execute(f"SELECT * FROM members WHERE {where}", (value,)).fetchone()
        return None if row is None else self._user(row)

    def _user(self, row: sqlite3.Row) -> User:
        return User(
            id=str(row["number"]),
            username=row["name"],
            email=row["mail"],
            email_verified=bool(row["sure"]),
            display_name=row["shown"],
            roles=tuple(json.loads(row["roles"])),
            attributes=json.loads(row["more"]),
            status=Status(row["standing"]),
        )


class AsyncMembers:
    """The same members, by ``async def``."""

    def __init__(self, kept: Members) -> None:
        self._kept = kept

    async def get(self, user_id: str) -> User | None:
        return await asyncio.to_thread(self._kept.get, user_id)

    async def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        return await asyncio.to_thread(self._kept.find, email=email, username=username)

    async def create(self, profile: Profile) -> User:
        return await asyncio.to_thread(self._kept.create, profile)

    async def update(self, user_id: str, changes: ProfileChanges) -> User:
        return await asyncio.to_thread(self._kept.update, user_id, changes)

    async def set_active(self, user_id: str, active: bool) -> None:
        await asyncio.to_thread(self._kept.set_active, user_id, active)

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        await asyncio.to_thread(self._kept.set_roles, user_id, roles)


class TestMembers(UserStoreContract):
    """The store of these stories keeps the contract."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Members:
        return Members(tmp_path / "club.db")


class TestAsyncMembers(UserStoreContract):
    """And so does its async twin."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> AsyncMembers:
        return AsyncMembers(Members(tmp_path / "club.db"))


class Club:
    """A stage whose users are the members of a club, kept by a sync or an async store."""

    def __init__(self, build: StageBuilder, members: Members, kind: str) -> None:
        self._build = build
        self.members = members
        self.edge = build.edge
        self._store: Any = members if kind == "sync" else AsyncMembers(members)

    def __call__(self, **how: Any) -> Stage:
        return self._build(users=self._store, **how)


def _club(request: pytest.FixtureRequest, provider: Provider, tmp_path: Path, closing: ExitStack) -> Iterator[Club]:
    edge, kind = request.param
    builder = StageBuilder((edge, "sqlite"), provider, request, tmp_path, closing)
    yield Club(builder, Members(tmp_path / "club.db"), kind)


# WSGI with an async store is refused: there is a test of that.
club = pytest.fixture(params=[("wsgi", "sync"), ("asgi", "sync"), ("asgi", "async")], ids="-".join, name="club")(_club)


def rows(stage: Stage, table: str) -> int:
    """How many rows our ledger has there; none when it has no tables yet."""
    with sqlite3.connect(stage.database_url.removeprefix("sqlite:///")) as db:
        try:
            return int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
        finally:
            db.commit()


def profiles(stage: Stage) -> int:
    """How many people our ledger knows anything about but their id, status and roles."""
    return rows(stage, "jit_users WHERE COALESCE(username, email, display_name) IS NOT NULL")


# --- the main job ---------------------------------------------------------------------------------------------------


def test_a_first_login_makes_the_member_and_a_second_is_the_same_one(club: Club) -> None:
    stage = club(JIT_DEFAULT_ROLES="reader")
    alice = stage.person("alice")
    seen = stage.sign_in(alice, "/deep?x=1").json()
    (member,) = club.members.everybody()
    assert seen["remote_user"] == alice == member.username
    assert seen["user"]["id"] == member.id
    assert (seen["user"]["email"], member.email) == (f"{alice}@example.org",) * 2
    assert member.roles == ("reader",)
    assert (seen["path"], seen["query"]) == ("/deep", "x=1")
    again = stage.sign_in(alice, client=stage.client.another()).json()
    assert again["user"] == seen["user"]
    assert [account.user_id for account in stage.accounts()] == [member.id]
    assert [event.type for event in stage.events()] == [
        "user.created",
        "user.first_login",
        "login.succeeded",
        "login.succeeded",
    ]
    assert profiles(stage) == 0


def test_forty_simultaneous_first_logins_make_one_member(club: Club) -> None:
    stage = club()
    alice = stage.person("alice")
    agent = stage.agent(alice)
    browsers = [stage.client.another() for _ in range(40)]
    callbacks = [stage.callback_request(browser, stage.depart(browser, agent)) for browser in browsers]
    answers = stage.client.together(*callbacks)
    assert [answer.status for answer in answers] == [303] * 40
    assert [member.username for member in club.members.everybody()] == [alice]
    assert len(stage.accounts()) == rows(stage, "jit_identity_links") == 1
    assert len(stage.events("user.created")) == 1
    assert len(stage.events("user.first_login")) == 1
    assert len(stage.events("login.succeeded")) == 40


def test_logout_ends_the_session(club: Club) -> None:
    stage = club()
    stage.sign_in(stage.person("alice"))
    assert stage.client.post("/_jit/logout").status == 303
    assert stage.client.get("/").status == 302


def test_the_profile_and_the_roles_follow_the_provider(club: Club) -> None:
    stage = club(
        JIT_OIDC_SCOPES="openid email profile groups",
        JIT_ROLE_RULES='[{"when": "contains(groups, \'ops\')", "grant": ["operator"]}]',
    )
    alice = stage.person("alice", groups=["ops"])
    assert stage.sign_in(alice).json()["user"]["roles"] == ["operator"]
    assert club.members.everybody()[0].roles == ("operator",)
    stage.provider.add_user(
        alice, {"preferred_username": alice, "name": "Alice Newname", "email": "new@example.org", "groups": []}
    )
    seen = stage.sign_in(alice, client=stage.client.another()).json()["user"]
    assert (seen["display_name"], seen["email"], seen["roles"]) == ("Alice Newname", "new@example.org", [])
    (member,) = club.members.everybody()
    assert (member.display_name, member.email, member.roles) == ("Alice Newname", "new@example.org", ())


def test_a_store_that_keeps_no_roles_still_lets_the_app_see_those_of_the_login(
    build: StageBuilder, tmp_path: Path
) -> None:
    members = Members(tmp_path / "club.db")

    class Plain:
        """The five verbs and nothing more; ``set_roles`` is optional (``ports.UserStore``)."""

        get, find, update, set_active = members.get, members.find, members.update, members.set_active

        def create(self, profile: Profile) -> User:
            return members.create(replace(profile, roles=()))

    stage = build(users=Plain(), JIT_DEFAULT_ROLES="reader")
    alice = stage.person("alice")
    assert stage.sign_in(alice).json()["user"]["roles"] == ["reader"]
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"]["roles"] == ["reader"]
    assert [grant.role for grant in stage.accounts()[0].grants] == ["reader"]


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "taken",
    [Conflict, lambda text: OurConflict("username", text), lambda text: OurConflict("name_in_use", text)],
    ids=["a class of its own", "ours", "ours, with a reason of its own"],
)
def test_a_taken_name_is_a_refusal_of_this_person(club: Club, taken: Callable[[str], Exception]) -> None:
    club.members.taken = taken
    stage = club()
    alice = stage.person("alice")
    club.members.create(Profile("by hand", alice.upper(), email="other@example.org"))
    refused = stage.sign_in(alice)
    assert refused.status == 403
    assert "not_provisioned" in refused.text
    assert [event.reason for event in stage.events("login.refused")] == ["username_taken"]
    assert len(club.members.everybody()) == 1
    assert len(stage.accounts()) == rows(stage, "jit_sessions") == 0


# --- between the two ------------------------------------------------------------------------------------------------


def test_a_crash_after_the_store_made_the_member_is_resumed_by_the_next_login(club: Club) -> None:
    stage = club()
    alice = stage.person("alice")
    club.members.trouble["after create"] = ConnectionResetError("the answer was lost")
    # ``after`` runs when the row is in: the member is there, and nobody was told.
    assert stage.sign_in(alice).status == 503
    (member,) = club.members.everybody()
    assert len(stage.accounts()) == rows(stage, "jit_sessions") == len(stage.events("user.created")) == 0
    club.members.trouble.clear()
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"]["id"] == member.id
    assert len(club.members.everybody()) == len(stage.accounts()) == rows(stage, "jit_identity_links") == 1
    assert [event.type for event in stage.events()] == [
        "login.refused",
        "user.created",
        "user.first_login",
        "login.succeeded",
    ]


class FallingLedger:
    """A ledger that falls over when the link is settled, as often as told; everything else is the real one's."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.falls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def transaction(self, work: Callable[[Any], Any], **_kwargs: Any) -> Any:
        async def with_a_trap(tx: Any) -> Any:
            return await work(_Trapped(tx, self))

        return await self._ledger.transaction(with_a_trap)


class _Trapped:
    def __init__(self, tx: Any, ledger: FallingLedger) -> None:
        self._tx = tx
        self._of = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def settle_link(self, link: IdentityLink, user_id: str) -> bool:
        settled: bool = await self._tx.settle_link(link, user_id)
        if self._of.falls:
            self._of.falls -= 1
            raise StoreUnavailable("lost", "the connection broke")
        return settled


def test_a_ledger_that_fails_at_the_end_leaves_only_the_intent_and_is_resumed(club: Club, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    settings = Settings.load(
        {
            "JIT_PUBLIC_URL": "http://localhost:8000",
            "JIT_SECRET_KEY": SECRET,
            "JIT_OIDC_ISSUER": "http://127.0.0.1:9",
            "JIT_OIDC_CLIENT_ID": "x",
            "JIT_OIDC_CLIENT_SECRET": "y",
            "JIT_DATABASE_URL": url,
        }
    )
    ledger = FallingLedger(open_ledger(settings, keep_users=False))
    stage = club(database_url=url, ports={"ledger": ledger})
    alice = stage.person("alice")
    ledger.falls = 1
    assert stage.sign_in(alice).status == 503
    assert rows(stage, "jit_identity_links") == 1
    assert len(stage.accounts()) == rows(stage, "jit_sessions") == 0
    assert [event.type for event in stage.events()] == ["login.refused"]
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"]["username"] == alice
    assert len(club.members.everybody()) == len(stage.accounts()) == rows(stage, "jit_identity_links") == 1
    assert [event.type for event in stage.events()][1:] == ["user.created", "user.first_login", "login.succeeded"]


@pytest.mark.parametrize("verb", ["find", "create"])
def test_a_store_that_is_down_is_a_503_and_leaves_nothing_half_written(club: Club, verb: str) -> None:
    stage = club(
        JIT_LINK_POLICY="auto", JIT_OIDC_VERIFIED_DOMAINS="example.org"
    )  # so that a first login asks ``find`` too
    alice = stage.person("alice")
    club.members.trouble[f"before {verb}"] = ConnectionRefusedError("no route")
    refused = stage.sign_in(alice)
    assert refused.status == 503
    assert "store_unavailable" in refused.text
    assert refused.header("retry-after") is not None
    assert "Traceback" not in refused.text
    assert club.members.everybody() == []
    assert len(stage.accounts()) == rows(stage, "jit_sessions") == 0
    assert [(event.type, event.reason) for event in stage.events()] == [("login.refused", "user_store")]
    club.members.trouble.clear()
    assert stage.sign_in(alice, client=stage.client.another()).status == 200
    assert [event.type for event in stage.events()][1:] == ["user.created", "user.first_login", "login.succeeded"]


def test_a_store_that_is_down_keeps_a_known_member_out_until_it_is_back(club: Club) -> None:
    stage = club()
    alice = stage.person("alice")
    stage.sign_in(alice)
    club.members.trouble["before get"] = TimeoutError("slow")
    assert stage.client.get("/page").status == 200
    newcomer = stage.client.another()
    assert stage.sign_in(alice, client=newcomer).status == 503
    club.members.trouble.clear()
    assert stage.sign_in(alice, client=newcomer).status == 200


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.DEPROVISIONED, None])
def test_a_member_the_club_shut_out_is_refused_with_the_reason(club: Club, status: Status | None) -> None:
    stage = club()
    alice = stage.person("alice")
    user_id = stage.sign_in(alice).json()["user"]["id"]
    if status is None:
        club.members.expel(user_id)
    else:
        club.members.stand(user_id, status)
    refused = stage.sign_in(alice, client=stage.client.another())
    assert refused.status == 403
    codes = {None: "not_provisioned", Status.SUSPENDED: "account_suspended", Status.DEPROVISIONED: "account_closed"}
    assert codes[status] in refused.text
    reason = "account_missing" if status is None else f"account_{status.value}"
    assert [event.reason for event in stage.events("login.refused")] == [reason]
    assert "account_missing" not in refused.text
    assert rows(stage, "jit_sessions") == 1
    assert [member.status for member in club.members.everybody()] == ([] if status is None else [status])


@pytest.mark.parametrize(
    "trouble", ["before create", "after create", "before get", "before update"], ids=lambda text: text.replace(" ", "-")
)
def test_what_a_store_says_in_its_exception_reaches_neither_page_nor_log(
    club: Club, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "duplicate key: Key (email)=(someone.private@example.org) exists"
    caplog.set_level(logging.DEBUG)
    stage = club()
    alice = stage.person("alice")
    if "create" not in trouble:
        stage.sign_in(alice)
        stage.provider.add_user(alice, {"preferred_username": alice, "name": "Changed", "email": "new@example.org"})
    club.members.trouble[trouble] = RuntimeError(secret)
    refused = stage.sign_in(alice, client=stage.client.another())
    assert refused.status == 503
    formatter = logging.Formatter("%(name)s %(message)s")
    ours = "\n".join(formatter.format(entry) for entry in caplog.records)
    assert "store_unavailable" in ours
    assert "RuntimeError" in ours, "the class of the exception is what an operator gets"
    assert "someone.private" not in refused.text
    assert "someone.private" not in ours


@pytest.mark.parametrize("kind", [StoreUnavailable, OurConflict])
def test_what_a_store_says_in_an_exception_of_ours_is_not_believed_to_be_harmless(
    club: Club, kind: type[StoreUnavailable] | type[OurConflict], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stage = club()
    club.members.trouble["before create"] = kind("down", "no room for someone.private@example.org")
    refused = stage.sign_in(stage.person("alice"))
    assert refused.status in {403, 503}
    formatter = logging.Formatter("%(name)s %(message)s")
    ours = "\n".join(formatter.format(entry) for entry in caplog.records)
    assert "someone.private" not in refused.text
    assert "someone.private" not in ours


# --- what fits together ---------------------------------------------------------------------------------------------


def test_an_async_store_under_wsgi_is_refused_with_both_ways_out(build: StageBuilder, tmp_path: Path) -> None:
    store: Any = AsyncMembers(Members(tmp_path / "club.db"))
    if build.edge == "asgi":
        stage = build(users=store)
        assert stage.sign_in(stage.person("alice")).status == 200
        return
    with pytest.raises(ConfigurationError) as refused:
        build(users=store)
    (fault,) = refused.value.faults
    assert fault.setting == "JIT_USER_STORE"
    assert "AsyncMembers is async" in fault.problem
    assert "ASGI" in fault.fix
    assert "sync verbs" in fault.fix


def test_a_store_named_by_the_setting_is_used(
    build: StageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "club_of_the_tests.py").write_text(
        "from pathlib import Path\n"
        f"from {Members.__module__} import Members\n\n"
        f"MEMBERS = Members(Path({str(tmp_path / 'club.db')!r}))\n\n"
        "def open_club():\n    return MEMBERS\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        stage = build(JIT_USER_STORE="club_of_the_tests:open_club")
        alice = stage.person("alice")
        seen = stage.sign_in(alice).json()
        (member,) = Members(tmp_path / "club.db").everybody()
        assert (member.username, member.id) == (alice, seen["user"]["id"])
        assert profiles(stage) == 0
    finally:
        sys.modules.pop("club_of_the_tests", None)


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ("no_such_club:open_club", "cannot be loaded: ModuleNotFoundError."),
        ("json:no_such_factory", "cannot be loaded: AttributeError."),
        ("json:__name__", "is not callable"),
        ("no-such-entry-point", "no installed package brings a store of the name 'no-such-entry-point'."),
        ("builtins:object", "lacks get, find, create, update, set_active"),
    ],
)
def test_a_store_that_cannot_be_had_is_named_at_start(build: StageBuilder, named: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build(JIT_USER_STORE=named)
    (fault,) = refused.value.faults
    assert fault.setting == "JIT_USER_STORE"
    assert problem in fault.problem
    assert fault.fix
    assert str(fault) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def open_club():\n    raise RuntimeError('closed on Mondays')\n", "raised RuntimeError (closed_club.py, line 2)."),
        ("def key():\n    raise OSError('Mondays')\n\ndef open_club():\n    key()\n",
         "raised OSError (closed_club.py, line 5 > closed_club.py, line 2)."),
        ("import os\nraise ImportError('Mondays')\n", "cannot be loaded: ImportError (closed_club.py, line 2)."),
        ("import closed_mondays\n", "cannot be loaded: ModuleNotFoundError (closed_club.py, line 1)."),
        ("{}['Mondays']\n", "cannot be loaded: KeyError (closed_club.py, line 1)."),
        ("open_club = Mondays !\n", "raised SyntaxError (closed_club.py, line 1)."),
        ("def open_club(mondays): ...\n", "raised TypeError."),
    ],
    ids=["raises", "raises-deeper", "import", "misses-a-module", "key", "syntax", "wants-arguments"],
)  # fmt: skip
def test_a_store_that_fails_is_a_fault_with_the_place_and_without_the_text_which_may_hold_a_password(
    build: StageBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (tmp_path / "closed_club.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        with pytest.raises(ConfigurationError) as refused:
            build(JIT_USER_STORE="closed_club:open_club")
        (fault,) = refused.value.faults
        assert (fault.setting, fault.problem) == ("JIT_USER_STORE", f"'closed_club:open_club' {said}")
        printed = "".join(traceback.format_exception(refused.value, chain=True))
        assert "ondays" not in printed, "nor in what a server prints"
    finally:
        sys.modules.pop("closed_club", None)


def test_pending_members_wait_though_the_store_knows_no_pending(club: Club) -> None:
    stage = club(JIT_INITIAL_STATUS="pending")
    alice = stage.person("alice")
    for _ in range(2):
        assert stage.sign_in(alice, client=stage.client.another()).status == 403
    assert [account.status for account in stage.accounts()] == [Status.PENDING]
    assert len(club.members.everybody()) == 1
    assert {event.reason for event in stage.events("login.refused")} == {"account_pending"}
    assert rows(stage, "jit_sessions") == 0


def test_an_existing_member_is_adopted_by_a_verified_address(club: Club) -> None:
    stage = club(JIT_LINK_POLICY="auto", JIT_OIDC_VERIFIED_DOMAINS="example.org")
    alice = stage.person("alice")
    old = club.members.create(Profile("by hand", "old-timer", email=f"{alice}@example.org", email_verified=True))
    seen = stage.sign_in(alice).json()["user"]
    assert (seen["id"], seen["username"]) == (old.id, "old-timer")
    assert [event.data["proof"] for event in stage.events("identity.linked")] == ["verified_email"]
    assert len(club.members.everybody()) == 1
    kept = step(stage.ledger.transaction(lambda tx: tx.list_links(old.id)))
    assert [replace(link, first_login_at=None).user_id for link in kept] == [old.id]
