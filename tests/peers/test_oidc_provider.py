"""The real OpenID Provider does what the other tests take for granted."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlencode

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.peers.agent import Departure, Stuck
from tests.peers.oidc_provider import Client, Provider, oidc_provider

CALLBACK = "http://localhost:9/callback"
GOODBYE = "http://localhost:9/goodbye"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def authorization_url(provider: Provider, client: Client, **changes: str | None) -> str:
    parameters = {
        "client_id": client.client_id,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid email profile groups",
        "state": "s",
        "nonce": "n",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{provider.issuer}/auth?{urlencode(given)}"


def redeem(provider: Provider, client: Client, answer: Departure, *, verifier: str = VERIFIER) -> httpx2.Response:
    assert client.client_secret is not None
    form = {
        "grant_type": "authorization_code",
        "code": answer.parameters["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": verifier,
    }
    if client.metadata["token_endpoint_auth_method"] == "client_secret_post":
        form |= {"client_id": client.client_id, "client_secret": client.client_secret}
        return httpx2.post(f"{provider.issuer}/token", data=form, trust_env=False)
    # RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
    halves = (client.client_id, client.client_secret)
    user, password = (urlencode({"": half}).removeprefix("=") for half in halves)
    return httpx2.post(f"{provider.issuer}/token", data=form, auth=(user, password), trust_env=False)


def keys_of(provider: Provider) -> KeySet:
    return KeySet.import_key_set(httpx2.get(f"{provider.issuer}/jwks", trust_env=False).json())


def claims_of(provider: Provider, token: str, algorithm: str = "RS256") -> Mapping[str, object]:
    return jwt.decode(token, keys_of(provider), algorithms=[algorithm]).claims


def sign_in(provider: Provider, client: Client, login: str = "alice", **changes: str | None) -> Departure:
    with provider.agent(login) as agent:
        return agent.visit(authorization_url(provider, client, **changes))


@pytest.fixture(scope="module")
def client(provider: Provider) -> Client:
    return provider.register(client_id="peers-basic", redirect_uris=[CALLBACK], post_logout_redirect_uris=[GOODBYE])


def test_discovery_names_what_the_tests_rely_on(provider: Provider) -> None:
    metadata = httpx2.get(f"{provider.issuer}/.well-known/openid-configuration", trust_env=False).json()
    assert metadata["issuer"] == provider.issuer
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["backchannel_logout_session_supported"] is True
    assert "frontchannel_logout_supported" not in metadata, "for which the older version is there"
    assert {"end_session_endpoint", "pushed_authorization_request_endpoint"} <= metadata.keys()
    assert "form_post" in metadata["response_modes_supported"]
    assert {"client_secret_basic", "client_secret_post", "private_key_jwt"} <= set(
        metadata["token_endpoint_auth_methods_supported"]
    )


def test_the_login_form_leads_to_a_code_with_state_and_issuer(provider: Provider, client: Client) -> None:
    with provider.agent() as agent:
        answer = agent.visit(authorization_url(provider, client))
        assert agent.forms_filled == 1
        again = agent.visit(authorization_url(provider, client))
        assert agent.forms_filled == 1
    assert answer.url.startswith(CALLBACK)
    assert answer.parameters["state"] == "s"
    assert answer.parameters["iss"] == provider.issuer
    assert again.parameters["code"] != answer.parameters["code"]


def test_a_wrong_password_is_refused(provider: Provider, client: Client) -> None:
    with provider.agent(password="wrong") as agent, pytest.raises(Stuck, match=r"401 .* Wrong name or password"):
        agent.visit(authorization_url(provider, client))


def test_an_authorization_request_without_pkce_is_refused(provider: Provider, client: Client) -> None:
    answer = sign_in(provider, client, code_challenge=None, code_challenge_method=None)
    assert answer.parameters["error"] == "invalid_request"


def test_a_wrong_code_verifier_is_refused(provider: Provider, client: Client) -> None:
    response = redeem(provider, client, sign_in(provider, client), verifier="w" * 43)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_the_id_token_carries_the_claims(provider: Provider, client: Client) -> None:
    tokens = redeem(provider, client, sign_in(provider, client)).json()
    claims = claims_of(provider, tokens["id_token"])
    assert (claims["iss"], claims["sub"], claims["aud"], claims["nonce"]) == (
        provider.issuer,
        "alice",
        "peers-basic",
        "n",
    )
    assert (claims["email"], claims["email_verified"]) == ("alice@example.org", True)
    assert claims["groups"] == ["staff", "admins"]


def test_the_claims_can_be_in_userinfo_alone(provider: Provider, client: Client) -> None:
    with provider.claims_only_in("userinfo"):
        tokens = redeem(provider, client, sign_in(provider, client)).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        userinfo = httpx2.get(f"{provider.issuer}/me", headers=bearer, trust_env=False).json()
        assert "email" not in claims_of(provider, tokens["id_token"])
    assert (userinfo["sub"], userinfo["email"]) == ("alice", "alice@example.org")
    tokens = redeem(provider, client, sign_in(provider, client)).json()
    assert "email" in claims_of(provider, tokens["id_token"])


def test_the_claims_of_a_person_can_change(provider: Provider, client: Client) -> None:
    provider.add_user("carol", {"email": "carol@example.org", "email_verified": True})
    before = redeem(provider, client, sign_in(provider, client, "carol")).json()
    provider.add_user("carol", {"email": "carol@example.net", "email_verified": "true"})
    after = redeem(provider, client, sign_in(provider, client, "carol")).json()
    assert claims_of(provider, before["id_token"])["email"] == "carol@example.org"
    assert claims_of(provider, after["id_token"])["email_verified"] == "true"


def test_form_post_answers_with_a_form(provider: Provider, client: Client) -> None:
    answer = sign_in(provider, client, response_mode="form_post")
    assert answer.url == CALLBACK
    assert answer.fields is not None
    assert {"code", "state", "iss"} <= answer.fields.keys()


def test_client_secret_post_and_es256(provider: Provider) -> None:
    client = provider.register(
        client_id="peers-post",
        redirect_uris=[CALLBACK],
        token_endpoint_auth_method="client_secret_post",
        id_token_signed_response_alg="ES256",
    )
    tokens = redeem(provider, client, sign_in(provider, client, "bob")).json()
    assert claims_of(provider, tokens["id_token"], "ES256")["sub"] == "bob"


def test_invalid_client_metadata_is_refused(provider: Provider) -> None:
    with pytest.raises(ValueError, match="redirect_uris"):
        provider.register(client_id="peers-bad", redirect_uris=["not a uri"])


def test_key_rotation_publishes_and_uses_new_keys(provider: Provider, client: Client) -> None:
    old = {key.kid for key in keys_of(provider).keys}
    both = set(provider.rotate_keys())
    assert old < both
    assert {key.kid for key in keys_of(provider).keys} == both
    tokens = redeem(provider, client, sign_in(provider, client)).json()
    header = jwt.decode(tokens["id_token"], keys_of(provider), algorithms=["RS256"]).header
    assert header["kid"] in both - old
    assert both.isdisjoint(provider.rotate_keys(keep_old=False))


@pytest.mark.real
def test_a_stopped_provider_refuses_connections_and_comes_back_the_same() -> None:
    with oidc_provider() as own:
        client = own.register(client_id="peers-again", redirect_uris=[CALLBACK])
        issuer, kids = own.issuer, [key.kid for key in keys_of(own).keys]
        own.stop()
        with pytest.raises(httpx2.ConnectError):
            keys_of(own)
        own.start()
        assert (own.issuer, [key.kid for key in keys_of(own).keys]) == (issuer, kids)
        assert sign_in(own, client).url.startswith(CALLBACK)


def test_the_provider_tells_what_it_was_asked(provider: Provider, client: Client) -> None:
    provider.requests()
    provider.events()
    sign_in(provider, client, code_challenge=None, code_challenge_method=None)
    keys_of(provider)
    assert provider.requests() == ["GET /auth", "GET /jwks"]
    assert [(event.name, event.client) for event in provider.events()] == [("authorization.error", "peers-basic")]


class LogoutListener(HTTPServer):
    """A client's back-channel logout endpoint that keeps the logout tokens it is given."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), LogoutHandler)
        self.received: list[str] = []


class LogoutHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        assert isinstance(self.server, LogoutListener)
        self.server.received += form["logout_token"]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_logout_at_the_provider_tells_the_client_behind_the_browser(provider: Provider) -> None:
    with LogoutListener() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            client = provider.register(
                client_id="peers-logout",
                redirect_uris=[CALLBACK],
                post_logout_redirect_uris=[GOODBYE],
                backchannel_logout_uri=f"http://127.0.0.1:{server.server_port}/",
                backchannel_logout_session_required=True,
            )
            with provider.agent() as agent:
                tokens = redeem(provider, client, agent.visit(authorization_url(provider, client))).json()
                question = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": GOODBYE, "state": "x"}
                gone = agent.visit(f"{provider.issuer}/session/end?{urlencode(question)}")
                silent = agent.visit(authorization_url(provider, client, prompt="none"))
        finally:
            server.shutdown()
    assert gone.url == f"{GOODBYE}?state=x"
    assert silent.parameters["error"] == "login_required"
    logout = claims_of(provider, server.received[0])
    assert logout["sid"] == claims_of(provider, tokens["id_token"])["sid"]


def test_a_person_may_give_up(provider: Provider, client: Client) -> None:
    with provider.agent(press="abort") as agent:
        answer = agent.visit(authorization_url(provider, client))
    assert (answer.parameters["error"], answer.parameters["state"]) == ("access_denied", "s")
