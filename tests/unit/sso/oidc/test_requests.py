"""What we send: the authorization request, the pushed one, client authentication, userinfo and sign-out."""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64decode
from urllib.parse import parse_qs, unquote_plus, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from jit_middleware.errors import ConfigurationError, ProviderRefused, ProviderUnavailable, VerificationError
from jit_middleware.model import SessionRecord
from tests.unit.sso.oidc.naming import named
from tests.unit.sso.oidc.provider import (
    CLIENT,
    ISSUER,
    LOGIN,
    NOW,
    OTHER_RSA,
    REDIRECT,
    Provider,
    Story,
    answer,
    claims,
    metadata,
    sign,
    step,
)


def query(url):
    return {name: values[0] if len(values) == 1 else values for name, values in parse_qs(urlsplit(url).query).items()}


def test_request_carries_state_nonce_and_pkce():
    url = Story().begin()
    assert url.startswith(ISSUER + "/auth?")
    assert query(url) == {
        "tenant": "a b",
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "scope": "openid email profile",
        "state": LOGIN.state,
        "nonce": LOGIN.nonce,
        "code_challenge": "w1TpKUdYE9hUAcNSeeSRFioHDxfUxuHho_JHAfZ_vDM",
        "code_challenge_method": "S256",
    }


def test_request_asks_what_the_connection_says():
    sent = query(
        Story(response_mode="form_post", prompt="login", max_age=0, acr_values=("a", "b"), scopes=("openid",)).begin()
    )
    assert (sent["response_mode"], sent["prompt"], sent["max_age"], sent["acr_values"], sent["scope"]) == (
        "form_post",
        "login",
        "0",
        "a b",
        "openid",
    )


def test_answer_mode_is_known_without_the_provider():
    assert Story(response_mode="form_post").strategy.answer == "form_post"
    assert Story().strategy.answer == "query"


PAR = metadata(require_pushed_authorization_requests=True, pushed_authorization_request_endpoint=ISSUER + "/par")


@pytest.mark.parametrize("status", [200, 201])
def test_pushed_request_leaves_only_a_reference_in_the_url(status):
    story = Story(
        Provider(document=PAR, replies={"/par": answer({"request_uri": "urn:x:1", "expires_in": 60}, status)})
    )
    assert query(story.begin()) == {"tenant": "a b", "client_id": CLIENT, "request_uri": "urn:x:1"}
    form = story.provider.form("/par")
    assert (form["response_type"], form["state"], form["code_challenge_method"]) == ("code", LOGIN.state, "S256")


@pytest.mark.parametrize(
    ("reply", "error", "reason"),
    [
        (answer({"error": "invalid_request"}, 400), ProviderRefused, "invalid_request"),
        (answer({"error": "x"}, 500), ProviderUnavailable, "pushed_request_failed"),
        (answer({"request_uri": 5}, 201), ProviderUnavailable, "pushed_request_failed"),
        (answer({"request_uri": "a b"}, 201), ProviderUnavailable, "pushed_request_failed"),
        (answer({"request_uri": "urn:x"}, 404), ProviderUnavailable, "pushed_request_failed"),
        (answer(b"x", 201), ProviderUnavailable, "pushed_request_failed"),
    ],
)
def test_pushed_request_that_fails(reply, error, reason):
    with pytest.raises(error) as caught:
        Story(Provider(document=PAR, replies={"/par": reply})).begin()
    assert caught.value.reason == reason


def test_pushed_request_without_an_endpoint_is_malformed_metadata():
    with pytest.raises(VerificationError, match="metadata_malformed"):
        Story(Provider(document=metadata(require_pushed_authorization_requests=True))).begin()


# --- client authentication ----------------------------------------------------------------------------------------


def token_request(document=None, **settings):
    story = Story(Provider(document=document or metadata()), **settings)
    story.login()
    [request] = [request for request in story.provider.requests if request.url.endswith("/token")]
    return request, story.provider.form()


def test_basic_is_form_encoded_first():
    request, form = token_request(client_id=CLIENT, client_secret="s:3 c%r€t+")
    scheme, _, pair = request.headers["Authorization"].partition(" ")
    client_id, _, secret = b64decode(pair).decode("ascii").partition(":")
    assert (scheme, client_id, unquote_plus(secret)) == ("Basic", CLIENT, "s:3 c%r€t+")
    assert not {"client_id", "client_secret"} & set(form)


