"""Messages made to cost: refused in a tenth of a second, in little memory, without a file or a socket opened."""

from __future__ import annotations

import sys
import time
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.response import ResponseVerifier
from jit_middleware.sso.saml.signature import verify_redirect
from tests.adversarial_saml.mint import NS, Element, Encrypting, child, clone, expectations, minted, one, pair, posted

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
XSLT = """<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0"><xsl:template match="/">
<xsl:for-each select="//. | //@*"><xsl:for-each select="//. | //@*"><xsl:for-each select="//. | //@*">x</xsl:for-each>
</xsl:for-each></xsl:for-each></xsl:template></xsl:stylesheet>"""
OUTSIDE = ["file:///etc/passwd", "file:///dev/zero", "http://127.0.0.1:1/", "ftp://127.0.0.1/", "//127.0.0.1/x"]


def _transforms(*transforms: Element) -> Callable[[Element], None]:
    def edit(root: Element) -> None:
        one(root, "ds:Transforms").extend(transforms)

    return edit


def _transform(algorithm: str, inside: str = "") -> Element:
    transform = child("ds:Transform", Algorithm=algorithm)
    if inside:
        transform.append(etree.fromstring(inside))
    return transform


def _reference_flood(root: Element) -> None:
    reference = one(root, "ds:Reference")
    for _ in range(400):
        reference.addnext(clone(reference))


def _second_reference(uri: str) -> Callable[[Element], None]:
    def edit(root: Element) -> None:
        reference = one(root, "ds:Reference")
        reference.addprevious(clone(reference))
        one(root, "ds:Reference[1]").set("URI", uri)

    return edit


def _manifest(uri: str) -> Callable[[Element], None]:
    def edit(root: Element) -> None:
        holder, manifest = child("ds:Object"), child("ds:Manifest")
        reference = clone(one(root, "ds:Reference"))
        reference.set("URI", uri)
        manifest.append(reference)
        holder.append(manifest)
        one(root, "ds:Signature").append(holder)

    return edit


def _first_reference(uri: str) -> Callable[[Element], None]:
    return lambda root: one(root, "ds:Reference").set("URI", uri)


def _retrieval(uri: str) -> Callable[[Element], None]:
    return lambda root: one(root, "ds:KeyInfo").append(child("ds:RetrievalMethod", URI=uri))


def _cipher_reference(uri: str) -> Callable[[Element], None]:
    def edit(root: Element) -> None:
        data = root.findall(".//{*}CipherData")[-1]
        data[:] = [child("xenc:CipherReference", URI=uri)]

    return edit


def _declarations(prefixes: int) -> bytes:
    declared = " ".join(f'xmlns:p{number}="urn:x"' for number in range(prefixes))
    return f'<samlp:Response xmlns:samlp="{NS["samlp"]}" {declared}/>'.encode()


def _response_of(inside: str) -> bytes:
    return f'<samlp:Response xmlns:samlp="{NS["samlp"]}" xmlns:saml="{NS["saml"]}">{inside}</samlp:Response>'.encode()


BOMB = '<!DOCTYPE b [<!ENTITY a0 "aaaaaaaaaa">' + "".join(
    f'<!ENTITY a{level} "' + f"&a{level - 1};" * 10 + '">' for level in range(1, 9)
)
MESSAGES: dict[str, Callable[[], bytes]] = {
    "xslt": lambda: minted(after=_transforms(_transform("http://www.w3.org/TR/1999/REC-xslt-19991116", XSLT))),
    "xpath": lambda: minted(
        after=_transforms(
            _transform(
                "http://www.w3.org/TR/1999/REC-xpath-19991116",
                f'<XPath xmlns="{NS["ds"]}">count(//. | //@* | //namespace::*) = count(//.//.//.//.)</XPath>',
            )
        )
    ),
    "a thousand transforms": lambda: minted(after=_transforms(*(_transform(NS["ec"]) for _ in range(1000)))),
    "four hundred references": lambda: minted(after=_reference_flood),
    "thousands of elements": lambda: _response_of("<saml:Issuer/>" * 12_000),
    "thousands of attributes": lambda: _response_of(
        "<saml:Issuer " + " ".join(f'a{number}=""' for number in range(15_000)) + "/>"
    ),
    "thousands of prefixes": lambda: _declarations(8_000),
    "as many prefixes as are read": lambda: _declarations(3_900),
    "deep nesting": lambda: b"<a>" * 60_000,
    "deep nesting of lawful elements": lambda: _response_of("<saml:Assertion>" * 250 + "</saml:Assertion>" * 250),
    "entities": f"{BOMB}]><b>&a8;</b>".encode,
    "entities in an attribute": f'{BOMB}]><b c="&a8;"/>'.encode,
    "a huge text": lambda: _response_of("<saml:Issuer>" + "x" * 180_000 + "</saml:Issuer>"),
    **{f"the reference is {uri}": lambda uri=uri: minted(after=_first_reference(uri)) for uri in OUTSIDE},  # type: ignore[misc]
    **{f"a second reference is {uri}": lambda uri=uri: minted(after=_second_reference(uri)) for uri in OUTSIDE},  # type: ignore[misc]
    **{f"a manifest refers to {uri}": lambda uri=uri: minted(after=_manifest(uri)) for uri in OUTSIDE},  # type: ignore[misc]
    **{
        f"the key is at {uri}": lambda uri=uri: minted(encrypting=Encrypting(), after=_retrieval(uri))  # type: ignore[misc]
        for uri in OUTSIDE
    },
    **{
        f"the cipher text is at {uri}": lambda uri=uri: minted(encrypting=Encrypting(), after=_cipher_reference(uri))  # type: ignore[misc]
        for uri in OUTSIDE
    },
}
_watching: list[list[str]] = []
_WATCHED = ("open", "socket.", "os.", "subprocess.", "urllib.", "ctypes.")


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event.startswith(_WATCHED):
        _watching[-1].append(f"{event} {arguments[:1]}")


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[str]]:
    """What Python opens meanwhile; and, as native code tells Python nothing, that no descriptor is left or was taken."""
    seen: list[str] = []
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.pop()
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


