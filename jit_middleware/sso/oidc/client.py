"""How we prove to the provider that we are the registered client (RFC 6749 §2.3, RFC 7523, OIDC Core §9).

The cryptography is imported for those who sign with a private key alone.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from jit_middleware.errors import ConfigurationError, Fault, VerificationError
from jit_middleware.http.form import written
from jit_middleware.model import JSON
from jit_middleware.ports import Clock, Fetch, Fetched, TokenSource, Transport
from jit_middleware.records import dataclass
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.settings.table import OIDC
from jit_middleware.sso.json import NotStrictJSON, parse_object
from jit_middleware.sso.oidc.jws import sign_token
from jit_middleware.sso.oidc.metadata import ProviderMetadata
from jit_middleware.sso.oidc.reasons import Reason

if TYPE_CHECKING:
    from jit_middleware.sso.oidc.jws import AsymmetricKey

_LIFETIME: Final = 60
_DEADLINE: Final = 10.0
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_RSA: Final = ("PS256", "RS256", "PS384", "RS384", "PS512", "RS512")
_CURVES: Final[Mapping[str, tuple[str, ...]]] = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("Ed25519", "EdDSA"),
    "Ed448": ("Ed448", "EdDSA"),
}
#: What every provider of an earlier day knows, where the metadata is silent.
_USUAL: Final = frozenset({"RS256", "ES256", "ES384", "ES512", "EdDSA"})


@dataclass(frozen=True, slots=True)
class _OwnKey:
    """Our private key, imported once, with the algorithms it can sign with, best first."""

    key: AsymmetricKey = field(repr=False)
    algorithms: tuple[str, ...]
    kid: str | None
    certificate: str | None = None  # the thumbprint of one (RFC 7517 §4.9), which some providers know the key by

    def algorithm(self, known: Sequence[str]) -> str:
        """The one to sign with for a provider that knows these; an empty sequence says nothing."""
        for name in self.algorithms:
            if name in (known or _USUAL):
                return name
        return self.algorithms[0]


class ClientAuthentication:
    """Sends forms to the provider's endpoints as the registered client.

    Raises ``ConfigurationError`` when it is made with a private key that cannot be used.
    """

    def __init__(self, connection: OIDCConnection, transport: Transport, *, clock: Clock, tokens: TokenSource) -> None:
        self._connection = connection
        self._transport = transport
        self._clock = clock
        self._tokens = tokens
        self._basic = _basic(connection.client_id, connection.client_secret or "")
        self._key = _read_own_key(connection.private_key, connection.name) if connection.private_key else None

    @property
    def settings(self) -> str:
        """What the operator has said of the client, by name, for a provider that does not accept it."""
        connection = self._connection
        names = ["client_id"]
        if connection.private_key is not None:
            names.append("private_key")
        elif connection.client_secret is not None:
            names.append("client_secret")
        if connection.name == OIDC:
            names = [f"JIT_OIDC_{name.upper()}" for name in names]
        return f"{' or '.join(names)} (connection {connection.name})"

    async def post(
        self, url: str, form: Mapping[str, str], metadata: ProviderMetadata, *, deadline: float = _DEADLINE
    ) -> Fetched:
        """Post this form to one of the provider's endpoints, authenticated; ``deadline`` is in seconds.

        Raises ``ProviderUnavailable``.
        """
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        client_id, secret = self._connection.client_id, self._connection.client_secret
        fields = dict(form)
        match self._method(metadata):
            case "private_key_jwt":
                fields |= {"client_id": client_id, "client_assertion_type": _ASSERTION_TYPE}
                fields["client_assertion"] = self._assertion(metadata)
            case "client_secret_post":
                fields |= {"client_id": client_id, "client_secret": secret or ""}
            case "client_secret_basic":
                headers["Authorization"] = self._basic
            case _:
                fields["client_id"] = client_id
        body = written(fields.items()).encode("ascii")
        return await self._transport.fetch(Fetch(url, "POST", headers, body, deadline))

    def _method(self, metadata: ProviderMetadata) -> str:
        connection = self._connection
        method = connection.client_auth
        if method is None:
            if self._key is not None:
                method = "private_key_jwt"
            elif connection.client_secret is None:
                return "none"
            else:
                offered = metadata.client_auth_methods
                # OIDC Discovery §3: where the metadata is silent, it is basic.
                post = "client_secret_post" in offered and "client_secret_basic" not in offered
                method = "client_secret_post" if post else "client_secret_basic"
        possible = self._key is not None if method == "private_key_jwt" else connection.client_secret is not None
        if not possible:
            raise VerificationError(Reason.CLIENT_AUTH_UNSUPPORTED, f"nothing configured for {method}")
        return method

    def _assertion(self, metadata: ProviderMetadata) -> str:
        """A fresh assertion (RFC 7523 §3), for the issuer alone: no endpoint can pass it on (CVE-2025-27370).

        RFC 7523 allows the token endpoint too, which is used only where the operator says so: a provider that lies
        about its endpoints could have another provider's written there.
        """
        own, now, client_id = self._key, self._clock.now(), self._connection.client_id
        if own is None:
            raise VerificationError(Reason.CLIENT_AUTH_UNSUPPORTED, "no private key")
        is_for_issuer = self._connection.client_assertion_audience == "issuer"
        claims: dict[str, JSON] = {
            "iss": client_id,
            "sub": client_id,
            "aud": metadata.issuer if is_for_issuer else metadata.token_endpoint,
            "jti": self._tokens(16),
            "iat": now,
            "exp": now + _LIFETIME,
        }
        named = {"kid": own.kid, "x5t#S256": own.certificate}
        header: dict[str, JSON] = {name: value for name, value in named.items() if value is not None}
        return sign_token(header, claims, own.algorithm(metadata.client_auth_algorithms), own.key)


def _basic(client_id: str, secret: str) -> str:
    # RFC 6749 §2.3.1: both are form-encoded first, so a colon in either cannot shift the border.
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return "Basic " + b64encode(pair.encode("ascii")).decode("ascii")


def _read_own_key(text: str, connection: str) -> _OwnKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from joserfc.errors import JoseError

    try:
        own = _from_jwk(text) if text.lstrip().startswith("{") else _from_pem(text)
    except (JoseError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm):
        raise ConfigurationError(
            [
                Fault(
                    f"private key of connection {connection}",
                    "it is not a private key that can sign here.",
                    "give an unencrypted PEM or JWK: RSA of at least 2048 bits, P-256, P-384, P-521, Ed25519 or Ed448.",
                )
            ]
        ) from None
    return own


def _from_pem(text: str) -> _OwnKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    raw = load_pem_private_key(text.encode("ascii"), password=None)
    match raw:
        case RSAPrivateKey() if raw.key_size >= 2048:
            return _OwnKey(RSAKey.import_key(raw), _RSA, None)
        case EllipticCurvePrivateKey():
            key = ECKey.import_key(raw)
            return _OwnKey(key, _CURVES[key.curve_name], None)
        case Ed25519PrivateKey() | Ed448PrivateKey():
            pair = OKPKey.import_key(raw)
            return _OwnKey(pair, _CURVES[pair.curve_name], None)
        case _:
            raise ValueError("not a key for signatures")


def _from_jwk(text: str) -> _OwnKey:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    try:
        jwk = parse_object(text)
    except NotStrictJSON as problem:
        raise ValueError("not a JWK") from problem
    names = ("kty", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi")
    material: dict[str, str | list[str]] = {name: str(jwk[name]) for name in names if name in jwk}
    kid, algorithm, certificate = jwk.get("kid"), jwk.get("alg"), jwk.get("x5t#S256")
    key: AsymmetricKey
    able: tuple[str, ...]
    match jwk["kty"]:
        case "RSA":
            key, able = RSAKey.import_key(material), _RSA
            if key.public_key.key_size < 2048:
                raise ValueError("too short")
        case "EC":
            key = ECKey.import_key(material)
            able = _CURVES[key.curve_name]
        case _:
            key = OKPKey.import_key(material)
            able = _CURVES[key.curve_name]
    if not key.is_private or (algorithm is not None and algorithm not in able):
        raise ValueError("not a private key for signatures")
    return _OwnKey(
        key,
        (str(algorithm),) if algorithm else able,
        kid if isinstance(kid, str) else None,
        certificate if isinstance(certificate, str) else None,
    )
