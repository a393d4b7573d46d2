"""An OpenID provider on a real loopback socket: honest until it is bent.

Each thing it says passes through hooks that a case may add: what it publishes, what it sends through the browser, what
its token endpoint answers, each part of the ID token, userinfo, and the bytes on the wire. What stays unbent is checked
as strictly as a conformance suite does: every fault of the relying party is noted in ``complaints``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwt

from tests.adversarial import keys
from tests.adversarial.wire import Asked, Reply, Wire

Endpoint = Literal["discovery", "jwks", "token", "userinfo", "par"]
Document = dict[str, Any]

PERSON: Document = {
    "sub": "subject-of-ada",
    "preferred_username": "ada",
    "name": "Ada Quill",
    "email": "ada.quill@people.example",
    "email_verified": True,
    "groups": ["staff"],
}
CLIENT_ID = "client-of-the-tests"
OTHER_CLIENT = "client-of-somebody-else"


@dataclass(frozen=True, slots=True)
class SentBack:
    """The authorization response as the browser is to carry it."""

    mode: str
    url: str
    parameters: list[tuple[str, str]]

    def get(self, name: str) -> str:
        return dict(self.parameters)[name]

    @property
    def query_url(self) -> str:
        return f"{self.url}?{urlencode(self.parameters)}"


@dataclass(slots=True)
class Code:
    """What a code stands for."""

    request: Mapping[str, str]
    used: bool = False


@dataclass
class HostileProvider:
    """One issuer on the wire. The lists are hooks, applied in order; each may change what it is given in place."""

    wire: Wire
    name: str
    trailing_slash: bool = False
    person: Document = field(default_factory=lambda: dict(PERSON))
    algorithm: str = "RS256"
    signing_key: keys.Key = field(default_factory=keys.rsa)
    published: list[Document] = field(default_factory=list)
    claims_in: Literal["id_token", "userinfo"] = "id_token"
    client_auth: str = "client_secret_basic"
    client_secret: str = field(default_factory=lambda: f"client-secret/{secrets.token_urlsafe(16)}+~")
    client_key: Any = None
    careless: bool = False  # takes a code twice and without the verifier that belongs to it

    on_discovery: list[Callable[[Document], None]] = field(default_factory=list)
    on_jwks: list[Callable[[Document], None]] = field(default_factory=list)
    on_answer: list[Callable[[list[tuple[str, str]]], None]] = field(default_factory=list)
    on_header: list[Callable[[Document], None]] = field(default_factory=list)
    on_claims: list[Callable[[Document], None]] = field(default_factory=list)
    on_payload: list[Callable[[bytes], bytes]] = field(default_factory=list)
    on_id_token: list[Callable[[str], str]] = field(default_factory=list)
    on_tokens: list[Callable[[Document], None]] = field(default_factory=list)
    on_userinfo: list[Callable[[Document], None]] = field(default_factory=list)
    on_reply: dict[Endpoint, list[Callable[[Reply], Reply]]] = field(default_factory=dict)

    calls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    codes: dict[str, Code] = field(default_factory=dict)
    pushed: dict[str, Mapping[str, str]] = field(default_factory=dict)
    tokens: dict[str, Document] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    rotates: bool = True
    on_refresh: list[Callable[[Document], None]] = field(default_factory=list)
    refresh_tokens: dict[str, bool] = field(default_factory=dict)  # whether it was used up

    def __post_init__(self) -> None:
        base = self.wire.mount(self.name, self.reply)
        self.base = base
        self.issuer = f"{base}/" if self.trailing_slash else base
        self.published = self.published or [keys.public(self.signing_key)]
        self.made.add(self.client_secret)

    # --- what it publishes --------------------------------------------------------------------------------------

    def discovery(self) -> Document:
        document: Document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "userinfo_endpoint": f"{self.base}/userinfo",
            "jwks_uri": f"{self.base}/jwks",
            "end_session_endpoint": f"{self.base}/end-session",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "token_endpoint_auth_methods_supported": [self.client_auth],
            "authorization_response_iss_parameter_supported": True,
        }
        for hook in self.on_discovery:
            hook(document)
        return keys.without(document)

    # --- through the browser ------------------------------------------------------------------------------------

    def authorize(self, url: str) -> SentBack:
        """The person signs in here: what a login URL of the relying party leads to."""
        query = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
        request = dict(query)
        self._expect(len(request) == len(query), "a parameter of the authorization request is repeated")
        if "request_uri" in request:
            self._expect(set(request) == {"client_id", "request_uri"}, "more than the reference to a pushed request")
            request = dict(self.pushed.pop(request["request_uri"]))
        self._expect(request.get("client_id") == CLIENT_ID, "client_id")
        self._expect(request.get("response_type") == "code", "response_type")
        self._expect("openid" in request.get("scope", "").split(), "scope without openid")
        self._expect(request.get("code_challenge_method") == "S256", "no PKCE")
        self._expect(len(request.get("state", "")) >= 22 and len(request.get("nonce", "")) >= 22, "short secrets")
        self.made.update(request[name] for name in ("state", "nonce", "code_challenge") if name in request)
        code = f"code-{secrets.token_urlsafe(24)}"
        self.made.add(code)
        self.codes[code] = Code(request)
        answer = [("code", code), ("state", request.get("state", "")), ("iss", self.issuer)]
        for hook in self.on_answer:
            hook(answer)
        return SentBack(request.get("response_mode", "query"), request.get("redirect_uri", ""), answer)

    # --- on the wire --------------------------------------------------------------------------------------------

    def reply(self, asked: Asked) -> Reply:
        """The answer to a request of the relying party."""
        path = asked.path.removeprefix(f"/{self.name}")
        endpoint: Endpoint
        match path:
            case "/.well-known/openid-configuration":
                endpoint, document = "discovery", self.discovery()
            case "/token":
                endpoint, document = "token", self._token(asked)
            case "/userinfo":
                endpoint, document = "userinfo", self._userinfo(asked)
            case "/par":
                endpoint, document = "par", self._par(asked)
            case _ if path.startswith("/jwks"):
                endpoint, document = "jwks", {"keys": list(self.published)}
                for hook in self.on_jwks:
                    hook(document)
            case _:
                self.calls.append(path)
                return Reply(404, b"{}")
        self.calls.append(endpoint)
        self._expect("?" not in asked.target or endpoint == "jwks", "a query on a back-channel request")
        status = 400 if "error" in document else 201 if endpoint == "par" else 200
        reply = Reply(status, json.dumps(document).encode())
        for bend in self.on_reply.get(endpoint, []):
            reply = bend(reply)
        return reply

    def _token(self, asked: Asked) -> Document:
        form = dict(asked.form)
        self._expect(len(form) == len(asked.form), "a parameter of the token request is repeated")
        self._authenticate(asked, form)
        if form.get("grant_type") == "refresh_token":
            return self._refresh(form.get("refresh_token", ""))
        code = self.codes.get(form.get("code", ""))
        if code is None or (code.used and not self.careless):
            self._expect(code is None, "a code is sent twice")
            return {"error": "invalid_grant"}
        code.used = True
        verifier = form.get("code_verifier", "")
        self.made.add(verifier)
        challenge = keys.b64(hashlib.sha256(verifier.encode()).digest())
        self._expect(form.get("grant_type") == "authorization_code", "grant_type")
        self._expect(form.get("redirect_uri") == code.request["redirect_uri"], "redirect_uri differs")
        if challenge != code.request["code_challenge"] and not self.careless:
            return {"error": "invalid_grant", "error_description": "PKCE"}
        access_token = f"access-{secrets.token_urlsafe(24)}"
        document: Document = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "refresh_token": f"refresh-{secrets.token_urlsafe(24)}",
            "id_token": self.id_token(code.request, form["code"], access_token),
        }
        for hook in self.on_tokens:
            hook(document)
        document = keys.without(document)
        self.made.update(value for value in document.values() if isinstance(value, str) and len(value) > 12)
        if isinstance(document.get("refresh_token"), str):
            self.refresh_tokens[document["refresh_token"]] = False
        if isinstance(document.get("access_token"), str):
            self.tokens[document["access_token"]] = self.person
        return document

    def _refresh(self, token: str) -> Document:
        used_up = self.refresh_tokens.get(token)
        self._expect(used_up is False, "a refresh token that is not the present one")
        document: Document = {
            "access_token": f"access-{secrets.token_urlsafe(24)}",
            "token_type": "Bearer",
            "expires_in": 300,
        }
        if self.rotates:
            self.refresh_tokens[token] = True
            document["refresh_token"] = f"refresh-{secrets.token_urlsafe(24)}"
        for hook in self.on_refresh:
            hook(document)
        document = keys.without(document)
        self.made.update(value for value in document.values() if isinstance(value, str) and len(value) > 12)
        if isinstance(document.get("refresh_token"), str):
            self.refresh_tokens[document["refresh_token"]] = False
        return document

    def id_token(self, request: Mapping[str, str], code: str, access_token: str) -> str:
        now = int(time.time())
        claims: Document = {
            "iss": self.issuer,
            "sub": self.person["sub"],
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": request.get("nonce"),
            "at_hash": keys.half_hash(access_token, self.algorithm),
        }
        if self.claims_in == "id_token":
            claims = {**self.person, **claims}
        header: Document = {"alg": self.algorithm, "kid": self.signing_key.kid, "typ": "JWT"}
        for bend in self.on_claims:
            bend(claims)
        for bend in self.on_header:
            bend(header)
        payload = json.dumps(keys.without(claims)).encode()
        for rewrite in self.on_payload:
            payload = rewrite(payload)
        token = keys.compact(keys.without(header), payload, self.signing_key, self.algorithm)
        for change in self.on_id_token:
            token = change(token)
        self.made.add(token)
        return token

    def _userinfo(self, asked: Asked) -> Document:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        self._expect(scheme == "Bearer" and token in self.tokens, "userinfo without the access token")
        document = dict(self.person)
        for hook in self.on_userinfo:
            hook(document)
        return keys.without(document)

    def _par(self, asked: Asked) -> Document:
        form = dict(asked.form)
        self._authenticate(asked, form)
        reference = f"urn:ietf:params:oauth:request_uri:{secrets.token_urlsafe(16)}"
        self.pushed[reference] = form
        return {"request_uri": reference, "expires_in": 60}

    def _authenticate(self, asked: Asked, form: Mapping[str, str]) -> None:
        """The client proves itself in the one way it is registered for."""
        scheme, _, credentials = asked.headers.get("authorization", "").partition(" ")
        match self.client_auth:
            case "client_secret_basic":
                pair = base64.b64decode(credentials).decode().split(":") if scheme == "Basic" else []
                self.made.add(credentials)
                given = [unquote_plus(part) for part in pair]
                self._expect(given == [CLIENT_ID, self.client_secret], "client_secret_basic")
                self._expect("client_secret" not in form, "two ways of client authentication")
            case "client_secret_post":
                self._expect(form.get("client_secret") == self.client_secret, "client_secret_post")
                self._expect(not scheme, "two ways of client authentication")
            case _:
                self.made.add(form.get("client_assertion", ""))
                claims = jwt.decode(form.get("client_assertion", ""), self.client_key, algorithms=["ES256"]).claims
                # CVE-2025-27370: the issuer alone is the audience.
                self._expect(claims["aud"] == self.issuer, "audience of the client assertion")
                self._expect(claims["iss"] == claims["sub"] == CLIENT_ID and bool(claims["jti"]), "client assertion")

    def _expect(self, holds: bool, complaint: str) -> None:
        if not holds:
            self.complaints.append(complaint)
