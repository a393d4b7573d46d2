"""What anybody can post at the endpoints that end access: nothing ends, nothing breaks, nothing is told."""

from __future__ import annotations

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


def token(provider: HostileProvider, typ: str, /, **changes: Any) -> str:
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
    key = provider.signing_key
    payload = keys.json.dumps(keys.without(claims)).encode()
    return keys.compact({"alg": "RS256", "kid": key.kid, "typ": typ}, payload, key, "RS256")


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
    """OIDC Back-Channel Logout §2.7: with both, it is the session of that person."""
    for sub in ("subject-of-somebody-else", provider.person["sub"].upper()):
        assert post(stage, "backchannel", token(provider, "logout+jwt", sub=sub, jti=f"jti-{sub}")).status == 200
    assert stage.live_sessions() == 1
    own = token(provider, "logout+jwt", sub=provider.person["sub"], jti="jti-of-her-own")
    assert post(stage, "backchannel", own).status == 200
    assert stage.live_sessions() == 0


BENT: dict[str, Callable[[HostileProvider, str], str]] = {
    "id-token": lambda p, typ: next(text for text in p.made if text.startswith("eyJ")),
    "no-signature": lambda p, typ: token(p, typ).rpartition(".")[0] + ".",
    "alg-none": lambda p, typ: keys.compact({"alg": "none", "typ": typ}, b"{}", None, "RS256"),
    "hmac-with-the-public-key": lambda p, typ: keys.compact({"alg": "HS256", "typ": typ}, b"{}", keys.OctKey.generate_key(256), "HS256"),
    "another-key": lambda p, typ: keys.compact({"alg": "RS256", "kid": p.signing_key.kid, "typ": typ}, b"{}", keys.rsa("stranger"), "RS256"),
    "key-in-header": lambda p, typ: keys.compact({"alg": "RS256", "typ": typ, "jwk": keys.public(keys.rsa("stranger"))}, b"{}", keys.rsa("stranger"), "RS256"),
    "keys-elsewhere": lambda p, typ: keys.compact({"alg": "RS256", "typ": typ, "jku": f"{p.base}/evil"}, b"{}", keys.rsa("stranger"), "RS256"),
    "another-audience": lambda p, typ: token(p, typ, aud="somebody else"),
    "another-issuer": lambda p, typ: token(p, typ, iss="https://evil.example"),
    "yesterday": lambda p, typ: token(p, typ, iat=int(time.time()) - 86_400),
    "tomorrow": lambda p, typ: token(p, typ, iat=int(time.time()) + 86_400),
    "no-id": lambda p, typ: token(p, typ, jti=...),
    "nonce": lambda p, typ: token(p, typ, nonce="n"),
    "array": lambda p, typ: keys.compact({"alg": "RS256", "kid": p.signing_key.kid, "typ": typ}, b"[]", p.signing_key, "RS256"),
    "deep": lambda p, typ: keys.compact({"alg": "RS256", "kid": p.signing_key.kid, "typ": typ}, b'{"a":' * 500 + b"1" + b"}" * 500, p.signing_key, "RS256"),
    "twice": lambda p, typ: keys.compact({"alg": "RS256", "kid": p.signing_key.kid, "typ": typ}, b'{"iss":"a","iss":"b"}', p.signing_key, "RS256"),
    "not-utf-8": lambda p, typ: keys.compact({"alg": "RS256", "kid": p.signing_key.kid, "typ": typ}, b'{"iss":"\xff"}', p.signing_key, "RS256"),
    "large": lambda p, typ: token(p, typ, more="x" * 16_384),
    "empty": lambda p, typ: "",
    "words": lambda p, typ: "hello there, end the session please",
    "unicode": lambda p, typ: "\u202eeyJ.\u00e9.\ufffd",
}  # fmt: skip


@pytest.mark.parametrize("name", BENT)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_no_other_message_does(endpoint: str, name: str, stage: Stage, provider: HostileProvider) -> None:
    events = len(stage.audit())
    answer = post(stage, endpoint, BENT[name](provider, TYPES[endpoint]))
    assert answer.status in {400, 401, 413}, (answer.status, stage.log.own[-2:])
    assert answer.header("cache-control") == "no-store"
    assert not answer.all("set-cookie")
    assert stage.live_sessions() == 1
    assert stage.browser.get("/reports").status == 200
    assert len(stage.audit()) == events, "anybody can send it, so the trail says nothing of it"
    assert not any("failed, reference" in line for line in stage.log.own)
    assert "evil" not in provider.calls


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
