"""Canonical forms of names and addresses: the form of a form is itself, and no two people have one (attacks 18 to 20)."""

from __future__ import annotations

import json
import string
import unicodedata
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import VerifiedIdentity
from jit_middleware.provisioning.gates import Gates
from jit_middleware.provisioning.mapping import ClaimMapper
from jit_middleware.provisioning.steps import Steps
from jit_middleware.provisioning.text import (
    EMAIL_LIMIT,
    NAME_LIMIT,
    domain_of,
    is_unambiguous,
    plain_email,
    plain_username,
    shown_text,
)
from jit_middleware.settings import ClaimMapping, ProvisioningSettings

EMAILS = json.loads((Path(__file__).parents[1] / "data" / "emails.json").read_text("utf-8"))
CORPUS = sorted(
    {case["value"] for case in EMAILS["single"]} | {pair[side] for pair in EMAILS["pairs"] for side in ("a", "b")}
)
#: Where Unicode gives one character several forms, and letters of scripts that look alike.
TRICKY = [
    *"aAkKsSiI\u0131\u0130\u212a\u017f\u00df\u1e9e\u212b\u00c5\u2126\u03a9\u037e;\u0387\u00b7\u0344",
    *"\u0430\u03b1\u13aa\u0561\uff41\u2090\ufb03\u0958\ufb2c\u1e69\u0323\u0307\u030a\u0301\u034f",
    *" .@-\u00a0\u2000\u2028\u200b\u200d\u202e\u0000\n\ufe0f\u2800\u3164\U000e0100\U0001d41a\U0001f600",
]
TEXT = st.text() | st.text(st.sampled_from(TRICKY), max_size=12) | st.sampled_from(CORPUS)
LONG = st.builds(lambda part, times: part * times, st.text(st.sampled_from(TRICKY), min_size=1), st.integers(1, 300))

#: Nine pairs that some mapping of case or compatibility takes for one.
COLLISIONS = [
    pytest.param("mike", "m\u0131ke", str.upper, id="upper: dotless i"),
    pytest.param("strasse", "stra\u00dfe", str.upper, id="upper: sharp s"),
    pytest.param("sales", "\u017fales", str.upper, id="upper: long s"),
    pytest.param("office", "o\ufb03ce", str.upper, id="upper: ligature"),
    pytest.param("mike", "mi\u212ae", str.lower, id="lower: Kelvin sign"),
    pytest.param("\u00e5ngstrom", "\u212bngstrom", str.lower, id="lower: Angstrom sign"),
    pytest.param("\u03c9\u03bc\u03b5\u03b3\u03b1", "\u2126\u03bc\u03b5\u03b3\u03b1", str.lower, id="lower: Ohm sign"),
    pytest.param("sales", "\u017fale\u017f", str.casefold, id="casefold: long s"),
    pytest.param("alice", "\uff41lice", lambda text: unicodedata.normalize("NFKC", text), id="NFKC: full width"),
]


@given(TEXT | LONG)
@example("\u0958" * NAME_LIMIT)  # composed, it is twice as long
@example("\u212a\u0430\u0434")  # composed, it is Latin beside Cyrillic
def test_the_form_of_a_form_is_itself(text: str) -> None:
    for form in (plain_email, plain_username, shown_text):
        once = form(text)
        assert once is None or form(once) == once


@given(TEXT | LONG)
@example("\u0958" * NAME_LIMIT)
def test_a_form_keeps_within_its_limit_and_is_not_blank(text: str) -> None:
    for form, limit in ((plain_email, EMAIL_LIMIT), (plain_username, NAME_LIMIT), (shown_text, NAME_LIMIT)):
        found = form(text)
        assert found is None or (found.strip() == found != "" and len(found) <= limit)


@given(TEXT, st.integers(1, 20))
def test_shown_text_is_cut_to_any_limit(text: str, limit: int) -> None:
    shown = shown_text(text, limit)
    assert shown is None or (len(shown) <= limit and shown_text(shown, limit) == shown)


@given(TEXT)
def test_an_address_is_never_made_of_another_one(text: str) -> None:
    address = plain_email(text)
    if address is not None:
        local, domain = text.split("@")
        assert address == f"{local}@{domain.lower()}"
        assert domain_of(address) == domain.lower()
        assert address.isascii()
        assert address.isprintable()


