"""Paths: no trick makes a path open."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.http.paths import Access, PathPolicy, is_ambiguous, is_own, validate_pattern

POLICY = PathPolicy(public=("/public/*", "/health"), optional=("/blog/*",), api=("/api/*",))
OPEN = {Access.PUBLIC, Access.OPTIONAL}
ROOTS = ("/public/", "/blog/")

TRICKS = [
    "..", ".", "%2e%2e", "%2E.", "//", ";", ";x=1", "\\", "%2f", "%5C", "%00", "%252e", "%u002e", "\x00", "\n", "\x1f", "\x7f",
    "\u0085", "\u200b", "\u202e", "\u2028", "\udc80", "\udcff", "\ud800", "\uff0f", "\uff0e", "\u2024", "\uff3c", "...", ". ", " ",
]  # fmt: skip

plain = st.text(alphabet="abcXYZ019._- ~é日", min_size=1, max_size=6).filter(lambda text: text.strip(" .") != "")
open_paths = st.builds(
    lambda root, rest: root + "/".join(rest), st.sampled_from(ROOTS), st.lists(plain, min_size=1, max_size=4)
)


@given(open_paths)
def test_a_plain_path_below_an_open_prefix_is_open(path: str) -> None:
    assert POLICY.classify(path) in OPEN


@given(open_paths, st.sampled_from(TRICKS), st.data())
def test_an_open_path_with_a_trick_as_a_segment_is_not_open(path: str, trick: str, data: st.DataObject) -> None:
    segments = path.split("/")
    at = data.draw(st.integers(min_value=2, max_value=len(segments)))
    assert POLICY.classify("/".join([*segments[:at], trick, *segments[at:]])) is Access.REQUIRED


@given(open_paths, st.sampled_from([trick for trick in TRICKS if trick.strip(". ")]), st.data())
def test_an_open_path_with_a_trick_anywhere_is_not_open(path: str, trick: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(min_value=0, max_value=len(path)))
    assert POLICY.classify(path[:at] + trick + path[at:]) is Access.REQUIRED


@given(
    st.text(alphabet=st.one_of(st.sampled_from("/.;\\% \t\x002eEfF5cCpublic"), st.characters()), max_size=20),
    st.sampled_from(["", *ROOTS]),
)
def test_an_open_path_is_below_its_prefix_in_every_reading(tail: str, root: str) -> None:
    path = root + tail
    access = POLICY.classify(path)
    if access not in OPEN or path == "/health":
        return
    assert not is_ambiguous(path)
    home = "/public" if access is Access.PUBLIC else "/blog"
    readings = [path, unquote(path), unquote(unquote(path)), path.replace("\\", "/"), re.sub(r";[^/]*", "", path)]
    readings += [path.partition("\x00")[0], path.encode("utf-8").decode("utf-8")]
    for reading in readings:
        resolved = posixpath.normpath(reading)
        assert resolved == home or resolved.startswith(home + "/")


@given(st.text(alphabet="/ap.i;%2e\\x", max_size=12))
def test_below_an_api_prefix_everything_stays_api(tail: str) -> None:
    assert POLICY.classify("/api/" + tail) is Access.API


@given(st.text(alphabet="/*?#ab.;%", max_size=10))
def test_a_pattern_is_either_named_as_bad_or_matches_what_it_says(pattern: str) -> None:
    if validate_pattern(pattern) is not None:
        return
    policy = PathPolicy(public=(pattern,))
    examples = [pattern[:-1] + "x", pattern[:-1], pattern[:-2]] if pattern.endswith("/*") else [pattern]
    assert all(policy.classify(path) is Access.PUBLIC for path in examples)


@given(st.text(max_size=12))
def test_is_own_gives_back_exactly_what_follows_the_prefix(rest: str) -> None:
    assert is_own("/_jit/" + rest, "/_jit") == rest
    assert is_own("/_jit" + rest, "/_jit") == (None if rest and rest[0] != "/" else rest[1:])
