"""Accounts that somebody has prepared for their victim's first login (pre-hijacking), where nobody is asked anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from jit_middleware import Profile
from jit_middleware.bridge import step
from jit_middleware.model import IdentityLink, SessionRecord
from jit_middleware.ports import Transaction
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.linking import AUTO, kept_user, linked_users, live_sessions, refusals
from tests.scenarios.test_custom_stores import Members


def tied(stage: Stage, user_id: str, who: str) -> IdentityLink:
    """An identity of another connection, tied to the account before."""
    link = IdentityLink("elsewhere", "https://elsewhere.example", who, f"key of {who}", user_id)
    step(stage.ledger.transaction(lambda tx: tx.add_link(link)))
    return link


def test_account_that_has_somebody_elses_identity_is_not_taken_for_ones_own(build: StageBuilder) -> None:
    """A trojan identifier: its owner would come in beside the person who was drawn in."""
    stage = build(**AUTO)
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    trojan = tied(stage, old.id, "eve")
    assert stage.sign_in(alice).status == 403
    assert refusals(stage) == ["link_required"]
    assert list(step(stage.ledger.transaction(lambda tx: tx.list_links(old.id)))) == [trojan]
    assert [account.user_id for account in stage.accounts()] == [old.id]


def test_session_of_before_ends_when_the_account_is_linked_by_its_address(build: StageBuilder) -> None:
    stage = build(**AUTO)
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    now = stage.clock.now()
    session = SessionRecord("squatter", old.id, "default", "elsewhere", "x", "eve", now, now + 9_999, now, now)

    async def begin(tx: Transaction) -> None:
        await tx.add_session(session)

    step(stage.ledger.transaction(begin))
    assert stage.sign_in(alice).json()["user"]["id"] == old.id
    assert linked_users(stage) == [old.id]
    assert [event.reason for event in stage.events("session.ended")] == ["linked"]
    [live] = live_sessions(stage)
    assert live.id != "squatter"


class Doors(Members):
    """Members with other ways in: API tokens, links in the mail, addresses that are to be changed."""

    revoked: list[str]

    def revoke_credentials(self, user_id: str) -> None:
        self.revoked.append(user_id)


def test_other_ways_into_the_account_are_shut_before_it_is_handed_over(build: StageBuilder, tmp_path: Path) -> None:
    doors = Doors(tmp_path / "club.db")
    doors.revoked = []
    stage = build(users=doors, **AUTO)
    alice = stage.person("alice")
    old = doors.create(Profile("by hand", "old-timer", email=f"{alice}@example.org", email_verified=True))
    assert stage.sign_in(alice).json()["user"]["id"] == old.id
    assert doors.revoked == [old.id]
    assert stage.sign_in(stage.person("bob"), client=stage.client.another()).status == 200
    assert doors.revoked == [old.id], "a new user has no other ways in"


def test_session_of_before_does_not_rise_with_its_owner(build: StageBuilder) -> None:
    """Whoever has taken over a session waits for the person to become an administrator: that needs a new login."""
    stage = build(
        JIT_PRIVILEGED_ROLES="admin",
        JIT_OIDC_ALLOW_PRIVILEGED_ROLES="true",
        JIT_GROUP_ROLES='{"root": ["admin"], "staff": ["writer"]}',
        JIT_OIDC_SCOPES="openid email profile groups",
    )
    alice = stage.person("alice", groups=["x"])
    assert stage.sign_in(alice).json()["user"]["roles"] == []
    stage.person("alice", groups=["staff"])
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"]["roles"] == ["writer"]
    stage.clock.advance(1.0)
    assert stage.client.get("/").json()["user"]["roles"] == ["writer"], "an ordinary role comes to every session"
    stage.person("alice", groups=["root"])
    raised = stage.client.another()
    assert stage.sign_in(alice, client=raised).json()["user"]["roles"] == ["admin"]
    stage.clock.advance(1.0)
    assert stage.client.get("/").status == 302
    assert raised.get("/").status == 200
    assert [event.reason for event in stage.events("session.ended")] == ["role_granted"] * 2


def test_no_session_of_before_rises_at_all_where_every_role_is_privileged(build: StageBuilder) -> None:
    stage = build(
        JIT_PRIVILEGED_ROLES="*",
        JIT_DEFAULT_ROLES="member",
        JIT_OIDC_ALLOW_PRIVILEGED_ROLES="true",
        JIT_GROUP_ROLES='{"staff": ["writer"]}',
        JIT_OIDC_SCOPES="openid email profile groups",
    )
    alice = stage.person("alice", groups=["x"])
    assert stage.sign_in(alice).json()["user"]["roles"] == ["member"]
    phone = stage.client.another()
    assert stage.sign_in(alice, client=phone).json()["user"]["roles"] == ["member"]
    stage.clock.advance(1.0)
    assert stage.client.get("/").status == 200, "a login that brings nothing new ends nothing"
    stage.person("alice", groups=["staff"])
    raised = stage.client.another()
    assert stage.sign_in(alice, client=raised).json()["user"]["roles"] == ["member", "writer"]
    stage.clock.advance(1.0)
    assert [client.get("/").status for client in (stage.client, phone, raised)] == [302, 302, 200]
    assert [event.reason for event in stage.events("session.ended")] == ["role_granted"] * 2
    assert stage.sign_in(alice, client=stage.client.another()).status == 200
    stage.clock.advance(1.0)
    assert raised.get("/").status == 200


def test_the_log_at_start_notes_that_no_role_is_privileged(
    build: StageBuilder, caplog: pytest.LogCaptureFixture
) -> None:
    note = ("jit_middleware", "INFO", "No role is privileged (JIT_PRIVILEGED_ROLES)")
    with caplog.at_level("INFO", logger="jit_middleware"):
        build(JIT_DEFAULT_ROLES="member", JIT_PRIVILEGED_ROLES="*")
        assert note not in [(one.name, one.levelname, one.getMessage()[: len(note[2])]) for one in caplog.records]
        build(JIT_DEFAULT_ROLES="member")
    assert note in [(one.name, one.levelname, one.getMessage()[: len(note[2])]) for one in caplog.records]
