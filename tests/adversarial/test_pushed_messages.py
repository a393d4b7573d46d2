"""What anybody can post at the endpoints that end access: nothing ends, nothing breaks, nothing is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.adversarial import keys
from tests.adversarial.judging import assert_signed_in
from tests.adversarial.provider import CLIENT_ID, HostileProvider
from tests.adversarial.stage import ORIGIN, Stage
from tests.client import Answer, Edge

EVENT = "http://schemas.openid.net/event/backchannel-logout"
REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
ENDPOINTS = ("backchannel", "revoke", "signals")
SID = "the-session-of-ada-at-the-provider"


@pytest.fixture
def stage(edge: Edge, tmp_path: Path, provider: HostileProvider) -> Iterator[Stage]:
    """Somebody is signed in, and the provider itself may send events."""
    provider.on_claims.append(lambda claims: claims.update(sid=SID))
    with Stage(edge, tmp_path, provider, env={"JIT_OIDC_SIGNALS_ISSUER": provider.issuer}) as stage:
        assert_signed_in(stage, stage.log_in())
        yield stage
    assert provider.complaints == []


def payload(provider: HostileProvider, typ: str, /, **changes: Any) -> bytes:
    """What the honest message says."""
    now = int(time.time())
    endpoint = {"secevent+jwt": "signals", "global-token-revocation+jwt": "revoke"}.get(typ)
    claims = {
        "iss": provider.issuer,
        "aud": CLIENT_ID if endpoint is None else f"{ORIGIN}/_jit/{endpoint}/oidc",
        "iat": now,
        "exp": ... if endpoint == "signals" else now + 60,
        "jti": f"id-of-a-message-{now}-{typ}",
        "sid": SID if endpoint is None else ...,
        "sub_id": {"format": "iss_sub", "iss": provider.issuer, "sub": provider.person["sub"]},
        "events": {EVENT: {}} if endpoint is None else {REVOKED: {}} if endpoint == "signals" else ...,
        **changes,
    }
    return json.dumps(keys.without(claims)).encode()


def token(provider: HostileProvider, typ: str, /, **changes: Any) -> str:
    return signed(provider, typ, payload(provider, typ, **changes))


def signed(provider: HostileProvider, typ: str, content: bytes, /, key: keys.Key | None = None, **header: Any) -> str:
    """As the provider signs, or with another key; under its key's name, with more in the header."""
    own = provider.signing_key
    return keys.compact({"alg": "RS256", "kid": own.kid, "typ": typ, **header}, content, key or own, "RS256")


def post(stage: Stage, endpoint: str, given: str, **headers: str | None) -> Answer:
    """As the provider sends it: the token where this endpoint looks for it."""
    sent: dict[str, Any] = {"headers": {"Accept": "*/*", "Cookie": None, **headers}, "initiator": "https://op.example/"}
    match endpoint:
        case "backchannel":
            return stage.browser.request("POST", "/_jit/backchannel/oidc", form={"logout_token": given}, **sent)
        case "revoke":
            sent["headers"]["Authorization"] = f"Bearer {given}".encode("ascii", "replace").decode()
            body = {"sub_id": {"format": "opaque", "id": "subject-of-ada"}}
            return stage.browser.request("POST", "/_jit/revoke/oidc", json=body, **sent)
        case _:
            sent["headers"].setdefault("Content-Type", "application/secevent+jwt")
            return stage.browser.request("POST", "/_jit/signals/oidc", body=given.encode("utf-8", "replace"), **sent)


TYPES = {"backchannel": "logout+jwt", "revoke": "global-token-revocation+jwt", "signals": "secevent+jwt"}
DONE = {"backchannel": 200, "revoke": 204, "signals": 202}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_honest_message_works(endpoint: str, stage: Stage, provider: HostileProvider) -> None:
    assert post(stage, endpoint, token(provider, TYPES[endpoint])).status == DONE[endpoint]
    assert stage.live_sessions() == 0


