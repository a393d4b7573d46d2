"""Return targets: whatever comes in, the browser stays at home."""

from __future__ import annotations

import re
from urllib.parse import unquote, urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.http.targets import MAX_TARGET, checked_target

ORIGIN = "https://app.example.com"
OWN = "/_jit"

words = (
    "/ / // \\ . .. %2e %2E %2f %5c %0d%0a %00 %5f %25 _jit jit legacy logout evil.example https: http: javascript: "
    "https://app.example.com @ :443 : ? # a x=1 \u200b é"
)
pieces = st.sampled_from([*words.split(" "), " ", "\t", "\n", "\ud800"])
values = st.one_of(
    st.lists(pieces, max_size=10).map("".join),
    st.lists(pieces, max_size=10).map(lambda parts: "/" + "".join(parts)),
    st.lists(pieces, max_size=8).map(lambda parts: ORIGIN + "".join(parts)),
    st.text(max_size=20),
)
mounts = st.sampled_from(["", "/legacy"])


def checked(value: str, mount: str = "") -> str:
    return checked_target(value, origin=ORIGIN, own_prefix=OWN, mount=mount)


def as_browser(target: str) -> str:
    """The reference as the WHATWG URL parser takes it: trimmed, without tabs and newlines, ``\\`` a slash before the query."""
    target = re.sub(r"[\t\n\r]", "", target.strip("".join(map(chr, range(0x21)))))
    path, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", target, re.DOTALL).groups()  # type: ignore[union-attr]
    path = path.replace("\\", "/")
    return re.sub(r"%2e", ".", path, flags=re.IGNORECASE) + mark + rest


@given(values, mounts)
def test_the_target_starts_with_exactly_one_slash_and_is_plain_text(value: str, mount: str) -> None:
    target = checked(value, mount)
    assert re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", target)
    assert not set('<>"\\') & set(target)
    assert len(target) <= MAX_TARGET


@given(values, mounts)
def test_the_target_never_leaves_the_origin(value: str, mount: str) -> None:
    target = checked(value, mount)
    for text in (target, as_browser(target), unquote(target), as_browser(unquote(target)), ORIGIN + target):
        for base in (f"{ORIGIN}/", f"{ORIGIN}{mount}{OWN}/callback/oidc?code=x"):
            parts = urlsplit(urljoin(base, text))
            assert (parts.scheme, parts.netloc) == ("https", "app.example.com")


@given(values, mounts)
def test_the_target_is_never_one_of_our_own_endpoints(value: str, mount: str) -> None:
    target = checked(value, mount)
    for text in (target, as_browser(target), unquote(target), as_browser(unquote(target))):
        path = unquote(urlsplit(urljoin(f"{ORIGIN}/", text)).path)
        path = re.sub(r"/+", "/", path)
        assert path != mount + OWN
        assert not path.startswith(mount + OWN + "/")


@given(values, mounts)
def test_checking_again_changes_nothing(value: str, mount: str) -> None:
    target = checked(value, mount)
    assert checked(target, mount) == target
    assert checked(ORIGIN + target, mount) == target


@given(values)
def test_the_target_is_the_value_or_its_path_or_the_default(value: str) -> None:
    target = checked(value)
    rest = value[len(ORIGIN) :] if value.startswith(ORIGIN) else None
    assert target in {
        "/",
        value,
        rest,
        None if rest is None else "/" + rest,
        (rest or "").removeprefix(":443"),
        "/" + (rest or "").removeprefix(":443"),
    }


segment = st.from_regex(r"[A-Za-z0-9_~!$&'()*+,;=:@\-]{1,8}", fullmatch=True).filter(lambda text: text != "_jit")


@given(
    st.lists(segment, min_size=1, max_size=5),
    st.from_regex(r"(\?[A-Za-z0-9=&/%]{0,10})?(#[A-Za-z0-9/]{0,5})?", fullmatch=True),
)
def test_an_ordinary_path_is_kept(segments: list[str], tail: str) -> None:
    value = "/" + "/".join(segments) + tail
    assert checked(value) == value
    assert checked(ORIGIN + value) == value
