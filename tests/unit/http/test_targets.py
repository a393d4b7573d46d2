"""Return targets: the corpus of redirects, and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict
from urllib.parse import unquote, urlsplit

import pytest

from jit_middleware.http.targets import MAX_TARGET, checked_target


class Case(TypedDict):
    value: str
    verdict: str
    why: str
    kind: str


class Corpus(TypedDict):
    base: str
    own_paths: list[str]
    cases: list[Case]


CORPUS: Corpus = json.loads((Path(__file__).parents[2] / "data" / "redirects.json").read_text("utf-8"))
BASE = urlsplit(CORPUS["base"])
ORIGIN = f"{BASE.scheme}://{BASE.netloc}"


def target(value: str | None, *, own_prefix: str = "/_jit", mount: str = "") -> str:
    return checked_target(value, origin=ORIGIN, own_prefix=own_prefix, mount=mount)


def test_the_corpus_is_whole() -> None:
    assert len(CORPUS["cases"]) == 72
    assert {case["verdict"] for case in CORPUS["cases"]} == {"allow", "refuse"}
    assert {case["kind"] for case in CORPUS["cases"]} == {"decoded", "raw"}


@pytest.mark.parametrize("case", CORPUS["cases"], ids=lambda case: f"{case['verdict']}-{case['value'][:40]!a}")
def test_redirect_corpus(case: Case) -> None:
    # A raw value stands in a query string: what is checked is what decoding it once gives.
    value = unquote(case["value"]) if case["kind"] == "raw" else case["value"]
    results = {target(value, own_prefix=own) for own in CORPUS["own_paths"]}
    if case["verdict"] == "allow":
        assert results == {value.removeprefix(ORIGIN)}
    else:
        assert "/" in results
        assert results <= {"/", value}  # what only another own path allows is the value as it stands


@pytest.mark.parametrize(
    "value",
    [
        "/%5cevil.example",
        "/%5Cevil",
        "/%0d%0aSet-Cookie:%20x=1",
        "/%00",
        "/%7f",
        "/%C2%85",
        "/%2fevil.example",
        "/%2F",
        "/x%0a",
    ],
)
def test_a_path_that_turns_dangerous_when_decoded_once_more_is_refused(value: str) -> None:
    assert target(value) == "/"


@pytest.mark.parametrize(
    "value",
    [
        "/%2e//evil.example",
        "/%2E%2e//evil.example",
        "/.%2e//evil.example",
        "/x/%2e%2e//evil.example",
        "/x/..%2f%2fevil.example",
        "/%2e%2f%2fevil.example",
        "/x/.%2e//%2e",
        "/x/../y",
        "/x/.",
        "/x/..",
        "/..",
    ],
)
def test_dot_segments_that_could_leave_two_slashes_are_refused(value: str) -> None:
    assert target(value) == "/"


@pytest.mark.parametrize(
    "value",
    [
        "/_jit",
        "/_jit/",
        "/_jit/logout",
        "/_jit?x",
        "/_jit#x",
        "/_jit/anything/else?next=/x",
        "/%5fjit/logout",
        "/_%6ait/logout",
        "/_jit%2flogout",
        "/x/%2e%2e/_jit/logout",
        "/x/%2E./_jit/logout",
        "/%2e/_jit/logout",
        "/x/%2e%2e%2f_jit/logout",
        "/a%2fb/%2e%2e/_jit/logout",
        "/x/%2e%2e//_jit/logout",
        "/x%2f%2e%2e%2f_jit",
        "/_jit%2f..%2fx",
        "/_jit/%2e%2e/x",
        "https://app.example.com/_jit/logout",
        "HTTPS://APP.example.com:443/_jit/logout",
    ],
)
def test_our_own_endpoints_are_refused_however_they_are_written(value: str) -> None:
    assert target(value) == "/"


def test_own_paths_lie_below_the_mount() -> None:
    assert target("/legacy/_jit/logout", mount="/legacy") == "/legacy/"
    assert target("/l%65gacy/_jit/logout", mount="/legacy") == "/legacy/"
    assert target("/legacy/x/%2e%2e/_jit", mount="/legacy") == "/legacy/"
    assert target("/legacy//_jit///logout", mount="/legacy") == "/legacy/"
    assert target("/my%20app/_jit", mount="/my%20app") == "/my%20app/"
    assert target("/_jit/x", mount="/legacy") == "/_jit/x"


def test_a_name_that_only_starts_like_our_prefix_is_the_apps() -> None:
    assert target("/_jitter") == "/_jitter"
    assert target("/_JIT/login") == "/_JIT/login"


@pytest.mark.parametrize(
    ("mount", "default"), [("", "/"), ("/", "/"), ("/legacy", "/legacy/"), ("/legacy/", "/legacy/")]
)
@pytest.mark.parametrize("value", [None, "", "//evil.example", "https://evil.example/"])
def test_the_default_is_the_root_of_the_mount(value: str | None, mount: str, default: str) -> None:
    assert target(value, mount=mount) == default


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://app.example.com", "/"),
        ("https://app.example.com/", "/"),
        ("https://app.example.com?x=1", "/?x=1"),
        ("https://app.example.com#f", "/#f"),
        ("https://app.example.com/a?b#c", "/a?b#c"),
        ("HTTPS://App.Example.COM/A", "/A"),
        ("https://app.example.com:443/a", "/a"),
        ("https://app.example.com:/a", "/"),
        ("https://app.example.com:0443/a", "/"),
        ("https://app.example.com:80/a", "/"),
        ("https://app.example.com//evil.example", "/"),
        ("https://app.example.com/../a", "/"),
        ("https://app.example.com:443:443/a", "/"),
        ("https://app.example.com@/a", "/"),
        ("https://\u212aapp.example.com/a", "/"),
    ],
)
def test_an_absolute_url_of_exactly_our_origin_is_cut_to_its_path(value: str, expected: str) -> None:
    assert target(value) == expected


def test_an_origin_with_a_port_is_met_by_the_same_port_only() -> None:
    for value, expected in {
        "http://localhost:8000/a": "/a",
        "http://localhost/a": "/",
        "http://localhost:80/a": "/",
        "https://localhost:8000/a": "/",
        "http://localhost:18000/a": "/",
    }.items():
        assert checked_target(value, origin="http://localhost:8000", own_prefix="/_jit") == expected
    assert checked_target("https://a.example/x", origin="https://a.example:443", own_prefix="/_jit") == "/x"
    assert checked_target("http://localhost:80/x", origin="http://localhost", own_prefix="/_jit") == "/x"
    assert checked_target("http://localhost:443/x", origin="http://localhost", own_prefix="/_jit") == "/"


def test_a_target_has_at_most_2048_characters() -> None:
    longest = "/" + "a" * (MAX_TARGET - 1)
    assert MAX_TARGET == 2048
    assert target(longest) == longest
    assert target(longest + "a") == "/"


@pytest.mark.parametrize(
    "character", ["\x00", "\t", "\n", "\r", " ", '"', "<", ">", "\\", "\x7f", "\x80", "é", "\u2028", "\U0001f600"]
)
@pytest.mark.parametrize("template", ["{}", "/{}", "/a{}b", "/a?b={}", "/a#{}", "/a{}"])
def test_what_must_be_percent_encoded_is_refused_when_it_is_not(template: str, character: str) -> None:
    assert target(template.format(character)) == "/"


@pytest.mark.parametrize(
    "value",
    [
        "/caf%C3%A9",
        "/a%2Fb",
        "/a/b//c",
        "/search?q=a%0Ab&x=%5C&y=//z&w=../..",
        "/app?filter={%22a%22:[1|2]}^`'",
        "/app#/route/../x",
        "/a..b/.c/...",
        "/~user/!$&'()*+,;=:@",
        "/100%",
        "/%ff",
    ],
)
def test_ordinary_targets_are_kept_as_they_are(value: str) -> None:
    assert target(value) == value
