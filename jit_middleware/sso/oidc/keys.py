"""The provider's keys (RFC 7517), read one by one: a key we cannot use is passed over, never a reason to stop logins.

Keys come from the ``jwks_uri`` of the connection's metadata, or of its settings, and from nowhere else. A token that
names a key we do not have makes us ask again, as often as ``budget`` allows.

joserfc is imported when there is a key to read, not when the application starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol

from jit_middleware.errors import JudgedLater, ProviderUnavailable, VerificationError
from jit_middleware.model import JSON
from jit_middleware.ports import Clock, Fetch, Locks, Transport
from jit_middleware.records import dataclass
from jit_middleware.sso.json import NotStrictJSON, parse_object
from jit_middleware.sso.oidc.budget import FetchBudget
from jit_middleware.sso.oidc.jws import SignedToken
from jit_middleware.sso.oidc.kept import Kept
from jit_middleware.sso.oidc.reasons import Reason

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

    from jit_middleware.sso.oidc.jws import AsymmetricKey

_DEADLINE: Final = 5.0
_MOST_KEYS: Final = 64
_RSA_BITS: Final = range(2048, 16_385)
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
    ("OKP", "Ed448"): frozenset({"EdDSA", "Ed448"}),
}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key of the provider and the algorithms it may verify. Imported once; ``curve`` is empty for RSA."""

    kid: str | None
    curve: str
    algorithms: frozenset[str]
    key: AsymmetricKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one provider at one time, and where they came from."""

    uri: str
    keys: tuple[VerificationKey, ...]

    def fitting(self, token: SignedToken) -> list[VerificationKey]:
        """The keys that may have signed this token: those it names, else all of its algorithm that have no name."""
        able = [key for key in self.keys if token.algorithm in key.algorithms]
        if token.kid is None:
            return able
        named = [key for key in able if key.kid == token.kid]
        return named or [key for key in able if key.kid is None]


class HasKeys(Protocol):
    """What says where a provider's keys are: its metadata."""

    @property
    def jwks_uri(self) -> str: ...


class KeySource(Protocol):
    """Where one learns that."""

    async def get(self) -> HasKeys: ...


@dataclass(frozen=True, slots=True)
class KeysAt:
    """Keys at an address that the operator has configured."""

    jwks_uri: str

    async def get(self) -> HasKeys:
        """Itself."""
        return self


class ProviderKeys:
    """The keys of one connection's provider, kept and renewed."""

    def __init__(self, metadata: KeySource, transport: Transport, *, clock: Clock, locks: Locks) -> None:
        self._metadata = metadata
        self._transport = transport
        self._kept: Kept[KeySet] = Kept(self._fetch, clock=clock, locks=locks)
        self._for_answers = FetchBudget(clock=clock)
        self._for_pushes = FetchBudget(clock=clock)

    async def verify(self, token: SignedToken) -> VerificationKey:
        """The provider's key that signed this token, which the provider handed us in answer to a request of ours.

        Raises ``VerificationError`` or ``ProviderUnavailable``. When no more fetch is due, the keys we have are
        the last word: nobody but the provider can have used up what we may ask, and the person may sign in again.
        """
        known = await self._known()
        signer, fitting = _signer(token, known)
        if signer is None and not _is_named(token, fitting):
            signer, fitting = _signer(token, await self._renewed(known, token.kid, self._for_answers))
        return _found(signer, fitting)

    async def verify_pushed(self, token: SignedToken) -> VerificationKey:
        """The provider's key that signed this token, which anybody may have sent. Raises as :meth:`verify`, and
        ``JudgedLater`` when a newer key might have signed it and no more fetch is due.

        Strangers can use up what we may ask. A verdict would be final for the sender of a genuine token: it is to come
        again instead. Nothing is fetched for that.
        """
        known = await self._known()
        signer, fitting = _signer(token, known)
        if signer is None and not _is_named(token, fitting):
            renewed = await self._renewed(known, token.kid, self._for_pushes)
            if renewed is known:
                raise JudgedLater(Reason.KEYS_NOT_ASKED_FOR)
            signer, fitting = _signer(token, renewed)
        return _found(signer, fitting)

    async def _known(self) -> KeySet:
        known = await self._kept.get()
        if known.uri != (await self._metadata.get()).jwks_uri:
            known = await self._kept.renewed(known, lambda: True)  # the metadata changes once an hour at most
        return known

    async def _renewed(self, known: KeySet, kid: str | None, budget: FetchBudget) -> KeySet:
        """Newer keys, since the provider may have changed them (OIDC Core §10.1.1); ``known`` when no fetch is due."""
        try:
            return await self._kept.renewed(known, lambda: budget.take(kid))
        except BaseException:  # also when whoever asked has left: its fetch came to nothing
            budget.forget(kid)
            raise

    async def _fetch(self) -> KeySet:
        uri = (await self._metadata.get()).jwks_uri
        answer = await self._transport.fetch(Fetch(uri, deadline=_DEADLINE))
        if answer.status != 200:
            raise ProviderUnavailable(Reason.KEYS_UNAVAILABLE, f"status {answer.status}")
        try:
            return KeySet(uri, read_keys(parse_object(answer.body)))
        except NotStrictJSON as problem:
            raise ProviderUnavailable(Reason.KEYS_MALFORMED, str(problem)) from None


