"""Values in headers: what a framework decodes as latin-1 must arrive as what was meant, and no list gains an element."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.injection import header_value
from jit_middleware.model import User

ENCODED_EVERYWHERE = {chr(code) for code in (*range(0x20), 0x25, *range(0x7F, 0x180), 0x2028, 0xFF0C, 0x1F600)}
ENCODED_IN_A_LIST = ENCODED_EVERYWHERE | set('",\\')
CHARACTERS = sorted({chr(code) for code in range(0x80)} | ENCODED_EVERYWHERE)


@pytest.mark.parametrize("character", CHARACTERS, ids=[f"U+{ord(one):04X}" for one in CHARACTERS])
def test_printable_ascii_stays_and_everything_else_is_percent_encoded(character: str) -> None:
    encoded = quote(character, safe="")
    plain = header_value(User("u", f"a{character}b"), "username")
    assert plain == (f"a{encoded}b" if character in ENCODED_EVERYWHERE else f"a{character}b")
    listed = header_value(User("u", "n", roles=(f"a{character}b", "c")), "roles")
    assert listed == (f"a{encoded}b,c" if character in ENCODED_IN_A_LIST else f"a{character}b,c")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=4))
def test_a_list_comes_back_element_by_element(roles: list[str]) -> None:
    shown = header_value(User("u", "n", roles=tuple(roles)), "roles")
    assert shown is not None
    assert shown.isascii()
    assert shown.isprintable()
    assert [unquote(role) for role in shown.split(",")] == (roles or [""])
