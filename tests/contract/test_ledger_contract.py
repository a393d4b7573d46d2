"""Every verb of ``ports.Ledger`` and ``ports.Transaction``, on every database with every driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from jit_middleware.errors import Conflict, NotProvisioned
from jit_middleware.model import (
    Account,
    AuditEvent,
    FeedPage,
    Grant,
    IdentityLink,
    Profile,
    ProfileChanges,
    SessionChoice,
    SessionRecord,
    Status,
    User,
)
from jit_middleware.ports import Transaction, Users
from jit_middleware_sqlalchemy.engine import step
from jit_middleware_sqlalchemy.schema import PROBE_LOOKALIKES
from tests.contract.conftest import Rig, tokens

pytestmark = pytest.mark.real

AT = 1_800_000_000
ISSUER = "https://idp.example.org"


class Stop(Exception):
    """Raised by a unit of work that changes its mind."""


def link(
    subject: str = "alice", *, user_id: str | None = None, connection: str = "oidc", **more: object
) -> IdentityLink:
    return IdentityLink(connection, ISSUER, subject, f"key {connection} {subject}"[:255], user_id, **more)  # type: ignore[arg-type]


def session(session_id: str, user_id: str, **more: object) -> SessionRecord:
    plain = SessionRecord(
        session_id,
        user_id,
        "default",
        "oidc",
        ISSUER,
        "alice",
        AT,
        AT + 3600,
        AT,
        AT - 5,
        "idp-1",
        "acr",
        ("pwd", "otp"),
        "hint",
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def event(event_id: str, **more: object) -> AuditEvent:
    return replace(AuditEvent(event_id, "user.login", AT), **more)  # type: ignore[arg-type]


def users_of(tx: Transaction) -> Users:
    assert tx.users is not None
    return tx.users


async def first_login(tx: Transaction, subject: str = "alice", username: str = "alice") -> User:
    """What the core does: the link decides, everything else follows, once."""
    await tx.claim_once("state", tokens(), AT + 600)
    found = await tx.find_link("oidc", ISSUER, subject)
    if found is not None and found[1] is not None and found[1].user is not None:
        user = found[1].user
    else:
        assert not await tx.is_tombstoned("oidc", ISSUER, subject)
        user = await users_of(tx).create(
            Profile(f"key {subject}"[:255], username, f"{username}@example.org", roles=("staff",))
        )
        await tx.add_link(link(subject, user_id=user.id, first_login_at=AT))
        await tx.change_grants(user.id, add=[Grant("staff", "birthright")], remove=[])
        await tx.append_audit(event(tokens(16), type="user.first_login", user_id=user.id, once=f"first:{user.id}"))
    await tx.add_session(session(tokens(16), user.id, subject=subject))
    await tx.append_audit(event(tokens(16), user_id=user.id))
    return user


def do(rig: Rig, work: Callable[[Transaction], Awaitable[object]]) -> object:
    return rig.run(rig.ledger.transaction(work))


def signed_in(rig: Rig, subject: str = "alice", username: str = "alice") -> User:
    return rig.run(rig.ledger.transaction(lambda tx: first_login(tx, subject, username)))


def feed_after(rig: Rig, position: int) -> FeedPage:
    return rig.run(rig.ledger.read_feed(position))


# --- identities -----------------------------------------------------------------------------------------------------


def test_a_first_login_leaves_everything_and_a_second_finds_it(rig: Rig) -> None:
    user = signed_in(rig)
    assert signed_in(rig) == user

    async def look(tx: Transaction) -> None:
        found = await tx.find_link("oidc", ISSUER, "alice")
        assert found is not None
        assert found[0] == link(user_id=user.id, first_login_at=AT)
        assert found[1] == Account(user.id, "default", Status.ACTIVE, (Grant("staff", "birthright"),), user)
        assert await tx.list_links(user.id) == [found[0]]
        assert await tx.find_account(user.id) == found[1]
        assert len(await tx.list_sessions(user_id=user.id)) == 2

    do(rig, look)
    events = rig.run(rig.ledger.list_audit(user_id=user.id))
    assert [one.type for one in events] == ["user.first_login", "user.login", "user.login"]
    assert feed_after(rig, 0) == FeedPage(0, ()), "a login takes nobody's access away"


def test_forty_simultaneous_first_logins_are_one_user(rig: Rig) -> None:
    """attack 23: unique keys and a second look, not a duplicate and not a 500."""
    users = rig.together([lambda: rig.ledger.transaction(first_login)] * 40)
    assert not [one for one in users if not isinstance(one, User)]
    assert len({one.id for one in users if isinstance(one, User)}) == 1
    assert len(rig.run(rig.ledger.list_users())) == 1
    events = rig.run(rig.ledger.list_audit())
    assert [one.type for one in events].count("user.first_login") == 1
    assert [one.type for one in events].count("user.login") == 40


@pytest.mark.parametrize("other", [*PROBE_LOOKALIKES, "alicE", "alice\n", "alice\u0301", "a" * 255])
def test_subjects_are_compared_byte_for_byte(rig: Rig, other: str) -> None:
    """attack 17: a collation must not make one person of two."""
    alice = signed_in(rig, "alice", "alice")

    async def look(tx: Transaction) -> object:
        return await tx.find_link("oidc", ISSUER, other)

    assert do(rig, look) is None
    stranger = signed_in(rig, other, "stranger")
    assert stranger.id != alice.id
    assert signed_in(rig, other) == stranger
    assert signed_in(rig, "alice") == alice


@pytest.mark.parametrize("other", PROBE_LOOKALIKES)
def test_every_key_is_compared_byte_for_byte(rig: Rig, other: str) -> None:
    """Issuers, connections, sessions, provider sessions, user ids, once-keys, tombstones and audit ids."""

    async def write(tx: Transaction) -> None:
        await tx.add_account(Account("alice", "default", Status.ACTIVE))
        await tx.add_link(IdentityLink("alice", "alice", "s", "k", "alice"))
        await tx.add_session(session("alice", "alice", idp_session="alice", connection="alice"))
        await tx.claim_once("state", "alice", AT)
        await tx.add_tombstone("oidc", ISSUER, "alice", AT)
        await tx.append_audit(event("alice", user_id="alice", once="alice"))

    async def look(tx: Transaction) -> None:
        assert await tx.find_account(other) is None
        assert await tx.find_link(other, "alice", "s") is None
        assert await tx.find_link("alice", other, "s") is None
        assert await tx.list_links(other) == []
        assert await tx.list_sessions(user_id=other) == []
        assert not await tx.is_tombstoned("oidc", ISSUER, other)
        for selector in ("session_id", "user_id", "connection", "idp_session"):
            assert await tx.end_sessions(AT, **{selector: other}) == []
        await tx.claim_once("state", other, AT)
        await tx.append_audit(event(other, once=other))

    do(rig, write)
    do(rig, look)
    assert rig.run(rig.ledger.find_session(other)) is None
    assert [one.id for one in rig.run(rig.ledger.list_audit(user_id="alice"))] == ["alice"]


@pytest.mark.parametrize("odd", ["", "a\x00b", "a\ud800b", "x" * 5000, "'; DROP TABLE jit_users; --", "%", "\u0000"])
def test_odd_keys_find_nothing_and_break_nothing(rig: Rig, odd: str) -> None:
    signed_in(rig)

    async def look(tx: Transaction) -> None:
        assert await tx.find_link("oidc", ISSUER, odd) is None
        assert await tx.find_account(odd) is None
        assert await tx.list_links(odd) == []
        assert await tx.end_sessions(AT, session_id=odd) == []
        assert await tx.list_sessions(user_id=odd) == []
        assert not await tx.is_tombstoned("oidc", odd, odd)
        assert await users_of(tx).find(email=odd, username=odd) == []
        await tx.claim_once("state", odd, AT)

    do(rig, look)
    assert rig.run(rig.ledger.find_session(odd)) is None
    with pytest.raises(LookupError):
        rig.run(rig.ledger.list_audit(after=odd))
    rig.run(rig.ledger.touch_session(odd, AT))
    if len(odd) > 255 or "\x00" in odd or "\ud800" in odd:
        with pytest.raises(NotProvisioned, match="feed_key"):
            do(rig, lambda tx: tx.append_feed("session", odd))
    else:
        do(rig, lambda tx: tx.append_feed("session", odd))
        assert [entry.key for entry in feed_after(rig, 0).entries] == [odd]


def test_an_identity_is_linked_once(rig: Rig) -> None:
    user = signed_in(rig)
    tries = 0

    async def again(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.add_link(link(user_id="somebody else"))

    with pytest.raises(Conflict) as refused:
        do(rig, again)
    assert refused.value.reason == "identity_link"
    assert tries == 3

    async def twice(tx: Transaction) -> None:
        await tx.add_link(link("bob"))
        await tx.add_link(link("bob"))

    with pytest.raises(Conflict, match="identity_link"):
        do(rig, twice)
    assert signed_in(rig) == user


def test_an_intent_is_settled_by_one_caller(rig: Rig) -> None:
    """A user in an outside store: the link first, the user later, and only one of forty settles it."""
    do(rig, lambda tx: tx.add_link(link()))

    async def look(tx: Transaction) -> object:
        return await tx.find_link("oidc", ISSUER, "alice")

    assert do(rig, look) == (link(), None)

    async def settle(tx: Transaction) -> bool:
        await tx.add_account(Account("outside-1", "default", Status.ACTIVE))
        return await tx.settle_link(link(), "outside-1")

    settled = rig.together([lambda: rig.ledger.transaction(settle)] * 40)
    assert sorted(settled, key=str) == [False] * 39 + [True]
    expected = (link(user_id="outside-1"), Account("outside-1", "default", Status.ACTIVE))
    assert do(rig, look) == expected

    async def pending(tx: Transaction) -> list[bool]:
        await tx.add_link(link("bob"))
        await tx.mark_first_login(link("bob"), AT)
        return [await tx.settle_link(link("bob"), "bob"), await tx.settle_link(link("bob"), "eve")]

    assert do(rig, pending) == [True, False]
    do(rig, lambda tx: tx.mark_first_login(link(), AT + 7))
    found = do(rig, look)
    assert isinstance(found, tuple)
    assert found[0].first_login_at == AT + 7


def test_a_tombstone_stays_and_a_repeat_is_no_error(rig: Rig) -> None:
    async def bury(tx: Transaction) -> None:
        assert not await tx.is_tombstoned("oidc", ISSUER, "alice")
        await tx.add_tombstone("oidc", ISSUER, "alice", AT)
        assert await tx.is_tombstoned("oidc", ISSUER, "alice")

    do(rig, bury)
    do(rig, lambda tx: tx.add_tombstone("oidc", ISSUER, "alice", AT + 1))

    async def look(tx: Transaction) -> list[bool]:
        await tx.find_link("oidc", ISSUER, "alice")
        return [await tx.is_tombstoned("oidc", ISSUER, name) for name in ("alice", "bob")]

    assert do(rig, look) == [True, False]


# --- accounts -------------------------------------------------------------------------------------------------------


def test_an_outside_account_is_recorded_once(rig: Rig) -> None:
    account = Account("u1", "acme", Status.PENDING, (Grant("a", "manual"), Grant("b", "idp:oidc")))
    do(rig, lambda tx: tx.add_account(account))
    do(rig, lambda tx: tx.add_account(replace(account, status=Status.ACTIVE, grants=())))
    account = replace(account, seat=False)

    async def look(tx: Transaction) -> object:
        return await tx.find_account("u1")

    assert do(rig, look) == account
    assert rig.run(rig.ledger.list_users()) == [account]


def test_grants_of_one_source_leave_those_of_another(rig: Rig) -> None:
    user = signed_in(rig)
    idp, manual = Grant("admin", "idp:oidc"), Grant("admin", "manual")
    do(rig, lambda tx: tx.change_grants(user.id, add=[idp, manual], remove=[]))
    do(rig, lambda tx: tx.change_grants(user.id, add=[idp], remove=[manual, Grant("nobody", "has this")]))

    async def look(tx: Transaction) -> Account | None:
        return await tx.find_account(user.id)

    account = rig.run(rig.ledger.transaction(look))
    assert account is not None
    assert account.user is not None
    assert account.grants == (idp, Grant("staff", "birthright"))
    assert account.user.roles == ("admin", "staff")
    do(rig, lambda tx: tx.change_grants(user.id, add=[], remove=[idp]))
    account = rig.run(rig.ledger.transaction(look))
    assert account is not None
    assert account.user is not None
    assert account.user.roles == ("staff",)


def test_a_grant_and_its_account_are_written_in_one_unit(rig: Rig) -> None:
    async def work(tx: Transaction) -> Account | None:
        await tx.add_account(Account("u1", "acme", Status.ACTIVE))
        await tx.change_grants("u1", add=[Grant("a", "manual"), Grant("b", "manual")], remove=[])
        await tx.change_grants("u1", add=[], remove=[Grant("b", "manual")])
        return await tx.find_account("u1")

    assert do(rig, work) == Account("u1", "acme", Status.ACTIVE, (Grant("a", "manual"),))


def test_simultaneous_grants_are_all_kept_in_grants_and_roles(rig: Rig) -> None:
    user = signed_in(rig)

    def grant(number: int) -> Callable[[], Awaitable[None]]:
        return lambda: rig.ledger.transaction(
            lambda tx: tx.change_grants(user.id, add=[Grant(f"r{number}", "manual")], remove=[])
        )

    assert not [one for one in rig.together([grant(number) for number in range(12)]) if one is not None]
    account = rig.run(rig.ledger.list_users())[0]
    assert len(account.grants) == 13
    assert account.user is not None
    assert set(account.user.roles) == {grant.role for grant in account.grants}


def test_a_change_of_access_is_told_once_per_unit(rig: Rig) -> None:
    """Status, grants and profile of a user that is there already go to the feed; what changes nothing does not."""
    user = signed_in(rig)

    async def change(tx: Transaction) -> None:
        await tx.set_status(user.id, Status.DORMANT)
        await tx.change_grants(user.id, add=[Grant("x", "manual")], remove=[])
        await users_of(tx).update(user.id, ProfileChanges(display_name="Alice"))

    async def nothing(tx: Transaction) -> None:
        await tx.set_status(user.id, Status.DORMANT)
        await tx.change_grants(user.id, add=[Grant("x", "manual")], remove=[Grant("y", "manual")])
        await users_of(tx).update(user.id, ProfileChanges(display_name="Alice", roles=("staff", "x")))

    do(rig, change)
    do(rig, nothing)
    page = feed_after(rig, 0)
    assert [(entry.position, entry.kind, entry.key) for entry in page.entries] == [(1, "user", user.id)]
    account = rig.run(rig.ledger.list_users())[0]
    assert (account.status, account.user) == (
        Status.DORMANT,
        replace(user, status=Status.DORMANT, display_name="Alice", roles=("staff", "x")),
    )


def test_an_unknown_account_cannot_be_changed(rig: Rig) -> None:
    for work in (
        lambda tx: tx.set_status("nobody", Status.SUSPENDED),
        lambda tx: tx.change_grants("nobody", add=[Grant("a", "manual")], remove=[]),
    ):
        with pytest.raises(NotProvisioned, match="user_unknown"):
            do(rig, work)


def test_a_login_that_read_an_older_status_is_run_again(rig: Rig) -> None:
    """Between its read and its write somebody suspends the account: no session may come of it."""
    user = signed_in(rig)
    tries: list[Status] = []

    def suspend_beside() -> None:
        with rig.ledger.database.engine.connect() as other:
            other.exec_driver_sql("UPDATE jit_users SET status = 'suspended'")

    async def login(tx: Transaction) -> None:
        found = await tx.find_link("oidc", ISSUER, "alice")
        assert found is not None
        assert found[1] is not None
        tries.append(found[1].status)
        if found[1].status is not Status.ACTIVE:
            raise NotProvisioned("suspended")
        if rig.kind != "sqlite":
            suspend_beside()
        await tx.add_session(session("late", user.id))

    if rig.kind == "sqlite":
        do(rig, login)  # its writer holds the one write lock: nothing can come between
        return
    with pytest.raises(NotProvisioned, match="suspended"):
        do(rig, login)
    assert tries == [Status.ACTIVE, Status.SUSPENDED]
    assert rig.run(rig.ledger.find_session("late")) is None


# --- sessions -------------------------------------------------------------------------------------------------------


def test_a_session_comes_back_whole_with_its_account(rig: Rig) -> None:
    user = signed_in(rig)
    started = session("s1", user.id)
    do(rig, lambda tx: tx.add_session(started))
    view = rig.run(rig.ledger.find_session("s1"))
    assert view is not None
    assert view.session == started
    assert view.account == Account(user.id, "default", Status.ACTIVE, (Grant("staff", "birthright"),), user)


def test_a_session_keeps_what_its_probe_needs(rig: Rig) -> None:
    user = signed_in(rig)
    started = session("s1", user.id, auth_time=AT - 9, refresh_token="sealed", probe_at=AT + 60, probe_failing_since=AT)
    do(rig, lambda tx: tx.add_session(started))
    view = rig.run(rig.ledger.find_session("s1"))
    assert view is not None
    assert view.session == started
    assert "sealed" not in repr(view)


def test_a_providers_session_is_known_by_its_connection_and_name_until_it_ends(rig: Rig) -> None:
    user = signed_in(rig)
    do(rig, lambda tx: tx.add_session(session("s1", user.id, idp_session="Sid-1")))

    def known(connection: str, name: str) -> bool:
        return rig.run(rig.ledger.has_provider_session(connection, name))

    connection = rig.run(rig.ledger.find_session("s1")).session.connection
    assert known(connection, "Sid-1")
    for other in ((connection, "sid-1"), (connection, "Sid-1 "), (connection, "Sid\x00"), ("other", "Sid-1")):
        assert not known(*other)
    do(rig, lambda tx: tx.end_sessions(AT, session_id="s1"))
    assert not known(connection, "Sid-1")
    do(rig, lambda tx: tx.add_session(session("s2", user.id, idp_session="Sid-2")))
    assert known(connection, "Sid-2")
    rig.clock.seconds = AT + 3600
    assert not known(connection, "Sid-2"), "it has expired"


def test_a_key_that_was_taken_is_known_as_taken(rig: Rig) -> None:
    async def look(tx: Transaction) -> list[bool]:
        return [await tx.is_taken(*key) for key in (("state", "k"), ("state", "K"), ("other", "k"))]

    async def take(tx: Transaction) -> list[bool]:
        await tx.claim_once("state", "k", AT + 60)
        return await look(tx)

    assert do(rig, look) == [False, False, False]
    assert do(rig, take) == [True, False, False], "by this very unit of work"
    assert do(rig, look) == [True, False, False]


def test_a_due_probe_is_taken_by_one_caller(rig: Rig) -> None:
    user = signed_in(rig)
    do(rig, lambda tx: tx.add_session(session("s1", user.id, refresh_token="old", probe_at=AT)))
    claims = [rig.run(rig.ledger.claim_probe("s1", due=AT, lease=AT + 60)) for _ in range(3)]
    assert claims == [True, False, False]
    kept = {"lease": AT + 60, "probe_at": AT + 900, "failing_since": None, "refresh_token": "new"}
    assert rig.run(rig.ledger.settle_probe("s1", **kept))
    assert not rig.run(rig.ledger.settle_probe("s1", **{**kept, "refresh_token": "late"})), "the lease is over"
    view = rig.run(rig.ledger.find_session("s1"))
    assert (view.session.refresh_token, view.session.probe_at) == ("new", AT + 900)
    assert not rig.run(rig.ledger.claim_probe("nobody", due=AT, lease=AT + 60))


def test_of_forty_who_take_a_due_probe_at_once_one_has_it(rig: Rig) -> None:
    """A refresh token that two workers use is theft to the provider (RFC 9700 §4.14.2)."""
    user = signed_in(rig)
    do(rig, lambda tx: tx.add_session(session("s1", user.id, refresh_token="old", probe_at=AT)))
    leases = range(AT + 60, AT + 100)
    claims = rig.together([lambda lease=lease: rig.ledger.claim_probe("s1", due=AT, lease=lease) for lease in leases])
    assert sorted(claims, key=repr) == [False] * 39 + [True]
    view = rig.run(rig.ledger.find_session("s1"))
    assert view.session.probe_at == leases[claims.index(True)]


def test_a_probe_of_a_session_that_has_ended_is_nobodys_and_its_token_is_gone(rig: Rig) -> None:
    user = signed_in(rig)
    do(rig, lambda tx: tx.add_session(session("s1", user.id, refresh_token="old", probe_at=AT)))
    assert rig.run(rig.ledger.claim_probe("s1", due=AT, lease=AT + 60))
    do(rig, lambda tx: tx.end_sessions(AT + 1, session_id="s1"))
    kept = {"lease": AT + 60, "probe_at": AT + 900, "failing_since": None, "refresh_token": "new"}
    assert not rig.run(rig.ledger.settle_probe("s1", **kept))
    assert not rig.run(rig.ledger.claim_probe("s1", due=AT + 60, lease=AT + 120))
    assert rig.run(rig.ledger.find_session("s1")).session.refresh_token is None


def test_a_session_without_its_account_is_none(rig: Rig) -> None:
    do(rig, lambda tx: tx.add_session(session("s1", "lost")))
    assert rig.run(rig.ledger.find_session("s1")) is None


def test_a_session_id_is_used_once(rig: Rig) -> None:
    do(rig, lambda tx: tx.add_session(session("s1", "u")))
    with pytest.raises(Conflict) as refused:
        do(rig, lambda tx: tx.add_session(session("s1", "v")))
    assert refused.value.reason == "session"


@pytest.mark.parametrize(
    ("selectors", "ended"),
    [
        ({"session_id": "a1"}, {"a1"}),
        ({"user_id": "a"}, {"a1", "a2"}),
        ({"user_id": "a", "except_session": "a1"}, {"a2"}),
        ({"connection": "saml"}, {"a2", "b1"}),
        ({"connection": "saml", "idp_session": "i2"}, {"a2"}),
        ({"connection": "saml", "user_id": "b"}, {"b1"}),
        ({"session_id": "over"}, set()),
        ({"session_id": "a1", "user_id": "b"}, set()),
    ],
)
def test_sessions_end_that_match_every_selector(rig: Rig, selectors: dict[str, str], ended: set[str]) -> None:
    async def start(tx: Transaction) -> None:
        await tx.add_session(session("a1", "a"))
        await tx.add_session(session("a2", "a", connection="saml", idp_session="i2"))
        await tx.add_session(session("b1", "b", connection="saml", idp_session=None))
        await tx.add_session(session("over", "a", expires_at=AT - 1))
        await tx.add_session(session("gone", "a", ended_at=AT - 1))

    async def end(tx: Transaction) -> Sequence[SessionRecord]:
        return await tx.end_sessions(AT, **selectors)

    do(rig, start)
    records = rig.run(rig.ledger.transaction(end))
    assert {record.id for record in records} == ended
    assert all(record.ended_at == AT for record in records)
    entries = [(entry.kind, entry.key) for entry in feed_after(rig, 0).entries]
    alone = {("user_id",): [("user", "a")], ("connection",): [("connection", "saml")]}
    assert entries == alone.get(tuple(selectors), [("session", name) for name in sorted(ended)])
    left = rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions()))
    assert {record.id for record in left} == {"a1", "a2", "b1"} - ended
    assert rig.run(rig.ledger.transaction(end)) == []


@pytest.mark.parametrize(
    ("selectors", "ended"),
    [
        ({"nameless": True}, {"a1", "b1", "c1", "d1"}),
        ({"nameless": True, "user_id": "a"}, {"a1"}),
        ({"nameless": True, "connection": "oidc", "issuer": ISSUER, "subject": "alice", "user_id": "a"}, {"a1"}),
        ({"nameless": True, "connection": "oidc", "issuer": ISSUER, "subject": "Alice"}, {"b1"}),
        ({"nameless": True, "connection": "oidc", "issuer": f"{ISSUER}/", "subject": "alice"}, set()),
        ({"nameless": True, "connection": "saml"}, {"c1"}),
        ({"nameless": True, "idp_session": "idp-1"}, set()),
        ({"nameless": False, "user_id": "a"}, {"a1", "a2", "a3"}),
    ],
    ids=["all", "user", "identity", "other-case", "other-issuer", "connection", "named-as-well", "named-or-not"],
)
def test_sessions_that_the_provider_gave_no_name_end_alone(rig: Rig, selectors: SessionChoice, ended: set[str]) -> None:
    async def start(tx: Transaction) -> None:
        await tx.add_session(session("a1", "a", idp_session=None))
        await tx.add_session(session("a2", "a"))
        await tx.add_session(session("a3", "a", idp_session="-"))
        await tx.add_session(session("b1", "b", idp_session=None, subject="Alice"))
        await tx.add_session(session("c1", "c", idp_session=None, connection="saml"))
        await tx.add_session(session("d1", "d", idp_session=None, issuer="https://other.example"))
        await tx.add_session(session("over", "a", idp_session=None, expires_at=AT - 1))

    do(rig, start)
    records = rig.run(rig.ledger.transaction(lambda tx: tx.end_sessions(AT, **selectors)))
    assert {record.id for record in records} == ended
    left = rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions()))
    assert {record.id for record in left} == {"a1", "a2", "a3", "b1", "c1", "d1"} - ended


def test_ending_sessions_needs_a_selector(rig: Rig) -> None:
    with pytest.raises(ValueError, match="selector"):
        do(rig, lambda tx: tx.end_sessions(AT, except_session="s"))


def test_a_session_started_and_ended_in_one_unit(rig: Rig) -> None:
    async def work(tx: Transaction) -> int:
        await tx.add_session(session("s1", "a"))
        return len(await tx.end_sessions(AT, user_id="a"))

    assert do(rig, work) == 1


def test_sessions_are_listed_newest_first(rig: Rig) -> None:
    async def start(tx: Transaction) -> None:
        for number in range(5):
            await tx.add_session(session(f"s{number}", "ab"[number % 2], created_at=AT + number))

    do(rig, start)
    assert [s.id for s in rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions(limit=3)))] == ["s4", "s3", "s2"]
    assert [s.id for s in rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions(user_id="b")))] == ["s3", "s1"]


@pytest.mark.parametrize(
    ("selectors", "listed"),
    [
        ({"session_id": "s1"}, ["s1"]),
        ({"session_id": "S1"}, []),
        ({"session_id": "s1", "user_id": "a"}, []),
        ({"connection": "oidc", "idp_session": "at-the-provider-0"}, ["s2", "s0"]),
        ({"connection": "other", "idp_session": "at-the-provider-0"}, []),
        ({"idp_session": "at-the-provider-0\ud800"}, []),
    ],
    ids=["id", "id-in-other-case", "id-of-another", "idp", "idp-elsewhere", "no-text"],
)
def test_sessions_are_listed_by_everything_named(rig: Rig, selectors: SessionChoice, listed: list[str]) -> None:
    async def start(tx: Transaction) -> None:
        for number in range(4):
            mine = session(f"s{number}", "ab"[number % 2], created_at=AT + number)
            await tx.add_session(replace(mine, idp_session=f"at-the-provider-{number % 2}"))

    do(rig, start)
    assert [s.id for s in rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions(**selectors)))] == listed


def test_activity_is_recorded_forward_only(rig: Rig) -> None:
    user = signed_in(rig)
    do(rig, lambda tx: tx.add_session(session("s1", user.id)))

    def seen() -> int:
        view = rig.run(rig.ledger.find_session("s1"))
        assert view is not None
        return view.session.last_seen_at

    rig.run(rig.ledger.touch_session("s1", AT + 50))
    assert seen() == AT + 50
    rig.run(rig.ledger.touch_session("s1", AT + 20))
    assert seen() == AT + 50
    rig.run(rig.ledger.touch_session("s1", AT + 20 * 3600))
    rig.run(rig.ledger.touch_session("s1", AT + 60))
    assert seen() == AT + 60, "the clock had been wrong"
    rig.run(rig.ledger.touch_session("s1", AT + 50))
    assert seen() == AT + 60
    do(rig, lambda tx: tx.end_sessions(AT + 60, session_id="s1"))
    rig.run(rig.ledger.touch_session("s1", AT + 90))
    assert seen() == AT + 60


# --- once -----------------------------------------------------------------------------------------------------------


def test_a_once_key_is_taken_once_and_not_tried_again(rig: Rig) -> None:
    tries = 0

    async def claim(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.claim_once("state", "k" * 4000, AT + 60)

    do(rig, claim)
    with pytest.raises(Conflict) as refused:
        do(rig, claim)
    assert refused.value.reason == "once_key"
    assert tries == 2
    do(rig, lambda tx: tx.claim_once("assertion", "k" * 4000, AT + 60))


def test_of_forty_simultaneous_claims_one_wins(rig: Rig) -> None:
    claims = rig.together([lambda: rig.ledger.transaction(lambda tx: tx.claim_once("state", "k", AT + 60))] * 40)
    assert len([one for one in claims if one is None]) == 1
    assert {one.reason for one in claims if isinstance(one, Conflict)} == {"once_key"}
    assert len([one for one in claims if isinstance(one, Conflict)]) == 39


def test_a_replayed_login_writes_nothing(rig: Rig) -> None:
    """The once-key is claimed first and sent last; the whole login falls with it."""
    signed_in(rig)

    async def login(tx: Transaction) -> None:
        await tx.claim_once("state", "the same", AT + 60)
        await tx.find_link("oidc", ISSUER, "alice")
        await tx.add_session(session(tokens(16), "alice"))
        await tx.append_audit(event(tokens(16)))

    do(rig, login)
    before = rig.run(rig.ledger.list_audit()), rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions()))
    with pytest.raises(Conflict, match="once_key"):
        do(rig, login)
    assert (rig.run(rig.ledger.list_audit()), rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions()))) == before


# --- feed -----------------------------------------------------------------------------------------------------------


def test_the_feed_is_read_in_pages_without_a_gap(rig: Rig) -> None:
    for number in range(7):
        do(rig, lambda tx, number=number: tx.append_feed("session", f"s{number}"))
    assert rig.run(rig.ledger.read_feed(None)) == FeedPage(7, ())
    position, keys = 0, []
    while True:
        page = rig.run(rig.ledger.read_feed(position, limit=3))
        assert page.complete
        if not page.entries:
            break
        keys += [entry.key for entry in page.entries]
        position = page.position
    assert keys == [f"s{number}" for number in range(7)]
    assert position == 7


def test_a_reader_of_another_history_is_told_so(rig: Rig) -> None:
    do(rig, lambda tx: tx.append_feed("all", ""))
    assert feed_after(rig, 1).complete
    assert not feed_after(rig, 2).complete


def test_concurrent_commits_never_let_a_reader_skip_an_entry(rig: Rig) -> None:
    """Positions are gap-free in commit order: what a reader has passed never grows new entries."""
    writers, each = 8, 12
    seen: list[int] = []

    async def one(tx: Transaction, name: str) -> None:
        await tx.append_feed("session", name)
        await tx.append_audit(event(f"audit {name}"))

    async def write(number: int) -> None:
        for turn in range(each):
            await rig.ledger.transaction(lambda tx, turn=turn: one(tx, f"{number}-{turn}"))

    async def follow() -> None:
        position, end = 0, time.monotonic() + 60
        while len(seen) < writers * each and time.monotonic() < end:
            page = await rig.ledger.read_feed(position, limit=5)
            assert page.complete
            seen.extend(entry.position for entry in page.entries)
            position = page.position
            if rig.runner is not None:
                await asyncio.sleep(0)

    if rig.runner is not None:

        async def everybody() -> None:
            await asyncio.gather(follow(), *(write(number) for number in range(writers)))

        rig.run(everybody())
    else:
        with ThreadPoolExecutor(writers + 1) as pool:
            running = [pool.submit(step, write(number)) for number in range(writers)]
            running.append(pool.submit(step, follow()))
            for one_of_them in running:
                one_of_them.result()
    assert seen == list(range(1, writers * each + 1))


# --- audit and housekeeping -----------------------------------------------------------------------------------------


def test_audit_events_come_back_whole_in_order(rig: Rig) -> None:
    full = AuditEvent(
        "e1",
        "user.login",
        AT,
        "acme",
        "u",
        "oidc",
        "failure",
        "why",
        "ref",
        "s",
        {"n": [1, None, {"a": "é\u2028"}]},
        "once-1",
    )

    async def write(tx: Transaction) -> None:
        await tx.append_audit(full)
        for number in range(2, 60):
            await tx.append_audit(event(f"e{number}", type="t" if number % 2 else "u", user_id="v"))

    do(rig, write)
    assert rig.run(rig.ledger.list_audit(limit=1)) == [full]
    assert [one.id for one in rig.run(rig.ledger.list_audit(after="e57"))] == ["e58", "e59"]
    assert [one.id for one in rig.run(rig.ledger.list_audit(type="t", limit=2))] == ["e3", "e5"]
    assert len(rig.run(rig.ledger.list_audit(user_id="v"))) == 58
    with pytest.raises(LookupError):
        rig.run(rig.ledger.list_audit(after="unknown"))
    assert rig.run(rig.ledger.list_audit(after="e59")) == []


def test_an_exactly_once_event_is_a_conflict_the_second_time(rig: Rig) -> None:
    do(rig, lambda tx: tx.append_audit(event("e1", once="first:u")))
    with pytest.raises(Conflict) as refused:
        do(rig, lambda tx: tx.append_audit(event("e2", once="first:u")))
    assert refused.value.reason == "audit_once"


def test_users_are_listed_in_pages(rig: Rig) -> None:
    for number in range(5):
        signed_in(rig, f"s{number}", f"user{number}")
    everybody = rig.run(rig.ledger.list_users())
    assert len(everybody) == 5
    assert all(account.grants == (Grant("staff", "birthright"),) for account in everybody)
    first = rig.run(rig.ledger.list_users(limit=2))
    assert [*first, *rig.run(rig.ledger.list_users(after=first[-1].user_id))] == everybody


def test_prune_forgets_only_what_is_over(rig: Rig) -> None:
    user = signed_in(rig)

    async def old(tx: Transaction) -> None:
        await tx.claim_once("state", "old", AT + 10)
        await tx.claim_once("state", "new", AT + 1000)
        await tx.add_session(session("expired", user.id, expires_at=AT + 10))
        await tx.add_session(session("ended", user.id, ended_at=AT + 10))
        await tx.add_session(session("live", user.id))
        await tx.append_feed("session", "old")

    do(rig, old)
    rig.clock.seconds = AT + 500
    do(rig, lambda tx: tx.append_feed("session", "new"))
    events = rig.run(rig.ledger.list_audit())
    assert rig.run(rig.ledger.prune(AT + 100)) == 4
    assert rig.run(rig.ledger.prune(AT + 100)) == 0
    assert rig.run(rig.ledger.find_session("live")) is not None
    assert rig.run(rig.ledger.find_session("ended")) is None
    assert rig.run(rig.ledger.list_audit()) == events, "the trail is never pruned"
    do(rig, lambda tx: tx.claim_once("state", "old", AT + 10))
    with pytest.raises(Conflict, match="once_key"):
        do(rig, lambda tx: tx.claim_once("state", "new", AT + 10))
    assert not feed_after(rig, 0).complete, "a reader that missed a pruned entry must drop what it knows"
    page = feed_after(rig, 1)
    assert page.complete
    assert [entry.key for entry in page.entries] == ["new"]


# --- the unit of work -----------------------------------------------------------------------------------------------


def test_work_that_raises_writes_nothing(rig: Rig) -> None:
    """Also what it had to send in the middle, because it read it back."""
    user = signed_in(rig)

    async def work(tx: Transaction) -> None:
        await tx.set_status(user.id, Status.SUSPENDED)
        await tx.change_grants(user.id, add=[Grant("admin", "manual")], remove=[])
        await users_of(tx).create(Profile("k2", "bob"))
        await tx.add_link(link("bob", user_id="bob"))
        await tx.add_session(session("s", user.id))
        await tx.claim_once("state", "k", AT)
        await tx.append_feed("all", "")
        await tx.append_audit(event("e"))
        assert len(await tx.end_sessions(AT, user_id=user.id)) == 2
        assert [one.username for one in await users_of(tx).find(username="bob")] == ["bob"]
        raise Stop

    before = rig.run(rig.ledger.list_users()), rig.run(rig.ledger.list_audit()), feed_after(rig, 0)
    with pytest.raises(Stop):
        do(rig, work)
    assert (rig.run(rig.ledger.list_users()), rig.run(rig.ledger.list_audit()), feed_after(rig, 0)) == before
    assert len(rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions()))) == 1
    do(rig, lambda tx: tx.claim_once("state", "k", AT))


def test_reads_after_writes_in_one_unit_see_them(rig: Rig) -> None:
    async def work(tx: Transaction) -> None:
        user = await users_of(tx).create(Profile("k", "ann", "ann@example.org"))
        await tx.add_link(link("ann", user_id=user.id))
        await tx.add_session(session("s1", user.id))
        assert [one.id for one in await users_of(tx).find(email="ANN@example.org")] == [user.id]
        assert [one.subject for one in await tx.list_links(user.id)] == ["ann"]
        assert [one.id for one in await tx.list_sessions(user_id=user.id)] == ["s1"]
        await tx.set_status(user.id, Status.SUSPENDED)
        found = await tx.find_link("oidc", ISSUER, "ann")
        assert found is not None
        assert found[1] is not None
        assert found[1].status is Status.SUSPENDED
        await tx.set_status(user.id, Status.ACTIVE)
        changed = await users_of(tx).update(user.id, ProfileChanges(username="anna"))
        assert await users_of(tx).find(username="anna") == [changed]

    do(rig, work)


def test_work_that_waits_for_the_outside_is_refused(rig: Rig) -> None:
    class Outside:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    async def work(tx: Transaction) -> None:
        await tx.append_audit(event("e"))
        await Outside()

    with pytest.raises(RuntimeError, match="nothing but its own transaction"):
        do(rig, work)
    assert rig.run(rig.ledger.list_audit()) == []


def test_a_conflict_of_the_work_itself_is_run_three_times(rig: Rig) -> None:
    tries = 0

    async def work(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.append_audit(event(f"e{tries}"))
        if tries < 3:
            raise Conflict("seats")

    do(rig, work)
    assert [one.id for one in rig.run(rig.ledger.list_audit())] == ["e3"]
