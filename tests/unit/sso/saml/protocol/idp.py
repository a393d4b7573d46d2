"""A SAML identity provider in memory: its metadata, its logout messages, and a way out that answers as scripted."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from jit_middleware.bridge import ThreadLocks, step
from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Fetch, Fetched
from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.connect import SAMLStrategy
from jit_middleware.sso.saml.keys import SPKey
from jit_middleware.sso.strategy import LoginState
from tests.conftest import FakeClock

T = TypeVar("T")
NOW = 1_800_000_000
IDP = "https://idp.example/entity"
METADATA_URL = "https://idp.example/metadata"
SP = "https://app.example/_jit/metadata/saml"
ACS = "https://app.example/_jit/acs/saml"
SLS = "https://app.example/_jit/sls/saml"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
LOGIN = LoginState("saml", "s" * 32 + ".0", "the nonce", "unused", "/deep", NOW)


@cache
def key_pair(name: str, bits: int = 2048) -> SPKey:
    """A key made for this run, the same one for the same name."""
    key = rsa.generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime.fromtimestamp(NOW - 86_400, datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return SPKey(private.decode(), certificate.public_bytes(pem).decode())


def bare(key: SPKey) -> str:
    return "".join(key.certificate_pem.split("-----")[2].split())


def time(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def descriptor(
    entity_id: str = IDP,
    *,
    attributes: str = "",
    role: str = "",
    keys: tuple[tuple[str, SPKey], ...] | None = None,
    services: str | None = None,
    protocol: str = "urn:oasis:names:tc:SAML:2.0:protocol",
) -> str:
    """An EntityDescriptor of an identity provider."""
    shown = (('use="signing"', key_pair("idp")),) if keys is None else keys
    certificates = "".join(
        f"<md:KeyDescriptor {use}><ds:KeyInfo><ds:X509Data><ds:X509Certificate>\n{bare(key)}\n</ds:X509Certificate>"
        "</ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
        for use, key in shown
    )
    binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-"
    usual = (
        f'<md:SingleLogoutService Binding="{binding}Redirect" Location="https://idp.example/slo"'
        ' ResponseLocation="https://idp.example/slo-answer"/>'
        f'<md:SingleLogoutService Binding="{binding}POST" Location="https://idp.example/slo-post"/>'
        f'<md:SingleSignOnService Binding="{binding}Redirect" Location="https://idp.example/sso?tenant=1"/>'
        f'<md:SingleSignOnService Binding="{binding}POST" Location="https://idp.example/sso-post"/>'
    )
    return (
        '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"'
        f' xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{entity_id}" {attributes}>'
        f'<md:IDPSSODescriptor protocolSupportEnumeration="{protocol}" {role}>'
        f"{certificates}{usual if services is None else services}</md:IDPSSODescriptor></md:EntityDescriptor>"
    )


def federation(*entities: str, attributes: str = "") -> bytes:
    head = f'<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" {attributes}>'
    return (head + "".join(entities) + "</md:EntitiesDescriptor>").encode()


@dataclass
class Wire:
    """A Transport that answers with ``body``, or fails."""

    body: bytes = field(default_factory=lambda: descriptor().encode())
    status: int = 200
    down: bool = False
    broken_off: bool = False
    asked: list[str] = field(default_factory=list)

    async def fetch(self, request: Fetch) -> Fetched:
        self.asked.append(request.url)
        if self.broken_off:
            raise asyncio.CancelledError
        if self.down:
            raise ProviderUnavailable("unreachable", "idp.example")
        return Fetched(self.status, {}, self.body)

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Later:
    """A Background whose work waits until the test lets it run."""

    waiting: list[Callable[[], Coroutine[object, object, None]]] = field(default_factory=list)

    def __call__(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        self.waiting.append(work)

    def run(self) -> int:
        count = len(self.waiting)
        while self.waiting:
            step(self.waiting.pop(0)())
        return count


async def at_once(work: Callable[[], T]) -> T:
    return work()


def connection(**changes: Any) -> SAMLConnection:
    return SAMLConnection(**{"name": "saml", "idp_metadata": METADATA_URL, **changes})


def with_key(**changes: Any) -> SAMLConnection:
    key = key_pair("sp")
    return connection(sp_keys=(key.private_key_pem,), sp_certificates=(key.certificate_pem,), **changes)


def strategy(
    settings: SAMLConnection | None = None, *, wire: Wire | None = None, clock: FakeClock | None = None
) -> SAMLStrategy:
    return SAMLStrategy(
        settings or connection(),
        acs_url=ACS,
        sls_url=SLS,
        metadata_url=SP,
        transport=wire or Wire(),
        clock=clock or FakeClock(),
        tokens=lambda bytes_of_entropy=32: "t" * bytes_of_entropy,
        locks=ThreadLocks(),
        offload=at_once,
        background=Later(),
    )


def logout_request(
    *,
    message_id: str = "_logout-1",
    issuer: str = IDP,
    destination: str = SLS,
    issued: int = NOW,
    until: int | None = NOW + 60,
    name: str = "alice",
    inside: str = "<samlp:SessionIndex>one</samlp:SessionIndex>",
    version: str = "2.0",
) -> bytes:
    ends = "" if until is None else f' NotOnOrAfter="{time(until)}"'
    return (
        '<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"'
        ' xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"'
        f' ID="{message_id}" Version="{version}" IssueInstant="{time(issued)}" Destination="{destination}"{ends}>'
        f'<saml:Issuer>{issuer}</saml:Issuer><saml:NameID Format="{PERSISTENT}">{name}</saml:NameID>{inside}'
        "</samlp:LogoutRequest>"
    ).encode()


def logout_response(
    in_response_to: str, *, status: str = f'<samlp:StatusCode Value="{SUCCESS}"/>', destination: str = SLS
) -> bytes:
    return (
        '<samlp:LogoutResponse xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"'
        ' xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_answer-1" Version="2.0"'
        f' IssueInstant="{time(NOW)}" Destination="{destination}" InResponseTo="{in_response_to}">'
        f"<saml:Issuer>{IDP}</saml:Issuer><samlp:Status>{status}</samlp:Status></samlp:LogoutResponse>"
    ).encode()


def response(
    *,
    in_response_to: str | None,
    name: str = "alice",
    assertion_id: str = "_assertion-1",
    session_index: str | None = "one",
    attributes: str = "",
    acs: str = ACS,
    audience: str = SP,
    ends: int | None = None,
    signed_in: int = NOW,
) -> bytes:
    """A Response, to be signed as a whole."""
    answers = "" if in_response_to is None else f' InResponseTo="{in_response_to}"'
    index = "" if session_index is None else f' SessionIndex="{session_index}"'
    over = "" if ends is None else f' SessionNotOnOrAfter="{time(ends)}"'
    told = f"<saml:AttributeStatement>{attributes}</saml:AttributeStatement>" if attributes else ""
    return (
        '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"'
        f' xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r{assertion_id}" Version="2.0"'
        f' IssueInstant="{time(NOW)}" Destination="{acs}"{answers}><saml:Issuer>{IDP}</saml:Issuer>'
        f'<samlp:Status><samlp:StatusCode Value="{SUCCESS}"/></samlp:Status>'
        f'<saml:Assertion ID="{assertion_id}" Version="2.0" IssueInstant="{time(NOW)}"><saml:Issuer>{IDP}</saml:Issuer>'
        f'<saml:Subject><saml:NameID Format="{PERSISTENT}">{name}</saml:NameID><saml:SubjectConfirmation'
        ' Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData'
        f' NotOnOrAfter="{time(NOW + 300)}" Recipient="{acs}"{answers}/></saml:SubjectConfirmation></saml:Subject>'
        f'<saml:Conditions NotBefore="{time(NOW - 60)}" NotOnOrAfter="{time(NOW + 300)}"><saml:AudienceRestriction>'
        f"<saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions>"
        f'<saml:AuthnStatement AuthnInstant="{time(signed_in)}"{index}{over}><saml:AuthnContext><saml:AuthnContextClassRef>'
        "urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext>"
        f"</saml:AuthnStatement>{told}</saml:Assertion></samlp:Response>"
    ).encode()


def attribute(name: str, *values: str) -> str:
    inside = "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
    return f'<saml:Attribute Name="{name}">{inside}</saml:Attribute>'
