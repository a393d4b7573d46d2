"""What happens between the ledger and a store of the app's own, and between two transactions: races and crashes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jit_middleware import Profile, Status, User
from jit_middleware.bridge import step
from jit_middleware.model import Account, Grant
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Transaction
from jit_middleware.settings import Settings
from tests.contract.conftest import new_url
from tests.peers.oidc_provider import Provider
from tests.scenarios.conftest import SECRET, WORLDS, Stage, StageBuilder
from tests.scenarios.linking import AUTO, CONFIRM, refusals
from tests.scenarios.test_custom_stores import Members, rows
from tests.scenarios.test_policy_races import race

MANY = 40
GROUPS = {"JIT_OIDC_SCOPES": "openid email profile groups", "JIT_GROUP_ROLES": '{"staff": ["writer"]}'}


def execute(stage: Stage, statement: str) -> None:
    """What happens to the ledger behind everybody's back."""
    with contextlib.closing(sqlite3.connect(stage.database_url.removeprefix("sqlite:///"), timeout=10)) as db, db:
        db.execute(statement)


# --- somebody new ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [AUTO, CONFIRM], ids=["auto", "confirm"])
def test_who_is_just_being_made_is_not_mistaken_for_an_account_to_link(
    policy: dict[str, str], build: StageBuilder, tmp_path: Path
) -> None:
    members = Members(tmp_path / "club.db")
    stage = build(users=members, **policy)
    alice = stage.person("alice")
    outcome = race(stage, [alice] * MANY)
    assert Counter(answer.status for _, answer in outcome) == {303: MANY}, refusals(stage)
    [member] = members.everybody()
    assert [account.user_id for account in stage.accounts()] == [member.id]
    assert [event.user_id for event in stage.events("user.created", "user.first_login")] == [member.id] * 2
    assert stage.events("identity.linked") == []


@pytest.mark.parametrize("policy", [AUTO, CONFIRM], ids=["auto", "confirm"])
def test_a_crash_while_somebody_was_made_locks_nobody_out_of_what_is_theirs(
    policy: dict[str, str], build: StageBuilder, tmp_path: Path
) -> None:
    members = Members(tmp_path / "club.db")
    stage = build(users=members, **policy)
    alice = stage.person("alice")
    members.trouble["after create"] = ConnectionResetError("the answer was lost")
    assert stage.sign_in(alice).status == 503
    members.trouble.clear()
    [member] = members.everybody()
    seen = stage.sign_in(alice, client=stage.client.another())
    assert seen.status == 200, seen.text
    assert seen.json()["user"]["id"] == member.id
    assert len(stage.events("user.created")) == len(stage.events("user.first_login")) == 1


def test_new_people_at_once_take_exactly_the_seats_there_are_in_a_store_of_the_app(
    build: StageBuilder, tmp_path: Path
) -> None:
    members = Members(tmp_path / "club.db")
    stage = build(users=members, JIT_SEAT_LIMIT="3")
    outcome = race(stage, [stage.person(f"p{number}") for number in range(MANY)])
    assert Counter(answer.status for _, answer in outcome) == {303: 3, 403: MANY - 3}
    assert sum(account.seat for account in stage.accounts()) == len(stage.accounts()) == len(members.everybody()) == 3
    assert rows(stage, "jit_identity_links") == 3, "who was refused left no intent behind"


def test_whoever_is_refused_for_their_name_holds_no_seat(build: StageBuilder, tmp_path: Path) -> None:
    members = Members(tmp_path / "club.db")
    stage = build(users=members, JIT_SEAT_LIMIT="1", JIT_CREATION_RATE="1/1m")
    squatter, bob = stage.person("squatter"), stage.person("bob")
    members.create(Profile("by hand", squatter))
    assert stage.sign_in(squatter).status == 403
    assert rows(stage, "jit_identity_links") == 0
    assert stage.sign_in(bob, client=stage.client.another()).status == 200, refusals(stage)
    assert refusals(stage) == ["username_taken"]


def test_who_was_refused_for_their_name_is_linked_once_the_operator_wants_it(
    build: StageBuilder, tmp_path: Path
) -> None:
    """An account from before has the name; the refusal must not be remembered as somebody who is being made."""
    members = Members(tmp_path / "club.db")
    stage = build(users=members)
    alice = stage.person("alice")
    old = members.create(Profile("by hand", alice, email=f"{alice}@example.org", email_verified=True))
    assert stage.sign_in(alice).status == 403
    assert stage.sign_in(alice, client=stage.worker(**AUTO)).json()["user"]["id"] == old.id


