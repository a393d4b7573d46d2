"""Cookies: the quick way through a header and the slow one are one parser."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from jit_middleware.http.cookies import MAX_HEADER, CookieSpec, Splitter, names, split, values

NAME = "__Host-jit"
PREFIXES = ("__Host-jit_login_", "app_")

pieces = st.sampled_from(
    [
        NAME,
        "__Host-jit_login_x",
        "app_",
        "a",
        "v",
        "=",
        "=",
        ";",
        "; ",
        "; ",
        " ",
        "\t",
        "\u2000",
        '"',
        "\x0b",
        "é",
        "",
        ",",
    ]
)
messy_headers = st.lists(pieces, max_size=24).map("".join)
usual_names = st.sampled_from([NAME, "a", "theme", "app_x", "__Host-jit_login_x", "__Host-jitter"])
usual_headers = st.lists(st.tuples(usual_names, st.from_regex(r"[!-+\--:<-~]{0,12}", fullmatch=True)), max_size=6).map(
    lambda pairs: "; ".join(f"{name}={value}" for name, value in pairs)
)
headers = st.one_of(
    messy_headers, usual_headers, st.text(alphabet="a;= \t", max_size=30).map(lambda text: text.replace("a", NAME))
)


def parse(raw: str) -> list[tuple[str, str | None, str]]:
    """The rule, spelled out: each part of the header with its name (``None``: it has no ``=``) and value."""
    parts: list[tuple[str, str | None, str]] = []
    for part in raw.split(";"):
        match = re.fullmatch(r"[ \t]*([^=]*)=(.*?)[ \t]*", part, re.DOTALL)
        parts.append((part, match[1], match[2]) if match else (part, None, ""))
    return parts


@given(headers, st.sampled_from([(), PREFIXES[:1], PREFIXES]))
@example("__Host-jit", PREFIXES)
@example("=; __Host-jit=", PREFIXES)
@example("; __Host-jit=v", PREFIXES)
@example(" __Host-jit=v ; ;a", PREFIXES)
@example("a; __Host-jit=1;__Host-jit=2", PREFIXES)
def test_split_agrees_with_the_rule_on_every_header(raw: str, prefixes: tuple[str, ...]) -> None:
    parts = parse(raw)
    found = [value for _, name, value in parts if name == NAME]
    doomed = [name is not None and (name == NAME or any(map(name.startswith, prefixes))) for _, name, _ in parts]
    rest = ";".join(part for (part, _, _), is_doomed in zip(parts, doomed, strict=True) if not is_doomed)
    if doomed[0]:
        rest = rest.lstrip(" \t")
    assert split(raw, NAME, prefixes) == (found[0] if len(found) == 1 else None, rest)
    assert values(raw, NAME) == tuple(found)


@given(headers)
def test_nothing_of_ours_is_left_for_the_app_and_nothing_of_the_apps_is_lost(raw: str) -> None:
    _, rest = split(raw, NAME, PREFIXES)
    assert values(rest, NAME) == ()
    assert all(names(rest, prefix) == () for prefix in PREFIXES)
    theirs = [
        (name, value)
        for _, name, value in parse(raw)
        if name is not None and not name.startswith(PREFIXES) and name != NAME
    ]
    assert [(name, value) for _, name, value in parse(rest) if name is not None] == theirs
    assert split(rest, NAME, PREFIXES) == (None, rest)


@given(usual_headers)
def test_a_header_as_browsers_write_it_is_joined_again_as_browsers_do(raw: str) -> None:
    pairs = [pair for pair in raw.split("; ") if not pair.startswith((NAME + "=", *PREFIXES))]
    assert split(raw, NAME, PREFIXES)[1] == "; ".join(pairs)


@given(headers, st.integers(min_value=-3, max_value=3))
def test_the_limit_is_the_same_for_every_reader(raw: str, excess: int) -> None:
    padded = raw + ";" + "x" * (MAX_HEADER + excess - len(raw) - 1)
    value, rest = split(padded, NAME, PREFIXES)
    expected = values(raw, NAME) if excess <= 0 else ()
    assert values(padded, NAME) == expected
    assert value == (expected[0] if len(expected) == 1 else None)
    assert not any(name == NAME for _, name, _ in parse(rest))


@given(st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=20))
def test_a_value_that_can_be_set_is_read_back(value: str) -> None:
    spec = CookieSpec(NAME, secure=True)
    try:
        _, header = spec.set(value)
    except ValueError:
        assert re.search(r'[^\x21-\x7e]|[",;\\]', value)
        return
    pair = header.partition(";")[0]
    assert not re.search(r'[^\x21-\x7e]|[",;\\]', value)
    assert split(f"a=1; {pair}; b=2", NAME) == (value, "a=1; b=2")


@given(st.lists(st.sampled_from(["", "a=1", "a=1; b=2", "b=2; a=1; a-x=3", "a=1; a=2"]), max_size=8))
def test_a_splitter_answers_as_split_does_whatever_it_was_asked_before(headers: list[str]) -> None:
    splitter = Splitter("a", ("a-",))
    assert [splitter(header) for header in headers] == [split(header, "a", ("a-",)) for header in headers]
