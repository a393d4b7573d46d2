"""ID tokens that lie: the header and signature (``JOSE``), and the claims."""

from __future__ import annotations

import base64
import json
import time

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.adversarial import keys
from tests.adversarial.bends import (
    Bend,
    Document,
    claims,
    extra_member,
    forged,
    header,
    id_token,
    later,
    metadata,
    payload,
    person,
    signature,
    signed_by,
    tokens,
)
from tests.adversarial.cases import Case, rejected, unwelcome
from tests.adversarial.provider import CLIENT_ID, OTHER_CLIENT, HostileProvider

BASIC = "OpenID Basic RP: oidcc-client-test"
ALGORITHM = "algorithm_not_allowed"
NONE = f"{BASIC}-idtoken-sig-none; attack catalogue 27"


def _unsigned(name: object) -> Bend:
    return forged(lambda p, head, content: keys.compact({**head, "alg": name}, content, None, ""))


def _over_public_pem(provider: HostileProvider, head: Document, content: bytes) -> str:
    """RS256 read as HS256: the public key, which everybody has, as the HMAC secret."""
    pem = keys.rsa().public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return keys.hmac_compact({**head, "alg": "HS256"}, content, pem)


def _over_client_secret(provider: HostileProvider, head: Document, content: bytes) -> str:
    return keys.hmac_compact({**head, "alg": "HS256"}, content, provider.client_secret.encode())


def _own_key(**members: object) -> Bend:
    """Signed with a key of the attacker's, which the header brings along."""
    key = keys.rsa("attacker")
    full = {name: value(key) if callable(value) else value for name, value in members.items()}
    return forged(lambda p, head, content: keys.compact({**head, **full}, content, key, "RS256"))


def _as_json(provider: HostileProvider, head: Document, content: bytes) -> str:
    """JWS JSON Serialization (RFC 7515 §7.2) instead of the compact form."""
    protected, body, sig = keys.compact(head, content, provider.signing_key, "RS256").split(".")
    return json.dumps({"protected": protected, "payload": body, "signature": sig})


def _der(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))


def _tampered(token: str) -> str:
    head, body, sig = token.split(".")
    content = json.loads(keys.unb64(body)) | {"sub": "administrator"}
    return f"{head}.{keys.b64(json.dumps(content).encode())}.{sig}"