def test_a_session_that_is_not_the_persons_does_not_end(stage: Stage, provider: HostileProvider) -> None:
    """OIDC Back-Channel Logout §2.7: with both, it is the session of that person, where that is somebody here."""
    ada = provider.person["sub"]
    provider.on_claims.append(lambda claims: claims.update(sid=f"of-{claims['sub']}"))
    for number, sub in enumerate(("subject-of-somebody-else", ada.upper())):
        provider.person = {"sub": sub, "preferred_username": f"colleague-{number}"}
        browser = stage.browser.another()
        assert stage.carry(stage.authorized(stage.begin(browser)), browser).status == 303
        assert post(stage, "backchannel", token(provider, "logout+jwt", sub=sub, jti=f"jti-{sub}")).status == 200
    assert stage.live_sessions() == 3
    own = token(provider, "logout+jwt", sub=ada, jti="jti-of-her-own")
    assert post(stage, "backchannel", own).status == 200
    assert stage.live_sessions() == 2


def _header(provider: HostileProvider, typ: str, algorithm: str) -> dict[str, Any]:
    return {"alg": algorithm, "kid": provider.signing_key.kid, "typ": typ}


def _unsigned(provider: HostileProvider, typ: str) -> str:
    return keys.compact(_header(provider, typ, "none"), payload(provider, typ), None, "RS256")


def _over_public_pem(provider: HostileProvider, typ: str) -> str:
    """RS256 read as HS256: the public key, which everybody has, as the HMAC secret."""
    assert isinstance(provider.signing_key, keys.RSAKey)
    secret = provider.signing_key.as_pem(private=False)
    return keys.hmac_compact(_header(provider, typ, "HS256"), payload(provider, typ), secret)


def _by_a_stranger(provider: HostileProvider, typ: str, **header: Any) -> str:
    return signed(provider, typ, payload(provider, typ), keys.rsa("stranger"), **header)


STRANGER = keys.public(keys.rsa("stranger"))
#: What else is sent, and for what it has to be refused, so that it is not for anything else that is wrong with it.
BENT: dict[str, tuple[Callable[[HostileProvider, str], str], str]] = {
    "id-token": (lambda p, typ: next(text for text in p.made if text.startswith("eyJ")), "token_type_confused"),
    "no-signature": (lambda p, typ: token(p, typ).rpartition(".")[0] + ".", "signature_invalid"),
    "alg-none": (_unsigned, "algorithm_not_allowed"),
    "hmac-with-the-public-key": (_over_public_pem, "algorithm_not_allowed"),
    "another-key": (_by_a_stranger, "signature_invalid"),
    "key-in-header": (lambda p, typ: _by_a_stranger(p, typ, jwk=STRANGER), "key_in_header"),
    "keys-elsewhere": (lambda p, typ: _by_a_stranger(p, typ, jku=f"{p.base}/evil"), "key_in_header"),
    "another-audience": (lambda p, typ: token(p, typ, aud="somebody else"), "audience_mismatch"),
    "another-issuer": (lambda p, typ: token(p, typ, iss="https://evil.example"), "issuer_mismatch"),
    "yesterday": (lambda p, typ: token(p, typ, iat=int(time.time()) - 86_400), "token_too_old"),
    "tomorrow": (lambda p, typ: token(p, typ, iat=int(time.time()) + 86_400), "token_not_yet_valid"),
    "no-id": (lambda p, typ: token(p, typ, jti=...), "claim_missing"),
    "nonce": (lambda p, typ: token(p, typ, nonce="n"), "claim_forbidden"),
    "array": (lambda p, typ: signed(p, typ, b"[]"), "token_malformed"),
    "deep": (lambda p, typ: signed(p, typ, b'{"a":' * 500 + b"1" + b"}" * 500), "token_malformed"),
    "twice": (lambda p, typ: signed(p, typ, b'{"iss":"a",' + payload(p, typ)[1:]), "token_malformed"),
    "not-utf-8": (lambda p, typ: signed(p, typ, b'{"a":"\xff",' + payload(p, typ)[1:]), "token_malformed"),
    "large": (lambda p, typ: token(p, typ, more="x" * 12_500), "token_too_large"),
    "empty": (lambda p, typ: "", "token_malformed"),
    "words": (lambda p, typ: "hello there, end the session please", "token_malformed"),
    "unicode": (lambda p, typ: "\u202eeyJ.\u00e9.\ufffd", "token_malformed"),
}


#: Where there is another check before that one.
SOONER = {
    # The types of older logout tokens are those of ID tokens.
    ("backchannel", "id-token"): "claim_forbidden",
    ("revoke", "empty"): "bearer_missing",
}


