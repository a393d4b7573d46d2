"""The ways to bend a provider, each a function that returns a bend, so that a case reads as one line."""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from tests.adversarial import keys
from tests.adversarial.provider import Endpoint, HostileProvider
from tests.adversarial.wire import JSON, Reply, flood, reset

Bend = Callable[[HostileProvider], None]
Document = dict[str, Any]


def metadata(**members: Any) -> Bend:
    """Members of the discovery document; ``...`` removes one, a text may name ``{issuer}`` and ``{base}``."""

    def bend(provider: HostileProvider) -> None:
        def change(document: Document) -> None:
            for name, value in members.items():
                named = isinstance(value, str) and "{" in value
                document[name] = value.format(issuer=provider.issuer, base=provider.base) if named else value

        provider.on_discovery.append(change)

    return bend


def claims(**members: Any) -> Bend:
    """Claims of the ID token; ``...`` removes one, a function is given the honest value."""

    def change(document: Document) -> None:
        for name, value in members.items():
            document[name] = value(document.get(name)) if callable(value) else value

    return lambda provider: provider.on_claims.append(change)


def later(seconds: float) -> Callable[[int | None], float]:
    """The honest time, or now, and so many seconds more."""
    return lambda honest: (int(time.time()) if honest is None else honest) + seconds


def header(**members: Any) -> Bend:
    """Members of the ID token's header."""
    return lambda provider: provider.on_header.append(lambda document: document.update(members))


def payload(rewrite: Callable[[bytes], bytes]) -> Bend:
    return lambda provider: provider.on_payload.append(rewrite)


def extra_member(text: str) -> Bend:
    """One more member at the end of the payload, as raw JSON."""
    return payload(lambda honest: honest[:-1] + b", " + text.encode() + b"}")


def id_token(change: Callable[[str], str]) -> Bend:
    """The compact token as text."""
    return lambda provider: provider.on_id_token.append(change)


def forged(make: Callable[[HostileProvider, Document, bytes], str]) -> Bend:
    """A token made anew from the provider, the honest header and the honest payload."""

    def bend(provider: HostileProvider) -> None:
        def change(token: str) -> str:
            head, body, _ = token.split(".")
            return make(provider, json.loads(keys.unb64(head)), keys.unb64(body))

        provider.on_id_token.append(change)

    return bend


def signature(change: Callable[[bytes], bytes]) -> Bend:
    def rewrite(token: str) -> str:
        head, body, sig = token.split(".")
        return f"{head}.{body}.{keys.b64(change(keys.unb64(sig)))}"

    return id_token(rewrite)


def signed_by(key: Callable[[], keys.Key], algorithm: str, *, publish: bool = True, **jwk: Any) -> Bend:
    """Sign with another key, which is published as the only one unless told otherwise."""

    def bend(provider: HostileProvider) -> None:
        provider.signing_key, provider.algorithm = key(), algorithm
        if publish:
            provider.published = [keys.public(key(), **jwk)]

    return bend


def publish(*make: Callable[[], Any]) -> Bend:
    """Publish these entries of a JWK Set instead of the honest ones."""

    def bend(provider: HostileProvider) -> None:
        provider.published = [one() for one in make]

    return bend


def tokens(**members: Any) -> Bend:
    """Members of the token endpoint's answer; a function is given the honest value."""

    def change(document: Document) -> None:
        for name, value in members.items():
            document[name] = value(document.get(name)) if callable(value) else value

    return lambda provider: provider.on_tokens.append(change)


def only_tokens(**members: Any) -> Bend:
    """Nothing but these members."""

    def change(document: Document) -> None:
        document.clear()
        document.update(members)

    return lambda provider: provider.on_tokens.append(change)


def userinfo(**members: Any) -> Bend:
    return lambda provider: provider.on_userinfo.append(lambda document: document.update(members))


def claims_in_userinfo(provider: HostileProvider) -> None:
    """The ID token says only who; the rest is in userinfo."""
    provider.claims_in = "userinfo"


def person(**members: Any) -> Bend:
    def bend(provider: HostileProvider) -> None:
        provider.person = keys.without(provider.person | members)

    return bend


