"""Forms and queries, as the standard library writes and reads them."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.http.form import escaped, parameters_once, written

PLAIN = st.text(st.sampled_from("abcXYZ019-._~"))
ANY = st.one_of(PLAIN, st.text(st.characters(codec="utf-8")))


@given(st.lists(st.tuples(ANY, ANY), max_size=8))
def test_a_form_is_written_as_the_standard_library_writes_it(pairs: list[tuple[str, str]]) -> None:
    assert written(pairs) == urlencode(pairs)
    assert written(pairs).isascii()


@given(ANY)
def test_a_value_is_escaped_as_the_standard_library_escapes_it(text: str) -> None:
    assert escaped(text) == quote(text, safe="")


@pytest.mark.parametrize("text", ["a\n", "a\n\n", "\n", "a b", "a+b", "a&b=c", "ü", "\N{FULLWIDTH DIGIT ONE}", "a%2Fb"])
def test_what_is_not_unreserved_is_escaped(text: str) -> None:
    assert escaped(text) == quote(text, safe="") != text
    assert parse_qsl(written([("name", text)])) == [("name", text)]


@pytest.mark.parametrize(
    ("query", "once"),
    [
        ("", {}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a=1&b=2&a=1", {"b": "2"}),
        ("a=1&a=2&a=3", {}),
        ("a=&b", {"a": "", "b": ""}),
        ("a=1&%61=2&b=3", {"b": "3"}),
        ("&".join(f"n{number}=1" for number in range(51)), {}),
    ],
)
def test_a_parameter_that_is_there_twice_is_not_there(query: str, once: dict[str, str]) -> None:
    assert parameters_once(query) == once