def test_an_address_has_the_lengths_of_a_mail_system() -> None:
    rest = f"{'b' * 63}.{'c' * 63}.{'d' * 59}"
    assert len(longest := f"{'a' * 64}@{rest}.x") == EMAIL_LIMIT == 254
    assert plain_email(longest) == longest
    assert plain_email(f"{longest}x") is None
    assert plain_email(f"{'a' * 65}@x.example") is None
    assert plain_email(f"a@{'b' * 64}.example") is None


@given(TEXT)
def test_a_username_is_the_text_itself_but_for_composed_accents(text: str) -> None:
    name = plain_username(text)
    if name is not None:
        assert unicodedata.normalize("NFD", name) == unicodedata.normalize("NFD", text)
        assert is_unambiguous(name)


@given(TEXT, TEXT)
def test_two_texts_with_one_username_differ_in_nothing_but_composed_accents(one: str, other: str) -> None:
    name = plain_username(one)
    if name is not None and name == plain_username(other):
        assert unicodedata.normalize("NFD", one) == unicodedata.normalize("NFD", other)


def test_no_single_character_becomes_another_one() -> None:
    forms = {chr(point): plain_username(chr(point)) for point in range(0x110000) if not 0xD800 <= point < 0xE000}
    changed = {one: form for one, form in forms.items() if form is not None and form != one}
    assert all(len(form) > 1 and unicodedata.normalize("NFD", one) == form for one, form in changed.items())
    assert not [form for one, form in forms.items() if one.isspace() and form is not None]


@pytest.mark.parametrize(
    "blank",
    ["\u034f", "\u115f", "\u1160", "\u17b4", "\u180b", "\u180f", "\u2800", "\u3164", "\ufe00", "\ufe0f", "\U000e01ef"],
    ids=ascii,
)
def test_what_cannot_be_seen_makes_no_second_username_and_no_name(blank: str) -> None:
    assert plain_username(f"al{blank}ice") is None
    assert plain_username(blank) is None
    assert shown_text(blank) is None
    assert shown_text(f"{blank}\u200d {blank}") is None


@pytest.mark.parametrize(
    "character",
    ["\x07", "\x7f", "\u200b", "\u202e", "\ue000", "\u0378", "\ud800", "\u2028", "\u2029"],
    ids=lambda character: f"{unicodedata.category(character)} {ord(character):04x}",
)
def test_what_is_no_character_to_show_is_in_no_username_and_drops_out_of_names(character: str) -> None:
    assert plain_username(f"al{character}ice") is None
    assert shown_text(f"al{character}ice") == "alice"
    assert shown_text(character) is None


@pytest.mark.parametrize("other", ["\u0430", "\u03b1", "\u2c81", "\u0561", "\u13aa"], ids=unicodedata.name)
def test_latin_beside_a_script_that_looks_like_it_is_no_username(other: str) -> None:
    assert plain_username(other) == other
    assert plain_username(f"a{other}") is None
    assert plain_username(f"{other}\u4e2d") == f"{other}\u4e2d"  # no letter of Chinese looks like one of these


def test_every_plain_letter_and_digit_is_a_name() -> None:
    for character in string.ascii_letters + string.digits:
        assert plain_username(character) == shown_text(character) == character


def test_an_emoji_keeps_its_variation_selector_in_a_name_that_people_see() -> None:
    assert shown_text("Ada \u2764\ufe0f") == "Ada \u2764\ufe0f"


@pytest.mark.parametrize("sign", ["\u212a", "\u212b", "\u2126", "\u037e", "\u0387", "\u1fef", "\uf900"], ids=ascii)
def test_a_sign_that_unicode_takes_for_another_character_is_in_no_username(sign: str) -> None:
    assert plain_username(sign) is None
    assert plain_username(f"al{sign}ce") is None


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("zoe\u0308", "zo\u00eb"), ("\u0958", "\u0915\u093c"), ("\ud55c", "\ud55c"), ("\u1112\u1161\u11ab", "\ud55c")],
    ids=ascii,
)
def test_accents_are_composed(typed: str, kept: str) -> None:
    assert plain_username(typed) == plain_username(kept) == kept


