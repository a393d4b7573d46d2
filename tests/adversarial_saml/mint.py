"""An identity provider that can be bent in every direction: it mints Responses, honest ones unless told otherwise.

Signatures are made by libxmlsec and cipher texts by cryptography, not by the code under test.
"""

from __future__ import annotations

import copy
import os
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from lxml import etree

from jit_middleware.sso.saml.response import Expectations, SPKey

NOW = 1_800_000_000
NS = {
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "xenc": "http://www.w3.org/2001/04/xmlenc#",
    "xenc11": "http://www.w3.org/2009/xmlenc11#",
    "ec": "http://www.w3.org/2001/10/xml-exc-c14n#",
}
IDP, SP = "https://idp.example/metadata", "https://app.example/saml"
ACS, REQUEST = "https://app.example/sso/acs/corp", "_request-1"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"

Element = etree._Element
Edit = Callable[[Element], object]
_numbers = count(1)


@dataclass(frozen=True)
class Pair:
    """A private key with a self-signed certificate, PEM."""

    private: str
    certificate: str

    @property
    def sp_key(self) -> SPKey:
        return SPKey(self.private, self.certificate)


def pair(name: str = "idp", *, bits: int = 2048, elliptic: bool = False) -> Pair:
    """A key pair, made once per name and run."""
    return _pair(name, bits, elliptic)


@cache
def _pair(name: str, bits: int, elliptic: bool) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1()) if elliptic else rsa.generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2021, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Pair(private, certificate.public_bytes(Encoding.PEM).decode())


def at(offset: int) -> str:
    """A time, this many seconds from now, as SAML writes it."""
    return (datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=offset)).strftime("%Y-%m-%dT%H:%M:%SZ")


