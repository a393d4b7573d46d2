"""Pushed signals end access in every worker: security events by push (RFC 8935), and global token revocation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from jit_middleware.bridge import step
from jit_middleware.errors import StoreUnavailable
from jit_middleware.model import IdentityLink, Status
from jit_middleware.ports import Transaction
from tests.client import Client
from tests.peers.transmitter import CAEP, RISC, SSF, Transmitter
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.linking import live_sessions
from tests.worlds import Answer

SIGNALS = "http://localhost:8000/_jit/signals/oidc"
REVOKE = "http://localhost:8000/_jit/revoke/oidc"
SESSION_REVOKED = f"{CAEP}session-revoked"


class Told:
    """A stage whose connection believes a transmitter of its own."""

    def __init__(self, stage: Stage, transmitter: Transmitter) -> None:
        self.stage = stage
        self.transmitter = transmitter
        transmitter.now = stage.clock.now

    def push(self, token: str, client: Client | None = None, **headers: str | None) -> Answer:
        kept: dict[str, str | None] = {"Accept": "application/json", "Cookie": None, "Sec-Fetch-Mode": None}
        kept |= {"Content-Type": "application/secevent+jwt", **headers}
        return (client or self.stage.client).request(
            "POST", SIGNALS, body=token.encode(), headers=kept, initiator=self.transmitter.issuer
        )

    def tell(self, event: str, sub_id: object = None, said: object = None, **changes: object) -> Answer:
        return self.push(self.transmitter.event(SIGNALS, event, sub_id, said, **changes))

    def revoke(self, sub_id: object, token: str | None = None, **options: Any) -> Answer:
        bearer = self.transmitter.revocation(REVOKE) if token is None else token
        headers = {"Accept": "application/json", "Cookie": None, "Authorization": f"Bearer {bearer}"}
        options.setdefault("json", {"sub_id": sub_id})
        headers |= options.pop("headers", {})
        return self.stage.client.request("POST", REVOKE, headers=headers, initiator=self.transmitter.issuer, **options)

    def person(self, who: str, **claims: object) -> tuple[str, dict[str, str]]:
        """A person who is signed in, and how the provider calls them."""
        name = self.stage.person(who, **claims)
        assert self.stage.sign_in(name).status == 200
        return name, {"format": "iss_sub", "iss": self.stage.provider.issuer, "sub": name}

    def is_in(self, client: Client | None = None) -> bool:
        self.stage.clock.advance(2)
        return (client or self.stage.client).get("/").status == 200

    def signals(self) -> list[tuple[str, str | None]]:
        return [(event.outcome, event.reason) for event in self.stage.events("signal.received")]


@pytest.fixture
def told(build: StageBuilder) -> Iterator[Callable[..., Told]]:
    with ExitStack() as closing:

        def make(*, with_sid: bool = False, **env: str) -> Told:
            transmitter = closing.enter_context(Transmitter(lambda: 0))
            known = {"JIT_OIDC_SIGNALS_ISSUER": transmitter.issuer, "JIT_OIDC_SIGNALS_JWKS_URI": transmitter.jwks_uri}
            registration = {
                "backchannel_logout_uri": "http://localhost:9/",
                "backchannel_logout_session_required": True,
            }
            return Told(build(registration=registration if with_sid else {}, **{**known, **env}), transmitter)

        yield make


# --- security events ------------------------------------------------------------------------------------------------


def test_session_revoked_ends_every_session_of_the_person_in_every_worker(told: Callable[..., Told]) -> None:
    at = told()
    name, alice = at.person("alice")
    phone = at.stage.client.another()
    at.stage.sign_in(name, client=phone)
    colleague = at.stage.client.another()
    at.stage.sign_in(at.stage.person("bob"), client=colleague)
    worker = at.stage.worker()
    worker.jar = phone.jar
    assert worker.get("/").status == 200
    answer = at.tell(SESSION_REVOKED, alice)
    assert (answer.status, answer.body, answer.header("cache-control")) == (202, b"", "no-store")
    assert not answer.all("set-cookie")
    assert [at.is_in(client) for client in (at.stage.client, phone, worker, colleague)] == [False, False, False, True]
    ended = at.stage.events("session.ended")
    assert [event.reason for event in ended] == ["session_revoked"] * 2
    [received] = at.stage.events("signal.received")
    assert received.data["sessions_ended"] == 2
    assert received.data["event"] == SESSION_REVOKED
    assert received.user_id == ended[0].user_id
    assert {event.reference for event in ended} == {received.reference}
    assert name not in json.dumps([dict(event.data) for event in (*ended, received)])


def test_a_repeat_is_answered_with_success_and_does_nothing_in_another_worker(told: Callable[..., Told]) -> None:
    at = told()
    name, alice = at.person("alice")
    token = at.transmitter.event(SIGNALS, SESSION_REVOKED, alice)
    assert at.push(token).status == 202
    assert not at.is_in()
    at.stage.sign_in(name)
    other = at.stage.worker()
    assert at.push(token, other).status == 202
    assert at.push(token).status == 202
    assert at.is_in()
    assert len(at.signals()) == 1


def test_an_event_about_nobody_here_is_used_up_as_well(told: Callable[..., Told]) -> None:
    at = told()
    name = at.stage.person("alice")
    sub_id = {"format": "iss_sub", "iss": at.stage.provider.issuer, "sub": name}
    token = at.transmitter.event(SIGNALS, SESSION_REVOKED, sub_id)
    assert [at.push(token).status for _ in range(3)] == [202] * 3
    assert at.signals() == [("failure", "subject_unknown")]
    at.stage.clock.advance(1)
    assert at.stage.sign_in(name).status == 200
    assert at.push(token).status == 202
    assert at.is_in(), "they came later"


def test_many_deliveries_of_one_event_at_once_are_one(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    token = at.transmitter.event(SIGNALS, SESSION_REVOKED, alice)
    headers = {"Content-Type": "application/secevent+jwt", "Cookie": None}
    sent = at.stage.client.prepare("POST", SIGNALS, body=token.encode(), headers=headers)
    assert {answer.status for answer in at.stage.client.together(*[sent] * 6)} == {202}
    assert at.signals() == [("success", None)]
    assert len(at.stage.events("session.ended")) == 1


@pytest.mark.parametrize("form", ["opaque", "email", "complex", "transmitter"])
def test_a_person_may_be_named_in_other_ways(told: Callable[..., Told], form: str) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    name, alice = at.person("alice")
    sub_id: dict[str, object] = {
        "opaque": {"format": "opaque", "id": name},
        "email": {"format": "email", "email": f"{name}@EXAMPLE.org"},
        "complex": {"format": "complex", "user": alice, "tenant": {"format": "opaque", "id": "t"}},
        "transmitter": {"format": "iss_sub", "iss": at.transmitter.issuer, "sub": name},
    }[form]
    assert at.tell(SESSION_REVOKED, sub_id).status == 202
    assert not at.is_in()


@pytest.mark.parametrize(
    ("sub_id", "reason"),
    [
        ({"format": "email", "email": "{name}@example.org"}, "subject_foreign"),
        ({"format": "email", "email": "{name}@example.org, x@example.com"}, "subject_foreign"),
        ({"format": "iss_sub", "iss": "https://other.example", "sub": "{name}"}, "subject_unknown"),
        ({"format": "opaque", "id": "nobody"}, "subject_unknown"),
        ({"format": "email", "email": "nobody@example.com"}, "subject_unknown"),
    ],
)
def test_whoever_is_not_this_connections_to_name_stays_in(
    told: Callable[..., Told], sub_id: dict[str, str], reason: str
) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.com")
    name, _ = at.person("alice")
    named = {key: value.replace("{name}", name) for key, value in sub_id.items()}
    assert at.tell(SESSION_REVOKED, named).status == 202, "the transmitter learns nothing about who is here"
    assert at.is_in()
    assert at.signals() == [("failure", reason)]


def aliases(*identifiers: object) -> dict[str, object]:
    """RFC 9493 §3.2.8."""
    return {"format": "aliases", "identifiers": list(identifiers)}


@pytest.mark.parametrize("place", ["first", "last", "user"])
def test_a_person_may_be_named_by_several_identifiers(told: Callable[..., Told], place: str) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.com")
    name, alice = at.person("alice")
    others = (
        {"format": "phone_number", "phone_number": "+1"},
        {"format": "email", "email": f"{name}@example.org"},
        {"format": "iss_sub", "iss": "https://other.example", "sub": name},
        {"format": "opaque", "id": "nobody"},
    )
    sub_id = aliases(alice, *others) if place == "first" else aliases(*others, alice)
    if place == "user":
        sub_id = {"format": "complex", "user": sub_id, "device": {"format": "opaque", "id": "d"}}
    token = at.transmitter.event(SIGNALS, SESSION_REVOKED, sub_id)
    assert [at.push(token).status for _ in range(2)] == [202, 202]
    assert not at.is_in()
    [received] = at.stage.events("signal.received")
    assert (received.outcome, received.data["sessions_ended"]) == ("success", 1)
    assert name not in json.dumps(dict(received.data))


def test_everybody_who_is_named_by_one_of_several_identifiers_is_meant(told: Callable[..., Told]) -> None:
    """An address may have gone from one person to another: of two whom it may mean, both sign in again."""
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    _, alice = at.person("alice")
    bob, desk = at.stage.person("bob"), at.stage.client.another()
    at.stage.sign_in(bob, client=desk)
    eve = at.stage.client.another()
    at.stage.sign_in(at.stage.person("eve"), client=eve)
    sub_id = aliases(
        alice, {"format": "email", "email": f"{bob}@example.org"}, {"format": "email", "email": "x@y.example"}
    )
    assert at.tell(SESSION_REVOKED, sub_id).status == 202
    assert [at.is_in(), at.is_in(desk), at.is_in(eve)] == [False, False, True]
    assert at.signals() == [("success", None)]


def test_an_account_is_closed_by_one_of_several_identifiers(told: Callable[..., Told]) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    name, alice = at.person("alice")
    sub_id = aliases({"format": "email", "email": f"{name}@example.org"}, alice)
    assert at.tell(f"{RISC}identifier-recycled", sub_id).status == 202
    assert len(at.stage.events("user.updated")) == 1
    assert at.tell(f"{RISC}account-disabled", sub_id).status == 202
    [account] = at.stage.accounts()
    assert account.status is Status.DEPROVISIONED
    assert at.signals() == [("success", None)] * 2


@pytest.mark.parametrize(
    ("identifiers", "reason"),
    [
        ([{"format": "opaque", "id": "nobody"}, {"format": "opaque", "id": "no one"}], "subject_unknown"),
        ([{"format": "email", "email": "a@b.example"}, {"format": "email", "email": "b@b.example"}], "subject_foreign"),
        ([{"format": "email", "email": "a@b.example"}, {"format": "opaque", "id": "nobody"}], "subject_unknown"),
    ],
)
def test_identifiers_of_which_none_names_somebody_here_are_taken(
    told: Callable[..., Told], identifiers: list[dict[str, str]], reason: str
) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    at.person("alice")
    assert at.tell(SESSION_REVOKED, aliases(*identifiers)).status == 202
    assert at.is_in()
    assert at.signals() == [("failure", reason)]


def session_alone(name: object, form: str = "opaque") -> dict[str, object]:
    """SSF 1.0, Complex Subjects."""
    return {"format": "complex", "session": {"format": form, "id": name}}


def test_a_session_may_be_named_without_a_person(told: Callable[..., Told]) -> None:
    at = told(with_sid=True)
    name, _ = at.person("alice")
    phone = at.stage.client.another()
    at.stage.sign_in(name, client=phone)
    theirs = {session.id: session.idp_session for session in live_sessions(at.stage)}
    here = at.stage.client.get("/").json()["session"]["id"]
    assert len(set(theirs.values())) == 2
    token = at.transmitter.event(SIGNALS, SESSION_REVOKED, session_alone(theirs[here]))
    assert [at.push(token).status for _ in range(2)] == [202, 202]
    assert [at.is_in(), at.is_in(phone)] == [False, True]
    [ended], [received] = at.stage.events("session.ended"), at.stage.events("signal.received")
    assert (ended.reason, ended.reference) == ("session_revoked", received.reference)
    assert (received.outcome, received.data["sessions_ended"], received.user_id) == ("success", 1, ended.user_id)


@pytest.mark.parametrize(
    ("event", "sub_id", "reason"),
    [
        (SESSION_REVOKED, session_alone("nobody's"), "subject_unknown"),
        (SESSION_REVOKED, session_alone("é" * 500), "subject_unknown"),
        (SESSION_REVOKED, session_alone("of-a-kind-that-we-do-not-keep", "jwt_id"), "subject_unknown"),
        (f"{CAEP}credential-change", session_alone("nobody's"), "subject_unknown"),
        (f"{RISC}account-disabled", session_alone("nobody's"), "subject_unresolvable"),
        (f"{RISC}identifier-changed", session_alone("nobody's"), "subject_unresolvable"),
    ],
)
def test_a_session_that_is_not_here_is_taken_and_written_down(
    told: Callable[..., Told], event: str, sub_id: dict[str, object], reason: str
) -> None:
    at = told()
    at.person("alice")
    token = at.transmitter.event(SIGNALS, event, sub_id)
    assert [at.push(token).status for _ in range(2)] == [202, 202]
    assert at.is_in()
    assert at.signals() == [("failure", reason)]
    [account] = at.stage.accounts()
    assert account.status is Status.ACTIVE


def test_an_account_is_not_closed_by_one_of_its_sessions(told: Callable[..., Told]) -> None:
    at = told(with_sid=True)
    at.person("alice")
    [session] = live_sessions(at.stage)
    assert session.idp_session
    assert at.tell(f"{RISC}account-disabled", session_alone(session.idp_session)).status == 202
    assert at.signals() == [("failure", "subject_unresolvable")]
    assert at.is_in()


def test_an_address_reaches_only_identities_of_this_connection(told: Callable[..., Told], tmp_path: Any) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    name, _ = at.person("alice")
    config = tmp_path / "jit.toml"
    env = at.stage.env
    config.write_text(
        f'[connections.other]\nprotocol = "oidc"\nissuer = "{env["JIT_OIDC_ISSUER"]}"\nclient_id = "x"\n'
        f'client_secret = "y"\nverified_domains = ["example.org"]\nsignals_issuer = "{at.transmitter.issuer}"\n'
        f'signals_jwks_uri = "{at.transmitter.jwks_uri}"\n'
    )
    both = at.stage.worker(JIT_CONFIG=str(config))
    url = SIGNALS.replace("oidc", "other")
    token = at.transmitter.event(url, SESSION_REVOKED, {"format": "email", "email": f"{name}@example.org"})
    headers = {"Content-Type": "application/secevent+jwt", "Cookie": None}
    assert both.request("POST", url, body=token.encode(), headers=headers).status == 202
    assert at.is_in()
    assert at.signals() == [("failure", "subject_unknown")]


def test_only_sessions_of_the_identity_that_is_meant_end(told: Callable[..., Told]) -> None:
    """Somebody may have two identities; the sessions of the other one are not this message's matter."""
    at = told()
    name, alice = at.person("alice")
    [account] = at.stage.accounts()
    other = at.stage.person("alice-at-the-other-desk")

    async def link(tx: Transaction) -> None:
        issuer = at.stage.provider.issuer
        await tx.add_link(IdentityLink("oidc", issuer, other, other, account.user_id, first_login_at=1))

    step(at.stage.ledger.transaction(link))
    desk = at.stage.client.another()
    assert at.stage.sign_in(other, client=desk).json()["user"]["id"] == account.user_id
    assert at.tell(SESSION_REVOKED, alice).status == 202
    assert [at.is_in(), at.is_in(desk)] == [False, True]
    assert name != other


