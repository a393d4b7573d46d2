"""A transmitter of security events (SSF 1.0, CAEP, RISC) and of global token revocations, with its keys on a real socket.

It signs what it is told to, and delivers nothing: a test carries it to the endpoint, as it would arrive.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from joserfc import jwt
from joserfc.jwk import RSAKey

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"


class _KeyServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, keys: Callable[[], bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _KeyHandler)
        self.keys = keys


class _KeyHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _KeyServer)
        body = self.server.keys()
        self.send_response(200 if self.path == "/keys" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the console is the tests'."""


#: Keys of transmitters that are gone: to make one takes 50 ms. No two have the same at the same time.
_left: list[RSAKey] = []


def _new_key() -> RSAKey:
    if _left:
        return _left.pop()
    return RSAKey.generate_key(2048, {"kid": f"signals-{uuid.uuid4()}", "alg": "RS256", "use": "sig"})


class Transmitter:
    """One issuer of signals; use it as a context manager. ``now`` is the clock that its tokens tell."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.key = _new_key()
        self._had = [self.key]
        self.asked_for_keys = 0
        self._server = _KeyServer(self._keys)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self.jwks_uri = f"{self.issuer}/keys"

    def __enter__(self) -> Self:
        serve = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        serve.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        _left.extend(self._had)

    def change_key(self) -> None:
        """The only key is another one from now on."""
        self.key = _new_key()
        self._had.append(self.key)

    def _keys(self) -> bytes:
        self.asked_for_keys += 1
        return json.dumps({"keys": [self.key.as_dict(private=False)]}).encode()

    def event(self, audience: str, event: str, sub_id: object = None, said: object = None, **changes: object) -> str:
        """A security event token; a change to ``...`` leaves a claim out."""
        claims: dict[str, object] = {
            "iss": self.issuer,
            "aud": audience,
            "iat": self.now(),
            "jti": uuid.uuid4().hex,
            "sub_id": ... if sub_id is None else sub_id,
            "events": {event: {"event_timestamp": self.now()} if said is None else said},
        }
        return self.sign({**claims, **changes}, typ="secevent+jwt")

    def revocation(self, audience: str, **changes: object) -> str:
        """The bearer token of a global token revocation, as Okta makes it."""
        now = self.now()
        claims: dict[str, object] = {
            "iss": self.issuer,
            "aud": audience,
            "iat": now,
            "nbf": now - 300,
            "exp": now + 300,
            "jti": uuid.uuid4().hex,
        }
        return self.sign({**claims, **changes}, typ="global-token-revocation+jwt")

    def sign(self, claims: Mapping[str, object], *, typ: str) -> str:
        """Any claims, under any type."""
        header = {"alg": "RS256", "kid": self.key.kid, "typ": typ}
        kept = {name: value for name, value in claims.items() if value is not ...}
        return jwt.encode(header, kept, self.key, algorithms=["RS256"])
