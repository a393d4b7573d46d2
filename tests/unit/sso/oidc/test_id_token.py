"""The ID token: every check of OIDC Core §3.1.3.7 and RFC 8725, each by a token that fails this one alone."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from jit_middleware.errors import JITError, VerificationError
from jit_middleware.sso.oidc.id_token import half_hash
from tests.unit.sso.oidc.naming import named
from tests.unit.sso.oidc.provider import (
    CLIENT,
    EC,
    ED,
    ED448,
    ISSUER,
    LOGIN,
    NOW,
    OTHER_RSA,
    RSA,
    Provider,
    Story,
    b64,
    claims,
    public,
    sign,
)

CORPUS = json.loads((Path(__file__).parents[3] / "data" / "claims.json").read_text())


def refusal(token, *, story=None, **settings):
    story = story or Story(**settings)
    with pytest.raises(VerificationError) as caught:
        story.finish(token)
    return caught.value.reason


def made_value(row):
    match row.get("make"):
        case None:
            return row["json"]
        case ["repeat", text, count]:
            return json.dumps(text * count)
        case ["nest", opening, closing, count]:
            return opening * count + ("1" if "a" in opening else "") + closing * count
        case ["list", form, count]:
            return json.dumps([form % n if "%d" in form else form for n in range(count)])
    raise AssertionError(row)


def test_good_token_signs_in():
    identity = Story().login(email="a@b.example", email_verified=True, sid="s-1", acr="urn:mfa", amr=["pwd", "otp"])
    assert (identity.connection, identity.issuer, identity.subject) == ("oidc", ISSUER, "subject-1")
    assert (identity.email, identity.email_verified) == ("a@b.example", True)
    assert (identity.idp_session, identity.acr, identity.amr) == ("s-1", "urn:mfa", ("pwd", "otp"))
    assert identity.logout_hint.count(".") == 2
    assert identity.logout_hint not in repr(identity)


@pytest.mark.parametrize("key", [RSA, EC, ED, ED448], ids=["RS256", "ES256", "Ed25519", "Ed448"])
def test_each_kind_of_key_verifies_and_its_at_hash_is_checked(key):
    alg = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[key.key_type]
    curve = key.curve_name if key.key_type != "RSA" else ""
    provider = Provider(keys=[public(key, alg=None)])
    good = sign(claims(at_hash=half_hash("at-1", alg, curve), c_hash=half_hash("code-1", alg, curve)), key)
    assert Story(provider).finish(good).subject == "subject-1"
    assert (
        refusal(sign(claims(at_hash=half_hash("at-2", alg, curve)), key), story=Story(provider)) == "at_hash_mismatch"
    )
    assert (
        refusal(sign(claims(c_hash=half_hash("code-2", alg, curve)), key), story=Story(provider)) == "c_hash_mismatch"
    )


def test_at_hash_is_the_left_half_of_sha256_for_rs256():
    digest = hashlib.sha256(b"at-1").digest()
    assert Story().login(at_hash=b64(digest[:16])).subject == "subject-1"


def test_pss_verifies_with_a_key_without_alg():
    assert Story(Provider(keys=[public(RSA, alg=None)])).finish(sign(claims(), alg="PS256")).subject == "subject-1"


def test_fractional_times_and_a_list_of_one_audience_are_lawful():
    assert Story().login(aud=[CLIENT], azp=CLIENT, exp=NOW + 300.5, iat=NOW - 0.5).subject == "subject-1"


def test_further_audience_is_lawful_with_azp():
    assert Story().login(aud=["api", CLIENT], azp=CLIENT).subject == "subject-1"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt"])
def test_typ_jwt_is_lawful_in_any_case(typ):
    assert Story().finish(sign(claims(), header={"kid": "rsa", "typ": typ})).subject == "subject-1"


def test_foreign_headers_that_change_nothing_are_lawful():
    token = sign(claims(), header={"kid": "rsa", "x5t": "abc", "nonce": "n"})
    assert Story().finish(token).subject == "subject-1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": ISSUER + "/"}, "issuer_mismatch"),
        ({"iss": ISSUER + "1"}, "issuer_mismatch"),
        ({"iss": ISSUER.upper()}, "issuer_mismatch"),
        ({"iss": [ISSUER]}, "issuer_mismatch"),
        ({"iss": ...}, "issuer_mismatch"),
        ({"aud": ...}, "audience_mismatch"),
        ({"aud": []}, "audience_mismatch"),
        ({"aud": CLIENT + "1"}, "audience_mismatch"),
        ({"aud": "x" + CLIENT + "y"}, "audience_mismatch"),
        ({"aud": {CLIENT: 1}}, "audience_mismatch"),
        ({"aud": "other", "azp": CLIENT}, "audience_mismatch"),
        ({"aud": ["other"], "azp": CLIENT}, "audience_mismatch"),
        ({"aud": [CLIENT, "other"]}, "audience_mismatch"),
        ({"aud": [CLIENT, 5], "azp": CLIENT}, "audience_mismatch"),
        ({"azp": "other"}, "authorized_party_mismatch"),
        ({"azp": None}, "authorized_party_mismatch"),
        ({"azp": [CLIENT]}, "authorized_party_mismatch"),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "token_type_confused"),
        ({"nonce": ...}, "nonce_mismatch"),
        ({"nonce": "nonce-2"}, "nonce_mismatch"),
        ({"nonce": ""}, "nonce_mismatch"),
        ({"nonce": "nönce"}, "nonce_mismatch"),
        ({"nonce": ["nonce-1"]}, "nonce_mismatch"),
        ({"exp": ...}, "claim_missing"),
        ({"iat": ...}, "claim_missing"),
        ({"exp": NOW - 60}, "token_expired"),
        ({"iat": NOW + 61}, "token_not_yet_valid"),
        ({"nbf": NOW + 61}, "token_not_yet_valid"),
        ({"iat": NOW - 661}, "token_too_old"),
        ({"exp": str(NOW + 300)}, "claim_malformed"),
        ({"exp": True}, "claim_malformed"),
        ({"exp": None}, "claim_malformed"),
        ({"exp": 1e308}, "claim_malformed"),
        ({"iat": -1}, "claim_malformed"),
        ({"nbf": "0"}, "claim_malformed"),
        ({"auth_time": NOW + 61}, "claim_malformed"),
        ({"auth_time": "0"}, "claim_malformed"),
        ({"auth_time": None}, "claim_malformed"),
        ({"acr": 1}, "claim_malformed"),
        ({"sid": {"a": 1}}, "claim_malformed"),
        ({"sid": "x" * 256}, "claim_malformed"),
        ({"amr": "pwd"}, "claim_malformed"),
        ({"amr": ["pwd", 1]}, "claim_malformed"),
        ({"session_expiry": NOW - 60}, "session_ended"),
        ({"session_expiry": NOW}, "session_ended"),
        ({"session_expiry": NOW + 0.9}, "session_ended"),
        ({"session_expiry": True}, "claim_malformed"),
        ({"sub": ...}, "subject_invalid"),
        ({"sub": ""}, "subject_invalid"),
        ({"sub": " "}, "subject_invalid"),
        ({"sub": None}, "subject_invalid"),
        ({"sub": 0}, "subject_invalid"),
        ({"sub": "é"}, "subject_invalid"),
        ({"sub": "a\n"}, "subject_invalid"),
        ({"at_hash": "AAAA"}, "at_hash_mismatch"),
        ({"at_hash": None}, "at_hash_mismatch"),
        ({"at_hash": "é"}, "at_hash_mismatch"),
        ({"c_hash": "AAAA"}, "c_hash_mismatch"),
        ({"email": {"address": "a@b"}}, "claim_malformed"),
        ({"email": "a" * 320 + "@b"}, "claim_malformed"),
        ({"email": "a@b\u0000.evil"}, "claim_malformed"),
    ],
    ids=lambda value: json.dumps(value, default=str)[:60] if isinstance(value, dict) else value,
)
def test_wrong_claim_is_refused(changes, reason):
    assert refusal(sign(claims(**changes))) == reason


def test_borders_of_the_skew_are_accepted():
    assert Story().login(exp=NOW - 59, iat=NOW - 660).subject == "subject-1"
    assert Story().login(iat=NOW + 60, nbf=NOW + 60).subject == "subject-1"


def test_skew_is_configurable():
    assert refusal(sign(claims(exp=NOW)), clock_skew=0) == "token_expired"


def test_max_age_wants_auth_time_and_a_fresh_one():
    assert refusal(sign(claims()), max_age=100) == "claim_missing"
    started = LOGIN.created_at
    assert refusal(sign(claims(auth_time=started - 161)), max_age=100) == "login_too_old"
    assert Story(max_age=100).login(auth_time=started - 160).auth_time == started - 160


def test_requested_acr_is_required():
    assert refusal(sign(claims()), acr_values=("mfa",)) == "acr_insufficient"
    assert refusal(sign(claims(acr="pwd")), acr_values=("mfa", "phr")) == "acr_insufficient"
    assert Story(acr_values=("mfa", "phr")).login(acr="phr").acr == "phr"


def test_session_expiry_becomes_the_ceiling():
    assert Story().login(session_expiry=NOW + 3600).session_ceiling == NOW + 3600
    assert Story().login(session_expiry=NOW + 1).session_ceiling == NOW + 1


@pytest.mark.parametrize(
    ("given", "verified"),
    [
        (True, True),
        (False, False),
        ("true", False),
        ("false", False),
        (1, False),
        (0, False),
        (None, False),
        ([False], False),
    ],
)
def test_only_json_true_verifies_an_address(given, verified):
    assert Story().login(email="a@b.example", email_verified=given).email_verified is verified


def test_silence_about_the_address_is_neither_true_nor_false():
    assert Story().login(email="a@b.example").email_verified is None
    assert Story().login(email_verified=True).email_verified is None
    assert (Story().login(email="", email_verified=True).email, Story().login(email=None).email) == (None, None)


def forged(header, payload=None, signature=b""):
    payload = json.dumps(payload or claims()).encode()
    return f"{b64(json.dumps(header).encode())}.{b64(payload)}.{b64(signature)}"


def hmac_token(secret, header):
    head, body, _ = forged(header).split(".")
    return f"{head}.{body}.{b64(hmac.digest(secret, f'{head}.{body}'.encode(), 'sha256'))}"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, 5, ["RS256"], "RS384", "HS256", "ES256K"])
def test_algorithm_outside_the_list_is_refused_though_metadata_offers_it(alg):
    assert refusal(forged({"alg": alg, "kid": "rsa"})) == "algorithm_not_allowed"


def test_hmac_is_refused_even_when_configured():
    for secret in (RSA.as_pem(private=False), b"s3cret"):
        token = hmac_token(secret, {"alg": "HS256", "kid": "rsa"})
        assert refusal(token, algorithms=("RS256", "HS256", "none")) == "algorithm_not_allowed"
    assert refusal(forged({"alg": "none"}), algorithms=("none",)) == "algorithm_not_allowed"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"crit": ["x"], "x": 1}, "critical_header"),
        ({"crit": []}, "critical_header"),
        ({"crit": None}, "critical_header"),
        ({"b64": False, "crit": ["b64"]}, "critical_header"),
        ({"b64": True}, "critical_header"),
        ({"zip": "DEF"}, "critical_header"),
        ({"enc": "A256GCM"}, "critical_header"),
        ({"jwk": public(OTHER_RSA)}, "key_in_header"),
        ({"jku": "https://evil.example/jwks"}, "key_in_header"),
        ({"x5u": "https://evil.example/x"}, "key_in_header"),
        ({"x5c": ["MII"]}, "key_in_header"),
        ({"typ": "at+jwt"}, "token_type_confused"),
        ({"typ": "logout+jwt"}, "token_type_confused"),
        ({"typ": "secevent+jwt"}, "token_type_confused"),
        ({"typ": None}, "token_type_confused"),
        ({"kid": 5}, "token_malformed"),
    ],
    ids=named,
)
def test_header_is_judged_before_any_key_is_used(header, reason):
    story = Story()
    token = sign(claims(), header={"kid": "rsa"} | header)
    assert refusal(token, story=story) == reason
    assert story.provider.asked("/jwks") == 0


def test_key_named_by_the_token_is_never_fetched():
    story = Story()
    token = sign(claims(iss="https://evil.example"), key=OTHER_RSA)
    assert refusal(token, story=story) == "signature_invalid"
    assert all(request.url.startswith(ISSUER) for request in story.provider.requests)


def test_broken_signature_is_refused():
    good = sign(claims())
    for place in (-1, -100, -300):
        changed = "A" if good[place] != "A" else "B"
        token = good[:place] + changed + good[place:][1:]
        assert refusal(token) in {"signature_invalid", "token_malformed"}
    assert refusal(good[: good.rindex(".") + 1]) == "signature_invalid"


def test_payload_swapped_under_a_good_signature_is_refused():
    head, _, signature = sign(claims()).split(".")
    assert refusal(f"{head}.{b64(json.dumps(claims(sub='admin')).encode())}.{signature}") == "signature_invalid"


def test_signature_of_another_algorithm_of_the_same_key_is_refused():
    assert refusal(sign(claims(), alg="PS256")) == "key_unknown"  # the key says alg RS256


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b",
        "a.b.c.d",
        "....",
        "a.b.c",
        "é.é.é",
        "e30.e30.",
        "e30=.e30.AA",
        " .e30.AA",
        "bnVsbA.e30.AA",
        "W10.e30.AA",
    ],
)
def test_junk_is_refused(token):
    assert refusal(token) in {"token_malformed", "algorithm_not_allowed"}


def test_token_over_64_kib_is_refused_unread():
    assert refusal("a" * 65_537) == "token_too_large"


@pytest.mark.parametrize(
    "payload",
    ["", "null", "[]", '"x"', "{", "{}x", '{"sub":"a","sub":"b"}', '{"x":NaN}', '{"x":Infinity}', '{"x":1e400}', "\ufeff{}",
     '{"x":' + "9" * 5000 + "}", '{"x":' + "[" * 20_000 + "]" * 20_000 + "}", '{"x":"\\ud800"}', b'{"x":"\xff"}', '{"a":{"b":1,"b":2}}'],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_signed_payload_that_is_no_strict_object_is_refused(payload):
    assert refusal(sign(payload)) == "token_malformed"


@pytest.mark.parametrize(
    "row",
    [row for row in CORPUS if row["where"] in {"sub", "amr", "auth_time", "exp", "iat"}],
    ids=lambda row: row["name"],
)
def test_claims_corpus(row):
    name, value = row["where"], made_value(row)
    rest = claims(**{name: ...})
    payload = json.dumps(rest)[:-1] + f', "{name}": {value}}}'
    if row["verdict"] == "allow":
        assert Story().finish(sign(payload)).subject
    else:
        assert refusal(sign(payload))


@pytest.mark.parametrize(
    "row",
    [row for row in CORPUS if row["where"] in {"(claims)", "x", "name", "groups"} and "make" in row],
    ids=lambda row: row["name"],
)
def test_claims_corpus_of_sizes_and_depths_never_crashes(row):
    name = row["where"] if row["where"].isalpha() else "x"
    payload = json.dumps(claims())[:-1] + f', "{name}": {made_value(row)}}}'
    story = Story()
    if row["verdict"] == "allow":
        assert story.finish(sign(payload)).subject
    else:
        with pytest.raises(JITError):
            story.finish(sign(payload))