@pytest.mark.parametrize(
    ("offered", "basic"),
    [
        (..., True),
        ([], True),
        (["client_secret_post", "client_secret_basic"], True),
        (["client_secret_post"], False),
        (["private_key_jwt", 5], True),
    ],
    ids=named,
)
def test_metadata_chooses_between_basic_and_post(offered, basic):
    request, form = token_request(metadata(token_endpoint_auth_methods_supported=offered))
    assert ("Authorization" in request.headers) is basic
    assert (form.get("client_secret") == "s3cret") is not basic


def test_configured_method_wins_over_metadata():
    _, form = token_request(
        metadata(token_endpoint_auth_methods_supported=["client_secret_basic"]), client_auth="client_secret_post"
    )
    assert (form["client_id"], form["client_secret"]) == (CLIENT, "s3cret")


@pytest.mark.parametrize("method", ["private_key_jwt", "client_secret_basic", "client_secret_post"])
def test_method_without_its_secret_is_refused(method):
    with pytest.raises(VerificationError, match="client_auth_unsupported"):
        token_request(client_auth=method, client_secret=None)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_short_rsa_key_of_our_own_is_refused():
    short = RSAKey.generate_key(1024)
    with pytest.raises(ConfigurationError):
        Story(private_key=json.dumps(short.as_dict(private=True)))


def test_public_client_names_itself():
    request, form = token_request(client_secret=None)
    assert form["client_id"] == CLIENT
    assert "Authorization" not in request.headers


EC521 = ECKey.generate_key("P-521", {"kid": "own"})
ED_OWN = OKPKey.generate_key("Ed25519")


@pytest.mark.parametrize(
    ("own", "text", "known", "alg"),
    [
        (OTHER_RSA, OTHER_RSA.as_pem(private=True).decode(), ..., "RS256"),
        (OTHER_RSA, json.dumps(OTHER_RSA.as_dict(private=True)), ["RS256", "PS256"], "PS256"),
        (OTHER_RSA, json.dumps(OTHER_RSA.as_dict(private=True) | {"alg": "RS384"}), ["RS256"], "RS384"),
        (EC521, json.dumps(EC521.as_dict(private=True)), ..., "ES512"),
        (EC521, EC521.as_pem(private=True).decode(), ["RS256"], "ES512"),
        (ED_OWN, ED_OWN.as_pem(private=True).decode(), ..., "EdDSA"),
        (ED_OWN, json.dumps(ED_OWN.as_dict(private=True)), ["Ed25519"], "Ed25519"),
    ],
)
def test_private_key_jwt_is_for_the_issuer_alone(own, text, known, alg):
    _, form = token_request(
        metadata(token_endpoint_auth_signing_alg_values_supported=known), private_key=text, client_secret=None
    )
    head, body, signature = form["client_assertion"].split(".")
    header, sent = (json.loads(urlsafe_b64decode(part + "==")) for part in (head, body))
    assert header["alg"] == alg
    assert jws.JWSRegistry.algorithms[alg].verify(f"{head}.{body}".encode(), urlsafe_b64decode(signature + "=="), own)
    assert sent == {"iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": sent["jti"], "iat": NOW, "exp": NOW + 60}
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in form


def assertion_of(form):
    head, body, _ = form["client_assertion"].split(".")
    return tuple(json.loads(urlsafe_b64decode(part + "==")) for part in (head, body))


def test_private_key_jwt_is_for_the_token_endpoint_only_where_the_operator_says_so():
    text = json.dumps(EC521.as_dict(private=True))
    own = {"private_key": text, "client_secret": None}
    for setting, audience in (({}, ISSUER), ({"client_assertion_audience": "issuer"}, ISSUER),
                              ({"client_assertion_audience": "token_endpoint"}, ISSUER + "/token")):  # fmt: skip
        _, form = token_request(**own, **setting)
        assert assertion_of(form)[1]["aud"] == audience


def test_the_certificate_of_our_jwk_is_named_as_some_providers_know_it():
    """RFC 7517 §4.9, RFC 7515 §4.1.8."""
    jwk = EC521.as_dict(private=True)
    for thumbprint, is_there in (("A1bC2dE3fH4iJ5kL6mN7oP8qR9sT0uA1bC2dE3fH4iJ", True), (None, False), (5, False)):
        _, form = token_request(private_key=json.dumps(jwk | {"x5t#S256": thumbprint}))
        header = assertion_of(form)[0]
        assert ("x5t#S256" in header) is is_there
        assert not is_there or header["x5t#S256"] == thumbprint


