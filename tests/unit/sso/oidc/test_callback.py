"""The answer through the browser and the token endpoint: what must match before a code is used, and what comes back."""

from __future__ import annotations

import pytest

from jit_middleware.errors import JITError, ProviderRefused, ProviderUnavailable, VerificationError
from jit_middleware.ports import Fetched
from tests.unit.sso.oidc.naming import named
from tests.unit.sso.oidc.provider import ISSUER, LOGIN, Provider, Story, answer, claims, metadata, sign

PROMISES_ISS = metadata(authorization_response_iss_parameter_supported=True)


@pytest.mark.parametrize("state", [..., "", "state-2.0", "STATE-1.0", "é", "\ud800", LOGIN.state + " "])
def test_callback_with_foreign_state_is_refused_and_the_code_not_used(state):
    story = Story()
    with pytest.raises(VerificationError, match="state_mismatch"):
        story.finish(sign(claims()), state=state)
    assert story.provider.asked("/token") == 0


@pytest.mark.parametrize(
    ("document", "iss", "reason"),
    [
        (PROMISES_ISS, ..., "response_iss_missing"),
        (PROMISES_ISS, "https://evil.example", "response_iss_mismatch"),
        (PROMISES_ISS, ISSUER + "/", "response_iss_mismatch"),
        (PROMISES_ISS, "", "response_iss_mismatch"),
        (metadata(), "https://evil.example", "response_iss_mismatch"),
    ],
)
def test_answer_of_another_provider_is_refused_before_the_code_is_used(document, iss, reason):
    story = Story(Provider(document=document))
    with pytest.raises(VerificationError) as caught:
        story.finish(sign(claims()), iss=iss)
    assert caught.value.reason == reason
    assert story.provider.asked("/token") == 0


def test_right_iss_is_accepted_promised_or_not():
    for document in (PROMISES_ISS, metadata()):
        assert Story(Provider(document=document)).finish(sign(claims()), iss=ISSUER).subject == "subject-1"


@pytest.mark.parametrize(
    ("code", "reason"),
    [("access_denied", "access_denied"), ("login_required", "login_required"), ("<script>", "provider_error"),
     ("a" * 65, "provider_error"), ("", "provider_error"), ("a\nb", "provider_error"), ("é", "provider_error")],
)  # fmt: skip
def test_error_of_the_provider_is_named_if_its_code_can_be_shown(code, reason):
    with pytest.raises(ProviderRefused) as caught:
        Story().finish(error=code, error_description="<b>do not show</b>", code=...)
    assert caught.value.reason == reason
    assert "show" not in str(caught.value)


def test_error_beside_a_code_wins_and_a_foreign_error_is_a_mix_up():
    with pytest.raises(ProviderRefused):
        Story().finish(sign(claims()), error="access_denied")
    with pytest.raises(VerificationError, match="response_iss_mismatch"):
        Story().finish(error="access_denied", iss="https://evil.example")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (..., "code_missing"),
        ("", "code_missing"),
        ("a\nb", "code_malformed"),
        ("é", "code_malformed"),
        ("a" * 8193, "code_malformed"),
    ],
)
def test_callback_without_a_proper_code_is_refused(code, reason):
    with pytest.raises(VerificationError) as caught:
        Story().finish(code=code)
    assert caught.value.reason == reason


def test_code_is_redeemed_with_verifier_and_redirect_uri():
    story = Story()
    story.login()
    assert story.provider.form() == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": "https://app.example/_jit/callback/oidc",
        "code_verifier": LOGIN.code_verifier,
    }


def test_warm_login_costs_exactly_one_call():
    story = Story()
    story.login()
    story.provider.requests.clear()
    story.login()
    assert [request.url for request in story.provider.requests] == [ISSUER + "/token"]


