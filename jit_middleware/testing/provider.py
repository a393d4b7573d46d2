"""A small OpenID provider for demos, tests and benchmarks: one WSGI application, no network, no dependency on a clock.

It keeps the rules a relying party leans on: redirect URIs compared byte for byte, PKCE S256 for every client, codes
that work once and for a minute, client authentication, RS256 signatures with a key made for this run, and ``iss`` in
every answer (RFC 9207). It is no place for real people: passwords are plain and shown on the login page.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from jit_middleware.http.messages import Response
from jit_middleware.model import JSON, Claims
from jit_middleware.ports import Clock, TokenSource
from jit_middleware.records import dataclass
from jit_middleware.system import SystemTokens
from jit_middleware.testing import provider_pages as html
from jit_middleware.testing.provider_wire import Call, Refused, basic_credentials, json_answer, oauth_error, text

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

CODE_LIFETIME: Final = 60
TOKEN_LIFETIME: Final = 300
SESSION_COOKIE: Final = "demo_provider_session"

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_T = TypeVar("_T")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class DemoUser:
    """Someone who can sign in. ``subject`` is the ``sub`` claim; ``claims`` are added to ID token and userinfo."""

    subject: str
    username: str
    password: str = field(repr=False)
    claims: Claims = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class DemoClient:
    """A registered relying party. The URIs are compared byte for byte."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _SignOn:
    """A browser that has signed in here."""

    id: str
    user: DemoUser
    at: int


@dataclass(frozen=True, slots=True)
class _Code:
    client: DemoClient
    redirect_uri: str
    challenge: str
    nonce: str | None
    scope: str
    sign_on: _SignOn
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Access:
    user: DemoUser
    expires_at: int