def test_every_assertion_is_fresh():
    story = Story(private_key=json.dumps(EC521.as_dict(private=True)))
    for _ in range(2):
        story.login()
    bodies = [request.body for request in story.provider.requests if request.url.endswith("/token")]
    assert len(set(bodies)) == 2


def test_kid_of_our_jwk_is_named():
    _, form = token_request(private_key=json.dumps(EC521.as_dict(private=True)))
    assert json.loads(urlsafe_b64decode(form["client_assertion"].split(".")[0] + "=="))["kid"] == "own"


def weak_pem():
    key = rsa.generate_private_key(65537, 1024)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "text",
    ["x", "{", "{}", '{"kty":"oct","k":"AAAA"}', json.dumps(EC521.as_dict(private=False)), OTHER_RSA.as_pem(private=False).decode(), weak_pem(),
     json.dumps(EC521.as_dict(private=True) | {"alg": "ES256"}), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", '{"kty":"EC","crv":"P-999","x":"AA","y":"AA","d":"AA"}', "é"],
    ids=range(11),
)  # fmt: skip
def test_unusable_private_key_is_a_configuration_error(text):
    with pytest.raises(ConfigurationError) as caught:
        Story(private_key=text)
    assert "private key of connection oidc" in str(caught.value)
    assert len(text) < 3 or text not in str(caught.value)


# --- userinfo -----------------------------------------------------------------------------------------------------

SAID = {
    "sub": "subject-1",
    "email": "u@b.example",
    "email_verified": True,
    "groups": ["a"],
    "iss": "https://evil.example",
    "sid": "evil",
    "amr": ["evil"],
}


def asked_userinfo(info=None, reply=None, token=None, document=None, **settings):
    provider = Provider(userinfo=SAID if info is None else info, document=document or metadata())
    if reply is not None:
        provider.replies["/userinfo"] = reply
    story = Story(provider, needed_claims=("email", "groups"), **settings)
    return story.finish(token or sign(claims())), provider


def test_userinfo_completes_the_id_token():
    identity, provider = asked_userinfo()
    assert (identity.email, identity.email_verified, identity.claims["groups"]) == ("u@b.example", True, ["a"])
    assert (identity.claims["iss"], identity.idp_session, identity.amr) == (ISSUER, None, ())
    [request] = [request for request in provider.requests if request.url.endswith("/userinfo")]
    assert request.headers["Authorization"] == "Bearer at-1"


def test_userinfo_is_not_asked_when_the_id_token_suffices_or_never():
    _, provider = asked_userinfo(token=sign(claims(email="a@b.example", groups=[])))
    assert provider.asked("/userinfo") == 0
    identity, provider = asked_userinfo(userinfo="never")
    assert provider.asked("/userinfo") == 0
    assert identity.email is None


def test_userinfo_always_is_asked_and_the_id_token_wins():
    identity, provider = asked_userinfo(token=sign(claims(email="a@b.example", groups=["b"])), userinfo="always")
    assert provider.asked("/userinfo") == 1
    assert (identity.email, identity.claims["groups"]) == ("a@b.example", ["b"])


def test_userinfo_cannot_verify_another_address():
    identity, _ = asked_userinfo(token=sign(claims(email="victim@b.example")))
    assert (identity.email, identity.email_verified) == ("victim@b.example", None)
    identity, _ = asked_userinfo(token=sign(claims(email="u@b.example")))
    assert (identity.email, identity.email_verified) == ("u@b.example", True)


@pytest.mark.parametrize("sub", ["subject-2", "SUBJECT-1", "", None, 5, ["subject-1"]])
def test_userinfo_of_another_subject_is_refused(sub):
    with pytest.raises(VerificationError, match="userinfo_subject_mismatch"):
        asked_userinfo(SAID | {"sub": sub})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(answer({}, 401), "userinfo_unavailable"), (answer(SAID, 500), "userinfo_unavailable"), (answer(b"x"), "userinfo_malformed"),
     (answer(b'{"sub":"subject-1","sub":"subject-2"}'), "userinfo_malformed")],
    ids=["401", "500", "x", "twice"],
)  # fmt: skip
def test_userinfo_trouble_is_unavailability(reply, reason):
    with pytest.raises(ProviderUnavailable) as caught:
        asked_userinfo(reply=reply)
    assert caught.value.reason == reason


