"""Signature wrapping: the eight known forms, on whichever signature there is, plain and encrypted.

In each the signed original survives somewhere, so that the signature verifies, and somebody else's name stands where a
careless reader looks.
"""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from tests.adversarial_saml.mint import NS, Element, Encrypting, child, clone, encrypted_data, minted, one

MALLORY = "mallory-admin"
SIGNATURE = f"{{{NS['ds']}}}Signature"


def _evil(original: Element, *, keep_signature: bool = False) -> Element:
    """A copy with another name and another ID."""
    evil = clone(original)
    evil.set("ID", "_evil")
    for inner in evil.iter(f"{{{NS['saml']}}}Assertion"):
        inner.set("ID", "_evil-inner" if inner is not evil else "_evil")
    for name in evil.iter(f"{{{NS['saml']}}}NameID"):
        name.text = MALLORY
    if not keep_signature:
        for signature in list(evil.iter(SIGNATURE)):
            parent = signature.getparent()
            assert parent is not None
            parent.remove(signature)
    return evil


def _taken(element: Element) -> Element:
    """The element's signature, taken out; of its Response where it has none of its own."""
    signature = element.find(SIGNATURE)
    if signature is None:
        parent = element.getparent()
        signature = None if parent is None else parent.find(SIGNATURE)
    assert signature is not None
    holder = signature.getparent()
    assert holder is not None
    holder.remove(signature)
    return signature


def _message(root: Element) -> tuple[Element, Element]:
    """The Response's signature, or its assertion's, taken out; and a forged Response."""
    signature = root.find(SIGNATURE)
    signature = _taken(root) if signature is not None else _taken(one(root, "saml:Assertion"))
    return signature, _evil(root)


def xsw1(root: Element) -> Element:
    signature, evil = _message(root)
    evil.insert(1, signature)
    signature.append(root)
    return evil


def xsw2(root: Element) -> Element:
    signature, evil = _message(root)
    evil.insert(1, root)
    evil.insert(2, signature)
    return evil


def xsw3(root: Element) -> Element:
    original = one(root, "saml:Assertion")
    original.addprevious(_evil(original))
    return root


def xsw4(root: Element) -> Element:
    original = one(root, "saml:Assertion")
    evil = _evil(original)
    root.replace(original, evil)
    evil.append(original)
    return root


def xsw5(root: Element) -> Element:
    original = one(root, "saml:Assertion")
    evil = _evil(original)
    evil.insert(1, _taken(original))
    root.replace(original, evil)
    root.append(original)
    return root


def xsw6(root: Element) -> Element:
    original = one(root, "saml:Assertion")
    signature = _taken(original)
    evil = _evil(original)
    evil.insert(1, signature)
    root.replace(original, evil)
    signature.append(original)
    return root


def xsw7(root: Element) -> Element:
    extensions = child("samlp:Extensions")
    extensions.append(_evil(one(root, "saml:Assertion")))
    root.insert(1, extensions)
    return root


def xsw8(root: Element) -> Element:
    original = one(root, "saml:Assertion")
    signature = _taken(original)
    evil = _evil(original)
    evil.insert(1, signature)
    root.replace(original, evil)
    holder = child("ds:Object")
    holder.append(original)
    signature.append(holder)
    return root


FORMS: dict[str, Callable[[Element], Element]] = {
    form.__name__: form for form in (xsw1, xsw2, xsw3, xsw4, xsw5, xsw6, xsw7, xsw8)
}


def wrapped(form: str, placement: str) -> bytes:
    """A plain Response, signed as ``placement`` says, then wrapped."""
    return minted(sign=placement, after=FORMS[form])


def wrapped_inside(form: str) -> bytes:
    """A signed assertion wrapped, and the result encrypted for the service, whose key is public."""
    forged = etree.fromstring(wrapped(form, "assertion"))
    kept = {f"{{{NS['saml']}}}Issuer", f"{{{NS['samlp']}}}Status"}
    parts = [forged] if form in {"xsw1", "xsw2"} else [part for part in forged if part.tag not in kept]
    text = b"".join(etree.tostring(part, with_tail=False) for part in parts)

    def fill(root: Element) -> None:
        holder = child("saml:EncryptedAssertion")
        holder.append(encrypted_data(text, Encrypting()))
        root.replace(one(root, "saml:Assertion"), holder)

    return minted(sign="", after=fill)


def beside_encrypted(form: str) -> bytes:
    """An encrypted assertion as it came, and a forged one in the clear where the form puts it."""
    forged: list[Element] = []

    def keep(root: Element) -> None:
        forged.append(_evil(one(root, "saml:Assertion")))

    def combine(root: Element) -> Element:
        encrypted, evil = one(root, "saml:EncryptedAssertion"), forged[0]
        if form in {"xsw1", "xsw2"}:
            outer = clone(root)
            outer.set("ID", "_evil-response")
            outer.replace(one(outer, "saml:EncryptedAssertion"), evil)
            (child_of(outer) if form == "xsw1" else outer).append(root)
            return outer
        if form == "xsw3":
            encrypted.addprevious(evil)
        elif form == "xsw4":
            root.replace(encrypted, evil)
            evil.append(encrypted)
        elif form == "xsw5":
            encrypted.addnext(evil)
        elif form == "xsw6":
            encrypted.append(evil)
        else:
            holder = child("samlp:Extensions") if form == "xsw7" else child("ds:Object")
            holder.append(evil)
            root.insert(1, holder)
        return root

    return minted(sign="assertion", before_encryption=keep, encrypting=Encrypting(), after=combine)


def child_of(response: Element) -> Element:
    """A signature to hide things in."""
    holder = child("ds:Signature")
    response.insert(1, holder)
    return holder
