"""Pushed signals on every database, and where the application keeps its users itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jit_middleware.model import ProfileChanges, Status, User
from tests.peers.transmitter import CAEP, RISC, Transmitter
from tests.scenarios.conftest import StageBuilder, StageClock
from tests.scenarios.test_custom_stores import Club, club
from tests.scenarios.test_signals import SIGNALS, Told

__all__ = ["club"]


@contextmanager
def transmitter() -> Iterator[tuple[Transmitter, dict[str, str]]]:
    with Transmitter(StageClock().now) as sender:
        yield (
            sender,
            {
                "JIT_OIDC_SIGNALS_ISSUER": sender.issuer,
                "JIT_OIDC_SIGNALS_JWKS_URI": sender.jwks_uri,
                "JIT_OIDC_VERIFIED_DOMAINS": "example.org",
            },
        )


def test_a_signal_is_acted_on_once_in_every_world(any_world: StageBuilder) -> None:
    with transmitter() as (sender, env):
        at = Told(any_world(**env), sender)
        name, alice = at.person("alice")
        token = sender.event(SIGNALS, f"{CAEP}session-revoked", alice)
        other = at.stage.worker()
        assert [at.push(token, client).status for client in (at.stage.client, other, other)] == [202] * 3
        assert not at.is_in()
        assert at.tell(f"{CAEP}session-revoked", {"format": "opaque", "id": "nobody"}).status == 202
        assert at.signals() == [("success", None), ("failure", "subject_unknown")]
        assert at.stage.sign_in(name).status == 200
        by_address = {"format": "email", "email": f"{name}@example.org"}
        assert at.revoke(by_address).status == 204
        assert not at.is_in()
        assert at.stage.sign_in(name).status == 200
        assert at.tell(f"{RISC}identifier-recycled", by_address).status == 202
        [account] = at.stage.accounts()
        assert account.user is not None
        assert not account.user.email_verified
        assert at.tell(f"{RISC}account-disabled", alice).status == 202
        assert not at.is_in()
        [account] = at.stage.accounts()
        assert account.status is Status.DEPROVISIONED


def test_the_store_of_the_application_is_told(club: Club) -> None:
    with transmitter() as (sender, env):
        at = Told(club(**env), sender)
        name, alice = at.person("alice")
        by_address = {"format": "email", "email": f"{name}@example.org"}
        assert club.members.everybody()[0].email_verified
        assert at.tell(f"{RISC}identifier-recycled", by_address).status == 202
        assert not club.members.everybody()[0].email_verified
        assert at.is_in()
        assert at.revoke(by_address).status == 204
        assert not at.is_in()
        assert at.tell(f"{RISC}account-purged", alice).status == 202
        [member] = club.members.everybody()
        assert member.status is Status.SUSPENDED
        [account] = at.stage.accounts()
        assert account.status is Status.DEPROVISIONED


def test_an_event_that_comes_again_withdraws_no_address_set_since(club: Club) -> None:
    with transmitter() as (sender, env):
        at = Told(club(**env), sender)
        _, alice = at.person("alice")
        token = sender.event(SIGNALS, f"{RISC}identifier-changed", alice)
        assert at.push(token).status == 202
        [member] = club.members.everybody()
        assert not member.email_verified
        club.members.update(member.id, ProfileChanges(email="new@example.org", email_verified=True))
        assert at.push(token).status == 202
        [member] = club.members.everybody()
        assert (member.email, member.email_verified) == ("new@example.org", True)
        assert at.signals() == [("success", None)]


def test_an_event_whose_store_failed_is_acted_on_when_it_comes_again(
    club: Club, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transmitter() as (sender, env):
        at = Told(club(**env), sender)
        _, alice = at.person("alice")
        token = sender.event(SIGNALS, f"{RISC}identifier-changed", alice)

        def fail(user_id: str, changes: ProfileChanges) -> User:
            raise OSError("the club is closed")

        with monkeypatch.context() as closed:
            closed.setattr(club.members, "update", fail)
            assert at.push(token).status == 503
        assert at.push(token).status == 202
        [member] = club.members.everybody()
        assert not member.email_verified


def test_access_ends_though_the_store_of_the_application_cannot_be_told(
    club: Club, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with transmitter() as (sender, env):
        at = Told(club(**env), sender)
        _, alice = at.person("alice")

        def fail(user_id: str, active: bool) -> None:
            raise OSError("the club is closed")

        monkeypatch.setattr(club.members, "set_active", fail)
        assert at.tell(f"{RISC}account-disabled", alice).status == 202
        assert not at.is_in()
        assert "the app's own store was not told" in caplog.text
