"""The names of the SAML, XML Signature and XML Encryption vocabularies that this room knows."""

from __future__ import annotations

from typing import Final

PROTOCOL: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
ASSERTION: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
METADATA: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
DSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
DSIG_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"
DSIG_MORE_2007: Final = "http://www.w3.org/2007/05/xmldsig-more#"
XENC: Final = "http://www.w3.org/2001/04/xmlenc#"
XENC11: Final = "http://www.w3.org/2009/xmlenc11#"
EXC_C14N: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XML: Final = "http://www.w3.org/XML/1998/namespace"

ENVELOPED: Final = f"{DSIG}enveloped-signature"
SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
ENTITY: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
PERSISTENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
TRANSIENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
EMAIL_ADDRESS: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
UNSPECIFIED: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"

#: Formats of a NameID that name a person (SAML Core §8.3).
PERSON_FORMATS: Final = frozenset(
    {
        PERSISTENT,
        TRANSIENT,
        EMAIL_ADDRESS,
        UNSPECIFIED,
        "urn:oasis:names:tc:SAML:2.0:nameid-format:unspecified",  # in no specification, but said by several products
        "urn:oasis:names:tc:SAML:2.0:nameid-format:kerberos",
        "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName",
        "urn:oasis:names:tc:SAML:1.1:nameid-format:WindowsDomainQualifiedName",
    }
)


def protocol(name: str) -> str:
    """The qualified name of a ``samlp`` element, as lxml writes it."""
    return f"{{{PROTOCOL}}}{name}"


def assertion(name: str) -> str:
    """The qualified name of a ``saml`` element."""
    return f"{{{ASSERTION}}}{name}"


def dsig(name: str) -> str:
    """The qualified name of a ``ds`` element."""
    return f"{{{DSIG}}}{name}"


def xenc(name: str) -> str:
    """The qualified name of an ``xenc`` element."""
    return f"{{{XENC}}}{name}"
