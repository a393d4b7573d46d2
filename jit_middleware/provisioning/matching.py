"""Which existing account, if any, a first-time identity may be tied to.

E-mail is an attribute, not a key. An account is matched by it only where the operator says so, and only when every
condition holds; otherwise the person gets an account of their own, or none.
"""

from __future__ import annotations

from jit_middleware.model import Status, User, VerifiedIdentity
from jit_middleware.ports import Users
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.text import domain_of


async def find_candidate(
    users: Users, identity: VerifiedIdentity, mapped: MappedClaims, verified_domains: tuple[str, ...]
) -> User | None:
    """The one account whose verified e-mail address this identity proves to own, or ``None``.

    All must hold: the provider vouches for the address (``email_verified`` is exactly true), the connection is
    responsible for its domain, and one active account of this tenant has it. The caller checks that the account has no
    identity yet, in the transaction that links it.
    """
    proven = identity.email_verified is True and mapped.email_verified
    if mapped.email is None or not proven or domain_of(mapped.email) not in verified_domains:
        return None
    candidates = [user for user in await users.find(email=mapped.email) if user.tenant == identity.tenant]
    if len(candidates) != 1 or candidates[0].status is not Status.ACTIVE:
        return None
    return candidates[0]
