"""Who may have an account at all: checked at every login, before anything is looked up."""

from __future__ import annotations

from jit_middleware.errors import NotProvisioned
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.text import domain_of
from jit_middleware.settings import ProvisioningSettings


def check_gates(settings: ProvisioningSettings, mapped: MappedClaims) -> None:
    """Raises ``NotProvisioned`` with ``domain_not_allowed``, ``email_not_vouched`` or ``group_required``.

    Domains are compared whole (a suffix would let ``evilexample.com`` in), and an address that nobody vouches for
    proves no domain; one of the required groups is enough.
    """
    if settings.allowed_domains:
        if mapped.email is None or domain_of(mapped.email) not in settings.allowed_domains:
            raise NotProvisioned("domain_not_allowed", "the e-mail domain is not among JIT_ALLOWED_DOMAINS")
        if not mapped.email_verified:
            detail = "neither the provider nor JIT_OIDC_VERIFIED_DOMAINS (JIT_SAML_…) vouches for the address"
            raise NotProvisioned("email_not_vouched", detail)
    if settings.required_groups and not set(settings.required_groups).intersection(mapped.groups or ()):
        raise NotProvisioned("group_required", "none of JIT_REQUIRED_GROUPS is among the groups")