def expectations(**changes: object) -> Expectations:
    """What we compare an honest Response with."""
    told = Expectations(IDP, (pair().certificate,), SP, ACS, REQUEST, NOW)
    return replace(told, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Signing:
    """How something is signed; the defaults are honest."""

    key: Pair = field(default_factory=pair)
    algorithm: str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
    digest: str = "http://www.w3.org/2001/04/xmlenc#sha256"
    prefixes: str = ""
    key_info: str = ""
    edit: Edit | None = None  # of the template, before it is signed


@dataclass(frozen=True)
class Encrypting:
    """How an assertion or a name is encrypted; the defaults are what we like best."""

    key: Pair = field(default_factory=lambda: pair("sp"))
    algorithm: str = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
    transport: str = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
    digest: str = ""
    mask: str = ""
    edit: Edit | None = None  # of the EncryptedData


def plain(*, numbered: int | None = None) -> Element:
    """An honest Response, unsigned."""
    number = next(_numbers) if numbered is None else numbered
    return etree.fromstring(
        f"""<samlp:Response xmlns:samlp="{NS["samlp"]}" xmlns:saml="{NS["saml"]}" ID="_response{number}" Version="2.0"
 IssueInstant="{at(-2)}" Destination="{ACS}" InResponseTo="{REQUEST}"><saml:Issuer>{IDP}</saml:Issuer><samlp:Status>
 <samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
 <saml:Assertion xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 ID="_assertion{number}" Version="2.0" IssueInstant="{at(-2)}"><saml:Issuer>{IDP}</saml:Issuer>
 <saml:Subject><saml:NameID Format="{PERSISTENT}">alice-7f3a</saml:NameID>
 <saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData
 NotOnOrAfter="{at(300)}" Recipient="{ACS}" InResponseTo="{REQUEST}"/></saml:SubjectConfirmation></saml:Subject>
 <saml:Conditions NotBefore="{at(-60)}" NotOnOrAfter="{at(300)}"><saml:AudienceRestriction><saml:Audience>{SP}</saml:Audience>
 </saml:AudienceRestriction></saml:Conditions>
 <saml:AuthnStatement AuthnInstant="{at(-30)}" SessionIndex="session-9" SessionNotOnOrAfter="{at(28800)}"><saml:AuthnContext>
 <saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef>
 </saml:AuthnContext></saml:AuthnStatement>
 <saml:AttributeStatement><saml:Attribute Name="urn:oid:0.9.2342.19200300.100.1.3" FriendlyName="mail"
 NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri"><saml:AttributeValue xsi:type="xs:string"
>alice@corp.example</saml:AttributeValue></saml:Attribute><saml:Attribute Name="groups"><saml:AttributeValue
>staff</saml:AttributeValue><saml:AttributeValue>admins</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>
 </saml:Assertion></samlp:Response>""".encode()
    )


def minted(
    *,
    sign: str = "assertion",
    edit: Edit | None = None,
    signing: Signing | None = None,
    encrypting: Encrypting | None = None,
    before_encryption: Edit | None = None,
    after: Edit | None = None,
) -> bytes:
    """A Response as bytes: ``edit`` changes it before anything is signed, ``after`` when all is done.

    ``sign`` names what is signed: ``assertion``, ``response``, both, or nothing.
    """
    root = plain()
    how = signing or Signing()
    if edit is not None:
        edit(root)
    if "assertion" in sign:
        signed(one(root, "saml:Assertion"), how)
    if before_encryption is not None:
        before_encryption(root)
    if encrypting is not None:
        encrypt(one(root, "saml:Assertion"), "EncryptedAssertion", encrypting)
    if "response" in sign:
        signed(root, how)
    if after is not None:
        replaced = after(root)
        root = replaced if isinstance(replaced, Element) else root
    return etree.tostring(root)


def posted(xml: bytes) -> str:
    """The form field that carries it."""
    return b64encode(xml).decode("ascii")


def one(root: Element, path: str) -> Element:
    """The one element at a path below ``root``."""
    found = root.xpath(f".//{path}", namespaces=NS)
    assert isinstance(found, list)
    assert len(found) == 1, (path, len(found))
    assert isinstance(found[0], Element)
    return found[0]


def child(name: str, text: str | None = None, **attributes: str) -> Element:
    """An element by its prefixed name."""
    prefix, _, local = name.partition(":")
    made = etree.Element(f"{{{NS[prefix]}}}{local}", attributes, nsmap={prefix: NS[prefix]})
    made.text = text
    return made


def clone(element: Element) -> Element:
    return copy.deepcopy(element)


def signature_template(identifier: str, how: Signing) -> Element:
    """A ``ds:Signature`` of the right shape, with empty values."""
    prefixes = f'<ec:InclusiveNamespaces xmlns:ec="{NS["ec"]}" PrefixList="{how.prefixes}"/>' if how.prefixes else ""
    return etree.fromstring(
        f"""<ds:Signature xmlns:ds="{NS["ds"]}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{NS["ec"]}"/>
<ds:SignatureMethod Algorithm="{how.algorithm}"/><ds:Reference URI="#{identifier}"><ds:Transforms><ds:Transform
 Algorithm="{NS["ds"]}enveloped-signature"/><ds:Transform Algorithm="{NS["ec"]}">{prefixes}</ds:Transform></ds:Transforms>
<ds:DigestMethod Algorithm="{how.digest}"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/>
{how.key_info}</ds:Signature>""".encode()
    )


def signed(element: Element, how: Signing | None = None) -> Element:
    """``element`` with a signature behind its Issuer; gives the signature."""
    how = how or Signing()
    signature = signature_template(element.get("ID", ""), how)
    element.insert(1 if len(element) and element[0].tag == f"{{{NS['saml']}}}Issuer" else 0, signature)
    if how.edit is not None:
        how.edit(signature)
    resign(signature, how)
    return signature


def resign(signature: Element, how: Signing | None = None) -> None:
    """Compute the digests and the value of a signature where it stands."""
    how = how or Signing()
    xmlsec.tree.add_ids(signature.getroottree().getroot(), ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(how.key.private, xmlsec.constants.KeyDataFormatPem)
    context.sign(signature)


_KEY_BYTES = {"128": 16, "192": 24, "256": 32}
_HASHES = {"": hashes.SHA1(), "sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}


def encrypt(element: Element, holder: str, how: Encrypting | None = None) -> Element:
    """Put ``element`` into an EncryptedAssertion or EncryptedID in its place."""
    how = how or Encrypting()
    parent = element.getparent()
    assert parent is not None
    outer = child(f"saml:{holder}")
    parent.replace(element, outer)
    outer.append(encrypted_data(etree.tostring(element, with_tail=False), how))
    if how.edit is not None:
        how.edit(one(outer, "xenc:EncryptedData"))
    return outer


def encrypted_data(text: bytes, how: Encrypting) -> Element:
    """An EncryptedData with its key inside."""
    content_key = os.urandom(next((size for bits, size in _KEY_BYTES.items() if bits in how.algorithm), 24))
    public = x509.load_pem_x509_certificate(how.key.certificate.encode()).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if "oaep" in how.transport:
        digest, mask = how.digest.partition("#")[2], how.mask.partition("#mgf1")[2]
        scheme = padding.OAEP(padding.MGF1(_HASHES[mask]), _HASHES[digest], None)
    wrapped = b64encode(public.encrypt(content_key, scheme)).decode()
    value = b64encode(_ciphered(text, content_key, how.algorithm)).decode()
    digest_xml = f'<ds:DigestMethod Algorithm="{how.digest}"/>' if how.digest else ""
    mask_xml = f'<xenc11:MGF xmlns:xenc11="{NS["xenc11"]}" Algorithm="{how.mask}"/>' if how.mask else ""
    return etree.fromstring(
        f"""<xenc:EncryptedData xmlns:xenc="{NS["xenc"]}" xmlns:ds="{NS["ds"]}" Type="{NS["xenc"]}Element">
<xenc:EncryptionMethod Algorithm="{how.algorithm}"/><ds:KeyInfo><xenc:EncryptedKey><xenc:EncryptionMethod
 Algorithm="{how.transport}">{digest_xml}{mask_xml}</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>{wrapped}</xenc:CipherValue>
</xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>{value}</xenc:CipherValue></xenc:CipherData>
</xenc:EncryptedData>""".encode()
    )


def _ciphered(text: bytes, key: bytes, algorithm: str) -> bytes:
    if "gcm" in algorithm:
        nonce = os.urandom(12)
        return nonce + AESGCM(key).encrypt(nonce, text, None)
    block = 8 if "tripledes" in algorithm else 16
    short = block - len(text) % block
    padded = text + b"\0" * (short - 1) + bytes([short])
    vector = os.urandom(block)
    if block == 8:
        return vector + padded  # refused by its name, long before anybody decrypts it
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return vector + encryptor.update(padded) + encryptor.finalize()


def public_numbers(one_pair: Pair) -> object:
    """The public half, for forgeries that misuse it."""
    return load_pem_private_key(one_pair.private.encode(), None)
