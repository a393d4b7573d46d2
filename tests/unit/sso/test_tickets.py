"""What a browser carries while an account is being linked, and what it does not carry."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jit_middleware.keyring import Keyring
from jit_middleware.model import LinkProof, OnceKey
from jit_middleware.provisioning.invitations import PURPOSE, Invitation, Invitations
from jit_middleware.sso.state import LoginStates
from jit_middleware.sso.tickets import LinkTicket, LinkTickets, shows
from jit_middleware.system import SystemTokens
from tests.conftest import FakeClock

KEYRING = Keyring([b"k" * 32])
TOKENS = SystemTokens()


def tickets(clock: FakeClock, keyring: Keyring = KEYRING) -> LinkTickets:
    return LinkTickets(
        keyring.envelope("link-ticket", TOKENS), name="__Host-jit-link", secure=True, clock=clock, tokens=TOKENS
    )


def made(clock: FakeClock) -> tuple[LinkTicket, str]:
    ticket = tickets(clock).confirm(connection="oidc", user_id="user-7", target="/deep", identity="i" * 64)
    _, header = tickets(clock).keep(ticket)
    return ticket, header.partition(";")[0]


def test_ticket_comes_back_as_it_was_for_ten_minutes(fake_clock: FakeClock) -> None:
    ticket, cookie = made(fake_clock)
    fake_clock.advance(600)
    assert tickets(fake_clock).find(f"a=b; {cookie}") == ticket
    fake_clock.advance(1)
    assert tickets(fake_clock).find(cookie) is None


def test_ticket_shows_nobody_whose_account_it_is(fake_clock: FakeClock) -> None:
    _, cookie = made(fake_clock)
    assert "user-7" not in cookie
    header = tickets(fake_clock).keep(made(fake_clock)[0])[1]
    assert header.endswith("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax")


@pytest.mark.parametrize("bend", [lambda text: text[:-2], lambda text: text + "x", lambda text: text.upper()])
def test_bent_ticket_is_none(fake_clock: FakeClock, bend: object) -> None:
    name, _, sealed = made(fake_clock)[1].partition("=")
    assert callable(bend)
    assert tickets(fake_clock).find(f"{name}={bend(sealed)}") is None


def test_ticket_sealed_for_another_purpose_or_by_another_version_is_none(fake_clock: FakeClock) -> None:
    for purpose, text in (("login-state", "{}"), ("link-ticket", json.dumps({"kind": "confirm", "more": 1}))):
        sealed = KEYRING.envelope(purpose, TOKENS).seal(text, fake_clock.now())
        assert tickets(fake_clock).find(f"__Host-jit-link={sealed}") is None


def test_form_shows_the_nonce_of_its_ticket(fake_clock: FakeClock) -> None:
    ticket, _ = made(fake_clock)
    assert shows(ticket, ticket.nonce)
    assert not shows(ticket, None)
    assert not shows(ticket, "")
    assert not shows(ticket, "\udcff")
    assert not shows(replace(ticket, nonce="other"), ticket.nonce)


# --- the proof in the login state ---------------------------------------------------------------------------------


class Connected:
    name = "oidc"
    answer = "query"


@pytest.mark.parametrize("identity", ["i" * 64, None])
def test_proof_rides_sealed_in_the_login_state(fake_clock: FakeClock, identity: str | None) -> None:
    states = LoginStates(KEYRING.envelope("login-state", TOKENS), secure=True, clock=fake_clock, tokens=TOKENS)
    proof = LinkProof("user-7", "password" if identity else "invitation", identity, OnceKey("link_proof", "k", 9))
    login = states.begin("oidc", "/", proof=proof)
    cookie = states.keep(login, Connected(), "")[0][1].partition(";")[0]  # type: ignore[arg-type]
    assert "user-7" not in cookie
    found = states.find(cookie, "oidc", login.state)
    assert found == login
    assert found is not None
    assert found.proof == proof


# --- invitations --------------------------------------------------------------------------------------------------


def test_invitation_reads_back_until_it_is_over() -> None:
    invitations = Invitations(KEYRING.signature(PURPOSE))
    for connection in ("oidc", "a.b.c", "x-1_2"):
        invitation = Invitation(TOKENS(24), connection, 1000)
        token = invitations.token(invitation)
        assert invitations.read(token, 999) == invitation
        assert invitations.read(token, 1000) is None


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.1.oidc", "a.1.oidc.AAAA", "é" * 20, "." * 50, "x" * 5000])
def test_what_was_not_written_here_is_no_invitation(text: str) -> None:
    assert Invitations(KEYRING.signature(PURPOSE)).read(text, 0) is None


def test_invitation_of_another_purpose_or_key_is_none() -> None:
    invitation = Invitation("id", "oidc", 1000)
    ours = Invitations(KEYRING.signature(PURPOSE))
    for other in (Keyring([b"o" * 32]).signature(PURPOSE), KEYRING.signature("session")):
        assert ours.read(Invitations(other).token(invitation), 0) is None
    rotated = Invitations(Keyring([b"n" * 32, b"k" * 32]).signature(PURPOSE))
    assert rotated.read(ours.token(invitation), 0) == invitation
