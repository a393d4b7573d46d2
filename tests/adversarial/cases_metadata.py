"""Discovery documents and key sets that lie."""

from __future__ import annotations

from tests.adversarial import keys
from tests.adversarial.bends import (
    header,
    html,
    metadata,
    publish,
    redirect,
    signed_by,
    status,
)
from tests.adversarial.cases import Case, rejected, unavailable
from tests.adversarial.provider import HostileProvider

MISMATCH = "metadata_issuer_mismatch"
FORBIDDEN = "metadata_endpoint_forbidden"
MALFORMED = "metadata_malformed"
ISSUER = "OpenID Config RP: oidcc-client-test-discovery-issuer-mismatch; attack catalogue 15, 51"
SSRF = "attack catalogue 35"


def changed_issuer(provider: HostileProvider) -> None:
    """The connection is pointed at another issuer after it was set up."""
    provider.on_discovery.append(lambda document: document.update(issuer="https://other.example"))


def rotated_under_the_same_name(provider: HostileProvider) -> None:
    """Another key under the name of one that we know: a new key has a new ``kid``."""
    provider.signing_key = keys.rsa("rotated")
    provider.published = [keys.public(keys.rsa("rotated"), kid="main")]
    provider.on_header.append(lambda head: head.update(kid="main"))