class Slow(Members):
    """Members with a clerk: ``meanwhile`` happens while a new one is made."""

    meanwhile: Callable[[], object] | None = None

    def create(self, profile: Profile) -> User:
        user = super().create(profile)
        if self.meanwhile is not None:
            self.meanwhile()
        return user


def test_seat_that_was_promised_before_a_crash_is_not_spent_twice(build: StageBuilder, tmp_path: Path) -> None:
    members = Slow(tmp_path / "club.db")
    stage = build(users=members, JIT_SEAT_LIMIT="1")
    alice, bob = stage.person("alice"), stage.person("bob")
    members.trouble["after create"] = ConnectionResetError("the answer was lost")
    assert stage.sign_in(alice).status == 503
    members.trouble.clear()
    assert stage.sign_in(bob, client=stage.client.another()).status == 403, "the seat is promised for an hour"
    execute(stage, "UPDATE jit_identity_links SET created_at = created_at - 3601")
    assert stage.sign_in(bob, client=stage.client.another()).status == 200
    execute(stage, "UPDATE jit_users SET seat = 0, status = 'dormant'")
    members.meanwhile = lambda: execute(stage, "UPDATE jit_users SET seat = 1, status = 'active'")
    assert stage.sign_in(alice, client=stage.client.another()).status == 403
    assert refusals(stage) == ["user_store", "seats_full", "seats_full"]
    assert sum(account.seat for account in stage.accounts()) == 1


class Obliging(Members):
    """A store that breaks its contract: to a name or an address it knows it answers with the user who has it."""

    def create(self, profile: Profile) -> User:
        for user in self.everybody():
            if user.email is not None and user.email == profile.email:
                return user
        return super().create(profile)


def test_a_store_that_gives_somebodys_user_to_a_new_identity_hands_nobody_over(
    build: StageBuilder, tmp_path: Path
) -> None:
    members = Obliging(tmp_path / "club.db")
    stage = build(users=members)
    alice = stage.person("alice")
    victim = stage.sign_in(alice).json()["user"]["id"]
    evil = stage.person("evil", email=f"{alice}@example.org")
    assert stage.sign_in(evil, client=stage.client.another()).status == 403
    assert refusals(stage) == ["subject_changed"]
    assert [link.subject for link in step(stage.ledger.transaction(lambda tx: tx.list_links(victim)))] == [alice]


def test_a_seat_for_whom_the_store_has_made_nobody_is_free_at_once(build: StageBuilder, tmp_path: Path) -> None:
    stage = build(users=Obliging(tmp_path / "club.db"), JIT_SEAT_LIMIT="2")
    alice = stage.person("alice")
    assert stage.sign_in(alice).status == 200
    evil = stage.person("evil", email=f"{alice}@example.org")
    assert stage.sign_in(evil, client=stage.client.another()).status == 403
    assert refusals(stage) == ["subject_changed"]
    assert stage.sign_in(stage.person("bob"), client=stage.client.another()).status == 200


# --- between one transaction and another ----------------------------------------------------------------------------


