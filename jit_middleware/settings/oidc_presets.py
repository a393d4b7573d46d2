"""Whose claims are called what: what the usual OpenID providers send, and what they mean by sending nothing.

A preset decides only what the operator leaves open: a claim expression, a list of scopes or a switch that is set wins.
Where each of these facts stands in the vendor's own documentation is told in ``docs/providers.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from jit_middleware.records import dataclass
from jit_middleware.settings.connections import ClaimMapping, UserinfoUse
from jit_middleware.settings.policy import MissingGroups
from jit_middleware.settings.saml_presets import PRESETS as SAML_PRESETS
from jit_middleware.settings.values import BadValue, one_of, shown, text


@dataclass(frozen=True, slots=True)
class OIDCPreset:
    """What a connection to one vendor's provider begins with.

    ``scopes`` are asked for beside the usual ones where the provider's metadata lists them. ``needed`` are claims that
    are worth a call of the userinfo endpoint where the ID token lacks them. ``missing_groups`` is ``strip`` for a
    provider that leaves the claim out when a person has no groups, so that its absence says that.
    """

    claims: ClaimMapping
    scopes: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    userinfo: UserinfoUse = "auto"
    missing_groups: MissingGroups = "keep_unprivileged"


PRESETS: Final[Mapping[str, OIDCPreset]] = MappingProxyType(
    {
        # No e-mail address in the username: at Entra ID people can be given any (nOAuth). v1.0 tokens have upn and
        # unique_name. Userinfo holds less than the ID token and cannot be configured.
        "entra": OIDCPreset(
            ClaimMapping(username="preferred_username || upn || unique_name || sub"),
            userinfo="never",
            missing_groups="strip",
        ),
        # Beside an access token the ID token says neither groups nor whether the address, which it has, is verified.
        "okta": OIDCPreset(ClaimMapping(), scopes=("groups",), needed=("email_verified", "groups")),
        "google": OIDCPreset(ClaimMapping(username="email || sub")),
        # Not nickname, which is the local part of the address and so the name of several people.
        "auth0": OIDCPreset(ClaimMapping(username="email || sub")),
        # Not realm_access.roles where groups are an empty list: a person without groups would have the realm's roles.
        "keycloak": OIDCPreset(ClaimMapping()),
        "dex": OIDCPreset(ClaimMapping(), scopes=("groups",), missing_groups="strip"),
        # groups_direct in the ID token is only a part of groups, which userinfo has.
        "gitlab": OIDCPreset(ClaimMapping(username="preferred_username || nickname || sub"), needed=("groups",)),
        "authentik": OIDCPreset(ClaimMapping()),
    }
)

#: What a connection without a preset begins with.
NO_PRESET: Final = OIDCPreset(ClaimMapping())


def preset(value: object) -> str:
    """The name of one of these presets."""
    name = text(value)
    if name in PRESETS:
        return name
    near = get_close_matches(name.lower(), PRESETS, n=1, cutoff=0.7)
    fix = f"did you mean {near[0]}?" if near else f"write {one_of(tuple(PRESETS))}."
    known = " for OpenID Connect, only for SAML" if name in SAML_PRESETS else ""
    raise BadValue(f"{shown(name)} is not the name of a preset{known}.", fix)
