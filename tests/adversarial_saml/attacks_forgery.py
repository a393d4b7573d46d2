"""Messages that nobody signed so, or that were signed by a trick: each must fail on what it does, not by luck."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable

import xmlsec
from lxml import etree

from jit_middleware.sso.saml.reasons import Reason
from tests.adversarial_saml.attack import Attack, both, changed_later, drop, on_bytes, put, say, signed_so
from tests.adversarial_saml.mint import (
    IDP,
    NS,
    Element,
    Encrypting,
    Pair,
    Signing,
    child,
    clone,
    encrypt,
    minted,
    one,
    pair,
    posted,
    resign,
    signature_template,
    signed,
)

NAME = "saml:Subject/saml:NameID"
MORE, DSIG, XENC = "http://www.w3.org/2001/04/xmldsig-more#", NS["ds"], NS["xenc"]


def _signing(
    name: str, reason: Reason, how: Callable[[], Signing], *, sign: str = "assertion", **told: object
) -> Attack:
    return Attack(name, lambda: posted(minted(sign=sign, signing=how())), reason, told)


def _template(name: str, edit: Callable[[Element], object], reason: Reason) -> Attack:
    """A signature of another shape, correctly computed over it."""
    return _signing(name, reason, lambda: Signing(edit=edit))


def _encrypted(
    name: str, reason: Reason, how: Callable[[], Encrypting] = Encrypting, *, sign: str = "assertion", keys: bool = True
) -> Attack:
    told = {"decryption_keys": OpenLater()} if keys else {}
    return Attack(name, lambda: posted(minted(sign=sign, encrypting=how())), reason, told)


class OpenLater(tuple[()]):
    """Stands for the service's keys, which are made when the first test needs them."""


def _key_info(key: Pair) -> str:
    body = "".join(key.certificate.split("-----")[2].split())
    return f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{body}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"


def _transform(algorithm: str, *inside: Element) -> Element:
    made = child("ds:Transform", Algorithm=algorithm)
    made.extend(inside)
    return made


def _xpath_filter(signature: Element) -> None:
    """Signs all but the name: the rest may be changed freely."""
    inside = child("ds:XPath", "not(ancestor-or-self::*[local-name()='NameID'])")
    one(signature, "ds:Transforms").insert(1, _transform("http://www.w3.org/TR/1999/REC-xpath-19991116", inside))


def _second_reference(signature: Element) -> None:
    reference = one(signature, "ds:Reference")
    reference.addnext(clone(reference))


def _without_transform(position: int) -> Callable[[Element], None]:
    def edit(signature: Element) -> None:
        transforms = one(signature, "ds:Transforms")
        transforms.remove(transforms[position])

    return edit


def _swapped_transforms(signature: Element) -> None:
    transforms = one(signature, "ds:Transforms")
    transforms.append(transforms[0])


def _with_object(signature: Element) -> None:
    signature.append(child("ds:Object"))


