"""Honest providers of every shape: what a relying party must let in."""

from __future__ import annotations

import json

from joserfc.jwk import ECKey

from tests.adversarial import keys
from tests.adversarial.bends import (
    Bend,
    answer,
    body,
    chunked,
    claims,
    claims_in_userinfo,
    forged,
    header,
    later,
    metadata,
    person,
    publish,
    raw_bytes,
    reply,
    signed_by,
    tokens,
    with_headers,
)
from tests.adversarial.cases import Case, accepted
from tests.adversarial.provider import CLIENT_ID, HostileProvider
from tests.adversarial.wire import Reply

CLIENT_KEY = ECKey.generate_key("P-256", {"kid": "of-the-client"})
CLIENT_PEM = CLIENT_KEY.as_pem(private=True).decode()
FORM_POST = {"JIT_OIDC_RESPONSE_MODE": "form_post"}
BROKEN_KEY = {"kty": "RSA", "kid": "broken", "n": "AQAB", "e": "@@"}
ODD_KEY = {"kty": "EC", "kid": "odd", "crv": "P-999", "x": "AA", "y": "AA"}


def signed_userinfo(provider: HostileProvider) -> None:
    claims_in_userinfo(provider)

    def sign(honest: Reply) -> Reply:
        document = {**json.loads(honest.body), "iss": provider.issuer, "aud": CLIENT_ID}
        header = {"alg": provider.algorithm, "kid": provider.signing_key.kid}
        token = keys.compact(header, json.dumps(document).encode(), provider.signing_key, provider.algorithm)
        return Reply(200, token.encode(), (("Content-Type", "application/jwt; charset=utf-8"),))

    provider.on_reply["userinfo"] = [sign]


def rotated(provider: HostileProvider) -> None:
    """A new key with a new name, and the old one gone."""
    provider.signing_key = keys.rsa("rotated")
    provider.published = [keys.public(keys.rsa("rotated"))]


def rotated_without_kid(provider: HostileProvider) -> None:
    provider.signing_key = keys.rsa("rotated")
    provider.published = [keys.public(keys.rsa("rotated"), kid=...)]
    provider.on_header.append(lambda head: head.update(kid=...))


def _in_a_row(endpoint: str) -> Bend:
    def bend(provider: HostileProvider) -> None:
        number = 0

        def elsewhere(document: dict[str, object]) -> None:
            nonlocal number
            number += 1
            document["jwks_uri"] = f"{provider.base}/{endpoint}-{number}"

        provider.on_discovery.append(elsewhere)

    return bend


def _without_iss(pairs: list[tuple[str, str]]) -> None:
    pairs[:] = [pair for pair in pairs if pair[0] != "iss"]


SUITE = "OpenID Basic RP: oidcc-client-test"