@pytest.mark.parametrize("name", BENT)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_no_other_message_does(endpoint: str, name: str, stage: Stage, provider: HostileProvider) -> None:
    events = len(stage.audit())
    bend, reason = BENT[name]
    answer = post(stage, endpoint, bend(provider, TYPES[endpoint]))
    assert answer.status in {400, 401, 413}, (answer.status, stage.log.own[-2:])
    assert f" reason={SOONER.get((endpoint, name), reason)} " in stage.log.own[-1]
    assert answer.header("cache-control") == "no-store"
    assert not answer.all("set-cookie")
    assert stage.live_sessions() == 1
    assert stage.browser.get("/reports").status == 200
    assert len(stage.audit()) == events, "anybody can send it, so the trail says nothing of it"
    assert not any("failed, reference" in line for line in stage.log.own)
    assert "evil" not in provider.calls


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_made_up_names_of_keys_put_a_genuine_message_off_and_never_lose_it(
    endpoint: str, stage: Stage, provider: HostileProvider
) -> None:
    """A provider takes 400 for the last word on a logout (OIDC Back-Channel Logout §2.8); 429 is for another time."""
    typ = TYPES[endpoint]
    for number in range(20):
        post(stage, endpoint, _by_a_stranger(provider, typ, kid=f"made-up-{number}"))
    provider.signing_key = keys.rsa("new")
    provider.published = [keys.public(provider.signing_key)]
    asked = provider.calls.count("jwks")
    answer = post(stage, endpoint, token(provider, typ))
    assert (answer.status, answer.header("retry-after")) == (429, "30")
    assert answer.json()["error"] == "judged_later"
    assert provider.calls.count("jwks") == asked
    assert stage.live_sessions() == 1
    assert " reason=keys_not_asked_for " in stage.log.own[-1]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_nothing_of_a_message_is_repeated_anywhere(endpoint: str, stage: Stage, provider: HostileProvider) -> None:
    sent = [token(provider, TYPES[endpoint], iss="https://evil.example"), token(provider, TYPES[endpoint])]
    answers = [post(stage, endpoint, each) for each in sent]
    assert [answer.status < 300 for answer in answers] == [False, True]
    told = [*stage.log.own, *(answer.text for answer in answers), *(repr(event) for event in stage.audit())]
    for secret in (*sent, "id-of-a-message", provider.person["email"], SID):
        assert not any(secret in text for text in told), secret


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_bodies_that_are_none(endpoint: str, stage: Stage, provider: HostileProvider) -> None:
    good = token(provider, TYPES[endpoint])
    for kind in ("application/x-www-form-urlencoded", "application/json", "application/secevent+jwt", "text/xml", ""):
        for body in (b"", b"\xff\xfe\x00", b"[" * 10_000, b"a=1&" * 4_000, b"{}", b"logout_token=a&logout_token=b"):
            headers = {"Content-Type": kind or None, "Cookie": None}
            if endpoint == "revoke":
                headers["Authorization"] = f"Bearer {good}"
            answer = stage.browser.request("POST", f"/_jit/{endpoint}/oidc", body=body, headers=headers)
            assert 400 <= answer.status < 500, (kind, body[:20], answer.status)
    assert stage.live_sessions() == 1


def test_a_logout_address_that_no_policy_can_name_is_left_out_of_it(
    edge: Edge, tmp_path: Path, make_provider: Callable[..., HostileProvider]
) -> None:
    provider = make_provider()
    provider.on_discovery.append(lambda document: document.update(end_session_endpoint="https://ho(st;script-src*/x"))
    with Stage(edge, tmp_path, provider) as stage:
        answer = stage.browser.get(f"/_jit/frontchannel/oidc?{urlencode({'iss': provider.issuer, 'sid': 'x'})}")
    assert answer.status == 200
    origin = provider.base.rpartition("/")[0]
    assert (answer.header("content-security-policy") or "").endswith(f"frame-ancestors {origin}")


def test_a_guessed_session_name_in_a_frame_ends_nothing(stage: Stage, provider: HostileProvider) -> None:
    for sid in ("", "x", "%", "_", "*", SID[:-1], SID.upper(), f"{SID} ", "\x00", "' OR '1'='1", "x" * 100_000):
        query = urlencode({"iss": provider.issuer, "sid": sid})
        answer = stage.browser.get(f"/_jit/frontchannel/oidc?{query}", initiator="https://evil.example/")
        assert answer.status in {200, 400}
        assert not answer.all("set-cookie")
    assert stage.live_sessions() == 1
