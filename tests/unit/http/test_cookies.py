"""Cookies: written from one spec, read without guessing (RFC 6265)."""

from __future__ import annotations

import pytest

from jit_middleware.http.cookies import MAX_HEADER, CookieSpec, names, split, values

NAME = "__Host-jit"
LOGINS = ("__Host-jit_login_",)


def test_set_and_clear_describe_the_same_cookie() -> None:
    spec = CookieSpec(NAME, secure=True, max_age=3600)
    assert spec.set("abc.DEF-_~") == (
        "Set-Cookie",
        "__Host-jit=abc.DEF-_~; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax",
    )
    assert spec.clear() == ("Set-Cookie", "__Host-jit=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")


def test_a_cookie_without_max_age_ends_with_the_browser() -> None:
    assert "Max-Age" not in CookieSpec("jit", secure=False).set("x")[1]


@pytest.mark.parametrize(
    ("own", "given", "expected"), [(60, 5, 5), (None, 5, 5), (60, 0, 0), (60, -7, 0), (60, None, 60)]
)
def test_max_age_given_with_the_value_wins(own: int | None, given: int | None, expected: int) -> None:
    _, header = CookieSpec("jit", secure=False, max_age=own).set("x", max_age=given)
    assert f"; Max-Age={expected};" in header


def test_attributes_appear_only_where_the_spec_has_them() -> None:
    spec = CookieSpec("jit", secure=False, same_site="Strict", path="/legacy", http_only=False)
    assert spec.set("x")[1] == "jit=x; Path=/legacy; SameSite=Strict"


def test_no_cookie_ever_has_a_domain() -> None:
    assert "domain" not in CookieSpec("jit", secure=True, same_site="None").set("x")[1].lower()


@pytest.mark.parametrize("value", ["a b", "a;b", "a,b", 'a"b', "a\\b", "a\r\nb", "a\x00", "\x7f", "é", "\ud800", "a\n"])
def test_a_value_that_is_not_made_of_cookie_octets_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(ValueError, match="cannot carry") as caught:
        CookieSpec("jit", secure=False).set(value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CookieSpec("", secure=True),
        lambda: CookieSpec("a b", secure=True),
        lambda: CookieSpec("a=b", secure=True),
        lambda: CookieSpec("a\n", secure=True),
        lambda: CookieSpec("jit", secure=True, path="legacy"),
        lambda: CookieSpec("jit", secure=True, path="/;Domain=example.com"),
        lambda: CookieSpec("jit", secure=True, path="/\r\nX: y"),
        lambda: CookieSpec("__Host-jit", secure=False),
        lambda: CookieSpec("__Host-jit", secure=True, path="/legacy"),
        lambda: CookieSpec("__HOST-jit", secure=False),
        lambda: CookieSpec("__Secure-jit", secure=False),
        lambda: CookieSpec("jit", secure=False, same_site="None"),
    ],
)
def test_a_spec_that_browsers_would_not_keep_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="cookie"):
        make()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", ()),
        ("__Host-jit=a", ("a",)),
        ("x=1; __Host-jit=a; y=2", ("a",)),
        ("__Host-jit=a; __Host-jit=b", ("a", "b")),
        ("__Host-jit=b;__Host-jit=a;\t__Host-jit=c", ("b", "a", "c")),
        ("__Host-jit=a=b==", ("a=b==",)),
        ("__Host-jit=", ("",)),
        ('__Host-jit="a"', ('"a"',)),  # no unquoting
        ('x="; __Host-jit=a; y="', ("a",)),  # a quote hides nothing
        ('$Version="1"; __Host-jit=a; $Path="/"', ("a",)),
        ("__Host-jit=%61", ("%61",)),
        ("__Host-jit", ()),  # a nameless cookie
        ("=__Host-jit=a", ()),
        ("__host-jit=a", ()),  # browsers send case variants
        ("__HOST-JIT=a; __Host-Jit=b", ()),
        ("\u2000__Host-jit=a", ()),  # only SP and HT are blanks
        ("\u00a0__Host-jit=a", ()),
        ("\x0b__Host-jit=a; \x0c__Host-jit=b", ()),
        ("\n__Host-jit=a", ()),
        ("__Host-jit =a", ()),
        ("x__Host-jit=a; __Host-jitx=b", ()),
        ("x=__Host-jit=a", ()),
        ("x=1, __Host-jit=a", ()),
    ],
)
def test_values_are_those_of_exactly_that_name_in_order(raw: str, expected: tuple[str, ...]) -> None:
    assert values(raw, NAME) == expected