# fmt: off
JOSE: list[Case] = [
    rejected("idtoken-sig-none", ALGORITHM, NONE, _unsigned("none")),
    rejected("alg-none-advertised", ALGORITHM, "let through by Authlib 1.9.9", _unsigned("none"), metadata(id_token_signing_alg_values_supported=["RS256", "none"])),
    rejected("alg-none-only-advertised", ALGORITHM, "let through by Authlib 1.9.9", _unsigned("none"), metadata(id_token_signing_alg_values_supported=["none"])),
    rejected("alg-none-capitals", ALGORITHM, NONE, _unsigned("nOnE")),
    rejected("alg-none-with-old-signature", ALGORITHM, NONE, header(alg="none")),
    rejected("alg-empty", ALGORITHM, NONE, _unsigned("")),
    rejected("alg-null", ALGORITHM, NONE, _unsigned(None)),
    rejected("alg-list", ALGORITHM, NONE, header(alg=["RS256"])),
    rejected("alg-missing", ALGORITHM, NONE, header(alg=...)),
    rejected("alg-lower-case", ALGORITHM, "RFC 7515 §4.1.1: case sensitive", header(alg="rs256")),
    rejected("alg-unknown", ALGORITHM, "RFC 8725 §3.1", header(alg="RS1")),
    rejected("alg-not-configured", ALGORITHM, "RFC 8725 §3.1", signed_by(keys.rsa, "RS512")),
    rejected("invalid-sig-hs256-public-key", ALGORITHM, "comprehensive: invalid-sig-hs256; attack catalogue 28", forged(_over_public_pem), metadata(id_token_signing_alg_values_supported=["HS256"])),
    rejected("invalid-sig-hs256-client-secret", ALGORITHM, "attack catalogue 28: no HS* at all", forged(_over_client_secret), metadata(id_token_signing_alg_values_supported=["HS256"])),
    rejected("invalid-sig-rs256", "signature_invalid", f"{BASIC}-invalid-sig-rs256", signature(lambda sig: bytes([sig[0] ^ 1]) + sig[1:])),
    rejected("invalid-sig-last-bit", "signature_invalid", f"{BASIC}-invalid-sig-rs256", signature(lambda sig: sig[:-1] + bytes([sig[-1] ^ 1]))),
    rejected("invalid-sig-payload-changed", "signature_invalid", f"{BASIC}-invalid-sig-rs256", id_token(_tampered)),
    rejected("signature-empty", "signature_invalid", "attack catalogue 27", signature(lambda sig: b"")),
    rejected("signature-truncated", "signature_invalid", "RFC 7515 §5.2", signature(lambda sig: sig[:-1])),
    rejected("signature-longer", "signature_invalid", "RFC 7515 §5.2", signature(lambda sig: sig + b"\0")),
    rejected("signature-leading-zero", "signature_invalid", "RFC 8017 §8.2.2", signature(lambda sig: b"\0" + sig)),
    rejected("invalid-sig-es256", "signature_invalid", "comprehensive: invalid-sig-es256", signed_by(keys.ec, "ES256"), signature(lambda sig: bytes([sig[0] ^ 1]) + sig[1:])),
    rejected("es256-all-zeros", "signature_invalid", "CVE-2022-21449", signed_by(keys.ec, "ES256"), signature(lambda sig: b"\0" * 64)),
    rejected("es256-der", "signature_invalid", "RFC 7518 §3.4: not DER", signed_by(keys.ec, "ES256"), signature(_der)),
    rejected("signed-by-another-key-of-the-same-name", "signature_invalid", "attack catalogue 29", forged(lambda p, head, content: keys.compact(head, content, keys.rsa("another"), "RS256"))),
    rejected("ps256-signature-called-rs256", "signature_invalid", "algorithm confusion", forged(lambda p, head, content: keys.compact({**head, "alg": "RS256"}, content, p.signing_key, "PS256"))),
    rejected("header-jwk", "key_in_header", "attack catalogue 29, CVE-2026-27962", _own_key(jwk=keys.public)),
    rejected("header-jwk-without-kid", "key_in_header", "attack catalogue 29", _own_key(jwk=keys.public, kid=None)),
    rejected("header-jku", "key_in_header", "attack catalogue 29, 36", _own_key(jku="https://evil.example/jwks")),
    rejected("header-x5u", "key_in_header", "attack catalogue 29", _own_key(x5u="https://evil.example/cert.pem")),
    rejected("header-x5c", "key_in_header", "attack catalogue 29", _own_key(x5c=[base64.b64encode(b"certificate").decode()])),
    rejected("crit-unknown", "critical_header", "attack catalogue 33; RFC 7515 §4.1.11", header(crit=["x"], x=1)),
    rejected("crit-empty", "critical_header", "let through by Authlib 1.9.9; RFC 7515 §4.1.11", header(crit=[])),
    rejected("crit-b64", "critical_header", "RFC 7797", header(crit=["b64"], b64=False)),
    rejected("b64-alone", "critical_header", "RFC 7797 §6", header(b64=False)),
    rejected("zip", "critical_header", "RFC 8725 §3.6", header(zip="DEF")),
    rejected("typ-at-jwt", "token_type_confused", "let through by Authlib 1.9.9; RFC 9068", header(typ="at+jwt")),
    rejected("typ-logout-jwt", "token_type_confused", "let through by Authlib 1.9.9; attack catalogue 32", header(typ="logout+jwt")),
    rejected("typ-number", "token_type_confused", "RFC 7515 §4.1.9", header(typ=1)),
    rejected("header-member-twice", "token_malformed", "RFC 7515 §4", forged(lambda p, head, content: keys.compact('{"alg": "none", ' + json.dumps(head)[1:], content, p.signing_key, "RS256"))),
    rejected("header-array", "token_malformed", "RFC 7515 §4", forged(lambda p, head, content: keys.compact("[]", content, p.signing_key, "RS256"))),
    rejected("header-deep", "token_malformed", "attack catalogue 67", forged(lambda p, head, content: keys.compact('{"a": ' + "[" * 5000, content, p.signing_key, "RS256"))),
    rejected("token-of-two-parts", "token_malformed", "RFC 7515 §3.1", id_token(lambda token: token.rpartition(".")[0])),
    rejected("token-of-five-parts", "token_malformed", "RFC 7516: encrypted, not asked for", id_token(lambda token: token + ".a.b")),
    rejected("token-of-dots", "token_malformed", "RFC 7515 §3.1", id_token(lambda token: "..")),
    rejected("token-not-base64", "token_malformed", "RFC 7515 §2", id_token(lambda token: "!" + token)),
    rejected("token-non-ascii", "token_malformed", "RFC 7515 §3.1", id_token(lambda token: token + "é")),
    rejected("token-json-serialization", "token_malformed", "RFC 7515 §7.2", forged(_as_json)),
    rejected("token-of-a-megabyte", "token_too_large", "attack catalogue 67", claims(bomb="x" * 300_000)),
    rejected("access-token-as-id-token", "token_malformed", "attack catalogue 32", tokens(id_token="opaque-access-token-value")),
]
# fmt: on

