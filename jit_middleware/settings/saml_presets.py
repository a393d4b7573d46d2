"""Whose attributes are called what: claim mappings for the usual SAML providers, and one for the names most share.

An expression sees the claims that ``sso.saml.attributes`` makes: ``attributes`` holds every attribute by its formal
name as a list; plain names stand at the top as well, one value as text, several as a list; ``name_id`` is the NameID.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jit_middleware.settings.connections import ClaimMapping
from jit_middleware.settings.policy import MissingGroups

_WS: Final = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"
_MS: Final = "http://schemas.microsoft.com/identity/claims"
_MS_WS: Final = "http://schemas.microsoft.com/ws/2008/06/identity/claims"

# Of eduPerson, inetOrgPerson and SAML's subject identifiers: the names under which attributes travel (MACE-Dir).
_MAIL: Final = "urn:oid:0.9.2342.19200300.100.1.3"
_UID: Final = "urn:oid:0.9.2342.19200300.100.1.1"
_PRINCIPAL: Final = "urn:oid:1.3.6.1.4.1.5923.1.1.1.6"
_MEMBER: Final = "urn:oid:1.3.6.1.4.1.5923.1.5.1.1"
_ENTITLEMENT: Final = "urn:oid:1.3.6.1.4.1.5923.1.1.1.7"
_AFFILIATION: Final = "urn:oid:1.3.6.1.4.1.5923.1.1.1.9"
_DISPLAY_NAME: Final = "urn:oid:2.16.840.1.113730.3.1.241"
_COMMON_NAME: Final = "urn:oid:2.5.4.3"


def first(*names: str) -> str:
    """JMESPath to the first value of the first of these attributes that is there."""
    return " || ".join(f'attributes."{name}"[0]' for name in names)


def every(*names: str) -> str:
    """JMESPath to all values of the first of these attributes that is there; one without values is there too, and says
    that there are none (SAML Core §2.7.3.1)."""
    named = ", ".join(f'attributes."{name}"' for name in names)
    return f"not_null({named})"


#: What a connection without a preset begins with.
COMMON_NAMES: Final = ClaimMapping(
    username=f"{first(_PRINCIPAL, 'eduPersonPrincipalName', _UID, 'uid', 'username', f'{_WS}/name', f'{_WS}/upn')}"
    f" || {first(_MAIL, 'mail', 'email', f'{_WS}/emailaddress')} || name_id",
    email=first(_MAIL, "mail", "email", "Email", f"{_WS}/emailaddress"),
    display_name=first(_DISPLAY_NAME, "displayName", f"{_MS}/displayname", _COMMON_NAME, "cn", "name"),
    groups=every(
        "groups", "Group", f"{_MS_WS}/groups", "http://schemas.xmlsoap.org/claims/Group", _MEMBER, "isMemberOf"
    ),
)

#: What a missing list of groups means with any of these: they leave an attribute without values out. That there are
#: too many groups to tell is another thing, and told from it.
MISSING_GROUPS: Final[MissingGroups] = "strip"

PRESETS: Final[Mapping[str, ClaimMapping]] = MappingProxyType(
    {
        "entra": ClaimMapping(
            username=f"{first(f'{_WS}/name', f'{_WS}/upn', f'{_WS}/emailaddress')} || name_id",
            email=first(f"{_WS}/emailaddress"),
            display_name=first(f"{_MS}/displayname"),
            groups=every(f"{_MS_WS}/groups"),
        ),
        "okta": ClaimMapping(
            username=f"{first('login', 'username', 'email')} || name_id",
            email=first("email"),
            display_name=f"{first('displayName')} || join(' ', [attributes.firstName[0], attributes.lastName[0]])",
            groups=every("groups"),
        ),
        "adfs": ClaimMapping(
            username=f"{first(f'{_WS}/upn', f'{_MS_WS}/windowsaccountname', f'{_WS}/emailaddress')} || name_id",
            email=first(f"{_WS}/emailaddress"),
            display_name=first(f"{_WS}/name", "http://schemas.xmlsoap.org/claims/CommonName"),
            groups=every("http://schemas.xmlsoap.org/claims/Group", f"{_MS_WS}/groups", f"{_MS_WS}/role"),
        ),
        "google": ClaimMapping(
            username=f"{first('email', 'primaryEmail', 'Email')} || name_id",
            email=f"{first('email', 'primaryEmail', 'Email')} || name_id",
            display_name=(
                f"{first('displayName', 'name')} || join(' ', [attributes.firstName[0], attributes.lastName[0]])"
            ),
            groups=every("groups", "Groups"),
        ),
        "keycloak": ClaimMapping(
            username=f"{first('username', 'uid')} || name_id",
            email=first("email", _MAIL, "urn:oid:1.2.840.113549.1.9.1"),
            display_name=(
                f"{first('name', 'displayName')} || join(' ', "
                '[attributes.firstName[0] || attributes."urn:oid:2.5.4.42"[0],'
                ' attributes.lastName[0] || attributes."urn:oid:2.5.4.4"[0]])'
            ),
            groups=every("groups", "member"),
        ),
        "shibboleth": ClaimMapping(
            username=f"{first(_PRINCIPAL, 'eduPersonPrincipalName', _UID, 'uid')} || name_id",
            email=first(_MAIL, "mail"),
            display_name=first(_DISPLAY_NAME, "displayName", _COMMON_NAME, "cn"),
            groups=every(_MEMBER, "isMemberOf", _ENTITLEMENT, "eduPersonEntitlement", _AFFILIATION),
        ),
    }
)
