"""What a prelink is found by: digests, so that the ledger holds no list of the addresses and subjects to come.

A subject may be known with its issuer or, where the operator could not name one, without; an address counts only where
this very connection is responsible for its domain; an invitation is a random id that its holder shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from jit_middleware.letters import ascii_lower
from jit_middleware.model import VerifiedIdentity
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.text import domain_of


def subject_key(tenant: str, connection: str, issuer: str | None, subject: str) -> str:
    """The key of a subject, at one issuer or at whichever the connection has."""
    return _key("subject", tenant, connection, issuer or "", subject)


def email_key(tenant: str, connection: str, email: str) -> str:
    """The key of an address, without ASCII case."""
    return _key("email", tenant, connection, ascii_lower(email))


def invitation_key(tenant: str, connection: str, invitation: str) -> str:
    """The key of an invitation's random id."""
    return _key("invitation", tenant, connection, invitation)


def keys_of(identity: VerifiedIdentity, mapped: MappedClaims, verified_domains: Sequence[str]) -> tuple[str, ...]:
    """What this identity may be prelinked by: its subject before its address."""
    at = (identity.tenant, identity.connection)
    keys = [subject_key(*at, identity.issuer, identity.subject), subject_key(*at, None, identity.subject)]
    address = named_address(identity, mapped)
    if address is not None and mapped.email_verified and domain_of(address) in verified_domains:
        keys.append(email_key(*at, address))
    return tuple(keys)


def named_address(identity: VerifiedIdentity, mapped: MappedClaims) -> str | None:
    """The mapped address, if it is the one that the provider names, in plain ASCII before anything was made of it.

    Normalising makes one letter of two (the Kelvin sign and k), and so two people one.
    """
    if mapped.email is None or identity.email is None or not identity.email.isascii():
        return None
    return mapped.email if ascii_lower(identity.email.strip(" ")) == ascii_lower(mapped.email) else None


def _key(*parts: str) -> str:
    """SHA-256 over the length-prefixed parts, in hex."""
    data = [part.encode("utf-8", "surrogatepass") for part in parts]
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in data)).hexdigest()
