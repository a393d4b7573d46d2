"""One SAML connection: everything the operator decides about it, and the readers of its values."""

from __future__ import annotations

import re
from dataclasses import field
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from jit_middleware.model import DEFAULT_TENANT
from jit_middleware.records import dataclass
from jit_middleware.settings.connections import ClaimMapping
from jit_middleware.settings.policy import ProvisioningSettings
from jit_middleware.settings.signals import SignalsSettings
from jit_middleware.settings.url import is_loopback, split_url
from jit_middleware.settings.values import BadValue, positive_seconds, secret_text, shown, text

Binding = Literal["redirect", "post"]
NameIDFormat = Literal["persistent", "email", "unspecified", "transient", "none"]
SubjectKind = Literal["persistent", "email", "unspecified", "attribute"]

_ATTRIBUTE: Final = "attribute:"
_LONGEST_ID: Final = 1024  # SAML Core §8.3.6
_ENTITY_ID: Final = re.compile(r"[!#-;=?-Z_a-z~]+")  # what a URI may hold (RFC 3986 §2)
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----\s+[A-Za-z0-9+/=\s]+?-----END \1-----")
_METADATA_EXAMPLE: Final = "https://idp.example.org/metadata"


@dataclass(frozen=True, slots=True)
class Subject:
    """What names a person for good: the NameID in one of three formats, or the attribute with this name."""

    kind: SubjectKind = "persistent"
    attribute: str | None = None

    def __str__(self) -> str:
        return self.kind if self.attribute is None else f"{_ATTRIBUTE}{self.attribute}"


@dataclass(frozen=True, slots=True)
class SAMLConnection:
    """A SAML identity provider and how we speak with it.

    ``idp_metadata`` is a URL, the name of a file, or the document itself (it begins with ``<``). ``idp_entity_id``
    picks one provider of a federation. ``sp_entity_id`` ``None`` stands for our metadata's own URL. ``sp_keys`` and
    ``sp_certificates`` are PEM, the current ones first, and belong together by their public keys. ``clock_skew`` and
    ``metadata_valid_for`` are seconds.
    """

    name: str
    idp_metadata: str
    idp_entity_id: str | None = None
    metadata_certificates: tuple[str, ...] = ()
    sp_entity_id: str | None = None
    sp_keys: tuple[str, ...] = field(default=(), repr=False)
    sp_certificates: tuple[str, ...] = ()
    subject: Subject = field(default_factory=Subject)
    name_id_format: NameIDFormat = "persistent"
    binding: Binding = "redirect"
    sign_requests: bool = False
    sign_metadata: bool = False
    metadata_valid_for: int | None = None
    force_authn: bool = False
    is_passive: bool = False
    authn_contexts: tuple[str, ...] = ()
    allow_idp_initiated: bool = False
    preset: str | None = None
    label: str = "Single sign-on"
    tenant: str = DEFAULT_TENANT
    clock_skew: int = 60
    verified_domains: tuple[str, ...] = ()
    claims: ClaimMapping = field(default_factory=ClaimMapping)
    provisioning: ProvisioningSettings = field(default_factory=ProvisioningSettings)
    signals: SignalsSettings = field(default_factory=SignalsSettings)

    @property
    def metadata_url(self) -> str | None:
        """Where the provider's metadata is fetched from; ``None`` for a file or an inline document."""
        return self.idp_metadata if "://" in self.idp_metadata and not self.metadata_is_inline else None

    @property
    def metadata_is_inline(self) -> bool:
        return self.idp_metadata.startswith("<")


def metadata_source(value: object) -> str:
    """Where the provider's metadata comes from: a URL, which may have a query, a file that exists, or XML."""
    if isinstance(value, str) and value.lstrip().startswith("<"):
        return value.strip()
    source = text(value)
    if "://" not in source:
        if not Path(source).is_file():
            raise BadValue(f"there is no file {shown(source)}.", "name an existing file, or an https URL.")
        return source
    before_query, _, query = source.partition("?")
    split_url(before_query, example=_METADATA_EXAMPLE)
    if "#" in query or re.search(r"[^!-~]", query):
        raise BadValue("its query has blanks or characters that no URL has.", f"write it as {_METADATA_EXAMPLE}.")
    return source


def fetched_in_the_clear(connection: SAMLConnection) -> bool:
    """Whether the provider's keys would come over a network without TLS."""
    if connection.metadata_url is None:
        return False
    parts = urlsplit(connection.metadata_url)
    return parts.scheme != "https" and not is_loopback((parts.hostname or "").lower())


def entity_id(value: object) -> str:
    """An entityID (SAML Core §8.3.6), kept byte for byte: it is compared exactly."""
    found = text(value)
    if len(found) > _LONGEST_ID or not _ENTITY_ID.fullmatch(found):
        raise BadValue(
            f"{shown(found)} cannot be an entityID.", "write the URI exactly as the other side's metadata has it."
        )
    return found


def subject(value: object) -> Subject:
    """What names a person for good."""
    word = text(value)
    if word == "transient":
        raise BadValue(
            "a transient NameID is another one at each login, so nobody would ever be recognised.",
            "let the provider send a persistent NameID, or write attribute:NAME with an attribute that never changes.",
        )
    if word.startswith(_ATTRIBUTE) and word.removeprefix(_ATTRIBUTE).strip():
        return Subject("attribute", word.removeprefix(_ATTRIBUTE).strip())
    for kind in ("persistent", "email", "unspecified"):
        if word == kind:
            return Subject(kind)
    raise BadValue(
        f"{shown(word)} is not one of its values.", "write persistent, email, unspecified or attribute:NAME."
    )


def certificates(value: object) -> tuple[str, ...]:
    """X.509 certificates in PEM, one after the other; whether they are good ones is found out when they are loaded."""
    return _pem(value, {"CERTIFICATE"}, "a certificate in PEM")


def private_keys(value: object) -> tuple[str, ...]:
    """Private keys in PEM, one after the other, without a pass phrase. Never quoted in a fault."""
    return _pem(
        value, {"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"}, "a private key in PEM without a pass phrase"
    )


def validity(value: object) -> int | None:
    """How long metadata is good for, in seconds."""
    return positive_seconds(value)


def _pem(value: object, labels: set[str], what: str) -> tuple[str, ...]:
    if isinstance(value, list):
        value = "\n".join(map(str, cast("list[object]", value)))
    blocks = list(_PEM.finditer(secret_text(value).replace("\\n", "\n")))
    if not blocks or any(match[1] not in labels for match in blocks):
        raise BadValue(
            f"it is not {what}.", f"give the whole file, beginning with -----BEGIN {min(labels, key=len)}-----."
        )
    return tuple(match[0] for match in blocks)
