"""From bytes to a tree and back: one parser for everything this room reads, and nothing it could fetch or expand.

Comments, CDATA sections, processing instructions and DTDs are refused in the bytes, before the parser: a text that
one reader sees whole and another sees cut cannot be written without them.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

from lxml import etree

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.reasons import Reason

# lxml gives its element class no public name.
Element: TypeAlias = etree._Element  # pyright: ignore[reportPrivateUsage]

_MOST_ELEMENTS: Final = 10_000
_PIECE: Final = 65_536
_MOST_PREFIXES: Final = 64
_MOST_DECLARATIONS: Final = 4_000  # checked in the bytes: reading many of them on one element is slow
_DECLARATION: Final = re.compile(
    rb"""<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?P<q>["'])1\.0(?P=q)"""
    rb"""(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?P<p>["'])(?P<encoding>[A-Za-z0-9._-]{1,40})(?P=p))?"""
    rb"""(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?P<s>["'])(?:yes|no)(?P=s))?[ \t\r\n]*\?>"""
)


def decode_base64(text: str) -> bytes:
    """The bytes of a base64 text in one spelling only; line breaks, which some senders put in, are passed over."""
    unbroken = text.replace("\n", "").replace("\r", "")  # a tenth of what str.translate takes
    try:
        data = b64decode(unbroken, validate=True)
    except (binascii.Error, ValueError):
        raise VerificationError(Reason.BASE64_MALFORMED) from None
    if b64encode(data) != unbroken.encode("ascii"):
        raise VerificationError(Reason.BASE64_MALFORMED, "not canonical")
    return data


def element_base64(element: Element) -> bytes:
    """The bytes an element holds as base64, which XML may break and indent. Raises ``VerificationError``."""
    return decode_base64((element.text or "").replace(" ", "").replace("\t", ""))


def read_xml(data: bytes) -> Element:
    """The root of a message from outside: UTF-8, no markup beside elements and text, absolute namespaces, of a sane
    size. Raises ``VerificationError``."""
    body = _checked_bytes(data)
    if b"<!" in body or b"<?" in body:
        raise VerificationError(Reason.MARKUP_FORBIDDEN)
    if body.count(b"xmlns") > _MOST_DECLARATIONS:
        raise VerificationError(Reason.XML_TOO_COMPLEX, "namespaces")
    return _parsed(body, most=_MOST_ELEMENTS)


def read_signed_document(data: bytes) -> Element:
    """The root of a larger document whose signature decides, such as metadata: comments are dropped, as exclusive
    canonicalization does, and still no DTD. Raises ``VerificationError``."""
    body = _checked_bytes(data)
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"<![CDATA[" in body or b"<?" in body:
        raise VerificationError(Reason.MARKUP_FORBIDDEN)
    return _parsed(body, most=None)


def reread(canonical: bytes) -> Element:
    """The root of bytes that this room itself has canonicalized."""
    return etree.fromstring(canonical, _parser())


def canonical_bytes(element: Element, inclusive_prefixes: list[str] | None = None) -> bytes:
    """Exclusive canonicalization without comments (Exclusive XML Canonicalization 1.0)."""
    return etree.tostring(
        element, method="c14n", exclusive=True, with_comments=False, inclusive_ns_prefixes=inclusive_prefixes
    )


def local_name(element: Element) -> str:
    """The name of an element without its namespace, for a refusal's detail."""
    return etree.QName(element).localname


def _checked_bytes(data: bytes) -> bytes:
    """What follows the XML declaration, once it is known to be UTF-8 and said to be nothing else."""
    try:
        data.decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        raise VerificationError(Reason.ENCODING_NOT_UTF8) from None
    if data.startswith(b"\xef\xbb\xbf"):
        raise VerificationError(Reason.XML_MALFORMED, "byte order mark")
    declaration = _DECLARATION.match(data)
    if declaration is None:
        return data
    encoding = declaration["encoding"]
    if encoding is not None and encoding.lower() != b"utf-8":
        raise VerificationError(Reason.ENCODING_NOT_UTF8, "declared")
    return data[declaration.end() :]


def _parsed(body: bytes, *, most: int | None) -> Element:
    pull = etree.XMLPullParser(
        ("start-ns",),
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        collect_ids=False,
    )
    try:
        # In pieces: libxml2 takes no more than ten megabytes at once, and a federation's metadata is larger.
        for start in range(0, len(body), _PIECE):
            pull.feed(body[start : start + _PIECE])
        root = pull.close()
    except etree.XMLSyntaxError as problem:
        raise VerificationError(Reason.XML_MALFORMED, f"line {problem.lineno or 0}") from None
    prefixes: set[str] = set()
    for prefix, uri in _declared(pull):
        prefixes.add(prefix)
        if uri and not _is_absolute(uri):
            raise VerificationError(Reason.NAMESPACE_RELATIVE)
    if most is not None:
        if len(prefixes) > _MOST_PREFIXES:
            raise VerificationError(Reason.XML_TOO_COMPLEX, "prefixes")
        if sum(1 for _ in root.iter()) > most:
            raise VerificationError(Reason.XML_TOO_COMPLEX, "elements")
    return root


def _declared(pull: etree.XMLPullParser) -> list[tuple[str, str]]:
    """The namespace declarations met in reading, as (prefix, URI)."""
    return [cast("tuple[str, str]", declared) for _, declared in pull.read_events()]


def _is_absolute(uri: str) -> bool:
    try:
        return bool(urlsplit(uri).scheme)
    except ValueError:
        return False


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, collect_ids=False
    )