def _signer(token: SignedToken, keys: KeySet) -> tuple[VerificationKey | None, list[VerificationKey]]:
    """The key that signed it, if it is one of these, and the keys that might have."""
    fitting = keys.fitting(token)
    return next((key for key in fitting if token.is_signed_with(key.key)), None), fitting


def _is_named(token: SignedToken, fitting: list[VerificationKey]) -> bool:
    return token.kid is not None and any(key.kid == token.kid for key in fitting)


def _found(signer: VerificationKey | None, fitting: list[VerificationKey]) -> VerificationKey:
    if signer is None:
        raise VerificationError(Reason.SIGNATURE_INVALID if fitting else Reason.KEY_UNKNOWN)
    return signer


def read_keys(document: Mapping[str, JSON]) -> tuple[VerificationKey, ...]:
    """The keys of a JWK Set that can verify a signature for us; raises ``ProviderUnavailable`` if it is none."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ProviderUnavailable(Reason.KEYS_MALFORMED, "no list of keys")
    keys = (read_key(entry) for entry in entries[:_MOST_KEYS] if isinstance(entry, dict))
    return tuple(key for key in keys if key is not None)


def read_key(jwk: Mapping[str, JSON]) -> VerificationKey | None:
    """The key if it is public, sound, of a kind we know and meant for verifying signatures, else ``None``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey

    kid, curve, kind = jwk.get("kid"), jwk.get("crv", ""), jwk.get("kty")
    if not (isinstance(kid, str | None) and isinstance(kind, str) and isinstance(curve, str)) or "d" in jwk:
        return None
    algorithms = _RSA if kind == "RSA" else _CURVES.get((kind, curve), frozenset())
    algorithms = _meant_for(jwk, algorithms)
    if not algorithms:
        return None
    try:
        match kind:
            case "RSA":
                return VerificationKey(kid, "", algorithms, _rsa_key(jwk))
            case "EC":
                return VerificationKey(kid, curve, algorithms, ECKey.import_key(_material(jwk, "crv", "x", "y")))
            case _:
                return VerificationKey(kid, curve, algorithms, OKPKey.import_key(_material(jwk, "crv", "x")))
    except (JoseError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm):
        return None


def _meant_for(jwk: Mapping[str, JSON], able: frozenset[str]) -> frozenset[str]:
    """Which of these algorithms the key may be used with after ``use``, ``key_ops`` and ``alg`` (RFC 7517 §4)."""
    operations, algorithm = jwk.get("key_ops", ["verify"]), jwk.get("alg")
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return frozenset()
    if algorithm is None:
        return able
    if not isinstance(algorithm, str) or algorithm not in able:
        return frozenset()
    # RFC 9864 §2: for one curve, the old polymorphic name and the new one are the same algorithm.
    return able if jwk.get("kty") == "OKP" else frozenset({algorithm})


def _rsa_key(jwk: Mapping[str, JSON]) -> RSAKey:
    from joserfc.jwk import RSAKey
    from joserfc.util import urlsafe_b64decode

    material = _material(jwk, "n", "e")
    modulus, exponent = (int.from_bytes(urlsafe_b64decode(str(jwk[name]).encode()), "big") for name in ("n", "e"))
    # RFC 8725 §3.5: 2048 bits at least; the bounds above keep one verification cheap.
    if modulus.bit_length() not in _RSA_BITS or exponent.bit_length() > 64:
        raise ValueError("an RSA key that is too short or too long")
    return RSAKey.import_key(material)


def _material(jwk: Mapping[str, JSON], *names: str) -> dict[str, str | list[str]]:
    """Only what makes the key, so that no other member can change how it is read."""
    material: dict[str, str | list[str]] = {"kty": str(jwk["kty"])}
    for name in names:
        value = jwk[name]
        if not isinstance(value, str):
            raise TypeError("key material that is not text")
        material[name] = value
    return material