class DemoProvider:
    """An OpenID provider as a WSGI application.

    ``issuer`` is its URL as browsers see it; requests come in below the issuer's path. ``key`` signs the ID tokens and
    is made for this object when left out. State is kept in memory; expired codes and tokens are forgotten. ``issued``
    holds the ID tokens handed out lately, newest last, for whoever wants to check one for themselves.
    """

    def __init__(
        self,
        issuer: str,
        clients: Sequence[DemoClient],
        users: Sequence[DemoUser],
        clock: Clock,
        *,
        tokens: TokenSource | None = None,
        key: RSAKey | None = None,
    ) -> None:
        self.issuer = issuer
        self.users = tuple(users)
        self.issued: deque[str] = deque(maxlen=100)
        self.key = key or RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
        self._clients = {client.client_id: client for client in clients}
        self._users = {user.username: user for user in users}
        self._clock = clock
        self._tokens = tokens or SystemTokens()
        self._lock = threading.Lock()
        self._sign_ons: dict[str, _SignOn] = {}
        self._codes: dict[str, _Code] = {}
        self._spent: dict[str, tuple[str, int]] = {}
        self._access: dict[str, _Access] = {}
        self._routes: Mapping[tuple[str, str], Callable[[Call], Response]] = {
            ("GET", "/.well-known/openid-configuration"): self._discovery,
            ("GET", "/jwks"): self._jwks,
            ("GET", "/authorize"): self._authorize,
            ("POST", "/authorize"): self._authorize,
            ("POST", "/token"): self._token,
            ("GET", "/userinfo"): self._userinfo,
            ("POST", "/userinfo"): self._userinfo,
            ("GET", "/end-session"): self._end_session,
            ("POST", "/end-session"): self._end_session,
            ("GET", "/"): self._home,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response = self._answer(environ)
        headers = [*response.headers, ("Content-Length", str(len(response.body))), ("Cache-Control", "no-store")]
        if not any(name == "Content-Type" for name, _ in headers):
            headers.append(("Content-Type", "text/plain; charset=utf-8"))
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
        return [response.body]

    @property
    def metadata(self) -> dict[str, JSON]:
        """The provider's metadata (OpenID Connect Discovery §3)."""
        base = self.issuer.rstrip("/")
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "jwks_uri": f"{base}/jwks",
            "end_session_endpoint": f"{base}/end-session",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "form_post"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "email", "profile"],
            "authorization_response_iss_parameter_supported": True,
            "prompt_values_supported": ["none", "login"],
        }

    def sign(self, claims: Claims, *, typ: str = "JWT") -> str:
        """Any claims as a JWT of this provider, so that a test can send what an honest provider would not."""
        header = {"alg": "RS256", "kid": self.key.kid, "typ": typ}
        return jwt.encode(header, dict(claims), self.key, algorithms=["RS256"])

    def _answer(self, environ: WSGIEnvironment) -> Response:
        path = text(environ, "PATH_INFO").removeprefix(urlsplit(self.issuer).path.rstrip("/")) or "/"
        method = "GET" if environ["REQUEST_METHOD"] == "HEAD" else str(environ["REQUEST_METHOD"])
        handler = self._routes.get((method, path))
        if handler is None:
            return html.message(404, "Not found", "The demo identity provider has no such page.")
        try:
            return handler(Call.read(environ))
        except Refused as refused:
            return oauth_error(refused)

    # --- authorization endpoint, OpenID Connect Core §3.1.2 ---------------------------------------------------------

    def _authorize(self, call: Call) -> Response:
        # The client and its redirect URI come first: until both are known, nothing may be sent anywhere.
        client = self._clients.get(call.query.get("client_id", ""))
        if client is None:
            return html.message(400, "Unknown application", "No application with this client_id is registered here.")
        redirect_uri = call.query.get("redirect_uri", "")
        if redirect_uri not in client.redirect_uris:
            return html.message(400, "Wrong return address", "This redirect_uri is not registered, byte for byte.")
        try:
            challenge = _challenge(call.query)
            prompt = call.query.get("prompt", "").split()
            sign_on = None if "login" in prompt else self._current(call)
            if call.method == "POST":
                return self._sign_in(call, client, redirect_uri, challenge)
            if sign_on is None or self._too_old(sign_on, call.query):
                if "none" in prompt:
                    raise Refused("login_required", "nobody is signed in")
                return html.login(self.users, client.client_id)
            return self._grant(call, client, redirect_uri, challenge, sign_on)
        except Refused as refused:
            answer = {"error": refused.code, "error_description": refused.description}
            return self._send_back(call, redirect_uri, answer)

    def _sign_in(self, call: Call, client: DemoClient, redirect_uri: str, challenge: str) -> Response:
        user = self._users.get(call.form.get("username", ""))
        if user is None or not _same(user.password, call.form.get("password", "")):
            return html.login(self.users, client.client_id, failed=True)
        sign_on = _SignOn(self._tokens(), user, self._clock.now())
        with self._lock:
            self._sign_ons[sign_on.id] = sign_on
        response = self._grant(call, client, redirect_uri, challenge, sign_on)
        cookie = f"{SESSION_COOKIE}={sign_on.id}; Path=/; HttpOnly; SameSite=Lax"
        return Response(response.status, [*response.headers, ("Set-Cookie", cookie)], response.body)

    def _grant(self, call: Call, client: DemoClient, redirect_uri: str, challenge: str, sign_on: _SignOn) -> Response:
        now = self._clock.now()
        nonce, scope = call.query.get("nonce"), call.query["scope"]
        code = self._tokens()
        with self._lock:
            _forget(self._codes, lambda old: old.expires_at <= now)
            self._codes[code] = _Code(client, redirect_uri, challenge, nonce, scope, sign_on, now + CODE_LIFETIME)
        return self._send_back(call, redirect_uri, {"code": code})

    def _send_back(self, call: Call, redirect_uri: str, answer: Mapping[str, str]) -> Response:
        fields = {**answer, "iss": self.issuer}
        if "state" in call.query:
            fields["state"] = call.query["state"]
        if call.query.get("response_mode") == "form_post":
            return html.form_post(redirect_uri, fields)
        join = "&" if urlsplit(redirect_uri).query else "?"
        return Response(303, [("Location", f"{redirect_uri}{join}{urlencode(fields)}")])

    def _current(self, call: Call) -> _SignOn | None:
        return self._sign_ons.get(call.cookies.get(SESSION_COOKIE, ""))

    def _too_old(self, sign_on: _SignOn, query: Mapping[str, str]) -> bool:
        limit = query.get("max_age", "")
        return limit.isdecimal() and self._clock.now() - sign_on.at > int(limit)

    # --- token endpoint, OpenID Connect Core §3.1.3 -----------------------------------------------------------------

    def _token(self, call: Call) -> Response:
        client = self._authenticate(call)
        if call.form.get("grant_type") != "authorization_code":
            raise Refused("unsupported_grant_type", "only authorization_code is served")
        now = self._clock.now()
        code, access_token = call.form.get("code", ""), self._tokens()
        with self._lock:
            grant = self._codes.pop(code, None)
            spent = self._spent.get(code)
            if grant is not None:
                _forget(self._spent, lambda old: old[1] <= now)
                self._spent[code] = (access_token, now + TOKEN_LIFETIME)
            elif spent is not None:
                # RFC 6749 §4.1.2: a code used twice is a code stolen; what it gave is taken back.
                self._access.pop(spent[0], None)
        if grant is None or grant.expires_at <= now or grant.client != client:
            raise Refused("invalid_grant", "the code is unknown, used, expired or another client's")
        if call.form.get("redirect_uri") != grant.redirect_uri:
            raise Refused("invalid_grant", "the redirect_uri is not the one of the authorization request")
        verifier = call.form.get("code_verifier", "")
        if not _VERIFIER.fullmatch(verifier) or not _same(_base64url(_sha256(verifier)), grant.challenge):
            raise Refused("invalid_grant", "the code_verifier does not fit the code_challenge")
        with self._lock:
            _forget(self._access, lambda old: old.expires_at <= now)
            self._access[access_token] = _Access(grant.sign_on.user, now + TOKEN_LIFETIME)
        id_token = self.sign(self._claims(grant, access_token, now))
        self.issued.append(id_token)
        return json_answer(
            {
                "access_token": access_token,
                "token_type": "Bearer",
                "expires_in": TOKEN_LIFETIME,
                "scope": grant.scope,
                "id_token": id_token,
            }
        )

    def _claims(self, grant: _Code, access_token: str, now: int) -> dict[str, JSON]:
        claims: dict[str, JSON] = {
            **self._about(grant.sign_on.user),
            "iss": self.issuer,
            "aud": grant.client.client_id,
            "iat": now,
            "exp": now + TOKEN_LIFETIME,
            "auth_time": grant.sign_on.at,
            "amr": ["pwd"],
            "sid": hashlib.sha256(grant.sign_on.id.encode()).hexdigest()[:32],
            "at_hash": _base64url(_sha256(access_token)[:16]),
        }
        return claims if grant.nonce is None else {**claims, "nonce": grant.nonce}

    def _authenticate(self, call: Call) -> DemoClient:
        basic = call.authorization.partition(" ")
        if basic[0].lower() == "basic":
            if "client_secret" in call.form:
                raise Refused("invalid_request", "the client authenticates in two ways at once")
            client_id, secret = basic_credentials(basic[2])
        else:
            client_id, secret = call.form.get("client_id", ""), call.form.get("client_secret", "")
        client = self._clients.get(client_id)
        if client is None or not _same(client.client_secret, secret):
            raise Refused("invalid_client", "client authentication failed", 401)
        return client

    # --- the other endpoints ----------------------------------------------------------------------------------------

    def _userinfo(self, call: Call) -> Response:
        scheme, _, token = call.authorization.partition(" ")
        access = self._access.get(token) if scheme.lower() == "bearer" else None
        if access is None or access.expires_at <= self._clock.now():
            raise Refused("invalid_token", "the access token is unknown or expired", 401)
        return json_answer(self._about(access.user))

    def _end_session(self, call: Call) -> Response:
        """RP-Initiated Logout §2: at once with an ID token of ours as hint, after a question without one."""
        asked = {**call.query, **call.form}
        client = self._hinted(asked.get("id_token_hint", ""))
        if client is None and not (call.method == "POST" and "confirmed" in call.form):
            return html.confirm_logout(asked)
        with self._lock:
            self._sign_ons.pop(call.cookies.get(SESSION_COOKIE, ""), None)
        gone = ("Set-Cookie", f"{SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
        target = asked.get("post_logout_redirect_uri", "")
        if client is None or target not in client.post_logout_redirect_uris:
            page = html.message(200, "Signed out", "You are signed out at the demo identity provider.")
            return Response(200, [*page.headers, gone], page.body)
        state = f"{'&' if '?' in target else '?'}{urlencode({'state': asked['state']})}" if "state" in asked else ""
        return Response(303, [("Location", target + state), gone])

    def _hinted(self, token: str) -> DemoClient | None:
        try:
            claims = jwt.decode(token, self.key, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return None
        audience: object = claims.get("aud")
        return self._clients.get(audience) if isinstance(audience, str) else None

    def _discovery(self, _: Call) -> Response:
        return json_answer(self.metadata)

    def _jwks(self, _: Call) -> Response:
        return json_answer({**KeySet([self.key]).as_dict(private=False)})

    def _home(self, _: Call) -> Response:
        return html.home(f"{self.issuer.rstrip('/')}/end-session")

    @staticmethod
    def _about(user: DemoUser) -> dict[str, JSON]:
        return {"preferred_username": user.username, **user.claims, "sub": user.subject}


def _challenge(query: Mapping[str, str]) -> str:
    """The PKCE challenge of a request that is otherwise in order (RFC 7636 §4.4.1)."""
    if query.get("response_type") != "code":
        raise Refused("unsupported_response_type", "only the code flow is served")
    if "openid" not in query.get("scope", "").split():
        raise Refused("invalid_scope", "the scope must hold openid")
    challenge = query.get("code_challenge", "")
    if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise Refused("invalid_request", "a code_challenge with the method S256 is required")
    return challenge


def _forget(entries: dict[str, _T], expired: Callable[[_T], bool]) -> None:
    """Drop what has expired: entries are in the order of their expiry."""
    while entries:
        oldest = next(iter(entries))
        if not expired(entries[oldest]):
            return
        del entries[oldest]


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
