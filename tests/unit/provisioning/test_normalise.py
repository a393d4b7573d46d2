"""Normalisers: what is done to a claim's text, and that it is done for good."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.model import JSON
from jit_middleware.provisioning.normalise import normalised
from jit_middleware.settings.policy import Normaliser

NORMALISERS: tuple[Normaliser, ...] = ("trim", "lower", "nfc", "domain")
#: Pairs that some way of Unicode takes for one another (GitHub 2016, CVE-2019-19844); none of ours does.
COLLISIONS = [
    ("K", "\u212a"), ("k", "\u212a"), ("i", "\u0131"), ("I", "\u0130"), ("ss", "\u00df"), ("s", "\u017f"),
    ("a", "\uff41"), ("fi", "\ufb01"), ("\u03c3", "\u03c2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "normalisers", "found"),
    [
        (" Alice ", ("trim",), "Alice"),
        ("ALICE", ("lower",), "alice"),
        ("ÄRGER", ("lower",), "Ärger"),
        ("Jose\u0301", ("nfc",), "Jos\u00e9"),
        ("Jose\u0301", ("lower",), "jose\u0301"),
        ("Alice@Example.ORG", ("domain",), "example.org"),
        ("Example.ORG", ("domain",), "example.org"),
        (" Alice@Example.ORG ", ("trim", "domain"), "example.org"),
        ("a@b@example.org", ("domain",), None),
        ("@example.org", ("domain",), None),
        ("alice@", ("domain",), None),
        ("alice", ("domain",), None),
        ("example.org\n", ("domain",), None),
        ("alice@example.org.", ("domain",), None),
        ('"a@b"@example.org', ("domain",), None),
        ([" A ", "B"], ("trim", "lower"), ["a", "b"]),
        (["a@example.org", "nobody"], ("domain",), None),
        ([1, None, "A"], ("lower",), [1, None, "a"]),
        ({"a": "A"}, ("lower",), {"a": "A"}),
        (7, ("trim",), 7),
        (None, ("trim",), None),
        (" A ", (), " A "),
    ],
    ids=repr,
)
def test_each_does_what_it_says(value: JSON, normalisers: tuple[Normaliser, ...], found: JSON) -> None:
    assert normalised(value, normalisers) == found


@given(st.text() | st.lists(st.text()), st.lists(st.sampled_from(NORMALISERS), max_size=6))
def test_what_is_normal_stays_as_it_is(value: JSON, normalisers: list[Normaliser]) -> None:
    once = normalised(value, normalisers)
    assert once is None or normalised(once, normalisers) == once


@given(st.text())
def test_lower_changes_the_26_letters_and_nothing_else(value: str) -> None:
    lowered = normalised(value, ("lower",))
    assert isinstance(lowered, str)
    assert [(old, new) for old, new in zip(value, lowered, strict=True) if old != new] == [
        (letter, letter.lower()) for letter in value if "A" <= letter <= "Z"
    ]


@given(st.text())
def test_canonical_forms_are_those_of_unicode_and_no_compatibility_forms(value: str) -> None:
    assert normalised(value, ("nfc",)) == unicodedata.normalize("NFC", value)


@pytest.mark.parametrize(("one", "other"), COLLISIONS)
def test_case_makes_no_two_texts_one(one: str, other: str) -> None:
    assert normalised(f"m{one}ke", ("trim", "lower")) != normalised(f"m{other}ke", ("trim", "lower"))
