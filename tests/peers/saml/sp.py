"""The service provider as the identity providers know it: who it is, where it listens, and its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

SloBinding = Literal["redirect", "post"]

EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
REDIRECT_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
BINDINGS: dict[SloBinding, str] = {"redirect": REDIRECT_BINDING, "post": POST_BINDING}


@dataclass(frozen=True, slots=True)
class ServiceProvider:
    """One entity at an identity provider. ``certificate`` is bare base64; it signs our messages and encrypts theirs."""

    entity_id: str
    acs: str
    sls: str
    certificate: str
    slo_binding: SloBinding = "redirect"

    @classmethod
    def of(
        cls, base: str, certificate: str, *, entity_id: str | None = None, slo_binding: SloBinding = "redirect"
    ) -> ServiceProvider:
        """The middleware's own addresses below this public URL."""
        return cls(
            entity_id=entity_id or f"{base}/_jit/metadata/saml",
            acs=f"{base}/_jit/acs/saml",
            sls=f"{base}/_jit/sls/saml",
            certificate=certificate,
            slo_binding=slo_binding,
        )

    def metadata(self) -> str:
        """The entity descriptor, for providers that are told about us by XML."""
        keys = "".join(
            f'<md:KeyDescriptor use="{use}"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>'
            f"<ds:X509Certificate>{escape(self.certificate)}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
            "</md:KeyDescriptor>"
            for use in ("signing", "encryption")
        )
        return (
            '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"'
            f" entityID={quoteattr(self.entity_id)}>"
            '<md:SPSSODescriptor AuthnRequestsSigned="true" WantAssertionsSigned="true"'
            f' protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">{keys}'
            f'<md:SingleLogoutService Binding="{BINDINGS[self.slo_binding]}" Location={quoteattr(self.sls)}/>'
            f"<md:NameIDFormat>{EMAIL}</md:NameIDFormat>"
            f'<md:AssertionConsumerService Binding="{POST_BINDING}" Location={quoteattr(self.acs)} index="0"/>'
            "</md:SPSSODescriptor></md:EntityDescriptor>"
        )
