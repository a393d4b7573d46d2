from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.provisioning.text import is_unambiguous, plain_email, plain_username, shown_text

EMAILS = json.loads((Path(__file__).parents[2] / "data" / "emails.json").read_text("utf-8"))


@pytest.mark.parametrize(
    "case", EMAILS["single"], ids=lambda case: case["value"][:30].encode("unicode_escape").decode()
)
def test_an_address_is_taken_or_refused_as_the_corpus_says(case: dict[str, str]) -> None:
    assert (plain_email(case["value"]) is not None) is (case["verdict"] == "allow")


@pytest.mark.parametrize(
    "pair", EMAILS["pairs"], ids=lambda pair: f"{pair['a']} {pair['b']}"[:50].encode("unicode_escape").decode()
)
def test_two_addresses_are_never_taken_for_one_that_the_corpus_keeps_apart(pair: dict[str, object]) -> None:
    a, b = plain_email(str(pair["a"])), plain_email(str(pair["b"]))
    if pair["same"] is True and str(pair["a"]).isascii() and str(pair["b"]).isascii():
        assert a == b
    if pair["same"] is False:
        assert a is None or b is None or a != b


@given(st.text())
def test_canonical_forms_are_idempotent(text: str) -> None:
    for form in (plain_email, plain_username, shown_text):
        once = form(text)
        assert once is None or form(once) == once


@given(st.text())
def test_a_taken_address_has_one_at_sign_and_no_character_that_ends_a_line_or_a_list(text: str) -> None:
    address = plain_email(text)
    if address is not None:
        assert address.count("@") == 1
        assert not set(address) & set(' \t\r\n,;<>()[]\\"')


@given(st.text())
def test_shown_text_holds_nothing_that_ends_a_line_or_turns_direction(text: str) -> None:
    shown = shown_text(text)
    assert shown is None or not set(shown) & set("\r\n\0\x1b\u2028\u2029\u202e\u2066")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " alice",
        "alice ",
        "ali\nce",
        "ali\0ce",
        "al\u200bice",
        "\uff41lice",
        "o\ufb03ce",
        "\u0430lice",
        "x" * 256,
    ],
)
def test_a_username_that_could_pass_for_another_is_refused(name: str) -> None:
    assert plain_username(name) is None


@pytest.mark.parametrize("name", ["alice", "Zoë", "o'brien", "alice@example.com", "анна", "田中", "x" * 255])
def test_an_honest_username_is_taken_as_it_is(name: str) -> None:
    assert plain_username(name) == name


def test_latin_beside_cyrillic_is_ambiguous() -> None:
    assert not is_unambiguous("\u0430dmin")
    assert is_unambiguous("админ")
