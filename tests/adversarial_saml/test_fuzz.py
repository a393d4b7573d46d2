"""Whatever is done to the bytes of a valid Response: either it is refused in our own words, or it means what was signed.

"Means" is everything that is read from it: name, formats, attributes, times, session.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from jit_middleware.errors import LoginError
from jit_middleware.sso.saml.response import ResponseVerifier
from tests.adversarial_saml.mint import Element, Encrypting, expectations, minted, pair, posted

VERIFIER = ResponseVerifier()
HOW = {
    "assertion": lambda: minted(sign="assertion"),
    "response": lambda: minted(sign="response"),
    "both": lambda: minted(sign="response assertion"),
    "encrypted": lambda: minted(sign="assertion", encrypting=Encrypting()),
    "encrypted, Response signed": lambda: minted(sign="response", encrypting=Encrypting()),
}
VALID = {name: make() for name, make in HOW.items()}
TOLD = expectations(decryption_keys=(pair("sp").sp_key,))
MEANING = {name: VERIFIER.verify(posted(xml), TOLD) for name, xml in VALID.items()}
FRAGMENTS = [
    b"<!--x-->", b"<?x?>", b"<![CDATA[x]]>", b"&amp;", b"&#x41;", b"&#0;", b"&x;", b"\x00", b"\xff", b"\xc0\xbc", b" ", b"\n", b"\r",
    b"\t", b"'", b'"', b"<", b">", b"</", b"/>", b"=", b":", b"#", b"xmlns=''", b" xmlns='urn:x'", b" ID='x'", b" Id='x'", b" xml:id='x'",
    b"mallory", b"2.0", b"Z", b"0", b"<saml:NameID>mallory</saml:NameID>", b"<saml:Assertion/>", b"<ds:Object/>", b"\xe2\x80\x8b", b"]]>",
]  # fmt: skip
MODERATE = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def judged(name: str, form: str) -> bool:
    """Whether it was accepted, in which case it means what was signed. Anything but our own refusals comes through."""
    try:
        said = VERIFIER.verify(form, TOLD)
    except LoginError:
        return False
    assert said == MEANING[name]
    return True


@pytest.mark.parametrize("name", VALID)
def test_the_unchanged_message_is_accepted(name: str) -> None:
    assert judged(name, posted(VALID[name]))


@MODERATE
@given(name=st.sampled_from(sorted(VALID)), data=st.data())
def test_bytes_changed_inserted_removed(name: str, data: st.DataObject) -> None:
    xml = bytearray(VALID[name])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(xml)))
        length = data.draw(st.sampled_from([0, 0, 1, 1, 2, 8, 40, 200]))
        xml[place : place + length] = data.draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=3))
    judged(name, posted(bytes(xml)))


@MODERATE
@given(name=st.sampled_from(sorted(VALID)), data=st.data())
def test_elements_moved_copied_dropped_renamed(name: str, data: st.DataObject) -> None:
    root = etree.fromstring(VALID[name])
    for _ in range(data.draw(st.integers(1, 3))):
        elements = list(root.iter())
        chosen = data.draw(st.sampled_from(elements))
        _mutate(root, chosen, data.draw(st.sampled_from(elements)), data)
    judged(name, posted(etree.tostring(root)))


def _mutate(root: Element, chosen: Element, target: Element, data: st.DataObject) -> None:
    parent = chosen.getparent()
    attributes = sorted(chosen.attrib)
    match data.draw(st.sampled_from(["move", "copy", "drop", "text", "tail", "tag", "set", "unset", "swap"])):
        case "copy":
            target.insert(
                data.draw(st.integers(0, len(target))), etree.fromstring(etree.tostring(chosen, with_tail=False))
            )
        case "move" if parent is not None and chosen not in target.iterancestors() and chosen is not target:
            target.insert(data.draw(st.integers(0, len(target))), chosen)
        case "drop" if parent is not None:
            parent.remove(chosen)
        case "text":
            chosen.text = data.draw(st.sampled_from([None, "", " ", "mallory", target.text]))
        case "tail" if parent is not None:
            chosen.tail = data.draw(st.sampled_from([None, " ", "x"]))
        case "tag":
            chosen.tag = target.tag
        case "set":
            chosen.set(
                data.draw(st.sampled_from(["ID", "Id", "Format", "Name", "Recipient", "Version", "{urn:x}y"])), "x"
            )
        case "unset" if attributes:
            del chosen.attrib[data.draw(st.sampled_from(attributes))]
        case "swap" if attributes:
            chosen.set(
                data.draw(st.sampled_from(attributes)),
                data.draw(st.sampled_from(sorted(target.attrib.values()) or [""])),
            )
        case _:
            pass


@MODERATE
@given(name=st.sampled_from(sorted(VALID)), data=st.data())
def test_the_form_field_itself(name: str, data: st.DataObject) -> None:
    form = posted(VALID[name])
    place = data.draw(st.integers(0, len(form)))
    length = data.draw(st.integers(0, 4))
    change = data.draw(st.text(max_size=4) | st.sampled_from(["=", "\n", "%3D", "+", "\x00", "\ud800"]))
    judged(name, form[:place] + change + form[place + length :])


@MODERATE
@given(st.text(max_size=60) | st.binary(max_size=200).map(lambda data: b64encode(data).decode()))
def test_anything_at_all_is_refused_in_our_own_words(form: str) -> None:
    assert not judged("assertion", form)


def test_line_breaks_do_not_change_the_meaning() -> None:
    form = posted(VALID["both"])
    broken = "\r\n".join(form[start : start + 64] for start in range(0, len(form), 64))
    assert b64decode(broken) == VALID["both"]
    assert judged("both", broken)
