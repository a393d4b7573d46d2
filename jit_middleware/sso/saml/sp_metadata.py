"""Our own metadata, which the provider's operator imports (SAML Metadata §2.4.4): who we are and where we answer."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from lxml import etree

from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.idp_metadata import POST, REDIRECT
from jit_middleware.sso.saml.keys import SPKey
from jit_middleware.sso.saml.names import DSIG, METADATA, PROTOCOL, XENC, XENC11, dsig
from jit_middleware.sso.saml.request import FORMATS, instant
from jit_middleware.sso.saml.signature import sign_enveloped

CONTENT_TYPE: Final = "application/samlmetadata+xml"

_DECRYPTED: Final = (
    f"{XENC11}aes256-gcm", f"{XENC11}aes192-gcm", f"{XENC11}aes128-gcm", f"{XENC}rsa-oaep-mgf1p",
)  # fmt: skip


def sp_metadata(
    connection: SAMLConnection,
    *,
    sp_entity_id: str,
    acs_url: str,
    sls_url: str,
    signs_requests: bool,
    key: SPKey | None,
    now: int,
) -> bytes:
    """The document, signed when the connection wants it. All certificates stand in it, for a roll-over."""
    root = etree.Element(_md("EntityDescriptor"), nsmap={"md": METADATA, "ds": DSIG}, entityID=sp_entity_id)
    root.set("ID", f"_{sha256(sp_entity_id.encode()).hexdigest()[:40]}")
    if connection.metadata_valid_for is not None:
        root.set("validUntil", instant(now + connection.metadata_valid_for))
    role = etree.SubElement(root, _md("SPSSODescriptor"), protocolSupportEnumeration=PROTOCOL)
    role.set("AuthnRequestsSigned", "true" if signs_requests else "false")
    role.set("WantAssertionsSigned", "true")
    for use in ("signing", "encryption"):
        for certificate in connection.sp_certificates:
            descriptor = etree.SubElement(role, _md("KeyDescriptor"), use=use)
            data = etree.SubElement(etree.SubElement(descriptor, dsig("KeyInfo")), dsig("X509Data"))
            etree.SubElement(data, dsig("X509Certificate")).text = re.sub(r"-----[^-]+-----|\s", "", certificate)
            for algorithm in _DECRYPTED if use == "encryption" else ():
                etree.SubElement(descriptor, _md("EncryptionMethod"), Algorithm=algorithm)
    if key is not None:
        for binding in (REDIRECT, POST):
            etree.SubElement(role, _md("SingleLogoutService"), Binding=binding, Location=sls_url)
    if connection.name_id_format != "none":
        etree.SubElement(role, _md("NameIDFormat")).text = FORMATS[connection.name_id_format]
    service = etree.SubElement(role, _md("AssertionConsumerService"), Binding=POST, Location=acs_url)
    service.set("index", "0")
    service.set("isDefault", "true")
    document = etree.tostring(root, encoding="utf-8")
    return sign_enveloped(document, key) if connection.sign_metadata and key is not None else document


def _md(name: str) -> str:
    return f"{{{METADATA}}}{name}"