def test_the_older_word_for_revoked_sessions_ends_them_too(told: Callable[..., Told]) -> None:
    """RISC 1.0 has ``sessions-revoked`` beside CAEP's event, for transmitters that were there before."""
    at = told()
    _, alice = at.person("alice")
    colleague = at.stage.client.another()
    at.stage.sign_in(at.stage.person("bob"), client=colleague)
    assert at.tell(f"{RISC}sessions-revoked", alice).status == 202
    assert [at.is_in(), at.is_in(colleague)] == [False, True]
    assert [event.reason for event in at.stage.events("session.ended")] == ["sessions_revoked"]
    assert at.signals() == [("success", None)]
    assert {account.status for account in at.stage.accounts()} == {Status.ACTIVE}


@pytest.mark.parametrize(("switch", "still_in"), [("true", False), ("false", True)])
def test_a_changed_credential_ends_sessions_unless_told_otherwise(
    told: Callable[..., Told], switch: str, still_in: bool
) -> None:
    at = told(JIT_OIDC_SIGNALS_CREDENTIAL_CHANGE=switch)
    _, alice = at.person("alice")
    said = {"credential_type": "password", "change_type": "update"}
    assert at.tell(f"{CAEP}credential-change", alice, said).status == 202
    assert at.is_in() is still_in
    assert at.signals() == [("success", None)]


