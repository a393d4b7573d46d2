"""An OpenID provider in memory: a Transport that answers as scripted and mints its tokens with joserfc."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Fetched
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.oidc import OIDCStrategy
from jit_middleware.sso.strategy import LoginState

ISSUER = "https://op.example"
CLIENT = "client-1"
REDIRECT = "https://app.example/_jit/callback/oidc"
NOW = 1_800_000_000

RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig", "alg": "RS256"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed", "use": "sig"})
ED448 = OKPKey.generate_key("Ed448", {"kid": "ed448", "use": "sig"})


def b64(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def public(key, **changes):
    jwk = key.as_dict(private=False) | changes
    return {name: value for name, value in jwk.items() if value is not None}


class FakeClock:
    def __init__(self):
        self.wall = NOW
        self.mono = 5000.0

    def now(self):
        return self.wall

    def monotonic(self):
        return self.mono

    def pass_(self, seconds):
        self.wall += int(seconds)
        self.mono += seconds


def counting_tokens():
    count = 0

    def tokens(bytes_of_entropy=32):
        nonlocal count
        count += 1
        return f"token-{bytes_of_entropy}-{count}"

    return tokens


class NoLocks:
    def __call__(self):
        class Lock:
            async def __aenter__(self):
                return None

            async def __aexit__(self, *_):
                return None

        return Lock()


def metadata(**changes):
    document = {
        "issuer": ISSUER,
        "authorization_endpoint": ISSUER + "/auth?tenant=a%20b",
        "token_endpoint": ISSUER + "/token",
        "jwks_uri": ISSUER + "/jwks",
        "userinfo_endpoint": ISSUER + "/userinfo",
        "end_session_endpoint": ISSUER + "/logout",
        "id_token_signing_alg_values_supported": ["RS256", "none", "HS256"],
        "response_types_supported": ["code"],
        "unknown_extra": {"deep": [1, 2]},
    } | changes
    return {name: value for name, value in document.items() if value is not ...}


def sign(claims, key=RSA, header=None, alg=None):
    """A compact JWS of any claims (a dict, text or bytes) under any header."""
    alg = alg or {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[key.key_type]
    header = {"alg": alg, **({"kid": key.kid} if header is None else header)}
    header = {name: value for name, value in header.items() if value is not ...}
    payload = json.dumps(claims).encode() if isinstance(claims, dict) else claims
    payload = payload.encode() if isinstance(payload, str) else payload
    signing_input = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    signature = jws.JWSRegistry.algorithms[alg].sign(signing_input.encode(), key)
    return f"{signing_input}.{b64(signature)}"


@dataclass
class Provider:
    """Answers by path. ``replies`` override a path's answer: a Fetched, an exception, or a function of the request."""

    document: dict = field(default_factory=metadata)
    keys: list = field(default_factory=lambda: [public(RSA), public(EC), public(ED)])
    token_answer: dict = field(default_factory=dict)
    userinfo: dict = field(default_factory=dict)
    replies: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    id_token: str = ""

    async def fetch(self, request):
        self.requests.append(request)
        path = urlsplit(request.url).path
        reply = self.replies.get(path)
        if isinstance(reply, BaseException):
            raise reply
        if callable(reply):
            reply = reply(request)
        if reply is not None:
            return reply
        match path:
            case "/.well-known/openid-configuration":
                return answer(self.document)
            case "/jwks":
                return answer({"keys": self.keys})
            case "/token":
                return answer(
                    {"access_token": "at-1", "token_type": "Bearer", "id_token": self.id_token} | self.token_answer
                )
            case "/userinfo":
                return answer(self.userinfo)
        raise ProviderUnavailable("unreachable", path)

    async def close(self):
        pass

    def asked(self, path):
        return sum(1 for request in self.requests if urlsplit(request.url).path == path)

    def form(self, path="/token"):
        [request] = [request for request in self.requests if urlsplit(request.url).path == path]
        return dict(parse_qsl(request.body.decode(), keep_blank_values=True))


def answer(document, status=200, **headers):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Fetched(status, {"content-type": "application/json; charset=utf-8"} | headers, body)


LOGIN = LoginState(
    connection="oidc",
    state="state-1.0",
    nonce="nonce-1",
    code_verifier="v" * 64,
    target="/",
    created_at=NOW - 30,
)


def claims(**changes):
    every = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "subject-1",
        "nonce": LOGIN.nonce,
        "iat": NOW,
        "exp": NOW + 300,
    } | changes
    return {name: value for name, value in every.items() if value is not ...}


def connection(**changes):
    settings = {"name": "oidc", "issuer": ISSUER, "client_id": CLIENT, "client_secret": "s3cret"} | changes
    return OIDCConnection(**settings)


def step(coroutine):
    """Run to the end in one step, as WSGI does: a coroutine that waits for anything fails here."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("the coroutine waited")


class Story:
    """One connection with its provider, and a login to drive through both."""

    def __init__(self, provider=None, clock=None, **settings):
        self.provider = provider or Provider()
        self.clock = clock or FakeClock()
        self.strategy = OIDCStrategy(
            connection(**settings),
            redirect_uri=REDIRECT,
            transport=self.provider,
            clock=self.clock,
            tokens=counting_tokens(),
            locks=NoLocks(),
        )

    def begin(self, login=LOGIN):
        return step(self.strategy.request_phase(login))

    def finish(self, id_token=None, login=LOGIN, **parameters):
        if id_token is not None:
            self.provider.id_token = id_token
        given = {"state": login.state, "code": "code-1"} | parameters
        given = {name: value for name, value in given.items() if value is not ...}
        return step(self.strategy.callback_phase(given, login))

    def login(self, **changes):
        """Finish with an ID token of these claims, properly signed."""
        return self.finish(sign(claims(**changes)))