@pytest.mark.parametrize("length", [NAME_LIMIT // 2, NAME_LIMIT // 2 + 1])
def test_the_composed_form_must_fit_too(length: int) -> None:
    assert (plain_username("\u0958" * length) is not None) is (2 * length <= NAME_LIMIT)


@pytest.mark.parametrize(("plain", "other", "mapping"), COLLISIONS)
def test_texts_that_a_mapping_takes_for_one_are_two_or_none(plain: str, other: str, mapping: object) -> None:
    assert callable(mapping)
    assert mapping(plain) == mapping(other)  # or the pair shows nothing
    assert plain_username(plain) == plain
    assert plain_username(other) != plain
    assert plain_email(f"{other}@example.com") is None  # before anything is normalised
    assert plain_email(f"someone@{other}.example") is None


def test_of_all_usernames_of_the_pairs_no_two_are_one() -> None:
    texts = sorted({text for param in COLLISIONS for text in param.values[:2] if isinstance(text, str)})
    for one, other in permutations(texts, 2):
        assert plain_username(one) is None or plain_username(one) != plain_username(other)


# --- the gate by domain -----------------------------------------------------------------------------------------------

INSIDE = ["a@company.com", "a@COMPANY.com", "A.b+c@Company.Com"]
OUTSIDE = [
    "a@evil.com@company.com", "a@company.com@evil.com", "a@evilcompany.com", "a@company.com.", "a@.company.com",
    "a@company.com\n", "\na@company.com", "a@company.com\r\nbcc: b@evil.com", "a@company.com\0", "a@evil.com\0@company.com",
    "a@sub.company.com", "a@company.com.evil.com", "a@company.co", "a@ompany.com", "a@com", "company.com", "@company.com",
    '"a@evil.com"@company.com', '"a"@company.com', "a(company.com)@evil.com", "a@company.com(evil)", "<a@company.com>",
    "A <a@company.com>", "a@company.com,b@evil.com", "b@evil.com,a@company.com", "a@company.com;b@evil.com",
    "a @company.com", "a@ company.com", "a@company.com ", "a\t@company.com", "a@[company.com]", "a@company.com:25",
    "a@company\u3002com", "a@comp\u0430ny.com", "a@\uff43ompany.com", "a@company.com\u200b", "a@company.com\u00a0",
    "a@compan\u0443.com", "a@xn--company-9qa.com", "a%company.com", "a%40company.com", "a@company.com%00.evil.com",
    "a@company.com/evil.com", "a@company.com#evil.com", "a@evil.com?x=@company.com", "a@company..com", "mailto:a@company.com",
]  # fmt: skip


def gate(email: object) -> str:
    """What the gate of ``company.com`` says of a person whose provider vouches for this address."""
    person = VerifiedIdentity(
        connection="oidc",
        issuer="https://login.example",
        subject="s1",
        claims={"preferred_username": "a", "email": str(email), "email_verified": True},
        email=str(email),
        email_verified=True,
    )
    mapped = ClaimMapper(ClaimMapping()).map(person)
    try:
        Gates(ProvisioningSettings(allowed_domains=("company.com",))).check(person, mapped, Steps())
    except NotProvisioned as refused:
        return str(refused.reason)
    return "passed"


@pytest.mark.parametrize("email", INSIDE)
def test_an_address_of_the_domain_passes_the_gate(email: str) -> None:
    assert gate(email) == "passed"


@pytest.mark.parametrize("email", OUTSIDE, ids=ascii)
def test_what_only_looks_like_an_address_of_the_domain_does_not_pass_the_gate(email: str) -> None:
    assert gate(email) == "domain_not_allowed"


@given(
    TEXT | st.builds("{}@{}{}".format, st.text(max_size=5), st.text(max_size=5), st.sampled_from(["company.com", ""]))
)
def test_whoever_passes_the_gate_has_exactly_the_domain(email: str) -> None:
    if gate(email) == "passed":
        local, domain = email.split("@")
        assert domain.lower() == "company.com"
        assert local.isascii()


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=20))
def test_plain_ascii_takes_a_shorter_way_to_the_same_answers(value: str) -> None:
    """Beside a letter that changes nothing, the same text goes the long way."""
    letter = "\u00e9"
    long_way = plain_username(letter + value + letter)
    inside = value == value.strip() and bool(value)
    assert plain_username(value) == (long_way[1:-1] if long_way is not None and inside else None)
    assert is_unambiguous(value) is is_unambiguous(letter + value + letter)
    shown = shown_text(letter + value + letter)
    assert shown_text(value) == ((shown or "")[1:-1].strip() or None)
