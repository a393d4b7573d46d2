"""Whether a provider has told us a person's groups: not to tell them, or to say that they are too many, is not "none".

Entra ID leaves the list out above 200 groups in a token and above 150 in an assertion, and says so in three ways: a
distributed claim (OIDC Core §5.6.2), ``hasgroups`` where even that would be too long, and in SAML an attribute with a
link. A list longer than we read is treated alike, because what was cut away may be what counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

from jit_middleware.model import JSON, Claims
from jit_middleware.provisioning.limits import MOST_GROUPS

GroupsState = Literal["given", "absent", "overage"]

#: The attribute that stands in for the groups in Entra ID's SAML assertions.
GROUPS_LINK: Final = "http://schemas.microsoft.com/claims/groups.link"


def groups_state(claims: Claims, mapped_groups: tuple[str, ...] | None, groups_claims: Collection[str]) -> GroupsState:
    """What these claims say of the groups.

    ``mapped_groups`` is what the mapping made of them, ``groups_claims`` the top-level claims that its expression looks
    at. ``given``: the list is whole, and may be empty. ``overage``: there are groups that we were not told.
    ``absent``: nothing is said, or nothing that could be read.
    """
    # The provider's own word that the list is elsewhere counts even beside a list: that can only be a part of it.
    if _is_elsewhere(claims, groups_claims):
        return "overage"
    if mapped_groups is not None:
        return "given"
    if _has_groups_untold(claims, groups_claims) or _is_too_long(claims, groups_claims):
        return "overage"
    return "absent"


def _is_elsewhere(claims: Claims, groups_claims: Collection[str]) -> bool:
    """Whether a groups claim is a distributed or aggregated one, which ``_claim_names`` lists."""
    names = claims.get("_claim_names")
    return isinstance(names, Mapping) and any(name in names for name in groups_claims)


def _has_groups_untold(claims: Claims, groups_claims: Collection[str]) -> bool:
    # Documented as a boolean, but seen as text.
    if "groups" in groups_claims and claims.get("hasgroups") in (True, "true"):
        return True
    attributes = claims.get("attributes")
    return "attributes" in groups_claims and isinstance(attributes, Mapping) and GROUPS_LINK in attributes


def _is_too_long(claims: Claims, groups_claims: Collection[str]) -> bool:
    """Whether a list was left unread for its length alone. In SAML ``groups`` is what the mapping found."""
    looked_at = {*groups_claims, "groups"} if "attributes" in groups_claims else groups_claims
    return any(_holds_long_list(claims.get(name)) for name in looked_at if name != "attributes")


def _holds_long_list(value: JSON) -> bool:
    """A list longer than we read, or an object with one, as Keycloak's ``realm_access``."""
    if isinstance(value, Mapping):
        return any(isinstance(inner, (list, tuple)) and len(inner) > MOST_GROUPS for inner in value.values())
    return isinstance(value, (list, tuple)) and len(value) > MOST_GROUPS