@pytest.mark.parametrize("event", ["account-disabled", "account-purged"])
def test_a_closed_account_is_deprovisioned_and_stays_out(told: Callable[..., Told], event: str) -> None:
    at = told()
    name, alice = at.person("alice")
    assert at.tell(f"{RISC}{event}", alice, {"reason": "hijacking"}).status == 202
    assert not at.is_in()
    [account] = at.stage.accounts()
    assert account.status is Status.DEPROVISIONED
    [moved] = at.stage.events("user.deprovisioned")
    assert moved.data["actor"] == "signal:oidc"
    assert [event.reason for event in at.stage.events("session.ended")] == ["user_deprovisioned"]
    refused = at.stage.come_back(at.stage.client, at.stage.depart(at.stage.client, at.stage.agent(name)))
    assert refused.status == 403
    assert at.tell(f"{RISC}{event}", alice).status == 202, "again is no error"


def test_an_account_is_closed_by_address_only_while_somebody_vouches_for_it(told: Callable[..., Told]) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    name, alice = at.person("alice")
    address = {"format": "email", "email": f"{name}@example.org"}
    assert at.tell(f"{RISC}identifier-recycled", alice).status == 202
    assert at.tell(f"{RISC}account-disabled", address).status == 202
    assert at.signals()[-1] == ("failure", "subject_unknown"), "it is said of whoever has the address now"
    [account] = at.stage.accounts()
    assert account.status is Status.ACTIVE
    assert at.tell(SESSION_REVOKED, address).status == 202
    assert not at.is_in(), "of two whom it may mean, both sign in again"


