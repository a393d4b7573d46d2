"""The identity provider's metadata (SAML Metadata §2): where it is asked, and with which keys it signs.

A document may describe one provider or a federation of many. What is signed by a configured key is believed as a whole,
and only from the bytes that were verified. Without such a key the way it came by decides: TLS, or the operator's disk.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from lxml import etree

from jit_middleware.errors import VerificationError
from jit_middleware.records import dataclass
from jit_middleware.settings.url import is_loopback
from jit_middleware.sso.saml.names import METADATA, PROTOCOL, dsig
from jit_middleware.sso.saml.signature import verify_enveloped
from jit_middleware.sso.saml.tree import Element, read_signed_document

REDIRECT: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # ADFS and Windows editors put one there
_BINDINGS: Final = frozenset({REDIRECT, POST})
_DURATION: Final = re.compile(
    r"P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?"
)
_LENGTHS: Final = (365 * 86_400, 30 * 86_400, 86_400, 3600, 60, 1)
_URL: Final = re.compile(r"[!#-;=?-\[\]_a-z~]{1,2048}")


@dataclass(frozen=True, slots=True)
class LogoutService:
    """Where logout messages go: requests to ``location``, answers to ``response_location``."""

    location: str
    response_location: str


@dataclass(frozen=True, slots=True)
class IdPMetadata:
    """What is known of the provider. ``sign_on`` and ``logout`` go by binding; ``certificates`` are PEM, all current.

    ``valid_until`` (seconds since the epoch) is when all of this ends to be true; ``cache_for`` (seconds) is how long
    it may be kept before it is fetched again, both ``None`` when the document does not say.
    """

    entity_id: str
    sign_on: Mapping[str, str]
    logout: Mapping[str, LogoutService]
    certificates: tuple[str, ...]
    wants_signed_requests: bool
    valid_until: int | None
    cache_for: int | None


def read_document(document: bytes, *, entity_id: str | None, certificates: tuple[str, ...], now: int) -> IdPMetadata:
    """The provider that ``entity_id`` names, or the only one there is.

    ``certificates`` are those of whoever signs the document; with none it need not be signed. Raises
    ``VerificationError``.
    """
    document = document.removeprefix(_BYTE_ORDER_MARK)
    root = read_signed_document(document)
    if certificates:
        root = _signed_part(root, document, entity_id, certificates)
    path = _chosen(root, entity_id)
    entity = path[-1]
    role = next((each for each in _children(entity, "IDPSSODescriptor") if _speaks_saml2(each)), None)
    if role is None:
        raise VerificationError("metadata_no_idp", "the entity is no SAML 2.0 identity provider")
    steps = (*path, role)
    valid_until = min((_time(step) for step in steps if step.get("validUntil") is not None), default=None)
    if valid_until is not None and now >= valid_until:
        raise VerificationError("metadata_expired", "its validUntil has passed")
    cache_for = min((_duration(step) for step in steps if step.get("cacheDuration") is not None), default=None)
    sign_on = {
        binding: _endpoint(each, "Location")
        for each in _children(role, "SingleSignOnService")
        if (binding := each.get("Binding")) in _BINDINGS
    }
    if not sign_on:
        raise VerificationError("metadata_malformed", "no single sign-on service by redirect or POST")
    keys = tuple(dict.fromkeys(_signing_certificates(role)))
    if not keys:
        raise VerificationError("metadata_malformed", "no signing certificate")
    return IdPMetadata(
        entity_id=entity.get("entityID", ""),
        sign_on=sign_on,
        logout={
            binding: LogoutService(
                _endpoint(each, "Location"),
                _endpoint(each, "ResponseLocation" if each.get("ResponseLocation") else "Location"),
            )
            for each in _children(role, "SingleLogoutService")
            if (binding := each.get("Binding")) in _BINDINGS
        },
        certificates=keys,
        wants_signed_requests=role.get("WantAuthnRequestsSigned") in {"true", "1"},
        valid_until=valid_until,
        cache_for=cache_for,
    )


def _signed_part(root: Element, document: bytes, entity_id: str | None, certificates: tuple[str, ...]) -> Element:
    """The verified document; when only single entities of it are signed, the verified entity."""
    if root.find(dsig("Signature")) is not None:
        return read_signed_document(verify_enveloped(document, certificates))
    entity = _chosen(root, entity_id)[-1]
    if entity is root or entity.find(dsig("Signature")) is None:
        raise VerificationError("metadata_unsigned", "a certificate is configured, and there is no signature")
    alone = etree.tostring(entity, encoding="utf-8", with_tail=False)
    return read_signed_document(verify_enveloped(alone, certificates))


def _chosen(root: Element, entity_id: str | None) -> tuple[Element, ...]:
    """The elements from the root down to the entity that is meant."""
    if root.tag not in {_tag("EntityDescriptor"), _tag("EntitiesDescriptor")}:
        raise VerificationError("metadata_malformed", "the root is no SAML metadata")
    providers = [path for path in _entities(root) if any(True for _ in _children(path[-1], "IDPSSODescriptor"))]
    if entity_id is not None:
        named = [path for path in providers if path[-1].get("entityID") == entity_id]
        if len(named) != 1:
            found = "no provider has" if not named else "several providers have"
            raise VerificationError("metadata_entity_unknown", f"{found} the configured entityID")
        return named[0]
    if len(providers) != 1:
        raise VerificationError("metadata_entity_ambiguous", f"{len(providers)} identity providers, none is named")
    if not providers[0][-1].get("entityID"):
        raise VerificationError("metadata_malformed", "no entityID")
    return providers[0]


def _entities(element: Element, above: tuple[Element, ...] = ()) -> Iterator[tuple[Element, ...]]:
    path = (*above, element)
    if element.tag == _tag("EntityDescriptor"):
        yield path
    elif len(path) < 10:
        for child in element:
            if child.tag in {_tag("EntityDescriptor"), _tag("EntitiesDescriptor")}:
                yield from _entities(child, path)


def _signing_certificates(role: Element) -> Iterator[str]:
    for descriptor in _children(role, "KeyDescriptor"):
        if descriptor.get("use") not in {None, "signing"}:
            continue
        for data in descriptor.iter(dsig("X509Data")):
            # The first is the provider's own; those behind it are the chain of who issued it, and sign nothing here.
            certificate = data.find(dsig("X509Certificate"))
            text = "" if certificate is None else "".join((certificate.text or "").split())
            if re.fullmatch(r"[A-Za-z0-9+/=]+", text):
                lines = "\n".join(textwrap.wrap(text, 64))
                yield f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _endpoint(element: Element, attribute: str) -> str:
    """A URL that a browser may be sent to: https, or http on this machine."""
    url = element.get(attribute, "")
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        host, parts = "", urlsplit("")
    plain = _URL.fullmatch(url.lower()) is not None and "#" not in url and "@" not in parts.netloc and host
    if not plain or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise VerificationError("metadata_endpoint_forbidden", f"a {attribute} is not a plain https URL")
    return url


def _speaks_saml2(role: Element) -> bool:
    return PROTOCOL in role.get("protocolSupportEnumeration", "").split()


def _time(element: Element) -> int:
    text = element.get("validUntil", "")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise VerificationError("metadata_malformed", "validUntil is no time") from None
    if found.tzinfo is None:
        raise VerificationError("metadata_malformed", "validUntil has no time zone")
    return int(found.timestamp())


def _duration(element: Element) -> int:
    """An XML Schema duration in seconds; a year counts 365 days, a month 30."""
    match = _DURATION.fullmatch(element.get("cacheDuration", ""))
    if match is None or not any(match.groups()):
        raise VerificationError("metadata_malformed", "cacheDuration is no length of time")
    return sum(int(count or 0) * length for count, length in zip(match.groups(), _LENGTHS, strict=True))


def _children(element: Element, name: str) -> Sequence[Element]:
    return element.findall(_tag(name))


def _tag(name: str) -> str:
    return f"{{{METADATA}}}{name}"
