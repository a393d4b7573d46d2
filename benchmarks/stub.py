"""An OpenID provider for the login benchmark, in a process of its own: lean, so that it does not hide what is measured.

It keeps nothing: the code it is asked to redeem says who signed in and with which nonce, and so does the access token.
``python -m benchmarks.stub CLIENT_ID`` prints its issuer and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256


def code_for(subject: str, nonce: str) -> str:
    """The code that a person who signed in as ``subject`` brings back."""
    return _base64(json.dumps([subject, nonce]).encode())


class Provider:
    """Answers the four requests that a relying party's server makes."""

    def __init__(self, client_id: str) -> None:
        self.issuer = ""
        self._client_id = client_id
        self._key = rsa.generate_private_key(65537, 2048)
        self._head = _base64(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "bench"}).encode())
        self._routes: dict[str, Callable[[str, str], dict[str, object]]] = {
            "/.well-known/openid-configuration": self._metadata,
            "/jwks": self._jwks,
            "/token": self._token,
            "/userinfo": self._userinfo,
        }

    def answer(self, path: str, authorization: str, body: str) -> tuple[int, dict[str, object]]:
        route = self._routes.get(path)
        return (404, {"error": "not_found"}) if route is None else (200, route(authorization, body))

    def _metadata(self, _authorization: str, _body: str) -> dict[str, object]:
        base = self.issuer
        return {
            "issuer": base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "userinfo_endpoint": f"{base}/userinfo",
            "jwks_uri": f"{base}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
        }

    def _jwks(self, _authorization: str, _body: str) -> dict[str, object]:
        numbers = self._key.public_key().public_numbers()
        modulus = _base64(numbers.n.to_bytes(256, "big"))
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench", "n": modulus, "e": "AQAB"}]}

    def _token(self, _authorization: str, body: str) -> dict[str, object]:
        code = parse_qs(body)["code"][0]
        subject, nonce = json.loads(_unbase64(code))
        now = int(time.time())
        claims: dict[str, object] = {
            **_about(subject),
            "iss": self.issuer,
            "aud": self._client_id,
            "iat": now,
            "exp": now + 3600,
            "auth_time": now,
            "nonce": nonce,
            "sid": f"sid-{subject}",
            "at_hash": _base64(hashlib.sha256(subject.encode()).digest()[:16]),
        }
        return {"access_token": subject, "token_type": "Bearer", "expires_in": 3600, "id_token": self._signed(claims)}

    def _userinfo(self, authorization: str, _body: str) -> dict[str, object]:
        return _about(authorization.removeprefix("Bearer "))

    def _signed(self, claims: dict[str, object]) -> str:
        text = f"{self._head}.{_base64(json.dumps(claims).encode())}"
        return f"{text}.{_base64(self._key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


class _Connection(asyncio.Protocol):
    """HTTP/1.1, kept alive, just as much as HTTP clients need."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            body, self._received = rest[:length].decode(), rest[length:]
            path = first.split(" ")[1].partition("?")[0]
            status, document = self._provider.answer(path, headers.get("authorization", ""), body)
            content = json.dumps(document).encode()
            start = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            self._transport.write(start.encode() + content)


async def _serve(client_id: str) -> None:
    provider = Provider(client_id)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(provider), "127.0.0.1", 0)
    provider.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(provider.issuer, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def _about(subject: str) -> dict[str, object]:
    return {
        "sub": subject,
        "preferred_username": subject,
        "name": f"Person {subject}",
        "email": f"{subject}@example.com",
        "email_verified": True,
        "groups": ["staff", "ops"],
    }


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