class Interrupted:
    """A ledger in whose transactions something happens once, right after the identity was looked up."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.then: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def transaction(self, work: Callable[[Any], Awaitable[Any]], **_kwargs: Any) -> Any:
        return await self._ledger.transaction(lambda tx: work(_Interrupted(tx, self)))


class _Interrupted:
    def __init__(self, tx: Any, ledger: Interrupted) -> None:
        self._tx = tx
        self._of = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def find_login(self, *identity: Any) -> Any:
        found = await self._tx.find_login(*identity)
        then, self._of.then = self._of.then, None
        if then is not None:
            then()
        return found


def interrupted(build: StageBuilder, url: str, *, keep_users: bool = True, **how: Any) -> tuple[Stage, Interrupted]:
    needed = {"JIT_PUBLIC_URL": "http://localhost:8000", "JIT_SECRET_KEY": SECRET, "JIT_DATABASE_URL": url}
    needed |= {"JIT_OIDC_ISSUER": "http://127.0.0.1:9", "JIT_OIDC_CLIENT_ID": "x", "JIT_OIDC_CLIENT_SECRET": "y"}
    ledger = Interrupted(open_ledger(Settings.load(needed), keep_users=keep_users))
    return build(database_url=url, ports={"ledger": ledger}, **how), ledger


def change(stage: Stage, *, add: tuple[Grant, ...] = (), remove: tuple[Grant, ...] = ()) -> None:
    """What an administrator does from another process."""
    [account] = stage.accounts()
    step(stage.ledger.transaction(lambda tx: tx.change_grants(account.user_id, add=add, remove=remove)))


CHIEF = Grant("chief", "manual")
# On SQLite a login that writes has the one write lock: nothing comes in between.
CONCURRENT = [world for world in WORLDS if world in {("wsgi", "postgresql+psycopg"), ("asgi", "mariadb+aiomysql")}]


@pytest.fixture(params=CONCURRENT, ids="-".join)
def concurrent(
    request: pytest.FixtureRequest, provider: Provider, tmp_path: Path, closing: contextlib.ExitStack
) -> tuple[StageBuilder, str]:
    builder = StageBuilder(request.param, provider, request, tmp_path, closing)
    return builder, new_url(request.param[1], request, tmp_path)


def test_role_that_is_taken_away_while_its_holder_signs_in_does_not_come_back(
    concurrent: tuple[StageBuilder, str],
) -> None:
    stage, ledger = interrupted(*concurrent, **GROUPS)
    alice = stage.person("alice", groups=[])
    assert stage.sign_in(alice).json()["user"]["roles"] == []
    change(stage, add=(CHIEF,))
    stage.person("alice", groups=["staff"])
    ledger.then = lambda: change(stage, remove=(CHIEF,))
    seen = stage.client.another()
    assert stage.sign_in(alice, client=seen).json()["user"]["roles"] == ["writer"]
    assert seen.get("/").json()["user"]["roles"] == ["writer"]
    [account] = stage.accounts()
    assert {(grant.role, grant.source) for grant in account.grants} == {("writer", "idp:oidc")}


def test_role_that_is_given_while_its_holder_signs_in_is_not_lost(concurrent: tuple[StageBuilder, str]) -> None:
    stage, ledger = interrupted(*concurrent, **GROUPS)
    alice = stage.person("alice", groups=["staff"])
    assert stage.sign_in(alice).json()["user"]["roles"] == ["writer"]
    stage.person("alice", groups=[])
    ledger.then = lambda: change(stage, add=(CHIEF,))
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"]["roles"] == ["chief"]


def test_role_that_is_taken_away_while_the_store_is_asked_does_not_come_back(
    build: StageBuilder, tmp_path: Path
) -> None:
    members = Members(tmp_path / "club.db")
    stage = build(users=members, **GROUPS)
    alice = stage.person("alice", groups=[])
    user_id = stage.sign_in(alice).json()["user"]["id"]
    change(stage, add=(CHIEF,))
    members.set_roles(user_id, ("chief", "own"))
    stage.person("alice", groups=["staff"])
    get = members.get

    def stale(wanted: str) -> User | None:
        user = get(wanted)
        members.get = get  # type: ignore[method-assign]
        change(stage, remove=(CHIEF,))
        members.set_roles(user_id, ("own",))
        return user

    members.get = stale  # type: ignore[method-assign]
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"]["roles"] == ["own", "writer"]
    assert members.everybody()[0].roles == ("own", "writer")


def test_account_that_is_shut_while_its_holder_signs_in_stays_shut(concurrent: tuple[StageBuilder, str]) -> None:
    stage, ledger = interrupted(*concurrent)
    alice = stage.person("alice")
    assert stage.sign_in(alice).status == 200
    [account] = stage.accounts()
    ledger.then = lambda: step(
        stage.ledger.transaction(lambda tx: tx.set_status(account.user_id, Status.DEPROVISIONED))
    )
    assert stage.sign_in(alice, client=stage.client.another()).status == 403
    assert refusals(stage) == ["account_deprovisioned"]
    assert [account.status for account in stage.accounts()] == [Status.DEPROVISIONED]


def test_who_was_linked_while_a_user_was_made_for_them_is_the_linked_user(build: StageBuilder, tmp_path: Path) -> None:
    """Two tabs of one person, one of them with an invitation: nobody gets one user's name with another one's roles."""
    members = Slow(tmp_path / "club.db")
    stage = build(users=members)
    alice = stage.person("alice")
    old = members.create(Profile("by hand", "old-timer"))

    async def link(tx: Transaction) -> None:
        await tx.add_account(Account(old.id, "default", Status.ACTIVE, (CHIEF,)))
        found = await tx.find_link("oidc", stage.provider.issuer, alice)
        assert found is not None
        assert await tx.settle_link(found[0], old.id)

    members.meanwhile = lambda: step(stage.ledger.transaction(link))
    user = stage.sign_in(alice).json()["user"]
    assert (user["id"], user["username"], user["roles"]) == (old.id, "old-timer", ["chief"])
    assert {member.username: member.roles for member in members.everybody()} == {"old-timer": ("chief",), alice: ()}