def test_provider_without_userinfo():
    identity, _ = asked_userinfo(document=metadata(userinfo_endpoint=...))
    assert identity.email is None
    with pytest.raises(VerificationError, match="userinfo_unsupported"):
        asked_userinfo(document=metadata(userinfo_endpoint=...), userinfo="always")


def signed_userinfo(changes=None, **how):
    said = SAID | {"iss": ISSUER, "aud": CLIENT} | (changes or {})
    body = sign({name: value for name, value in said.items() if value is not ...}, **how).encode()
    return answer(body, **{"content-type": "Application/JWT; charset=utf-8"})


def test_signed_userinfo_is_verified():
    identity, _ = asked_userinfo(reply=signed_userinfo({"exp": NOW + 60}))
    assert identity.email == "u@b.example"


@pytest.mark.parametrize(
    ("changes", "how", "reason"),
    [
        ({"iss": "https://evil.example"}, {}, "issuer_mismatch"),
        ({"iss": ...}, {}, "issuer_mismatch"),
        ({"aud": "other"}, {}, "audience_mismatch"),
        ({"aud": ...}, {}, "audience_mismatch"),
        ({"exp": NOW - 100}, {}, "token_expired"),
        ({"sub": "subject-2"}, {}, "userinfo_subject_mismatch"),
        ({}, {"key": OTHER_RSA}, "signature_invalid"),
        ({}, {"header": {"kid": "rsa", "typ": "at+jwt"}}, "token_type_confused"),
    ],
    ids=named,
)
def test_signed_userinfo_that_does_not_verify_is_refused(changes, how, reason):
    with pytest.raises(VerificationError) as caught:
        asked_userinfo(reply=signed_userinfo(changes, **how))
    assert caught.value.reason == reason


def test_unsigned_text_as_jwt_is_refused():
    with pytest.raises(VerificationError, match="token_malformed"):
        asked_userinfo(reply=answer(SAID, **{"content-type": "application/jwt"}))


# --- sign-out -----------------------------------------------------------------------------------------------------


def session(hint="aaa.bbb.ccc"):
    return SessionRecord(
        id="s", user_id="u", tenant="default", connection="oidc", issuer=ISSUER, subject="subject-1", created_at=NOW, expires_at=NOW + 1,
        last_seen_at=NOW, authenticated_at=NOW, logout_hint=hint,
    )  # fmt: skip


def sign_out(story, hint="aaa.bbb.ccc"):
    return step(
        story.strategy.logout_phase(session(hint), return_url="https://app.example/_jit/signed-out", state="s-1")
    )


def test_sign_out_names_token_client_return_and_state():
    story = Story(Provider(document=metadata(end_session_endpoint=ISSUER + "/logout?x=1")))
    sent = query(sign_out(story))
    assert sent == {
        "x": "1",
        "id_token_hint": "aaa.bbb.ccc",
        "client_id": CLIENT,
        "post_logout_redirect_uri": "https://app.example/_jit/signed-out",
        "state": "s-1",
    }


def test_sign_out_leaves_out_a_token_too_long_for_a_url():
    assert "id_token_hint" not in query(sign_out(Story(), "a" * 5000))
    assert "id_token_hint" not in query(sign_out(Story(), None))


def test_sign_out_without_endpoint_stays_here():
    assert sign_out(Story(Provider(document=metadata(end_session_endpoint=...)))) is None


def test_sign_out_says_why_a_provider_cannot_be_asked():
    with pytest.raises(VerificationError):
        sign_out(Story(Provider(document=metadata(issuer="x"))))
    with pytest.raises(ProviderUnavailable):
        sign_out(Story(Provider(replies={"/.well-known/openid-configuration": ProviderUnavailable("unreachable")})))


@pytest.mark.parametrize(
    ("offered", "asked"),
    [
        (["openid", "email", "profile", "groups"], "openid email profile groups"),
        (["openid", "groups", "email"], "openid email profile groups"),
        (["openid", "email", "profile"], "openid email profile"),
        ([], "openid email profile"),
        ("openid groups", "openid email profile"),
        (["groups", 7, None], "openid email profile groups"),
        (..., "openid email profile"),
    ],
    ids=["listed", "listed among few", "not listed", "none listed", "no list", "mixed list", "silent"],
)
def test_request_asks_for_an_optional_scope_where_the_provider_lists_it(offered, asked):
    provider = Provider(document=metadata(scopes_supported=offered))
    assert query(Story(provider, optional_scopes=("groups", "email")).begin())["scope"] == asked