ISS, AUD, SUB, TIME = "issuer_mismatch", "audience_mismatch", "subject_invalid", "claim_malformed"

# fmt: off
CLAIMS: list[Case] = [
    rejected("invalid-iss", ISS, f"{BASIC}-invalid-iss", claims(iss=lambda honest: honest + "1")),
    rejected("missing-iss", ISS, "FAPI 2.0: missing iss", claims(iss=...)),
    rejected("iss-with-slash", ISS, "attack catalogue 15", claims(iss=lambda honest: honest + "/")),
    rejected("iss-upper-case", ISS, "attack catalogue 15", claims(iss=lambda honest: honest.upper())),
    rejected("iss-list", ISS, "RFC 7519 §4.1.1", claims(iss=lambda honest: [honest])),
    rejected("iss-of-evil-with-live-jwks", ISS, "attack catalogue 36: compared, never followed", claims(iss="https://127.0.0.1:1/evil")),
    rejected("missing-sub", SUB, f"{BASIC}-missing-sub", claims(sub=...)),
    rejected("sub-empty", SUB, "let through by Authlib 1.9.9; attack catalogue 21", claims(sub="")),
    rejected("sub-blank", SUB, "attack catalogue 21", claims(sub=" ")),
    rejected("sub-null", SUB, "attack catalogue 21", claims(sub=None)),
    rejected("sub-zero", SUB, "attack catalogue 21", claims(sub=0)),
    rejected("sub-true", SUB, "attack catalogue 21", claims(sub=True)),
    rejected("sub-object", SUB, "attack catalogue 21", claims(sub={"$ne": None})),
    rejected("sub-300-chars", SUB, "let through by Authlib 1.9.9; OIDC Core §2", claims(sub="s" * 300)),
    rejected("sub-256-chars", SUB, "OIDC Core §2", claims(sub="s" * 256)),
    rejected("sub-nul", SUB, "let through by Authlib 1.9.9", claims(sub="ada\0admin")),
    rejected("sub-line-break", SUB, "attack catalogue 66", claims(sub="ada\r\nlogin.succeeded user=admin")),
    rejected("sub-escape", SUB, "attack catalogue 66", claims(sub="\x1b[2J")),
    rejected("sub-line-separator", SUB, "attack catalogue 66", claims(sub="ada\u2028x")),
    rejected("sub-non-ascii", SUB, "attack catalogue 18", claims(sub="m\u0131ke")),
    rejected("missing-iat", "claim_missing", f"{BASIC}-missing-iat", claims(iat=...)),
    rejected("missing-aud", AUD, "comprehensive: missing-aud", claims(aud=...)),
    rejected("invalid-aud", AUD, f"{BASIC}-invalid-aud", claims(aud=CLIENT_ID + "1")),
    rejected("aud-empty", AUD, "let through by Authlib 1.9.9", claims(aud=[])),
    rejected("aud-empty-text", AUD, "let through by Authlib 1.9.9", claims(aud="")),
    rejected("aud-other-azp-us", AUD, "attack catalogue 31", claims(aud=OTHER_CLIENT, azp=CLIENT_ID)),
    rejected("aud-second-without-azp", AUD, "OIDC Core §3.1.3.7 (4); FAPI 2.0: second aud", claims(aud=[CLIENT_ID, OTHER_CLIENT])),
    rejected("aud-us-azp-other", "authorized_party_mismatch", "OIDC Core §3.1.3.7 (5)", claims(aud=[CLIENT_ID, OTHER_CLIENT], azp=OTHER_CLIENT)),
    rejected("aud-us-azp-null", "authorized_party_mismatch", "OIDC Core §3.1.3.7 (5)", claims(azp=None)),
    rejected("aud-prefix", AUD, "RFC 7519 §4.1.3", claims(aud=CLIENT_ID[:-1])),
    rejected("aud-contains-as-text", AUD, "attack catalogue 31: membership, not substring", claims(aud=f"x {CLIENT_ID} y")),
    rejected("aud-object", AUD, "RFC 7519 §4.1.3", claims(aud={CLIENT_ID: 1})),
    rejected("aud-nested", AUD, "RFC 7519 §4.1.3", claims(aud=[[CLIENT_ID]])),
    rejected("aud-with-number", AUD, "RFC 7519 §4.1.3", claims(aud=[CLIENT_ID, 1])),
    rejected("nonce-invalid", "nonce_mismatch", f"{BASIC}-nonce-invalid", claims(nonce=lambda honest: honest + "1")),
    rejected("nonce-missing", "nonce_mismatch", "FAPI 2.0: missing nonce; attack catalogue 37", claims(nonce=...)),
    rejected("nonce-null", "nonce_mismatch", "attack catalogue 37", claims(nonce=None)),
    rejected("nonce-list", "nonce_mismatch", "attack catalogue 37", claims(nonce=lambda honest: [honest])),
    rejected("nonce-other-case", "nonce_mismatch", "attack catalogue 37", claims(nonce=lambda honest: honest.swapcase())),
    rejected("missing-exp", "claim_missing", "FAPI 2.0: missing exp", claims(exp=...)),
    rejected("exp-passed", "token_expired", "FAPI 2.0: expired exp", claims(exp=later(-3600))),
    rejected("exp-passed-beyond-skew", "token_expired", "attack catalogue 120 s leeway", claims(exp=later(-300 - 61))),
    rejected("exp-text", TIME, "RFC 7519 §4.1.4", claims(exp=str)),
    rejected("exp-true", TIME, "claims corpus: bool is an int", claims(exp=True)),
    rejected("exp-null", TIME, "RFC 7519 §4.1.4", claims(exp=None)),
    rejected("exp-1e308", TIME, "claims corpus", extra_member('"nbf": 1e308')),
    rejected("exp-5000-digits", "token_malformed", "claims corpus", extra_member('"nbf": ' + "9" * 5000)),
    rejected("exp-beyond-year-9999", TIME, "claims corpus", claims(exp=10**12)),
    rejected("iat-future", "token_not_yet_valid", "RFC 7519 §4.1.6", claims(iat=later(3600), exp=later(7200))),
    rejected("iat-old", "token_too_old", "replayed token", claims(iat=later(-7200))),
    rejected("iat-negative", TIME, "claims corpus", claims(iat=-(10**12))),
    rejected("iat-text", TIME, "RFC 7519 §4.1.6", claims(iat="now")),
    rejected("nbf-future", "token_not_yet_valid", "RFC 7519 §4.1.5", claims(nbf=later(3600))),
    rejected("auth-time-text", TIME, "claims corpus", claims(auth_time="0")),
    rejected("auth-time-future", TIME, "claims corpus", claims(auth_time=later(7200))),
    rejected("auth-time-missing-but-asked", "claim_missing", "OIDC Core §3.1.2.1", env={"JIT_OIDC_MAX_AGE": "8h"}),
    rejected("auth-time-too-long-ago", "login_too_old", "OIDC Core §3.1.3.7 (13)", claims(auth_time=later(-36_000)), env={"JIT_OIDC_MAX_AGE": "8h"}),
    rejected("acr-insufficient", "acr_insufficient", "OIDC Core §3.1.3.7 (12)", claims(acr="0"), env={"JIT_OIDC_ACR_VALUES": "urn:mfa"}),
    rejected("invalid-at-hash", "at_hash_mismatch", "comprehensive: invalid-at_hash; attack catalogue 30", claims(at_hash=lambda honest: honest[::-1])),
    rejected("at-hash-of-another-length", "at_hash_mismatch", "attack catalogue 30", claims(at_hash=lambda honest: honest[:-2])),
    rejected("at-hash-null", "at_hash_mismatch", "attack catalogue 30: fails closed", claims(at_hash=None)),
    rejected("at-hash-sha512-under-rs256", "at_hash_mismatch", "attack catalogue 30", claims(at_hash=keys.half_hash("x", "RS512"))),
    rejected("access-token-swapped", "at_hash_mismatch", "OIDC Core §3.1.3.8", tokens(access_token="access-token-of-somebody-else")),
    rejected("invalid-c-hash", "c_hash_mismatch", "comprehensive: invalid c_hash", claims(c_hash="AAAAAAAAAAAAAAAAAAAAAA")),
    rejected("logout-token", "token_type_confused", "attack catalogue 32", claims(events={"http://schemas.openid.net/event/backchannel-logout": {}})),
    rejected("events-null", "token_type_confused", "attack catalogue 32", claims(events=None)),
    rejected("amr-text", TIME, "claims corpus", claims(amr="mfa")),
    rejected("sid-number", TIME, "OIDC Back-Channel Logout §2.1", claims(sid=1)),
    rejected("sid-line-break", TIME, "attack catalogue 66", claims(sid="a\nb")),
    rejected("session-expiry-passed", "session_ended", "IPSIE SL1", claims(session_expiry=lambda _: int(time.time()) - 3600)),
    rejected("email-object", TIME, "claims corpus", person(email={"address": "a@people.example"})),
    rejected("email-number", TIME, "claims corpus", person(email=1)),
    rejected("email-nul", TIME, "claims corpus", person(email="a@people.example\0.evil.example")),
    rejected("email-too-long", TIME, "attack catalogue 67", person(email="a" * 400 + "@people.example")),
    rejected("payload-member-twice", "token_malformed", "RFC 7519 §4", extra_member('"sub": "administrator"')),
    rejected("payload-nan", "token_malformed", "RFC 8259 §6", extra_member('"x": NaN')),
    rejected("payload-infinity", "token_malformed", "RFC 8259 §6", extra_member('"x": -Infinity')),
    rejected("payload-1e400", "token_malformed", "claims corpus", extra_member('"x": 1e400')),
    rejected("payload-bom", "token_malformed", "RFC 8259 §8.1", payload(lambda honest: b"\xef\xbb\xbf" + honest)),
    rejected("payload-utf-16", "token_malformed", "RFC 8259 §8.1", payload(lambda honest: honest.decode().encode("utf-16"))),
    rejected("payload-lone-surrogate", "token_malformed", "RFC 8259 §8.2", extra_member('"x": "\\ud800"')),
    rejected("payload-invalid-utf-8", "token_malformed", "RFC 8259 §8.1", extra_member('"x": "?"'), payload(lambda honest: honest.replace(b'"?"', b'"\xff"'))),
    rejected("payload-deep", "token_malformed", "attack catalogue 67; CVE-2025-61920", extra_member('"x": ' + "[" * 20_000 + "]" * 20_000)),
    rejected("payload-array", "token_malformed", "RFC 7519 §7.2", payload(lambda honest: b"[" + honest + b"]")),
    rejected("payload-empty", "token_malformed", "RFC 7519 §7.2", payload(lambda honest: b"")),
    rejected("payload-trailing", "token_malformed", "RFC 8259", payload(lambda honest: honest + b"{}")),
    unwelcome("username-object", "username_unusable", "claims corpus", person(preferred_username={"a": 1})),
    unwelcome("username-line-break", "username_unusable", "attack catalogue 66", person(preferred_username="ada\r\nX-Remote-User: root")),
    unwelcome("username-bidi", "username_unusable", "attack catalogue 19", person(preferred_username="ada\u202e")),
    unwelcome("username-full-width", "username_unusable", "attack catalogue 19", person(preferred_username="\uff41da")),
    unwelcome("username-mixed-scripts", "username_unusable", "attack catalogue 19", person(preferred_username="\u0430dmin")),
    unwelcome("username-blank", "username_unusable", "attack catalogue 21", person(preferred_username=" ")),
    unwelcome("domain-suffix", "domain_not_allowed", "attack catalogue 20, CVE-2024-27918", person(email="a@evilcompany.example"), env={"JIT_ALLOWED_DOMAINS": "company.example"}),
    unwelcome("domain-two-ats", "domain_not_allowed", "attack catalogue 20, CVE-2026-40574", person(email="a@evil.example@company.example"), env={"JIT_ALLOWED_DOMAINS": "company.example"}),
    unwelcome("domain-trailing-dot", "domain_not_allowed", "attack catalogue 20", person(email="a@company.example."), env={"JIT_ALLOWED_DOMAINS": "company.example"}),
    unwelcome("domain-subdomain", "domain_not_allowed", "attack catalogue 20", person(email="a@evil.company.example"), env={"JIT_ALLOWED_DOMAINS": "company.example"}),
    unwelcome("domain-quoted", "domain_not_allowed", "attack catalogue 20", person(email='"a@evil.example"@company.example'), env={"JIT_ALLOWED_DOMAINS": "company.example"}),
    unwelcome("domain-list", "domain_not_allowed", "attack catalogue 20", person(email="a@evil.example,b@company.example"), env={"JIT_ALLOWED_DOMAINS": "company.example"}),
    unwelcome("domain-homoglyph", "domain_not_allowed", "attack catalogue 18", person(email="a@\u0441ompany.example"), env={"JIT_ALLOWED_DOMAINS": "company.example"}),
    unwelcome("domain-kelvin", "domain_not_allowed", "attack catalogue 18", person(email="a@\u212aompany.example"), env={"JIT_ALLOWED_DOMAINS": "kompany.example"}),
    unwelcome("domain-missing-email", "domain_not_allowed", "attack catalogue 20", person(email=...), env={"JIT_ALLOWED_DOMAINS": "company.example"}),
    unwelcome("group-missing", "group_required", "attack catalogue 57", person(groups=["other"]), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("group-by-comma", "group_required", "attack catalogue 57", person(groups=["x,admins"]), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("group-as-text", "group_required", "attack catalogue 57", person(groups="x,admins"), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("group-as-object", "groups_unavailable", "attack catalogue 57", person(groups={"admins": True}), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("group-homoglyph", "groups_unavailable", "attack catalogue 57", person(groups=["\u0430dmins"]), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("group-with-space", "groups_unavailable", "attack catalogue 57", person(groups=["admins "]), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("group-other-case", "group_required", "attack catalogue 57", person(groups=["Admins"]), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("group-among-ten-thousand", "groups_unavailable", "attack catalogue 67", person(groups=["admins", *(f"g{n}" for n in range(2500))]), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("groups-elsewhere", "groups_unavailable", "attack catalogue 57: group overage is not a group", person(groups=..., _claim_names={"groups": "src1"}), env={"JIT_REQUIRED_GROUPS": "admins"}),
    unwelcome("match-only", "creation_off", "attack catalogue 10", env={"JIT_PROVISIONING": "match_only"}),
]
# fmt: on