def _hmac_with_public_key(root: Element) -> None:
    """The certificate, which everybody has, as the secret of an HMAC."""
    how = Signing(algorithm=f"{MORE}hmac-sha256")
    assertion = one(root, "saml:Assertion")
    signature = signature_template(assertion.get("ID", ""), how)
    assertion.insert(1, signature)
    xmlsec.tree.add_ids(root, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_binary_data(xmlsec.constants.KeyDataHmac, pair().certificate.encode())
    context.sign(signature)


def _moved_signature(root: Element) -> None:
    """The assertion's signature on the Response."""
    root.insert(1, one(root, "ds:Signature"))


def _signature_twice(root: Element) -> None:
    signature = one(root, "ds:Signature")
    signature.addnext(clone(signature))


def _unsigned_assertion_in_signed_id(root: Element) -> None:
    """The signature refers to the Response's ID while it stands on the assertion."""
    assertion = one(root, "saml:Assertion")
    signature = signature_template(root.get("ID", ""), Signing())
    assertion.insert(1, signature)
    resign(signature)


def _break_value(name: str) -> Callable[[Element], None]:
    def edit(root: Element) -> None:
        value = one(root, f"ds:{name}")
        raw = bytearray(b64decode(value.text or ""))
        raw[0] ^= 1
        value.text = b64encode(bytes(raw)).decode()

    return edit


def _say_digest_of(root: Element) -> None:
    """Another name, and the digest that fits it: the signature over the digest no longer does."""
    one(root, NAME).text = "mallory"
    other = clone(root)
    old = one(other, "ds:Signature")
    parent = old.getparent()
    assert parent is not None
    parent.remove(old)
    right = one(signed(one(other, "saml:Assertion"), Signing(key=pair("stranger"))), "ds:DigestValue").text
    one(root, "ds:DigestValue").text = right


def _resigned_by(key: str) -> Callable[[Element], None]:
    """Signature thrown away and made anew with a key of the attacker's, its certificate in the message."""

    def edit(root: Element) -> None:
        drop("ds:Signature")(root)
        one(root, NAME).text = "mallory"
        signed(one(root, "saml:Assertion"), Signing(key=pair(key), key_info=_key_info(pair(key))))

    return edit


EXCLUSION = [
    Attack("no signature at all", lambda: posted(minted(sign="")), Reason.SIGNATURE_MISSING),
    changed_later(
        "signature taken away, name changed", both(drop("ds:Signature"), say(NAME, "mallory")), Reason.SIGNATURE_MISSING
    ),
    changed_later(
        "signature of the Response taken away", drop("ds:Signature"), Reason.SIGNATURE_MISSING, sign="response"
    ),
    changed_later("signature emptied", lambda root: one(root, "ds:Signature").clear(), Reason.SIGNATURE_MALFORMED),
    changed_later("signature value emptied", say("ds:SignatureValue", ""), Reason.SIGNATURE_INVALID),
    changed_later("assertion's signature on the Response", _moved_signature, Reason.SIGNATURE_REFERENCE),
    changed_later("the signature twice", _signature_twice, Reason.SIGNATURE_MALFORMED),
    signed_so(
        "signature on a statement",
        lambda root: one(root, "saml:AuthnStatement").append(child("ds:Signature")),
        Reason.ELEMENT_NOT_ALLOWED,
    ),
    Attack(
        "no usable certificate", lambda: posted(minted()), Reason.CERTIFICATE_UNUSABLE, {"idp_certificates": ("junk",)}
    ),
    Attack("no certificate", lambda: posted(minted()), Reason.CERTIFICATE_UNUSABLE, {"idp_certificates": ()}),
]
FAKED = [
    changed_later("signed anew with an own certificate in KeyInfo", _resigned_by("stranger"), Reason.SIGNATURE_INVALID),
    changed_later(
        "signed anew by the identity provider of another connection",
        _resigned_by("other idp"),
        Reason.SIGNATURE_INVALID,
    ),
    _signing(
        "signed by another key, the right certificate in KeyInfo",
        Reason.SIGNATURE_INVALID,
        lambda: Signing(key=pair("stranger"), key_info=_key_info(pair())),
    ),
    Attack(
        "verified with the keys of another connection",
        lambda: posted(minted()),
        Reason.SIGNATURE_INVALID,
        {"idp_certificates": "other idp"},
    ),
    Attack(
        "presented to another connection with the same key",
        lambda: posted(minted()),
        Reason.ISSUER_MISMATCH,
        {"idp_entity_id": f"{IDP}/2"},
    ),
    changed_later("HMAC keyed with the public certificate", _hmac_with_public_key, Reason.SIGNATURE_ALGORITHM, sign=""),
    changed_later("name changed", say(NAME, "mallory"), Reason.DIGEST_MISMATCH),
    changed_later("name changed, Response signed", say(NAME, "mallory"), Reason.DIGEST_MISMATCH, sign="response"),
    changed_later("name changed, both signed", say(NAME, "mallory"), Reason.DIGEST_MISMATCH, sign="response assertion"),
    changed_later("attribute changed", say("saml:AttributeValue[text()='staff']", "root"), Reason.DIGEST_MISMATCH),
    changed_later(
        "attribute added",
        lambda root: one(root, "saml:AttributeStatement").append(child("saml:Attribute", Name="admin")),
        Reason.DIGEST_MISMATCH,
    ),
    changed_later(
        "Destination changed, Response signed",
        put(".", Destination="https://evil.example/"),
        Reason.DIGEST_MISMATCH,
        sign="response",
    ),
    changed_later("digest value changed", _break_value("DigestValue"), Reason.SIGNATURE_INVALID),
    changed_later("signature value changed", _break_value("SignatureValue"), Reason.SIGNATURE_INVALID),
    changed_later("digest made to fit the changed name", _say_digest_of, Reason.SIGNATURE_INVALID),
    changed_later("signature value not base64", say("ds:SignatureValue", "*"), Reason.BASE64_MALFORMED),
]
TRICKS = [
    _template("XPath filter leaves the name unsigned", _xpath_filter, Reason.ELEMENT_NOT_ALLOWED),
    _template("second reference", _second_reference, Reason.SIGNATURE_REFERENCE),
    _template("no exclusive canonicalization", _without_transform(1), Reason.SIGNATURE_TRANSFORM),
    changed_later("transforms in the wrong order", _swapped_transforms, Reason.SIGNATURE_TRANSFORM),
    _template("inclusive canonicalization", put("ds:Transform[2]", Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"), Reason.SIGNATURE_TRANSFORM),
    _template("inclusive canonicalization of the signature", put("ds:CanonicalizationMethod", Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"), Reason.SIGNATURE_TRANSFORM),
    _template("a third transform", lambda s: one(s, "ds:Transforms").append(_transform(NS["ec"])), Reason.SIGNATURE_TRANSFORM),
    _template("ds:Object in the signature", _with_object, Reason.ELEMENT_NOT_ALLOWED),
    _template("reference to the whole document", put("ds:Reference", URI=""), Reason.SIGNATURE_REFERENCE),
    changed_later("reference without URI", put("ds:Reference", URI=None), Reason.SIGNATURE_REFERENCE),
    changed_later("reference by XPointer", put("ds:Reference", URI="#xpointer(/)"), Reason.SIGNATURE_REFERENCE),
    changed_later("reference to the parent's ID", _unsigned_assertion_in_signed_id, Reason.SIGNATURE_REFERENCE, sign=""),
    changed_later("long PrefixList", lambda root: one(root, "ds:Transform[2]").append(child("ec:InclusiveNamespaces", PrefixList="p " * 33)), Reason.SIGNATURE_TRANSFORM),
    *(
        _signing(f"signed with {algorithm}", Reason.SIGNATURE_ALGORITHM, lambda name=f"{base}{algorithm}": Signing(algorithm=name))  # type: ignore[misc]
        for base, algorithm in ((DSIG, "rsa-sha1"), (MORE, "rsa-md5"), (MORE, "rsa-ripemd160"), (MORE, "rsa-sha224"))
    ),
    *(
        _signing(f"digest by {digest}", Reason.SIGNATURE_ALGORITHM, lambda name=f"{base}{digest}": Signing(digest=name))  # type: ignore[misc]
        for base, digest in ((DSIG, "sha1"), (MORE, "md5"), (XENC, "ripemd160"), (MORE, "sha224"))
    ),
    _signing("a weak digest in the second signature", Reason.SIGNATURE_ALGORITHM, lambda: Signing(digest=f"{DSIG}sha1"), sign="response assertion"),
    changed_later("unknown algorithm", put("ds:SignatureMethod", Algorithm="urn:x"), Reason.SIGNATURE_ALGORITHM),
    changed_later("no algorithm", put("ds:SignatureMethod", Algorithm=None), Reason.SIGNATURE_ALGORITHM),
    changed_later("an algorithm of another key family", put("ds:SignatureMethod", Algorithm=f"{MORE}ecdsa-sha256"), Reason.SIGNATURE_INVALID),
    _signing("a weak key", Reason.CERTIFICATE_UNUSABLE, lambda: Signing(key=pair("weak", bits=1024)), idp_certificates="weak"),
]  # fmt: skip


def _pollute(root: Element) -> None:
    for prefix in range(70):
        root.append(etree.fromstring(f'<p{prefix}:x xmlns:p{prefix}="urn:x"/>'))


MARKUP = [
    on_bytes("comment in the name", lambda xml: xml.replace(b"alice-", b"alice<!---->-"), Reason.MARKUP_FORBIDDEN),
    on_bytes("processing instruction in the name", lambda xml: xml.replace(b"alice-", b"alice<?x?>-"), Reason.MARKUP_FORBIDDEN),
    on_bytes("CDATA in the name", lambda xml: xml.replace(b"alice-7f3a", b"<![CDATA[alice-7f3a]]>"), Reason.MARKUP_FORBIDDEN),
    on_bytes("DTD", lambda xml: b"<!DOCTYPE x>" + xml, Reason.MARKUP_FORBIDDEN),
    on_bytes("entity", lambda xml: b'<!DOCTYPE x [<!ENTITY e "alice">]>' + xml.replace(b"alice-", b"&e;-"), Reason.MARKUP_FORBIDDEN),
    on_bytes("external entity", lambda xml: b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + xml, Reason.MARKUP_FORBIDDEN),
    on_bytes("style sheet", lambda xml: b'<?xml-stylesheet href="x"?>' + xml, Reason.MARKUP_FORBIDDEN),
    on_bytes("undeclared entity", lambda xml: xml.replace(b"alice-", b"&nbsp;"), Reason.XML_MALFORMED),
    on_bytes("UTF-16", lambda xml: xml.decode().encode("utf-16"), Reason.ENCODING_NOT_UTF8),
    on_bytes("declared as another encoding", lambda xml: b'<?xml version="1.0" encoding="UTF-7"?>' + xml, Reason.ENCODING_NOT_UTF8),
    on_bytes("not UTF-8", lambda xml: xml.replace(b"alice-", b"\xff"), Reason.ENCODING_NOT_UTF8),
    on_bytes("overlong UTF-8", lambda xml: xml.replace(b"alice-", b"\xc0\xbc"), Reason.ENCODING_NOT_UTF8),
    on_bytes("XML 1.1", lambda xml: b'<?xml version="1.1"?>' + xml, Reason.MARKUP_FORBIDDEN),
    on_bytes("byte order mark", lambda xml: b"\xef\xbb\xbf" + xml, Reason.XML_MALFORMED),
    on_bytes("NUL in the name", lambda xml: xml.replace(b"alice-", b"alice\x00"), Reason.XML_MALFORMED),
    on_bytes("two roots", lambda xml: xml + xml, Reason.XML_MALFORMED),
    on_bytes("cut off", lambda xml: xml[:-10], Reason.XML_MALFORMED),
    on_bytes("empty", lambda _: b" ", Reason.XML_MALFORMED),
    on_bytes("relative namespace", lambda xml: xml.replace(b"<saml:Subject>", b'<saml:Subject xmlns:r="relative">'), Reason.NAMESPACE_RELATIVE),
    on_bytes("elements in a namespace alike", lambda xml: xml.replace(NS["saml"].encode(), NS["saml"].encode() + b"x"), Reason.ELEMENT_NOT_ALLOWED),
    on_bytes("no Response", lambda xml: xml.replace(b"samlp:Response", b"samlp:LogoutResponse"), Reason.NOT_A_RESPONSE),
    Attack("nothing", lambda: "", Reason.MESSAGE_MISSING),
    Attack("not base64", lambda: "<xml/>", Reason.BASE64_MALFORMED),
    Attack("base64 with blanks", lambda: posted(minted()).replace("A", " ", 1), Reason.BASE64_MALFORMED),
    Attack("base64url", lambda: b64encode(b"\xfb\xff\xfe").decode().replace("+", "-").replace("/", "_"), Reason.BASE64_MALFORMED),
    Attack("base64 without padding", lambda: posted(b"<a>1</a>").rstrip("="), Reason.BASE64_MALFORMED),
    Attack("base64 in a second spelling", lambda: posted(b"<a>12</a>  ")[:-2] + "B=", Reason.BASE64_MALFORMED),
    Attack("base64 of other scripts", lambda: "\u0410" * 8, Reason.BASE64_MALFORMED),
    Attack("too large", lambda: "A" * (256 * 1024 + 4), Reason.MESSAGE_TOO_LARGE),
    changed_later("duplicate ID", lambda root: root.set("ID", one(root, "saml:Assertion").get("ID", "")), Reason.ID_DUPLICATE),
    changed_later("ID with markup", put(".", ID="a b"), Reason.ID_MALFORMED),
    changed_later("Response without ID", put(".", ID=None), Reason.ID_MALFORMED),
    changed_later("assertion without ID", put("saml:Assertion", ID=None), Reason.ID_MALFORMED),
    changed_later("xml:id", lambda root: root.set("{http://www.w3.org/XML/1998/namespace}id", "x"), Reason.ATTRIBUTE_NOT_ALLOWED),
    changed_later("ID of another vocabulary", lambda root: root.set("{urn:x}ID", "x"), Reason.ATTRIBUTE_NOT_ALLOWED),
    changed_later("ID on an attribute", lambda root: one(root, "saml:Attribute[@Name='groups']").set("{urn:x}Id", "x"), Reason.ATTRIBUTE_NOT_ALLOWED),
    changed_later("xml:base", lambda root: root.set("{http://www.w3.org/XML/1998/namespace}base", "http://x/"), Reason.ATTRIBUTE_NOT_ALLOWED),
    changed_later("unknown name on an attribute", put("saml:Attribute[@Name='groups']", Unknown="x"), Reason.ATTRIBUTE_NOT_ALLOWED),
    changed_later("lower-case id", put("saml:Assertion", id="x"), Reason.ATTRIBUTE_NOT_ALLOWED),
    changed_later("xsi:type on a condition", lambda root: one(root, "saml:Conditions").set("{http://www.w3.org/2001/XMLSchema-instance}type", "x"), Reason.ATTRIBUTE_NOT_ALLOWED),
    changed_later("element of another vocabulary", lambda root: root.append(etree.fromstring('<x xmlns="urn:x"/>')), Reason.ELEMENT_NOT_ALLOWED),
    changed_later("name in another vocabulary beside the name", lambda root: one(root, NAME).addprevious(etree.fromstring('<NameID xmlns="urn:x">mallory</NameID>')), Reason.ELEMENT_NOT_ALLOWED),
    changed_later("element inside the name", lambda root: one(root, NAME).append(child("saml:NameID", "mallory")), Reason.ELEMENT_NOT_ALLOWED),
    changed_later("text between elements", lambda root: setattr(one(root, "saml:Conditions"), "tail", "x"), Reason.TEXT_NOT_ALLOWED),
    changed_later("Extensions", lambda root: root.insert(1, child("samlp:Extensions")), Reason.ELEMENT_NOT_ALLOWED),
    changed_later("Advice with an assertion", lambda root: one(root, "saml:Assertion").append(child("saml:Advice")), Reason.ELEMENT_NOT_ALLOWED),
    changed_later("unknown condition", lambda root: one(root, "saml:Conditions").append(child("saml:Condition")), Reason.ELEMENT_NOT_ALLOWED),
    changed_later("no assertion", drop("saml:Assertion"), Reason.ASSERTION_COUNT),
    changed_later("prefixes without end", _pollute, Reason.XML_TOO_COMPLEX),
    signed_so("elements in an order no schema has", lambda root: one(root, "saml:Assertion").append(one(root, "saml:Conditions")), Reason.SCHEMA_INVALID),
    signed_so("two status messages", lambda root: one(root, "samlp:Status").extend([child("samlp:StatusMessage"), child("samlp:StatusMessage")]), Reason.SCHEMA_INVALID),
]  # fmt: skip


def _id_encrypted(how: Callable[[], Encrypting]) -> Callable[[Element], object]:
    return lambda root: encrypt(one(root, NAME), "EncryptedID", how())


def _wrong_way(name: str, edit: Callable[[Element], object], reason: Reason) -> Attack:
    return _encrypted(name, reason, lambda: Encrypting(edit=edit))


def _break_cipher(data: Element) -> None:
    value = data.findall(".//{*}CipherValue")[-1]
    raw = bytearray(b64decode(value.text or ""))
    raw[-20] ^= 1
    value.text = b64encode(bytes(raw)).decode()


ENCRYPTED = [
    _encrypted("encrypted though no key is configured", Reason.ENCRYPTION_NOT_EXPECTED, keys=False),
    _encrypted("encrypted, signed by nobody", Reason.SIGNATURE_MISSING, sign=""),
    _encrypted("CBC in an unsigned Response", Reason.ENCRYPTION_ALGORITHM, lambda: Encrypting(algorithm=f"{XENC}aes256-cbc")),
    _encrypted("triple DES", Reason.ENCRYPTION_ALGORITHM, lambda: Encrypting(algorithm=f"{XENC}tripledes-cbc"), sign="response"),
    _encrypted("RSA 1.5", Reason.ENCRYPTION_ALGORITHM, lambda: Encrypting(transport=f"{XENC}rsa-1_5"), sign="response"),
    _encrypted("encrypted for somebody else", Reason.DECRYPTION_FAILED, lambda: Encrypting(key=pair("stranger"))),
    _wrong_way("cipher text changed", _break_cipher, Reason.DECRYPTION_FAILED),
    _wrong_way("cipher text empty", lambda data: setattr(data.findall(".//{*}CipherValue")[-1], "text", ""), Reason.DECRYPTION_FAILED),
    _wrong_way("key too short", lambda data: setattr(data.findall(".//{*}CipherValue")[0], "text", "AAAA"), Reason.DECRYPTION_FAILED),
    _wrong_way("algorithm of another key length", lambda data: data[0].set("Algorithm", f"{NS['xenc11']}aes128-gcm"), Reason.DECRYPTION_FAILED),
    _wrong_way("content instead of element", lambda data: data.set("Type", f"{XENC}Content"), Reason.ENCRYPTION_SHAPE),
    _wrong_way("two keys", lambda data: data[1].append(clone(data[1][0])), Reason.ENCRYPTION_SHAPE),
    _wrong_way("no key", lambda data: data[1].clear(), Reason.ENCRYPTION_SHAPE),
    _wrong_way("key by RetrievalMethod", lambda data: data[1].append(child("ds:RetrievalMethod", URI="file:///dev/zero")), Reason.ELEMENT_NOT_ALLOWED),
    _wrong_way("cipher text by reference", lambda data: data[2].append(child("xenc:CipherReference", URI="file:///dev/zero")), Reason.ELEMENT_NOT_ALLOWED),
    _wrong_way("agreed key", lambda data: data[1].append(child("xenc:AgreementMethod", Algorithm="x")), Reason.ELEMENT_NOT_ALLOWED),
    _wrong_way("EncryptionProperties", lambda data: data.append(child("xenc:EncryptionProperties")), Reason.ELEMENT_NOT_ALLOWED),
    Attack("name encrypted with triple DES", lambda: posted(minted(edit=_id_encrypted(lambda: Encrypting(algorithm=f"{XENC}tripledes-cbc")))), Reason.ENCRYPTION_ALGORITHM, {"decryption_keys": OpenLater()}),
    Attack("another element encrypted as a name", lambda: posted(minted(edit=lambda root: encrypt(_issuer_as_name(root), "EncryptedID"))), Reason.DECRYPTION_FAILED, {"decryption_keys": OpenLater()}),
    Attack("name changed before it was encrypted again", lambda: posted(minted(before_encryption=say(NAME, "mallory"), encrypting=Encrypting())), Reason.DIGEST_MISMATCH, {"decryption_keys": OpenLater()}),
    Attack("same ID inside and outside the cipher text", lambda: posted(minted(before_encryption=lambda root: root.set("ID", one(root, "saml:Assertion").get("ID", "")), encrypting=Encrypting())), Reason.ID_DUPLICATE, {"decryption_keys": OpenLater()}),
    Attack("comment inside the cipher text", lambda: posted(minted(before_encryption=lambda root: one(root, NAME).append(etree.Comment("x")), encrypting=Encrypting())), Reason.DECRYPTION_FAILED, {"decryption_keys": OpenLater()}),
]  # fmt: skip


def _issuer_as_name(root: Element) -> Element:
    name = one(root, NAME)
    other = child("saml:Issuer", "alice")
    parent = name.getparent()
    assert parent is not None
    parent.replace(name, other)
    return other


def told(attack: Attack) -> dict[str, object]:
    """What differs from the usual expectations, keys made by now: a name stands for its key pair's certificate."""
    changes = dict(attack.told)
    if isinstance(changes.get("decryption_keys"), OpenLater):
        changes["decryption_keys"] = (pair("sp").sp_key,)
    if isinstance(certificate := changes.get("idp_certificates"), str):
        bits = 1024 if certificate == "weak" else 2048
        made = pair(certificate, bits=bits, elliptic=certificate == "elliptic")
        changes["idp_certificates"] = (made.certificate,)
    return changes


FORGERY = [*EXCLUSION, *FAKED, *TRICKS, *MARKUP, *ENCRYPTED]
