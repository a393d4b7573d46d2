"""Many logins that would link one account, at the same moment, on every edge and database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jit_middleware.model import User
from jit_middleware.provisioning.prelinks import subject_key
from tests.client import Client, Outgoing
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.linking import (
    AUTO,
    CONFIRM,
    PASSWORD,
    accept,
    accounts_in,
    invitation_for,
    kept_user,
    linked_users,
    prelinked,
    refusals,
)
from tests.worlds import Answer

MANY = 40


def on_the_way(stage: Stage, people: Sequence[str]) -> list[tuple[Client, Outgoing]]:
    """A browser for each, with the provider's answer in hand."""
    ready: list[tuple[Client, Outgoing]] = []
    agents = {who: stage.agent(who) for who in set(people)}
    for who in people:
        client = stage.client.another()
        ready.append((client, stage.callback_request(client, stage.depart(client, agents[who]))))
    return ready


def together(stage: Stage, people: Sequence[str]) -> list[Answer]:
    return stage.client.together(*(request for _, request in on_the_way(stage, people)))


def test_forty_logins_of_one_identity_make_one_link(racing_world: StageBuilder) -> None:
    stage = racing_world(**AUTO)
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    answers = together(stage, [alice] * MANY)
    assert Counter(answer.status for answer in answers) == {303: MANY}
    assert linked_users(stage) == [old.id]
    assert {event.user_id for event in stage.events("login.succeeded")} == {old.id}
    assert len(stage.accounts()) == 1


def test_two_identities_that_want_one_account_have_one_winner(racing_world: StageBuilder) -> None:
    stage = racing_world(**AUTO)
    first = stage.person("first")
    second = stage.person("second", email=f"{first}@example.org")
    old = kept_user(stage, "old-timer", f"{first}@example.org")
    answers = together(stage, [first, second] * 5)
    assert {answer.status for answer in answers} == {303, 403}, [answer.text for answer in answers]
    assert linked_users(stage) == [old.id]
    assert set(refusals(stage)) == {"subject_changed"}
    assert len(stage.accounts()) == 1


def test_one_prelink_serves_once_in_a_race(racing_world: StageBuilder) -> None:
    stage = racing_world()
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", None)
    prelinked(stage, subject_key("default", "oidc", None, alice), "subject", old)
    answers = together(stage, [alice] * 10)
    assert Counter(answer.status for answer in answers) == {303: 10}
    assert linked_users(stage) == [old.id]


def test_one_invitation_accepted_by_many_people_at_once_is_ones(racing_world: StageBuilder) -> None:
    stage = racing_world()
    old = kept_user(stage, "old-timer", None)
    path = invitation_for(stage, old)
    requests = []
    for number in range(6):
        client, who = stage.client.another(), stage.person(f"person{number}")
        departure = stage.agent(who).visit(accept(stage, path, client=client).location)
        requests.append(stage.callback_request(client, departure))
    answers = stage.client.together(*requests)
    assert Counter(answer.status for answer in answers) == {303: 1, 403: 5}, [answer.text for answer in answers]
    assert linked_users(stage) == [old.id]
    assert set(refusals(stage)) <= {"invitation_used", "subject_changed"}
    assert len(stage.accounts()) == 1


# --- with a user store of the app's own -----------------------------------------------------------------------------


def outside(build: StageBuilder, directory: Path) -> tuple[Stage, User, str]:
    """An account without a password in the app's own store, which ``auto`` may link, and a person with its address."""
    accounts = accounts_in(directory)
    stage = build(users=accounts, **AUTO)
    alice = stage.person("alice")
    old: User = accounts.register("old-timer", f"{alice}@example.org", PASSWORD, mail_confirmed=True)
    accounts.revoke_credentials(old.id)
    return stage, old, alice


def test_forty_logins_link_one_account_of_an_outside_store_once(build: StageBuilder, tmp_path: Path) -> None:
    stage, old, alice = outside(build, tmp_path)
    answers = together(stage, [alice] * MANY)
    assert Counter(answer.status for answer in answers) == {303: MANY}, [answer.text for answer in answers]
    assert linked_users(stage) == [old.id]
    assert {event.user_id for event in stage.events("login.succeeded")} == {old.id}


def test_two_identities_race_for_one_account_of_an_outside_store(build: StageBuilder, tmp_path: Path) -> None:
    stage, old, alice = outside(build, tmp_path)
    second = stage.person("second", email=f"{alice}@example.org")
    answers = together(stage, [alice, second] * 5)
    assert {answer.status for answer in answers} == {303, 403}, [answer.text for answer in answers]
    assert linked_users(stage) == [old.id]
    assert set(refusals(stage)) == {"subject_changed"}


def test_passwords_tried_at_once_are_counted_one_by_one(build: StageBuilder, tmp_path: Path) -> None:
    accounts = accounts_in(tmp_path)
    stage = build(users=accounts, **CONFIRM)
    old = accounts.register("old-timer", "old@example.org", PASSWORD, mail_confirmed=True)
    stage.client.get("/_jit/ready")
    tickets = stage.client.middleware.gate.house.tickets
    requests = []
    for _ in range(20):
        client = stage.client.another()
        ticket = tickets.confirm(connection="oidc", user_id=old.id, target="/", identity="0" * 64)
        client.jar.store(f"{client.origin}/", [tickets.keep(ticket)[1]])
        requests.append(client.prepare("POST", "/_jit/link/oidc", form={"jit_link": ticket.nonce, "password": "guess"}))
    answers = stage.client.together(*requests)
    assert Counter(answer.status for answer in answers) == {403: 5, 429: 15}
