"""Security events and global token revocations for people who sign in by SAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.transmitter import CAEP, Transmitter
from tests.unit.sso.saml.protocol.idp import attribute
from tests.unit.sso.saml.protocol.test_endpoints import stage

pytestmark = pytest.mark.slow

__all__ = ["stage"]

ORIGIN = "https://app.example"
ENTITY = "https://idp.example/entity"


@pytest.fixture
def transmitter() -> Iterator[Transmitter]:
    with Transmitter(lambda: 1_800_000_000) as sender:
        yield sender


def trusting(stage: Any, transmitter: Transmitter, **env: str) -> Any:
    at = stage(
        JIT_SAML_SIGNALS_ISSUER=transmitter.issuer,
        JIT_SAML_SIGNALS_JWKS_URI=transmitter.jwks_uri,
        JIT_SAML_VERIFIED_DOMAINS="example.org",
        **env,
    )
    transmitter.now = at.clock.now
    at.sign_in(name="alice", attributes=attribute("mail", "alice@example.org"))
    assert at.is_in()
    return at


def revoke(at: Any, transmitter: Transmitter, sub_id: dict[str, str]) -> int:
    bearer = transmitter.revocation(f"{ORIGIN}/_jit/revoke/saml", sub="whatever Okta calls us")
    headers = {"Authorization": f"Bearer {bearer}", "Cookie": None}
    status: int = at.client.request("POST", "/_jit/revoke/saml", json={"sub_id": sub_id}, headers=headers).status
    return status


def test_universal_logout_ends_the_sessions_of_a_person_by_address(stage: Any, transmitter: Transmitter) -> None:
    at = trusting(stage, transmitter)
    assert revoke(at, transmitter, {"format": "email", "email": "alice@example.org"}) == 204
    assert not at.is_in()
    assert [event.reason for event in at.events("session.ended")] == ["global_token_revocation"]


def test_universal_logout_by_subject_needs_to_know_the_entity(stage: Any, transmitter: Transmitter) -> None:
    at = trusting(stage, transmitter)
    assert revoke(at, transmitter, {"format": "opaque", "id": "alice"}) == 422
    assert revoke(at, transmitter, {"format": "iss_sub", "iss": ENTITY, "sub": "nobody"}) == 404
    assert at.is_in()
    assert revoke(at, transmitter, {"format": "iss_sub", "iss": ENTITY, "sub": "alice"}) == 204
    assert not at.is_in()


def test_an_opaque_subject_is_one_of_the_entity_that_is_configured(stage: Any, transmitter: Transmitter) -> None:
    at = trusting(stage, transmitter, JIT_SAML_IDP_ENTITY_ID=ENTITY)
    assert revoke(at, transmitter, {"format": "opaque", "id": "alice"}) == 204
    assert not at.is_in()


def test_a_security_event_reaches_a_person_who_signed_in_by_saml(stage: Any, transmitter: Transmitter) -> None:
    at = trusting(stage, transmitter)
    url = f"{ORIGIN}/_jit/signals/saml"
    token = transmitter.event(url, f"{CAEP}session-revoked", {"format": "email", "email": "alice@example.org"})
    headers = {"Content-Type": "application/secevent+jwt", "Cookie": None}
    assert at.client.request("POST", "/_jit/signals/saml", body=token.encode(), headers=headers).status == 202
    assert not at.is_in()


def test_openid_logouts_and_strangers_have_no_place_there(stage: Any) -> None:
    at = stage()
    for path in ("backchannel/saml", "revoke/saml", "signals/saml"):
        assert at.client.request("POST", f"/_jit/{path}", headers={"Accept": "application/json"}).status == 404
    assert at.client.get("/_jit/frontchannel/saml?iss=x&sid=y").status == 404