def test_an_account_is_closed_by_an_address_that_somebody_vouches_for(told: Callable[..., Told]) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    name, _ = at.person("alice")
    assert at.tell(f"{RISC}account-disabled", {"format": "email", "email": f"{name}@example.org"}).status == 202
    [account] = at.stage.accounts()
    assert account.status is Status.DEPROVISIONED


def test_an_event_that_could_not_be_delivered_for_hours_still_counts(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    token = at.transmitter.event(SIGNALS, f"{RISC}account-disabled", alice)
    at.stage.clock.advance(6 * 3600)
    assert at.push(token).status == 202
    [account] = at.stage.accounts()
    assert account.status is Status.DEPROVISIONED


@pytest.mark.parametrize("event", ["identifier-changed", "identifier-recycled"])
def test_nobody_vouches_any_more_for_an_address_that_is_somebody_elses(told: Callable[..., Told], event: str) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    name, _ = at.person("alice")
    [before] = at.stage.accounts()
    assert before.user is not None
    assert before.user.email_verified
    assert at.tell(f"{RISC}{event}", {"format": "email", "email": f"{name}@example.org"}).status == 202
    [after] = at.stage.accounts()
    assert after.user is not None
    assert not after.user.email_verified
    assert after.status is Status.ACTIVE
    [told_of] = at.stage.events("user.updated")
    assert (told_of.reason, told_of.data["fields"]) == (event.replace("-", "_"), ["email_verified"])


def test_a_verification_is_taken_and_its_state_is_shown_to_the_operator(
    told: Callable[..., Told], caplog: pytest.LogCaptureFixture
) -> None:
    at = told()
    stream = {"format": "opaque", "id": "stream-1"}
    with caplog.at_level("INFO", logger="jit_middleware.signals"):
        assert at.tell(f"{SSF}verification", stream, {"state": "VGhpcyBpcyBh"}).status == 202
        assert at.tell(f"{SSF}verification", stream, {"state": "line\nbreak"}).status == 202
    assert "state=VGhpcyBpcyBh" in caplog.text
    assert "line" not in caplog.text
    first, second = at.stage.events("signal.received")
    assert first.data["state"] == "VGhpcyBpcyBh"
    assert str(second.data["state"]).startswith("sha256:")


def test_an_event_that_means_nothing_here_is_taken_and_written_down(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    assert at.tell(f"{CAEP}device-compliance-change", alice).status == 202
    assert at.is_in()
    [received] = at.stage.events("signal.received")
    assert received.data["event"] == f"{CAEP}device-compliance-change"


@pytest.mark.parametrize(
    ("bent", "code"),
    [
        ({"iss": "https://evil.example"}, "invalid_issuer"),
        ({"aud": "somebody else"}, "invalid_audience"),
        ({"exp": 4_000_000_000}, "invalid_request"),
        ({"sub": "alice"}, "invalid_request"),
        ({"events": {}}, "invalid_request"),
        ({"jti": ...}, "invalid_request"),
        ({"iat": 1_000_000_000}, "invalid_request"),
        ({"sub_id": {"format": "phone_number", "phone_number": "+1"}}, "invalid_request"),
        ({"sub_id": {"format": "aliases", "identifiers": []}}, "invalid_request"),
        ({"sub_id": {"format": "complex", "session": "s-1"}}, "invalid_request"),
        ({"sub_id": {"format": "complex", "device": {"format": "opaque", "id": "d"}}}, "invalid_request"),
    ],
)
def test_errors_are_those_of_the_delivery_protocol(told: Callable[..., Told], bent: dict[str, Any], code: str) -> None:
    """RFC 8935 §2.4."""
    at = told()
    _, alice = at.person("alice")
    answer = at.push(at.transmitter.event(SIGNALS, SESSION_REVOKED, **{"sub_id": alice, **bent}))
    assert answer.status == 400
    assert answer.header("content-type") == "application/json"
    assert answer.json()["err"] == code
    assert set(answer.json()) == {"err", "description"}
    assert at.is_in()
    assert at.signals() == [], "what anybody can send leaves no trace in the audit trail"


def test_an_event_that_somebody_else_signed_is_refused(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    with Transmitter(at.stage.clock.now) as stranger:
        answer = at.push(stranger.event(SIGNALS, SESSION_REVOKED, alice, iss=at.transmitter.issuer))
    assert (answer.status, answer.json()["err"]) == (400, "invalid_key")
    assert at.is_in()


def test_a_signature_that_does_not_fit_and_a_token_of_another_kind_are_told_apart(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    first, second = (at.transmitter.event(SIGNALS, SESSION_REVOKED, who) for who in (alice, {**alice, "sub": "bob"}))
    mixed = f"{first.rpartition('.')[0]}.{second.rpartition('.')[2]}"
    for token, code in (
        (mixed, "invalid_key"),
        (at.transmitter.revocation(SIGNALS), "invalid_request"),
        (first.rpartition(".")[0], "invalid_request"),
    ):
        answer = at.push(token)
        assert (answer.status, answer.json()["err"]) == (400, code)
    assert at.is_in()


def test_an_event_in_another_wrapping_is_refused(told: Callable[..., Told]) -> None:
    at = told()
    token = at.transmitter.event(SIGNALS, SESSION_REVOKED, {"format": "opaque", "id": "x"})
    for kind in ("application/jwt", "application/json", "application/x-www-form-urlencoded", None):
        answer = at.push(token, **{"Content-Type": kind})
        assert (answer.status, answer.json()["err"]) == (400, "invalid_request")
    large = at.push(token + "A" * 25_000)
    assert (large.status, large.json()["err"]) == (413, "invalid_request")
    for method in ("GET", "PUT", "HEAD"):
        refused = at.stage.client.request(method, SIGNALS)
        assert (refused.status, refused.header("allow")) == (405, "POST")


def test_while_the_senders_keys_cannot_be_had_the_transmitter_is_asked_to_come_again(
    told: Callable[..., Told],
) -> None:
    at = told(JIT_OIDC_SIGNALS_JWKS_URI="http://127.0.0.1:9/keys")
    _, alice = at.person("alice")
    answer = at.tell(SESSION_REVOKED, alice)
    assert (answer.status, answer.json()["error"]) == (503, "provider_unavailable")
    assert answer.header("retry-after") == "5"
    assert at.is_in()
    assert at.signals() == []


@pytest.mark.parametrize("endpoint", ["signals", "revoke"])
def test_a_new_key_that_strangers_keep_from_us_is_no_fault_of_the_sender(
    told: Callable[..., Told], endpoint: str
) -> None:
    """A transmitter may give up after a 400; what comes again within seconds has lost nothing."""
    at = told()
    _, alice = at.person("alice")

    def send(token: str) -> Answer:
        return at.push(token) if endpoint == "signals" else at.revoke(alice, token)

    def signed() -> str:
        made = at.transmitter
        return made.event(SIGNALS, SESSION_REVOKED, alice) if endpoint == "signals" else made.revocation(REVOKE)

    verdict = 400 if endpoint == "signals" else 401
    genuine, known = at.transmitter.key, []
    for _ in range(8):
        at.transmitter.change_key()
        made_up = signed()
        at.transmitter.key = genuine
        known.append(send(made_up).status)
    assert known == [verdict] * 5 + [429] * 3
    at.transmitter.change_key()
    token, asked = signed(), at.transmitter.asked_for_keys
    put_off = send(token)
    assert (put_off.status, put_off.json()["error"]) == (429, "judged_later")
    assert put_off.header("retry-after") == "30"
    assert at.transmitter.asked_for_keys == asked, "and it makes us do nothing"
    assert at.is_in()
    assert at.signals() == []
    at.stage.clock.advance(13)
    assert send(token).status in {202, 204}
    assert at.transmitter.asked_for_keys == asked + 1
    assert not at.is_in()


def test_an_event_that_could_not_be_written_is_acted_on_when_it_comes_again(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = told()
    _, alice = at.person("alice")
    token = at.transmitter.event(SIGNALS, SESSION_REVOKED, alice)
    house = at.stage.client.middleware.gate.house
    with monkeypatch.context() as broken:

        def fail(**_: object) -> None:
            raise StoreUnavailable("disk_full")

        broken.setattr(house.audit, "signal_received", fail)
        assert at.push(token).status == 503
    assert at.is_in(), "nothing of it was written, the end of the session neither"
    assert at.push(token).status == 202
    assert not at.is_in()


def test_a_bearer_token_is_wanted_where_one_is_configured(told: Callable[..., Told]) -> None:
    secret = "correct-horse-battery-staple"
    at = told(JIT_OIDC_SIGNALS_TOKEN=secret)
    _, alice = at.person("alice")
    token = at.transmitter.event(SIGNALS, SESSION_REVOKED, alice)
    for shown in (None, "Bearer", "Bearer wrong", f"Basic {secret}", f"Bearer {secret}x", secret):
        refused = at.push(token, Authorization=shown)
        assert (refused.status, refused.json()["err"]) == (400, "authentication_failed")
        assert refused.header("content-language") == "en"
    assert at.is_in()
    assert at.push(token, Authorization=f"bearer {secret}").status == 202
    assert not at.is_in()


def test_without_a_transmitter_there_is_nothing_there(build: StageBuilder) -> None:
    stage = build()
    with Transmitter(stage.clock.now) as transmitter:
        at = Told(stage, transmitter)
        assert at.tell(SESSION_REVOKED, {"format": "opaque", "id": "x"}).status == 404
    for path in ("signals/nobody", "signals", "revoke/nobody", "backchannel/nobody"):
        assert stage.client.request("POST", f"/_jit/{path}", headers={"Accept": "application/json"}).status == 404


# --- global token revocation ----------------------------------------------------------------------------------------


def test_a_revocation_ends_everything_the_person_holds(told: Callable[..., Told]) -> None:
    at = told()
    name, alice = at.person("alice")
    phone = at.stage.client.another()
    at.stage.sign_in(name, client=phone)
    answer = at.revoke(alice)
    assert (answer.status, answer.body, answer.header("cache-control")) == (204, b"", "no-store")
    assert answer.header("content-type") is None
    assert not at.is_in()
    assert not at.is_in(phone)
    assert [event.reason for event in at.stage.events("session.ended")] == ["global_token_revocation"] * 2
    [account] = at.stage.accounts()
    assert account.status is Status.ACTIVE
    assert at.stage.sign_in(name).status == 200, "a revocation shuts nobody out for good"


def test_a_revocation_may_name_the_person_by_several_identifiers(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    token = at.transmitter.revocation(REVOKE)
    assert (
        at.revoke(aliases({"format": "opaque", "id": "nobody"}, {"format": "opaque", "id": "x"}), token).status == 404
    )
    assert at.revoke(aliases({"format": "opaque", "id": "nobody"}, alice), token).status == 204, "another person"
    assert not at.is_in()


def test_a_revocation_is_of_a_person_and_not_of_a_session(told: Callable[..., Told]) -> None:
    at = told(with_sid=True)
    at.person("alice")
    [session] = live_sessions(at.stage)
    assert at.revoke(session_alone(session.idp_session)).status == 400
    assert at.is_in()


def test_a_revocation_by_address_needs_a_domain_that_is_this_connections(told: Callable[..., Told]) -> None:
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    name, _ = at.person("alice")
    assert at.revoke({"format": "email", "email": f"{name}@example.com"}).status == 403
    assert at.revoke({"format": "email", "email": "nobody@example.org"}).status == 404
    assert at.is_in()
    assert at.revoke({"format": "email", "email": f"{name}@example.org"}).status == 204
    assert not at.is_in()


def test_a_revocation_of_somebody_without_a_session_is_done(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    assert at.stage.client.post("/_jit/logout").status == 303
    assert at.revoke(alice).status == 204
    [received] = at.stage.events("signal.received")
    [account] = at.stage.accounts()
    assert (received.user_id, received.data["sessions_ended"]) == (account.user_id, 0)


def test_a_bearer_token_that_is_used_for_several_people_ends_the_access_of_each(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    desk = at.stage.client.another()
    other = at.stage.person("bob")
    at.stage.sign_in(other, client=desk)
    token = at.transmitter.revocation(REVOKE)
    assert at.revoke(alice, token).status == 204
    assert [at.is_in(), at.is_in(desk)] == [False, True]
    assert at.revoke({**alice, "sub": other}, token).status == 204
    assert not at.is_in(desk), "done is what was answered with success"
    assert at.stage.sign_in(other, client=desk).status == 200
    assert at.revoke({**alice, "sub": other}, token).status == 204
    assert at.is_in(desk), "a repeat does nothing"


def test_a_revocation_of_nobody_is_not_found(told: Callable[..., Told]) -> None:
    at = told()
    _, alice = at.person("alice")
    answer = at.revoke({**alice, "sub": "nobody"})
    assert (answer.status, answer.json()["error"]) == (404, "signal_refused")
    assert at.is_in()
    assert at.signals() == [("failure", "subject_unknown")]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": {}}, 400),
        ({"json": {"sub_id": "alice"}}, 400),
        ({"json": {"sub_id": {"format": "phone_number", "phone_number": "+1"}}}, 400),
        ({"json": []}, 400),
        ({"body": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"body": b'{"sub_id": 1, "sub_id": 2}', "headers": {"Content-Type": "application/json"}}, 400),
        ({"body": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"body": b" " * 25_000, "headers": {"Content-Type": "application/json"}}, 413),
    ],
)
def test_malformed_revocations_are_refused(told: Callable[..., Told], options: dict[str, Any], status: int) -> None:
    at = told()
    options = {"json": None, **options} if "body" in options else options
    answer = at.revoke(None, **options)
    assert answer.status == status
    assert answer.json()["error"] in {"signal_refused", "bad_request"}
    assert at.signals() == []


def test_a_revocation_is_authenticated_before_it_is_read(told: Callable[..., Told]) -> None:
    at = told()
    name, alice = at.person("alice")
    now = at.stage.clock.now()
    bad = {
        "another kind": at.transmitter.event(REVOKE, SESSION_REVOKED, alice),
        "another address": at.transmitter.revocation(SIGNALS),
        "another issuer": at.transmitter.revocation(REVOKE, iss=at.stage.provider.issuer),
        "over": at.transmitter.revocation(REVOKE, exp=now - 61),
        "for another client": at.transmitter.revocation(REVOKE, sub="another"),
        "no token": "x",
    }
    for what, token in bad.items():
        answer = at.revoke(alice, token)
        assert answer.status == 401, what
        assert answer.header("www-authenticate") == 'Bearer error="invalid_token"', what
    missing = at.revoke(alice, headers={"Authorization": None})
    assert (missing.status, missing.header("www-authenticate")) == (401, "Bearer")
    assert at.is_in()
    assert name not in missing.text


def test_a_revocation_works_once(told: Callable[..., Told]) -> None:
    at = told()
    name, alice = at.person("alice")
    token = at.transmitter.revocation(REVOKE)
    assert at.revoke(alice, token).status == 204
    assert not at.is_in()
    at.stage.sign_in(name)
    assert at.revoke(alice, token).status == 204
    assert at.is_in()


def test_a_revocation_that_reached_nobody_is_not_used_up(told: Callable[..., Told]) -> None:
    """Its caller was told so. Whoever shows the same token again must not hear that this is done by now."""
    at = told(JIT_OIDC_VERIFIED_DOMAINS="example.com")
    name = at.stage.person("alice")
    alice = {"format": "iss_sub", "iss": at.stage.provider.issuer, "sub": name}
    foreign = {"format": "email", "email": f"{name}@example.org"}
    token = at.transmitter.revocation(REVOKE)
    assert [at.revoke(who, token).status for who in (alice, alice, foreign, foreign)] == [404, 404, 403, 403]
    at.stage.clock.advance(2)
    assert at.stage.sign_in(name).status == 200
    assert at.revoke(alice, token).status == 204
    assert not at.is_in(), "done is what was answered with success"
    assert [event.reason for event in at.stage.events("session.ended")] == ["global_token_revocation"]
    assert at.stage.sign_in(name).status == 200
    assert at.revoke(alice, token).status == 204
    assert at.is_in(), "a repeat of what was done does nothing"


def test_a_browser_of_another_site_can_cause_none_of_this(told: Callable[..., Told]) -> None:
    at = told()
    at.person("alice")
    cookie = at.stage.client.jar.header("http://localhost:8000/")
    for path in ("revoke/oidc", "signals/oidc", "backchannel/oidc"):
        answer = at.stage.client.post(
            f"/_jit/{path}", {"x": "y"}, headers={"Cookie": cookie}, initiator="https://evil.example/"
        )
        assert answer.status in {400, 401}
        assert not answer.all("set-cookie")
    assert at.is_in()
