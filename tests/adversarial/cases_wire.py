"""Documents that are no strict JSON, and transports that misbehave, at every endpoint we ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tests.adversarial.bends import (
    Bend,
    announced,
    body,
    compressed_bomb,
    endless,
    raw_bytes,
    redirect,
    reset_connection,
    silent,
    twice,
    with_headers,
)
from tests.adversarial.cases import Case, unavailable
from tests.adversarial.provider import Endpoint

ALWAYS = {"JIT_OIDC_USERINFO": "always"}
NOT_JSON = {
    "discovery": "metadata_not_json",
    "jwks": "keys_malformed",
    "token": "token_answer_not_json",
    "userinfo": "userinfo_malformed",
}
ENDPOINTS = cast("tuple[Endpoint, ...]", tuple(NOT_JSON))
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"

TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "member-twice": twice("x", 1),
    "nan": lambda honest: honest[:-1] + b', "x": NaN}',
    "infinity": lambda honest: honest[:-1] + b', "x": Infinity}',
    "bom": lambda honest: b"\xef\xbb\xbf" + honest,
    "utf-16": lambda honest: honest.decode().encode("utf-16"),
    "invalid-utf-8": lambda honest: honest[:-1] + b', "x": "\xff"}',
    "deep": lambda honest: honest[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep-objects": lambda honest: b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "long-number": lambda honest: honest[:-1] + b', "x": ' + b"9" * 5_000 + b"}",
    "lone-surrogate": lambda honest: honest[:-1] + b', "x": "\\ud800"}',
    "array": lambda honest: b"[" + honest + b"]",
    "text": lambda honest: b'"' + b"x" * 20 + b'"',
    "trailing": lambda honest: honest + honest,
    "single-quotes": lambda honest: honest.replace(b'"', b"'"),
    "empty": lambda honest: b"",
    "nul": lambda honest: honest + b"\0",
}

MEMBER_TWICE = {"discovery": "issuer", "jwks": "keys", "token": "id_token", "userinfo": "sub"}


def _document(endpoint: Endpoint, name: str, change: Callable[[bytes], bytes]) -> Case:
    if name == "member-twice":
        change = twice(MEMBER_TWICE[endpoint], "evil")
    return unavailable(
        f"{endpoint}-json-{name}",
        NOT_JSON[endpoint],
        "RFC 8259; attack catalogue 67",
        body(endpoint, change),
        env=ALWAYS,
    )


DOCUMENTS: list[Case] = [_document(endpoint, name, change) for endpoint in ENDPOINTS for name, change in TEXTS.items()]


def _everywhere(
    name: str, reason: str, source: str, make: Callable[[Endpoint], Bend], *, heavy: bool = False
) -> list[Case]:
    return [
        unavailable(f"{endpoint}-{name}", reason, source, make(endpoint), env=ALWAYS, heavy=heavy)
        for endpoint in ENDPOINTS
    ]


BOMB = "measured on Authlib 1.9.9: token-gzip-bomb (+1.4 GB)"
DRIP = "measured on Authlib 1.9.9: token-drip (30 s)"

# fmt: off
TRANSPORT: list[Case] = [
    *_everywhere("gzip-bomb", "encoded", BOMB, compressed_bomb, heavy=True),
    *_everywhere("brotli", "encoded", BOMB, lambda where: compressed_bomb(where, "br"), heavy=True),
    *_everywhere("drip", "deadline", DRIP, lambda where: endless(where, JSON_HEAD + b"Content-Length: 10000\r\n\r\n", b" ", 0.05), heavy=True),
    *_everywhere("drip-of-headers", "deadline", DRIP, lambda where: endless(where, HEAD + b"X-A: ", b"a", 0.05), heavy=True),
    *_everywhere("silence", "deadline", DRIP, silent, heavy=True),
    *_everywhere("endless-body", "too_large", "attack catalogue 35", lambda where: endless(where, JSON_HEAD + b"\r\n", b" " * 65_536), heavy=True),
    *_everywhere("endless-chunks", "too_large", "attack catalogue 35", lambda where: endless(where, JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"), heavy=True),
    *_everywhere("endless-tiny-chunks", "too_large", "attack catalogue 35", lambda where: endless(where, JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;x=" + b"y" * 2000 + b"\r\n \r\n"), heavy=True),
    *_everywhere("huge-content-length", "too_large", "attack catalogue 35", lambda where: raw_bytes(where, lambda honest: announced(honest, 10**12)), heavy=True),
    *_everywhere("endless-headers", "too_large|unreachable", "attack catalogue 35", lambda where: endless(where, HEAD, (b"X-%d: " % 1) + b"a" * 4000 + b"\r\n"), heavy=True),
    *_everywhere("endless-header-line", "too_large|unreachable", "attack catalogue 35", lambda where: endless(where, HEAD + b"X: ", b"a" * 65_536), heavy=True),
    *_everywhere("endless-100-continue", "too_large|deadline|unreachable", "attack catalogue 35", lambda where: endless(where, b"", b"HTTP/1.1 103 Early Hints\r\nX-A: " + b"a" * 2000 + b"\r\n\r\n"), heavy=True),
    *_everywhere("reset", "unreachable", "RFC 9112 §9", reset_connection),
    *_everywhere("closed-without-a-word", "unreachable", "RFC 9112 §9", lambda where: raw_bytes(where, lambda honest: b"")),
    *_everywhere("too-short", "unreachable", "RFC 9112 §8: incomplete", lambda where: raw_bytes(where, lambda honest: announced(honest, len(honest) + 10))),
    *_everywhere("chunks-cut-off", "unreachable", "RFC 9112 §8: incomplete", lambda where: raw_bytes(where, lambda honest: JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(honest), honest))),
    *_everywhere("bad-chunk-size", "unreachable", "RFC 9112 §7.1", lambda where: raw_bytes(where, lambda honest: JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + honest)),
    *_everywhere("two-lengths", "unreachable", "RFC 9112 §6.3", lambda where: raw_bytes(where, lambda honest: JSON_HEAD + b"Content-Length: 1\r\nContent-Length: %d\r\n\r\n" % len(honest) + honest)),
    *_everywhere("nul-in-header", "unreachable", "RFC 9110 §5.5", lambda where: raw_bytes(where, lambda honest: HEAD + b"X: a\0b\r\n\r\n" + honest)),
    *_everywhere("not-http", "unreachable", "RFC 9112 §4", lambda where: raw_bytes(where, lambda honest: b"SSH-2.0-OpenSSH_9.6\r\n")),
    *_everywhere("http-0.9", "unreachable", "RFC 9112 §4", lambda where: raw_bytes(where, lambda honest: honest)),
    *_everywhere("status-of-four-digits", "unreachable", "RFC 9112 §4", lambda where: raw_bytes(where, lambda honest: b"HTTP/1.1 2000 OK\r\n\r\n" + honest)),
    *_everywhere("upgrade", "unreachable|metadata_unavailable|keys_unavailable|token_endpoint_failed|token_answer_not_json|userinfo_unavailable", "RFC 9110 §15.2.2", lambda where: raw_bytes(where, lambda honest: b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + honest)),
    *_everywhere("moved", "redirected", "attack catalogue 35", lambda where: redirect(where, 307, "http://169.254.169.254/latest/meta-data/")),
    *_everywhere("moved-here", "redirected", "attack catalogue 35", lambda where: redirect(where, 308, "/elsewhere")),
    *_everywhere("moved-nowhere", "redirected", "attack catalogue 35", lambda where: redirect(where, 302, "")),
    *_everywhere("gzip-announced-twice", "encoded", BOMB, lambda where: with_headers(where, ("Content-Encoding", "identity"), ("Content-Encoding", "gzip"))),
]
# fmt: on