def answer(change: Callable[[list[tuple[str, str]]], Any]) -> Bend:
    """The authorization response as a list of pairs, changed in place."""
    return lambda provider: provider.on_answer.append(lambda pairs: _ignore(change(pairs)))


def answers(*, keep: tuple[str, ...] = ("state", "iss"), **parameters: str) -> Bend:
    """These parameters, and of the honest ones only those kept."""
    return answer(lambda pairs: _refill(pairs, [p for p in pairs if p[0] in keep] + list(parameters.items())))


def _refill(pairs: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    pairs[:] = new


def _ignore(_value: object) -> None:
    return None


# --- the bytes on the wire ----------------------------------------------------------------------------------------


def reply(endpoint: Endpoint, change: Callable[[Reply], Reply]) -> Bend:
    return lambda provider: provider.on_reply.setdefault(endpoint, []).append(change)


def body(endpoint: Endpoint, change: Callable[[bytes], bytes]) -> Bend:
    return reply(endpoint, lambda honest: replace(honest, body=change(honest.body)))


def with_headers(endpoint: Endpoint, *headers: tuple[str, str]) -> Bend:
    return reply(endpoint, lambda honest: replace(honest, headers=(*honest.headers, *headers)))


def status(endpoint: Endpoint, code: int, content: bytes | None = None, *headers: tuple[str, str]) -> Bend:
    return reply(
        endpoint,
        lambda honest: Reply(code, honest.body if content is None else content, (*JSON, *headers)),
    )


def html(endpoint: Endpoint, code: int) -> Bend:
    page = b"<html><body>Proxy error <script>alert(1)</script></body></html>"
    return reply(endpoint, lambda honest: Reply(code, page, (("Content-Type", "text/html"),)))


def raw(endpoint: Endpoint, write: Callable[[socket.socket], None]) -> Bend:
    return reply(endpoint, lambda honest: Reply(raw=write))


def raw_bytes(endpoint: Endpoint, make: Callable[[bytes], bytes]) -> Bend:
    """The whole answer as bytes, made of the honest body; then the connection is closed."""
    return reply(endpoint, lambda honest: Reply(raw=lambda connection: connection.sendall(make(honest.body))))


def redirect(endpoint: Endpoint, code: int, to: str) -> Bend:
    return status(endpoint, code, b"{}", ("Location", to))


def compressed_bomb(endpoint: Endpoint, encoding: str = "gzip") -> Bend:
    """200 MB of blanks in 200 kB."""
    content: Callable[[], bytes] = _bomb if encoding == "gzip" else lambda: b"\x1b" * 100_000
    return reply(endpoint, lambda honest: Reply(200, content(), (*JSON, ("Content-Encoding", encoding))))


@cache
def _bomb() -> bytes:
    squeeze = zlib.compressobj(9, wbits=31)
    return b"".join([*(squeeze.compress(b" " * 1_000_000) for _ in range(200)), squeeze.flush()])


def endless(endpoint: Endpoint, head: bytes, piece: bytes, pause: float = 0.0) -> Bend:
    """A head, and then the same piece until the client has enough (or 200 MB went out)."""

    def pieces() -> Iterator[bytes]:
        for _ in range(max(1, 200_000_000 // len(piece)) if not pause else 240):
            if pause:
                time.sleep(pause)
            yield piece

    return reply(endpoint, lambda honest: Reply(raw=lambda connection: flood(connection, head, pieces())))


def silent(endpoint: Endpoint) -> Bend:
    """Accept the request and say nothing."""
    return endless(endpoint, b"", b"", pause=0.05)


def reset_connection(endpoint: Endpoint) -> Bend:
    return raw(endpoint, reset)


def announced(content: bytes, length: int) -> bytes:
    """An answer whose length is not that of its body."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length + content


def chunked(content: bytes, size: int = 7) -> bytes:
    """The body in chunks, with extensions and a trailer (RFC 9112 §7.1)."""
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    framed = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in parts)
    return (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n%s0\r\nX-T: 1\r\n\r\n"
        % framed
    )


def twice(name: str, first: object) -> Callable[[bytes], bytes]:
    """The JSON object with one member more, before the honest one of the same name."""
    return lambda honest: b"{" + json.dumps(name).encode() + b": " + json.dumps(first).encode() + b", " + honest[1:]
