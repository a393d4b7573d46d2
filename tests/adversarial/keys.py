"""Keys and tokens of providers that lie: made once, and signed without any of the care an honest provider takes."""

from __future__ import annotations

import hashlib
import hmac
import json
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = RSAKey | ECKey | OKPKey | OctKey


@cache
def rsa(name: str = "main", bits: int = 2048) -> RSAKey:
    """An RSA key; another name, another key."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too short a key is just what some cases want
        return RSAKey.generate_key(bits, {"kid": name})


@cache
def ec(curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": f"ec-{curve}"})


@cache
def okp(curve: Literal["Ed25519", "Ed448"] = "Ed25519") -> OKPKey:
    return OKPKey.generate_key(curve, {"kid": f"okp-{curve}"})


def public(key: Key, **changes: Any) -> dict[str, Any]:
    """The public JWK; a change to ``...`` removes a member."""
    return without({**key.as_dict(private=False), "use": "sig", **changes})


def without(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members whose value is not ``...``."""
    return {name: value for name, value in members.items() if value is not ...}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact(header: Mapping[str, Any] | str, payload: bytes, key: Key | None, algorithm: str) -> str:
    """A compact JWS over anything, whatever the header claims; without a key the signature is empty."""
    head = header if isinstance(header, str) else json.dumps(header)
    signing_input = f"{b64(head.encode())}.{b64(payload)}"
    if key is None:
        return f"{signing_input}."
    return f"{signing_input}.{b64(JWSRegistry.algorithms[algorithm].sign(signing_input.encode(), key))}"


def hmac_compact(header: Mapping[str, Any], payload: bytes, secret: bytes) -> str:
    """A compact JWS by HMAC with any bytes as the secret, also those that no library takes for one."""
    signing_input = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    return f"{signing_input}.{b64(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"


def half_hash(text: str, algorithm: str) -> str:
    """``at_hash`` and ``c_hash`` (OIDC Core §3.1.3.6)."""
    name = {"256": "sha256", "384": "sha384"}.get(algorithm[-3:], "sha512")
    digest = hashlib.new(name, text.encode("utf-8", "replace")).digest()
    return b64(digest[: len(digest) // 2])