def _read_so_far() -> int:
    """Bytes read from anywhere by this process, native code included (Linux)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def _status(name: str) -> int:
    """A figure of this process, in KiB (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def _refused(verifier: ResponseVerifier, form: str) -> float:
    """CPU seconds until the refusal."""
    told = expectations(decryption_keys=(pair("sp").sp_key,))
    began = time.thread_time()
    with pytest.raises(VerificationError):
        verifier.verify(form, told)
    return time.thread_time() - began


@pytest.mark.parametrize("message", MESSAGES)
def test_a_costly_message_is_refused_at_once(verifier: ResponseVerifier, message: str) -> None:
    form = posted(MESSAGES[message]())
    verifier.verify(posted(minted(encrypting=Encrypting())), expectations(decryption_keys=(pair("sp").sp_key,)))
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts from here
    resident, asking = _status("VmRSS"), _read_so_far()
    asking = _read_so_far() - asking
    read = _read_so_far()
    with watched() as opened:
        spent = _refused(verifier, form)
    assert _read_so_far() - read <= 2 * asking + 64, "native code read something"
    assert opened == []
    assert spent < 0.1
    assert _status("VmHWM") - resident < 50_000


def test_an_accepted_message_opens_nothing_either(verifier: ResponseVerifier) -> None:
    told = expectations(decryption_keys=(pair("sp").sp_key,))
    first, second = (posted(minted(sign="response assertion", encrypting=Encrypting())) for _ in range(2))
    verifier.verify(first, told)
    with watched() as opened:
        verifier.verify(second, told)
    assert opened == []


def test_the_watch_sees_an_opened_file() -> None:
    with watched() as opened:
        Path("/proc/self/stat").read_text()
    assert any("/proc/self/stat" in line for line in opened)


def test_a_deflated_bomb_is_cut_at_its_cap() -> None:
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = stream.compress(bytes(40_000_000)) + stream.flush()
    query = f"SAMLRequest={quote_plus(b64encode(bomb))}&SigAlg={quote_plus(RSA_SHA256)}"
    key = load_pem_private_key(pair().private.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = b64encode(key.sign(query.encode(), padding.PKCS1v15(), hashes.SHA256()))
    tracemalloc.start()
    with pytest.raises(VerificationError) as caught:
        verify_redirect(
            f"{query}&Signature={quote_plus(signature)}", message="SAMLRequest", certificates=(pair().certificate,)
        )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == Reason.MESSAGE_TOO_LARGE
    assert peak < 1_000_000


def test_reasons_of_costly_messages_are_about_their_shape(verifier: ResponseVerifier) -> None:
    shapes = {
        Reason.ELEMENT_NOT_ALLOWED, Reason.ATTRIBUTE_NOT_ALLOWED, Reason.XML_TOO_COMPLEX, Reason.XML_MALFORMED,
        Reason.MARKUP_FORBIDDEN, Reason.SIGNATURE_REFERENCE, Reason.SIGNATURE_TRANSFORM, Reason.STATUS_MALFORMED,
        Reason.MESSAGE_TOO_LARGE,
    }  # fmt: skip
    for make in MESSAGES.values():
        with pytest.raises(VerificationError) as caught:
            verifier.verify(posted(make()), expectations(decryption_keys=(pair("sp").sp_key,)))
        assert caught.value.reason in shapes
