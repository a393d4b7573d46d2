"""Small departures, one for each condition of the guard, the verifier and the decryption that a larger attack passes by."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable

from lxml import etree

from jit_middleware.sso.saml.reasons import Reason
from tests.adversarial_saml.attack import Attack, changed_later, drop, put, signed_so
from tests.adversarial_saml.attacks_forgery import OpenLater
from tests.adversarial_saml.mint import (
    NS,
    Element,
    Encrypting,
    Signing,
    at,
    child,
    encrypted_data,
    minted,
    one,
    pair,
    posted,
)

CBC, OAEP11 = f"{NS['xenc']}aes256-cbc", f"{NS['xenc11']}rsa-oaep"
ECDSA = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
GROUPS = "saml:Attribute[@Name='groups']"


def _inclusive(times: int = 1) -> list[Element]:
    return [child("ec:InclusiveNamespaces", PrefixList="xs") for _ in range(times)]


def _encrypted(name: str, edit: Callable[[Element], object], reason: Reason, **how: str) -> Attack:
    """Changed after it was encrypted, and then signed so."""
    return Attack(
        name,
        lambda: posted(minted(sign="response", encrypting=Encrypting(edit=edit, **how))),  # type: ignore[arg-type]
        reason,
        {"decryption_keys": OpenLater()},
    )


def _cipher(change: Callable[[bytes], bytes]) -> Callable[[Element], None]:
    def edit(data: Element) -> None:
        value = data.findall(".//{*}CipherValue")[-1]
        value.text = b64encode(change(b64decode(value.text or ""))).decode()

    return edit


def _text_beside(before: bytes, after: bytes) -> Callable[[], str]:
    def fill(root: Element) -> None:
        assertion = one(root, "saml:Assertion")
        holder = child("saml:EncryptedAssertion")
        text = before + etree.tostring(assertion, with_tail=False) + after
        root.replace(assertion, holder)
        holder.append(encrypted_data(text, Encrypting()))

    return lambda: posted(minted(sign="assertion", after=fill))


def _short_signature(root: Element) -> None:
    value = one(root, "ds:SignatureValue")
    value.text = b64encode(b64decode(value.text or "")[:-1]).decode()


def _xml_name(local: str) -> str:
    return f"{{http://www.w3.org/XML/1998/namespace}}{local}"


DETAILS = [
    changed_later("xml:base on an attribute", lambda root: one(root, GROUPS).set(_xml_name("base"), "http://x/"), Reason.ATTRIBUTE_NOT_ALLOWED),
    changed_later("canonicalized twice instead of enveloped", put("ds:Transform[1]", Algorithm=NS["ec"]), Reason.SIGNATURE_TRANSFORM),
    changed_later("enveloped with parameters", lambda root: one(root, "ds:Transform[1]").extend(_inclusive()), Reason.SIGNATURE_TRANSFORM),
    changed_later("two PrefixLists", lambda root: one(root, "ds:Transform[2]").extend(_inclusive(2)), Reason.SIGNATURE_TRANSFORM),
    changed_later("PrefixList added later", lambda root: one(root, "ds:Transform[2]").extend(_inclusive()), Reason.SIGNATURE_INVALID),
    Attack(
        "an ECDSA signature one byte short",
        lambda: posted(minted(signing=Signing(pair("elliptic", elliptic=True), ECDSA), after=_short_signature)),
        Reason.SIGNATURE_INVALID,
        {"idp_certificates": "elliptic"},
    ),
    Attack("encrypted Response without Issuer", lambda: posted(minted(edit=lambda root: root.remove(root[0]), encrypting=Encrypting())), Reason.ISSUER_MISMATCH, {"decryption_keys": OpenLater()}),
    signed_so("attribute with a blank before its name", put(GROUPS, Name=" groups"), Reason.ATTRIBUTE_MALFORMED),
    signed_so("signed in a second too far ahead", put("saml:AuthnStatement", AuthnInstant=at(61)), Reason.ISSUED_IN_FUTURE),
    signed_so("a second more than a day", put("saml:SubjectConfirmationData", NotOnOrAfter=at(86_461)), Reason.LIFETIME_TOO_LONG),
    _encrypted("CBC without padding", _cipher(lambda data: data[:-1]), Reason.DECRYPTION_FAILED, algorithm=CBC),
    _encrypted("CBC of nothing", _cipher(lambda data: data[:16]), Reason.DECRYPTION_FAILED, algorithm=CBC),
    _encrypted("CBC without a whole vector", _cipher(lambda data: data[:15]), Reason.DECRYPTION_FAILED, algorithm=CBC),
    _encrypted("CBC with random padding", _cipher(lambda data: data[:-1] + bytes([data[-1] ^ 0x55])), Reason.DECRYPTION_FAILED, algorithm=CBC),
    _encrypted("GCM without a tag", _cipher(lambda data: data[:12]), Reason.DECRYPTION_FAILED),
    _encrypted("parameters of the cipher", lambda data: data[0].append(child("ds:DigestMethod", Algorithm=f"{NS['ds']}sha1")), Reason.ENCRYPTION_ALGORITHM),
    _encrypted("no KeyInfo", drop("ds:KeyInfo"), Reason.ENCRYPTION_SHAPE),
    _encrypted("key in another order", lambda data: one(data, "xenc:EncryptedKey").append(one(data, "xenc:EncryptedKey")[0]), Reason.ENCRYPTION_SHAPE),
    _encrypted("two digests of the key", lambda data: one(data, "xenc:EncryptedKey")[0].extend(_digests("sha1", "sha1")), Reason.ENCRYPTION_SHAPE),
    _encrypted("an unknown digest of the key", lambda data: one(data, "xenc:EncryptedKey")[0].extend(_digests("md5")), Reason.ENCRYPTION_ALGORITHM),
    _encrypted("an unknown mask", lambda data: one(data, "xenc:EncryptedKey")[0].append(child("xenc11:MGF", Algorithm="urn:x")), Reason.ENCRYPTION_ALGORITHM, transport=OAEP11),
    _encrypted("a mask where none is named", lambda data: one(data, "xenc:EncryptedKey")[0].append(child("xenc11:MGF", Algorithm=f"{NS['xenc11']}mgf1sha1")), Reason.ENCRYPTION_ALGORITHM),
    Attack("text before the assertion in the cipher text", _text_beside(b"x", b""), Reason.DECRYPTION_FAILED, {"decryption_keys": OpenLater()}),
    Attack("text behind the assertion in the cipher text", _text_beside(b"", b"x"), Reason.DECRYPTION_FAILED, {"decryption_keys": OpenLater()}),
    Attack("an end of the context in the cipher text", _text_beside(b"</opened><opened>", b""), Reason.DECRYPTION_FAILED, {"decryption_keys": OpenLater()}),
]  # fmt: skip


def _digests(*names: str) -> list[Element]:
    return [child("ds:DigestMethod", Algorithm=f"{NS['ds']}{name}") for name in names]