# fmt: off
LAWFUL: list[Case] = [
    accepted("plain", SUITE, sees={"username": "ada", "email": "ada.quill@people.example", "display_name": "Ada Quill"}),
    accepted("kid-absent-single-jwks", f"{SUITE}-kid-absent-single-jwks", header(kid=...), publish(lambda: keys.public(keys.rsa(), kid=...))),
    accepted("kid-absent-in-token-only", f"{SUITE}-kid-absent-single-jwks", header(kid=...)),
    accepted("kid-absent-multiple-jwks", f"{SUITE}-kid-absent-multiple-jwks", header(kid=...), publish(lambda: keys.public(keys.rsa("other")), lambda: keys.public(keys.rsa()))),
    accepted("scope-userinfo-claims", f"{SUITE}-scope-userinfo-claims", claims_in_userinfo, sees={"email": "ada.quill@people.example"}),
    accepted("userinfo-always", f"{SUITE}-scope-userinfo-claims", env={"JIT_OIDC_USERINFO": "always"}),
    accepted("userinfo-signed", "OpenID Dynamic RP: oidcc-client-test-userinfo-signed", signed_userinfo, sees={"email": "ada.quill@people.example"}),
    accepted("client-secret-basic", f"{SUITE}-client-secret-basic", metadata(token_endpoint_auth_methods_supported=["client_secret_basic"])),
    accepted("client-auth-methods-silent", "OIDC Discovery §3: the default is client_secret_basic", metadata(token_endpoint_auth_methods_supported=...)),
    accepted("client-secret-post-only", "OIDC Core §9", provider={"client_auth": "client_secret_post"}),
    accepted("private-key-jwt", "OIDC Core §9, RFC 7523, CVE-2025-27370", provider={"client_auth": "private_key_jwt", "client_key": CLIENT_KEY}, env={"JIT_OIDC_CLIENT_SECRET": "", "JIT_OIDC_PRIVATE_KEY": CLIENT_PEM}),
    accepted("pushed-request-required", "RFC 9126, FAPI 2.0", metadata(require_pushed_authorization_requests=True, pushed_authorization_request_endpoint="{base}/par")),
    accepted("form-post", "OpenID Form Post RP: oidcc-client-test", env=FORM_POST),
    accepted("form-post-claims-in-userinfo", "OpenID Form Post RP: oidcc-client-test-scope-userinfo-claims", claims_in_userinfo, env=FORM_POST),
    accepted("form-post-kid-absent-single-jwks", "OpenID Form Post RP: oidcc-client-test-kid-absent-single-jwks", header(kid=...), env=FORM_POST),
    accepted("jwks-uri-differs-each-time", "OpenID Config RP: oidcc-client-test-discovery-jwks-uri-keys", _in_a_row("jwks")),
    accepted("key-rotation-just-before-signing", "OpenID Config RP: oidcc-client-test-signing-key-rotation-just-before-signing", rotated, after_a_login=True),
    accepted("key-rotation-without-kid", "OpenID Config RP: oidcc-client-test-signing-key-rotation", rotated_without_kid, after_a_login=True),
    accepted("aud-list-of-one", "OIDC Core §2; FAPI 2.0: aud as array", claims(aud=[CLIENT_ID])),
    accepted("aud-list-of-one-and-azp", "OIDC Core §3.1.3.7 (4), (5)", claims(aud=[CLIENT_ID], azp=CLIENT_ID)),
    accepted("token-type-upper-case", "RFC 6749 §5.1; FAPI 2.0: token_type case", tokens(token_type="BEARER")),
    accepted("token-type-lower-case", "RFC 6749 §5.1", tokens(token_type="bearer")),
    accepted("no-expires-in", "RFC 6749 §5.1; FAPI 2.0: no expires_in", tokens(expires_in=...)),
    accepted("expires-in-as-text", "seen in the wild", tokens(expires_in="300")),
    accepted("no-refresh-token", "RFC 6749 §5.1", tokens(refresh_token=...)),
    accepted("extra-members", "RFC 6749 §5.1: unrecognised members are ignored", tokens(not_before=0, scope="openid", nested={"a": [1, None]}), metadata(unknown={"a": [1]}), claims(custom={"a": [True, None, 1.5]})),
    accepted("email-absent", "OIDC Core §5.1: every profile claim is optional", person(email=..., email_verified=...), sees={"email": None}),
    accepted("nothing-but-sub", "OIDC Core §5.1", person(preferred_username=..., name=..., email=..., email_verified=..., groups=...), sees={"username": "subject-of-ada"}),
    accepted("email-null", "seen in the wild", person(email=None), sees={"email": None}),
    accepted("email-verified-as-text", "seen in the wild; attack catalogue 3", person(email_verified="true")),
    accepted("at-hash-absent", "OIDC Core §3.1.3.6: optional in the code flow", claims(at_hash=...)),
    accepted("c-hash-right", "OIDC Core §3.3.2.11", lambda provider: provider.on_claims.append(lambda c: c.update(c_hash=keys.half_hash(list(provider.codes)[-1], "RS256")))),
    accepted("typ-absent", "RFC 7519 §5.1", header(typ=...)),
    accepted("typ-lower-case", "RFC 7519 §5.1: compared without case", header(typ="jwt")),
    accepted("typ-full-media-type", "RFC 7515 §4.1.9", header(typ="application/jwt")),
    accepted("x5t-in-header", "RFC 7515 §4.1.7, Entra and AD FS", header(x5t="aGVsbG8", **{"x5t#S256": "aGVsbG8"})),
    accepted("iat-within-skew", "clock skew", claims(iat=later(30), nbf=later(30))),
    accepted("exp-within-skew", "clock skew", claims(exp=later(-330))),
    accepted("numeric-date-with-fraction", "RFC 7519 §2: NumericDate may be a non-integer", claims(iat=later(-0.25), exp=later(0.5), auth_time=1_700_000_000.75)),
    accepted("numeric-date-as-float", "RFC 7519 §2", claims(iat=later(0.0), exp=later(0.0))),
    accepted("auth-time-acr-amr-sid", "OIDC Core §2", claims(auth_time=1_700_000_000, acr="urn:mace:incommon:iap:silver", amr=["pwd", "mfa"], sid="08a5019c-17e1-4977-8f42-65a12843ea02")),
    accepted("sub-255-characters", "OIDC Core §2", person(sub="s" * 255)),
    accepted("sub-of-odd-characters", "OIDC Core §2: ASCII, case sensitive", person(sub="auth0|5f7c8ec7c33c6c004bbafe82=='<*>/?&")),
    accepted("thousand-groups", "attack catalogue 67", person(groups=[f"group-{number}" for number in range(1000)])),
    accepted("non-ascii-name", "OIDC Core §5.1", person(name="Zoë 王小明 é"), sees={"display_name": "Zoë 王小明 é"}),
    accepted("response-iss-right-but-unadvertised", "RFC 9207 §2.4", metadata(authorization_response_iss_parameter_supported=...)),
    accepted("response-iss-absent-and-unadvertised", "RFC 9207 §2.4", metadata(authorization_response_iss_parameter_supported=False), answer(_without_iss)),
    accepted("session-state-in-answer", "OIDC Session Management §2", answer(lambda pairs: pairs.append(("session_state", "abc.def")))),
    accepted("scope-in-answer", "seen in the wild: Google", answer(lambda pairs: pairs.extend([("scope", "openid email"), ("authuser", "0"), ("prompt", "none")]))),
    accepted("issuer-with-trailing-slash", "OIDC Discovery §4.3: exact, Auth0", provider={"trailing_slash": True}),
    accepted("authorization-endpoint-with-query", "RFC 6749 §3.1", metadata(authorization_endpoint="{base}/authorize?tenant=a%20b&p=")),
    accepted("jwks-with-unknown-crv", "resilience: one odd key must not stop logins", publish(lambda: ODD_KEY, lambda: keys.public(keys.rsa()))),
    accepted("jwks-with-broken-keys", "resilience: one odd key must not stop logins", publish(lambda: BROKEN_KEY, lambda: None, lambda: "key", lambda: {}, lambda: {"kty": 1}, lambda: keys.public(keys.rsa()))),
    accepted("jwks-with-weak-and-symmetric-keys-beside", "resilience", publish(lambda: keys.public(keys.rsa("weak", 1024)), lambda: {"kty": "oct", "k": "c2VjcmV0", "kid": "main"}, lambda: keys.public(keys.rsa()))),
    accepted("jwks-with-encryption-key-of-the-same-kid", "RFC 7517 §4.2", publish(lambda: keys.public(keys.rsa("enc"), kid="main", use="enc"), lambda: keys.public(keys.rsa()))),
    accepted("jwks-key-with-certificate", "RFC 7517 §4.7", publish(lambda: keys.public(keys.rsa(), x5c=["MIIB"], x5t="abc", key_ops=["verify"]))),
    accepted("jwks-key-without-use-and-alg", "RFC 7517 §4", publish(lambda: keys.public(keys.rsa(), use=...))),
    accepted("es256", "RFC 7518 §3.4", signed_by(keys.ec, "ES256")),
    accepted("ps256", "RFC 7518 §3.5", signed_by(keys.rsa, "PS256")),
    accepted("eddsa", "RFC 8037", signed_by(keys.okp, "EdDSA")),
    accepted("ed25519-fully-specified", "RFC 9864", signed_by(keys.okp, "Ed25519"), env={"JIT_OIDC_ALGORITHMS": "EdDSA Ed25519"}),
    accepted("es384-when-configured", "RFC 7518 §3.4", signed_by(lambda: keys.ec("P-384"), "ES384"), env={"JIT_OIDC_ALGORITHMS": "ES384"}),
    accepted("es512-when-configured", "RFC 7518 §3.4", signed_by(lambda: keys.ec("P-521"), "ES512"), env={"JIT_OIDC_ALGORITHMS": "ES512"}),
    accepted("rs512-when-configured", "RFC 7518 §3.3", signed_by(keys.rsa, "RS512"), env={"JIT_OIDC_ALGORITHMS": "RS512"}),
    accepted("charset-in-content-type", "seen in the wild", *(reply(where, lambda honest: Reply(honest.status, honest.body, (("content-type", 'application/json; charset="UTF-8"'),))) for where in ("discovery", "jwks", "token", "userinfo"))),
    accepted("json-with-white-space", "RFC 8259 §2", *(body(where, lambda honest: b"\r\n\t " + json.dumps(json.loads(honest), indent=4).encode() + b" \n\n") for where in ("discovery", "jwks", "token"))),
    accepted("json-with-escapes", "RFC 8259 §7", body("token", lambda honest: honest.replace(b"Bearer", b"\\u0042earer"))),
    accepted("chunked", "RFC 9112 §7.1", *(raw_bytes(where, chunked) for where in ("discovery", "jwks", "token"))),
    accepted("http-1.0-close", "RFC 9112 §6.3 (8)", *(raw_bytes(where, lambda honest: b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + honest) for where in ("discovery", "jwks", "token"))),
    accepted("informational-answers-before", "RFC 9110 §15.2", raw_bytes("token", lambda honest: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(honest) + honest)),
    accepted("content-encoding-identity", "RFC 9110 §8.4", with_headers("token", ("Content-Encoding", "identity"))),
    accepted("cookies-of-the-provider-stay-there", "no header of the provider reaches the browser", with_headers("token", ("Set-Cookie", "__Host-jit=evil; Path=/; Secure"), ("Location", "https://evil.example/"))),
    accepted("keep-alive-refused", "RFC 9112 §9.6", *(with_headers(where, ("Connection", "close")) for where in ("discovery", "jwks", "token"))),
    accepted("header-with-unknown-member", "RFC 7515 §4: unknown members are ignored", header(foo={"a": 1}, cty="x")),
    accepted("header-of-another-order", "RFC 7515", forged(lambda p, head, content: keys.compact(json.dumps(dict(reversed(head.items())), indent=1), content, p.signing_key, p.algorithm))),
    accepted("several-audiences-and-azp-is-us", "OIDC Core §3.1.3.7 (3) to (5), design: audience contains us", claims(aud=[CLIENT_ID, "https://api.example"], azp=CLIENT_ID)),
]
# fmt: on
