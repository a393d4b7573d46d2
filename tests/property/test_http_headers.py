"""Scrubbing: whatever the spelling, the app sees no identity that a client sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.http.headers import DEFAULT_IDENTITY_HEADERS, Scrubber

SCRUBBER = Scrubber()


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(DEFAULT_IDENTITY_HEADERS))
    letters = (draw(st.sampled_from("-_" if letter == "-" else (letter, letter.upper()))) for letter in name)
    return "".join(letters).encode()


ordinary = st.sampled_from(
    [b"host", b"Accept", b"cookie", b"x-app", b"X_App", b"remote", b"x-remote-userx", b"xremote-user", b"user"]
)
headers = st.lists(
    st.tuples(st.one_of(spellings(), ordinary, st.binary(max_size=12)), st.binary(max_size=4)), max_size=12
)


def as_gateway(name: bytes) -> str:
    """The environ key that a gateway makes of a header name."""
    return "HTTP_" + name.decode("latin-1").strip().upper().replace("-", "_")


@given(headers)
def test_no_spelling_of_an_identity_header_survives_and_all_else_does(raw: list[tuple[bytes, bytes]]) -> None:
    cleaned = SCRUBBER.clean_headers(raw)
    assert cleaned == [pair for pair in raw if as_gateway(pair[0]) not in SCRUBBER.environ_keys]


@given(headers)
def test_what_is_clean_under_asgi_is_clean_for_a_wsgi_app_behind_it(raw: list[tuple[bytes, bytes]]) -> None:
    environ: dict[str, object] = {as_gateway(name): value for name, value in SCRUBBER.clean_headers(raw)}
    before = dict(environ)
    SCRUBBER.clean_environ(environ)
    assert environ == before


@given(headers)
def test_clean_environ_removes_the_named_keys_only(raw: list[tuple[bytes, bytes]]) -> None:
    environ: dict[str, object] = {as_gateway(name): value for name, value in raw}
    expected = {key: value for key, value in environ.items() if key not in SCRUBBER.environ_keys}
    SCRUBBER.clean_environ(environ)
    assert environ == expected
