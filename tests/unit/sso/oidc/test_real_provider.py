"""The strategy over the real transports against a real OpenID provider (npm oidc-provider)."""

from __future__ import annotations

import asyncio
import json
import secrets
import time

import pytest
from joserfc.jwk import ECKey

from jit_middleware.cli.live import check_connection
from jit_middleware.cli.step import Step
from jit_middleware.errors import ClientRefused, ProviderRefused, ProviderUnavailable, VerificationError
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.oidc import OIDCStrategy
from jit_middleware.sso.strategy import LoginState
from jit_middleware.transport import AsyncTransport, SyncTransport
from tests.peers.oidc_provider import Provider
from tests.unit.sso.oidc.provider import NoLocks, step

CALLBACK = "http://localhost:9/callback"
OWN_KEY = ECKey.generate_key("P-256", {"kid": "own", "use": "sig", "alg": "ES256"})
HERE = {"127.0.0.1", "localhost"}


class RealClock:
    def now(self):
        return int(time.time())

    def monotonic(self):
        return time.monotonic()


@pytest.fixture(params=[SyncTransport, AsyncTransport], ids=["threads", "event loop"])
def world(request):
    loop = asyncio.new_event_loop()
    transport = request.param(RealClock(), insecure_hosts=HERE, private_hosts=HERE)
    run = step if request.param is SyncTransport else loop.run_until_complete
    yield transport, run
    run(transport.close())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


class Login:
    def __init__(self, world, provider, client, **settings):
        transport, self.run = world
        self.provider = provider
        given = {
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "needed_claims": ("email", "groups"),
        } | settings
        connection = OIDCConnection("oidc", provider.issuer, scopes=("openid", "email", "profile", "groups"), **given)
        self.strategy = OIDCStrategy(
            connection,
            redirect_uri=CALLBACK,
            transport=transport,
            clock=RealClock(),
            tokens=secrets.token_urlsafe,
            locks=NoLocks(),
        )

    def state(self):
        return LoginState(
            "oidc", *(secrets.token_urlsafe(24) for _ in range(2)), secrets.token_urlsafe(48), "/", int(time.time())
        )

    def begin(self, login):
        with self.provider.agent() as agent:
            return dict(agent.visit(self.run(self.strategy.request_phase(login))).parameters)

    def finish(self, answer, login):
        return self.run(self.strategy.callback_phase(answer, login))

    def whole(self):
        login = self.state()
        return self.finish(self.begin(login), login)


def register(provider: Provider, name: str, **metadata):
    return provider.register(client_id=name, redirect_uris=[CALLBACK], **metadata)


METHODS = [
    ({"token_endpoint_auth_method": "client_secret_basic"}, {"client_auth": "client_secret_basic"}),
    ({"token_endpoint_auth_method": "client_secret_post"}, {"client_auth": "client_secret_post"}),
    ({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [OWN_KEY.as_dict(private=False)]}}, {"private_key": json.dumps(OWN_KEY.as_dict(private=True))}),
    ({"id_token_signed_response_alg": "ES256"}, {}),
    ({"require_pushed_authorization_requests": True}, None),
    ({}, {"response_mode": "form_post"}),
    ({}, {"max_age": 600, "prompt": "login"}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(METHODS)))
def test_login(provider: Provider, world, number):
    metadata, settings = METHODS[number]
    client = register(provider, f"strategy-{number}-{secrets.token_hex(3)}", **metadata)
    if settings is None:
        login = Login(world, provider, client)
        answer = login.begin(state := login.state())
        with pytest.raises(ProviderRefused):  # this provider demands pushing of the client, not in its metadata
            login.finish(answer, state)
        return
    login = Login(world, provider, client, **settings)
    identity = login.whole()
    assert (identity.issuer, identity.subject, identity.email, identity.email_verified) == (
        provider.issuer,
        "alice",
        "alice@example.org",
        True,
    )
    assert identity.claims["groups"] == ["staff", "admins"]


def test_claims_from_userinfo_alone(provider: Provider, world):
    login = Login(world, provider, register(provider, f"userinfo-{secrets.token_hex(3)}"))
    with provider.claims_only_in("userinfo"):
        assert login.whole().email == "alice@example.org"


def test_login_goes_on_when_the_keys_change(provider: Provider, world):
    login = Login(world, provider, register(provider, f"rotate-{secrets.token_hex(3)}"))
    login.whole()
    provider.rotate_keys()
    assert login.whole().subject == "alice"


def test_code_of_one_login_is_worth_nothing_in_another(provider: Provider, world):
    login = Login(world, provider, register(provider, f"swap-{secrets.token_hex(3)}"))
    mine, other = login.state(), login.state()
    stolen = login.begin(other) | {"state": mine.state}
    with pytest.raises(ProviderRefused, match="invalid_grant"):  # PKCE
        login.finish(stolen, mine)
    answer = login.begin(mine)
    with pytest.raises(VerificationError, match="state_mismatch"):
        login.finish(answer, other)
    with pytest.raises(VerificationError, match="response_iss_missing"):
        login.finish({name: value for name, value in answer.items() if name != "iss"}, mine)
    assert login.finish(answer, mine).subject == "alice"
    with pytest.raises(ProviderRefused, match="invalid_grant"):
        login.finish(answer, mine)


def test_wrong_secret_is_named(provider: Provider, world):
    client = register(provider, f"secret-{secrets.token_hex(3)}")
    with pytest.raises(ClientRefused, match="invalid_client") as refused:
        Login(world, provider, client, client_secret="wrong").whole()
    assert refused.value.detail == (
        "the provider does not accept JIT_OIDC_CLIENT_ID or JIT_OIDC_CLIENT_SECRET (connection oidc)"
    )


def test_made_up_code_tells_a_right_secret_from_a_wrong_one(provider: Provider, world):
    transport, run = world
    client = register(provider, f"live-{secrets.token_hex(3)}")

    def tried(**settings) -> Step:
        given = {"client_id": client.client_id, "client_secret": client.client_secret} | settings
        asking = check_connection(
            OIDCConnection("oidc", provider.issuer, **given),
            transport=transport,
            clock=RealClock(),
            redirect_uri=CALLBACK,
        )
        return {step.name: step for step in run(asking)}["oidc client"]

    right = tried()
    assert (right.ok, "invalid_grant" in right.detail) == (True, True)
    for settings in ({"client_secret": "wrong"}, {"client_id": "nobody"}):
        wrong = tried(**settings)
        assert (wrong.ok, "invalid_client" in wrong.detail) == (False, True)
        assert "JIT_OIDC_CLIENT_ID or JIT_OIDC_CLIENT_SECRET" in wrong.fix


def test_issuer_with_a_slash_more_is_another_issuer(provider: Provider, world):
    client = register(provider, f"slash-{secrets.token_hex(3)}")
    login = Login(world, provider, client)
    connection = OIDCConnection("oidc", provider.issuer + "/", client.client_id, client.client_secret)
    strategy = OIDCStrategy(
        connection,
        redirect_uri=CALLBACK,
        transport=world[0],
        clock=RealClock(),
        tokens=secrets.token_urlsafe,
        locks=NoLocks(),
    )
    with pytest.raises((VerificationError, ProviderUnavailable), match="metadata_issuer_mismatch"):
        world[1](strategy.request_phase(login.state()))