@pytest.mark.parametrize(
    "changes",
    [
        {"token_type": "bearer"},
        {"token_type": "BEARER"},
        {"expires_in": "soon"},
        {"refresh_token": None, "scope": 7},
        {"x": {"y": []}},
    ],
    ids=named,
)
def test_odd_but_lawful_token_answers_are_accepted(changes):
    assert Story(Provider(token_answer=changes)).login().subject == "subject-1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token_type": "mac"}, "token_type_unsupported"),
        ({"token_type": None}, "token_type_unsupported"),
        ({"token_type": ["Bearer"]}, "token_type_unsupported"),
        ({"token_type": "DPoP"}, "token_type_unsupported"),
        ({"access_token": None}, "access_token_malformed"),
        ({"access_token": ""}, "access_token_malformed"),
        ({"access_token": 5}, "access_token_malformed"),
        ({"access_token": "a\r\nX-Evil: 1"}, "access_token_malformed"),
        ({"access_token": "a b"}, "access_token_malformed"),
        ({"access_token": "é"}, "access_token_malformed"),
        ({"id_token": None}, "id_token_missing"),
        ({"id_token": ""}, "id_token_missing"),
        ({"id_token": {}}, "id_token_missing"),
        ({"id_token": 5}, "id_token_missing"),
        ({"id_token": "x.y.z"}, "token_malformed"),
    ],
    ids=named,
)
def test_wrong_token_answer_is_refused(changes, reason):
    with pytest.raises(VerificationError) as caught:
        Story(Provider(token_answer=changes)).login()
    assert caught.value.reason == reason


@pytest.mark.parametrize("status", [200, 400, 401])
def test_oauth_error_of_the_token_endpoint_is_named(status):
    story = Story(
        Provider(replies={"/token": answer({"error": "invalid_grant", "error_description": "secret"}, status)})
    )
    with pytest.raises(ProviderRefused) as caught:
        story.login()
    assert caught.value.reason == "invalid_grant"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer({"error": "server_error"}, 500), "token_endpoint_failed"),
        (answer(b"<html>", 502), "token_endpoint_failed"),
        (answer({}, 429), "token_endpoint_failed"),
        (answer({"error": "slow_down"}, 429), "token_endpoint_failed"),
        (answer({}, 404), "token_endpoint_failed"),
        (answer({}, 201), "token_endpoint_failed"),
        (answer(b"<html>"), "token_answer_not_json"),
        (answer(b""), "token_answer_not_json"),
        (answer(b"[]"), "token_answer_not_json"),
        (answer(b"null"), "token_answer_not_json"),
        (answer(b'{"id_token":"a","id_token":"b"}'), "token_answer_not_json"),
        (answer(b"[" * 500_000), "token_answer_not_json"),
        (answer(b'{"a":' * 100_000), "token_answer_not_json"),
        (answer(b"\xff\xfe{\x00}\x00"), "token_answer_not_json"),
    ],
    ids=lambda value: value.body[:20].decode("latin-1") if isinstance(value, Fetched) else value,
)
def test_provider_trouble_at_the_token_endpoint_is_unavailability(reply, reason):
    with pytest.raises(ProviderUnavailable) as caught:
        Story(Provider(replies={"/token": reply})).login()
    assert caught.value.reason == reason


def test_unreachable_token_endpoint_is_unavailability():
    with pytest.raises(ProviderUnavailable, match="deadline"):
        Story(Provider(replies={"/token": ProviderUnavailable("deadline")})).login()


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token"])
@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", b"null", b"true", b"0", b"[]", b"{}", b'"x"', b"{" * 3000, b"[" * 1_000_000, b"\xff" * 9, b'{"keys":{}}', b'{"keys":[null,1,"",[],{}]}',
     b'{"issuer":"https://op.example","jwks_uri":5}', b'{"error":{}}', b'{"access_token":"a","token_type":"Bearer","id_token":"\\ud800.a.b"}',
     b'{"access_token":"a","token_type":"Bearer","id_token":"eyJhbGciOiJSUzI1NiJ9.e30."}'],
    ids=lambda body: body[:24].decode("latin-1"),
)  # fmt: skip
def test_only_errors_of_our_own_tree_come_out(path, body):
    for status in (200, 204, 400, 500):
        with pytest.raises(JITError):
            Story(Provider(replies={path: answer(body, status)})).login()


def test_secrets_never_stand_in_an_error():
    story = Story(Provider(replies={"/token": answer(b'{"access_token":"SECRET"', 200)}))
    with pytest.raises(JITError) as caught:
        story.login()
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