def test_a_header_over_the_limit_holds_no_cookie_of_ours() -> None:
    ours = "; __Host-jit=a"
    fits = "x" * (MAX_HEADER - len(ours)) + ours
    assert values(fits, NAME) == ("a",)
    assert split(fits, NAME)[0] == "a"
    assert values("x" + fits, NAME) == ()
    assert names("x" + fits, "__Host-") == ()
    value, rest = split("x" + fits, NAME)
    assert value is None
    assert NAME not in rest


def test_ten_thousand_cookies_are_read_in_one_pass() -> None:
    raw = "; ".join(f"c{number}=v" for number in range(10_000))
    assert split(f"{raw}; __Host-jit=a", NAME, LOGINS) == (None, raw)


def test_names_are_those_that_start_with_the_prefix() -> None:
    raw = "__Host-jit=s; __Host-jit_login_a=1;__Host-jit_login_b=2; x=__Host-jit_login_c=3; __Host-jit_login_d"
    assert names(raw, "__Host-jit_login_") == ("__Host-jit_login_a", "__Host-jit_login_b")


@pytest.mark.parametrize(
    ("raw", "value", "rest"),
    [
        ("", None, ""),
        ("a=1; b=2", None, "a=1; b=2"),
        ("  a=1 ;;b=2 ; ", None, "  a=1 ;;b=2 ; "),  # untouched: byte for byte
        ("__Host-jit=v", "v", ""),
        ("__Host-jit=v; a=1", "v", "a=1"),
        ("a=1; __Host-jit=v", "v", "a=1"),
        ("a=1; __Host-jit=v; b=2", "v", "a=1; b=2"),
        ("a=1;__Host-jit=v;b=2", "v", "a=1;b=2"),
        ("a=1;  __Host-jit=v ;\tb=2", "v", "a=1;\tb=2"),
        ("\t__Host-jit=v\t", "v", ""),
        ("a=1; __Host-jit=v \t; b=2", "v", "a=1; b=2"),
        ("__Host-jit=v \t; b=2", "v", "b=2"),
        ("__Host-jit=; a=1", "", "a=1"),
        ("__Host-jit=v;", "v", ""),
        ("__Host-jit=1; __Host-jit=2; a=1", None, "a=1"),
        ("a=1; __Host-jit=1;__Host-jit=2", None, "a=1"),
        ("a=1; __Host-jit_login_x=s; __Host-jit=v; b=2", "v", "a=1; b=2"),
        ("__Host-jit_login_x=s; a=1", None, "a=1"),
        ("__Host-jit_login_x=s", None, ""),
        ("a=__Host-jit_login_x", None, "a=__Host-jit_login_x"),
        ("x__Host-jit=1; __Host-jit=v", "v", "x__Host-jit=1"),
        ("a=; __Host-jit=v", "v", "a="),
        ("__Host-jitter=1", None, "__Host-jitter=1"),
        ("__Host-jit", None, "__Host-jit"),
        ('a="; __Host-jit=v; b="', "v", 'a="; b="'),
        ("\u2000__Host-jit=planted; __Host-jit=v", "v", "\u2000__Host-jit=planted"),
    ],
)
def test_split_gives_our_value_and_what_the_app_is_to_see(raw: str, value: str | None, rest: str) -> None:
    assert split(raw, NAME, LOGINS) == (value, rest)


def test_an_untouched_header_is_the_very_same_object() -> None:
    raw = "a=1; b=2; theme=dark"
    assert split(raw, NAME, LOGINS)[1] is raw