# fmt: off
METADATA: list[Case] = [
    rejected("disco-issuer-mismatch", MISMATCH, ISSUER, metadata(issuer="https://honest.example")),
    rejected("disco-issuer-missing", MISMATCH, "let through by Authlib 1.9.9", metadata(issuer=...)),
    rejected("disco-issuer-null", MISMATCH, ISSUER, metadata(issuer=None)),
    rejected("disco-issuer-list", MISMATCH, ISSUER, lambda p: metadata(issuer=[p.issuer])(p)),
    rejected("disco-issuer-with-slash", MISMATCH, ISSUER, metadata(issuer="{issuer}/")),
    rejected("disco-issuer-without-slash", MISMATCH, ISSUER, metadata(issuer="{base}"), provider={"trailing_slash": True}),
    rejected("disco-issuer-upper-case", MISMATCH, ISSUER, lambda p: metadata(issuer=p.issuer.replace("http", "HTTP"))(p)),
    rejected("disco-issuer-prefix", MISMATCH, ISSUER, metadata(issuer="{issuer}.evil.example")),
    rejected("disco-other-tenant", MISMATCH, "let through by Authlib 1.9.9; attack catalogue 12", lambda p: metadata(issuer=p.issuer[:-1] + chr(ord(p.issuer[-1]) ^ 1))(p)),
    rejected("disco-tenant-template", MISMATCH, "attack catalogue 15: Entra common", metadata(issuer="https://login.microsoftonline.com/{{tenantid}}/v2.0")),
    rejected("disco-auth-javascript", FORBIDDEN, "let through by Authlib 1.9.9", metadata(authorization_endpoint="javascript:alert(document.cookie)//")),
    rejected("disco-auth-data", FORBIDDEN, SSRF, metadata(authorization_endpoint="data:text/html,<script>alert(1)</script>")),
    rejected("disco-auth-relative", FORBIDDEN, SSRF, metadata(authorization_endpoint="/authorize/x")),
    rejected("disco-auth-scheme-relative", FORBIDDEN, SSRF, metadata(authorization_endpoint="//evil.example/authorize")),
    rejected("disco-auth-crlf", FORBIDDEN, "CWE-113", metadata(authorization_endpoint="https://op.example/\r\nSet-Cookie: x=1")),
    rejected("disco-auth-userinfo", FORBIDDEN, SSRF, metadata(authorization_endpoint="https://honest.example@evil.example/a")),
    rejected("disco-auth-backslash", FORBIDDEN, SSRF, metadata(authorization_endpoint="https://evil.example\\@honest.example/a")),
    rejected("disco-auth-fragment", FORBIDDEN, "RFC 6749 §3.1: no fragment", metadata(authorization_endpoint="{base}/authorize#x")),
    rejected("disco-auth-non-ascii", FORBIDDEN, SSRF, metadata(authorization_endpoint="https://еvil.example/a")),
    rejected("disco-auth-http-elsewhere", FORBIDDEN, SSRF, metadata(authorization_endpoint="http://evil.example/a")),
    rejected("disco-auth-list", MALFORMED, SSRF, metadata(authorization_endpoint=["https://op.example/a"])),
    rejected("disco-auth-missing", MALFORMED, "OIDC Discovery §3", metadata(authorization_endpoint=...)),
    rejected("disco-token-missing", MALFORMED, "OIDC Discovery §3", metadata(token_endpoint=...)),
    rejected("disco-jwks-missing", MALFORMED, "OIDC Discovery §3", metadata(jwks_uri=...)),
    rejected("disco-token-cloud-metadata", FORBIDDEN, SSRF, metadata(token_endpoint="http://169.254.169.254/latest/meta-data/")),
    rejected("disco-token-file", FORBIDDEN, SSRF, metadata(token_endpoint="file:///etc/passwd")),
    rejected("disco-token-gopher", FORBIDDEN, SSRF, metadata(token_endpoint="gopher://127.0.0.1:6379/_FLUSHALL")),
    rejected("disco-token-port-0", FORBIDDEN, SSRF, metadata(token_endpoint="https://127.0.0.1:0/")),
    rejected("disco-token-port-huge", FORBIDDEN, SSRF, metadata(token_endpoint="https://127.0.0.1:99999/")),
    rejected("disco-token-broken-ipv6", FORBIDDEN, SSRF, metadata(token_endpoint="https://[::1/token")),
    rejected("disco-jwks-too-long", FORBIDDEN, SSRF, metadata(jwks_uri="https://op.example/" + "a" * 5000)),
    rejected("disco-flag-as-text", MALFORMED, "RFC 9207 §3: a boolean", metadata(authorization_response_iss_parameter_supported="false")),
    rejected("disco-par-required-but-nowhere", MALFORMED, "RFC 9126 §5", metadata(require_pushed_authorization_requests=True)),
    *(
        unavailable(f"token-endpoint-at-{name}", "url_forbidden|unreachable|deadline", SSRF, metadata(token_endpoint=url))
        for name, url in {
            "cloud-metadata": "https://169.254.169.254/token",
            "ipv6-loopback": "https://[::1]/token",
            "mapped-loopback": "https://[::ffff:127.0.0.2]/token",
            "private-10": "https://10.0.0.1/token",
            "private-192": "https://192.168.1.1:8443/token",
            "any-address": "https://0.0.0.0/token",
            "decimal-loopback": "https://2130706433/token",
            "short-loopback": "https://127.1/token",
            "localhost-by-name": "https://localhost/token",
            "unique-local": "https://[fd00:ec2::254]/token",
            "nat64": "https://[64:ff9b::a9fe:a9fe]/token",
            "http-by-another-name": "http://localhost:9/token",
        }.items()
    ),
    unavailable("jwks-at-cloud-metadata", "url_forbidden", SSRF, metadata(jwks_uri="https://169.254.169.254/jwks")),
    unavailable("disco-404", "metadata_unavailable", "OIDC Discovery §4.2", status("discovery", 404)),
    unavailable("disco-500", "metadata_unavailable", "OIDC Discovery §4.2", status("discovery", 500)),
    unavailable("disco-204", "metadata_unavailable", "OIDC Discovery §4.2", status("discovery", 204, b"")),
    unavailable("disco-html", "metadata_not_json", "OIDC Discovery §4.2", html("discovery", 200)),
    unavailable("disco-redirect", "redirected", SSRF, redirect("discovery", 302, "http://169.254.169.254/latest/meta-data/")),
]
# fmt: on

