"""Who may have an account at all: asked at every login of the connection, before anything is looked up.

A gate opens for what the provider says and is shut for what it does not say. Where the answer is missing rather than
no, the reason says so (``groups_unavailable``): the mend is then in the provider's configuration, not in the person's
memberships. That the connection itself is open needs no gate: one that is not configured has no endpoints.
"""

from __future__ import annotations

from typing import NoReturn

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import VerifiedIdentity
from jit_middleware.provisioning.expressions import compiled
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.steps import Steps
from jit_middleware.provisioning.text import domain_of
from jit_middleware.settings import ProvisioningSettings


class Gates:
    """The gates of one connection, compiled once."""

    def __init__(self, settings: ProvisioningSettings) -> None:
        self._settings = settings
        self._filter = compiled(settings.claim_filter)

    def check(self, identity: VerifiedIdentity, mapped: MappedClaims, steps: Steps) -> None:
        """Pass, or raise ``NotProvisioned`` at the first gate that is shut.

        Reasons: ``claim_filter``, ``domain_not_allowed``, ``email_not_vouched``, ``groups_unavailable``,
        ``group_required``. Each gate that is configured leaves a step.
        """
        if self._settings.claim_filter:
            self._check_filter(identity, steps)
        if self._settings.allowed_domains:
            self._check_domain(mapped, steps)
        if self._settings.required_groups:
            self._check_groups(mapped, steps)

    def _check_filter(self, identity: VerifiedIdentity, steps: Steps) -> None:
        # Only the JSON value true opens: a text, a number or a list that is not empty is no yes.
        if self._filter(identity.claims) is not True:
            _shut(steps, "claim_filter", "claim_filter", "JIT_CLAIM_FILTER is not exactly true for these claims")
        steps.note("claim_filter", "passed")

    def _check_domain(self, mapped: MappedClaims, steps: Steps) -> None:
        # Compared whole: a suffix would let evilexample.com in. An address nobody vouches for proves no domain.
        if mapped.email is None or domain_of(mapped.email) not in self._settings.allowed_domains:
            detail = "the e-mail domain is not among JIT_ALLOWED_DOMAINS"
            _shut(steps, "allowed_domains", "domain_not_allowed", detail)
        if not mapped.email_verified:
            detail = "neither the provider nor JIT_OIDC_VERIFIED_DOMAINS (JIT_SAML_…) vouches for the address"
            _shut(steps, "allowed_domains", "email_not_vouched", detail)
        steps.note("allowed_domains", "passed")

    def _check_groups(self, mapped: MappedClaims, steps: Steps) -> None:
        if set(self._settings.required_groups).intersection(mapped.groups or ()):
            steps.note("required_groups", "passed")
            return
        if mapped.groups is None or mapped.groups_state != "given":
            detail = "JIT_REQUIRED_GROUPS is set, and the provider did not say which groups this person has"
            _shut(steps, "required_groups", "groups_unavailable", detail)
        detail = "none of JIT_REQUIRED_GROUPS is among the groups"
        _shut(steps, "required_groups", "group_required", detail)


def _shut(steps: Steps, rule: str, reason: str, detail: str) -> NoReturn:
    steps.note(rule, "refused", reason)
    raise NotProvisioned(reason, detail)
