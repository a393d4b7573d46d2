"""Whatever bytes a provider sends, only errors of our own tree come out (attacks: parser differentials, JSON bombs)."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jit_middleware.errors import JITError
from jit_middleware.sso.json import MAX_DEPTH, NotStrictJSON, parse_object
from jit_middleware.sso.oidc.keys import read_key
from tests.unit.sso.oidc.provider import RSA, Provider, Story, answer, b64, claims, metadata, public, sign

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CLAIMS = [
    "iss",
    "aud",
    "azp",
    "sub",
    "nonce",
    "iat",
    "exp",
    "nbf",
    "auth_time",
    "acr",
    "amr",
    "sid",
    "at_hash",
    "c_hash",
    "email",
    "email_verified",
    "session_expiry",
]
MEMBERS = [
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "token_endpoint_auth_methods_supported",
    "require_pushed_authorization_requests",
]


@given(st.binary(max_size=200) | st.text(max_size=200) | values.map(json.dumps))
def test_json_is_an_object_or_refused(data):
    try:
        document = parse_object(data)
    except NotStrictJSON:
        return
    assert json.loads(data) == document


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a":{"b":1,"b":1}}',
        '{"a":NaN}',
        '{"a":-Infinity}',
        '{"a":1e999}',
        '{"a":' + "1" * 41 + "}",
        "\ufeff{}",
        "{}\x00",
        "{} {}",
        "[]",
        "",
        '{"a":"\\uD800"}',
        "{'a':1}",
        '{"a":1,}',
        '{"a":"\x01"}',
    ],
)
def test_what_readers_disagree_about_is_refused(text):
    for form in (text, text.encode("utf-8")):
        with pytest.raises(NotStrictJSON):
            parse_object(form)


def test_other_encodings_than_utf8_are_refused():
    for encoding in ("utf-16", "utf-32", "utf-16-le"):
        with pytest.raises(NotStrictJSON):
            parse_object('{"a":1}'.encode(encoding))


def test_depth_is_bounded_and_brackets_in_text_are_no_depth():
    at_most = '{"a":' * (MAX_DEPTH - 1) + "{}" + "}" * (MAX_DEPTH - 1)
    assert parse_object(at_most)
    with pytest.raises(NotStrictJSON):
        parse_object('{"a":' + at_most + "}")
    assert parse_object(json.dumps({"a": '[{"\\' * 5000, "b": [[]] * 100}))
    assert parse_object('{"a":"\\ud83d\\ude00"}') == {"a": "😀"}


@settings(deadline=None)
@given(st.sampled_from(CLAIMS), values)
def test_any_value_of_a_signed_claim(name, value):
    with suppress(JITError):
        identity = Story().finish(sign(json.dumps(claims() | {name: value})))
        assert 1 <= len(identity.subject) <= 255
        assert identity.email_verified in {None, True, False}


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "cty", "x5t"]), values, max_size=3))
def test_any_header(header):
    _, body, signature = sign(claims()).split(".")
    with pytest.raises(JITError):  # never the one that was signed
        Story().finish(f"{b64(json.dumps(header).encode())}.{body}.{signature}")


@settings(deadline=None)
@given(st.binary(max_size=64), st.sampled_from(["/token", "/jwks", "/.well-known/openid-configuration"]))
def test_any_body(body, path):
    with pytest.raises(JITError):
        Story(Provider(replies={path: answer(body)})).login()


@settings(deadline=None)
@given(st.sampled_from(MEMBERS), values)
def test_any_member_of_the_metadata(name, value):
    with suppress(JITError):
        Story(Provider(document=metadata(**{name: value}))).login()


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["kty", "n", "e", "kid", "use", "alg", "key_ops", "crv", "x", "y"]), values))
def test_any_key(changes):
    key = read_key(public(RSA) | changes)
    assert key is None or key.algorithms


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["state", "code", "iss", "error", "error_description"]), st.text(max_size=30), max_size=5
    )
)
def test_any_answer_through_the_browser(parameters):
    story = Story()
    story.provider.id_token = sign(claims())
    with suppress(JITError):
        story.finish(**parameters)