SIGNATURE = "OpenID Config RP; attack catalogue 28"
# fmt: off
KEYS: list[Case] = [
    unavailable("jwks-404", "keys_unavailable", "RFC 7517 §5", status("jwks", 404)),
    unavailable("jwks-500", "keys_unavailable", "RFC 7517 §5", status("jwks", 503)),
    unavailable("jwks-html", "keys_malformed", "RFC 7517 §5", html("jwks", 200)),
    unavailable("jwks-no-list", "keys_malformed", "RFC 7517 §5", status("jwks", 200, b'{"keys": {"kty": "RSA"}}')),
    unavailable("jwks-array", "keys_malformed", "RFC 7517 §5", status("jwks", 200, b"[]")),
    unavailable("jwks-redirect", "redirected", SSRF, redirect("jwks", 301, "https://evil.example/jwks")),
    rejected("jwks-empty", "key_unknown", "RFC 7517 §5", publish()),
    rejected("jwks-weak-key", "key_unknown", "measured on Authlib 1.9.9: weak-key; RFC 8725 §3.5", signed_by(lambda: keys.rsa("weak", 1024), "RS256")),
    rejected("jwks-key-for-encryption", "key_unknown", "RFC 7517 §4.2", publish(lambda: keys.public(keys.rsa(), use="enc"))),
    rejected("jwks-key-not-for-verifying", "key_unknown", "RFC 7517 §4.3", publish(lambda: keys.public(keys.rsa(), key_ops=["encrypt"]))),
    rejected("jwks-key-of-another-algorithm", "key_unknown", "RFC 7517 §4.4", publish(lambda: keys.public(keys.rsa(), alg="RS512"))),
    rejected("jwks-private-key", "key_unknown", "a published private key signs for everybody", publish(lambda: keys.rsa().as_dict(private=True))),
    rejected("jwks-exponent-one", "key_unknown", "a key with e=1 verifies what anybody makes", publish(lambda: keys.public(keys.rsa(), e="AQ"))),
    rejected("jwks-exponent-huge", "key_unknown", "denial of service by exponent", publish(lambda: keys.public(keys.rsa(), e="_" * 340))),
    rejected("jwks-modulus-huge", "key_unknown", "denial of service by modulus", publish(lambda: keys.public(keys.rsa(), n="_" * 8000))),
    rejected("jwks-the-right-key-under-another-name", "key_unknown", "RFC 7515 §4.1.4", publish(lambda: keys.public(keys.rsa(), kid="another"))),
    rejected("jwks-another-key-under-the-right-name", "signature_invalid", SIGNATURE, publish(lambda: keys.public(keys.rsa("another"), kid="main"))),
    rejected("jwks-ten-thousand-keys", "key_unknown", "attack catalogue 67", publish(*[lambda: {"kty": "RSA", "n": "x"}] * 10_000)),
    rejected("kid-unknown", "key_unknown", "attack catalogue 29", header(kid="nobody-has-this-key")),
    rejected("kid-of-a-curve-key", "key_unknown", "key confusion", header(kid="ec-P-256"), publish(lambda: keys.public(keys.rsa()), lambda: keys.public(keys.ec()))),
    rejected("kid-path", "key_unknown", "kid as a file name", header(kid="../../../../dev/null")),
    rejected("kid-sql", "key_unknown", "kid in a query", header(kid="' OR 1=1 --")),
    rejected("kid-number", "token_malformed", "RFC 7515 §4.1.4: a string", header(kid=1)),
    rejected("kid-null", "token_malformed|key_unknown", "RFC 7515 §4.1.4: a string", header(kid=None), publish()),
    rejected("key-rotation-under-the-same-kid", "signature_invalid", "OIDC Core §10.1.1", rotated_under_the_same_name, after_a_login=True),
    rejected("issuer-changed-later", MISMATCH, "attack catalogue 51: a re-pointed connection", changed_issuer),
]
# fmt: on
