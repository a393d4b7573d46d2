"""The public URL, and which hosts are this machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.settings import PublicURL
from jit_middleware.settings.url import is_loopback
from jit_middleware.settings.values import BadValue

GOOD = [
    ("https://app.example.org", PublicURL("https://app.example.org", "", True, False)),
    ("https://App.Example.ORG/", PublicURL("https://app.example.org", "", True, False)),
    ("HTTPS://app.example.org:443/legacy/", PublicURL("https://app.example.org", "/legacy", True, False)),
    ("https://app.example.org:8443/a/b", PublicURL("https://app.example.org:8443", "/a/b", True, False)),
    ("http://localhost:8000", PublicURL("http://localhost:8000", "", False, True)),
    ("http://localhost:80", PublicURL("http://localhost", "", False, True)),
    ("http://[::1]:8000/x", PublicURL("http://[::1]:8000", "/x", False, True)),
    ("http://127.0.0.5", PublicURL("http://127.0.0.5", "", False, True)),
    ("http://app.example.org", PublicURL("http://app.example.org", "", False, False)),
    ("https://xn--bcher-kva.example", PublicURL("https://xn--bcher-kva.example", "", True, False)),
]

BAD = [
    "",
    "app.example.org",
    "//app.example.org",
    "ftp://app.example.org",
    "https://",
    "https:///legacy",
    "https://user@app.example.org",
    "https://user:hunter2@app.example.org",
    "https://app.example.org?x",
    "https://app.example.org?",
    "https://app.example.org#",
    "https://app.example.org:0",
    "https://app.example.org:99999",
    "https://app.example.org:https",
    "https://app.example.org/a//b",
    "https://app.example.org//",
    "https://app.example.org/../x",
    "https://app.example.org/%2e",
    "https://app.example.org\\@evil.example",
    "https://app.exa\tmple.org",
    "https://app.example.org/\r\nX: y",
    "https://bücher.example",
    "https://app..example.org",
    "https://[::1",
    "https://[fe80::1%25eth0]",
    "javascript:alert(1)",
]


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_public_url_is_normalised(text: str, expected: PublicURL) -> None:
    assert PublicURL.parse(text) == expected


@pytest.mark.parametrize("text", BAD)
def test_public_url_that_is_no_plain_origin_and_path_is_refused(text: str) -> None:
    with pytest.raises(BadValue) as refused:
        PublicURL.parse(text)
    assert "hunter2" not in str(refused.value)


def test_join_keeps_origin_and_mount() -> None:
    assert PublicURL.parse("https://a.example/legacy/").join("/_jit/login") == "https://a.example/legacy/_jit/login"


@given(st.text(alphabet="htps:/aE.-_%@?#[]1:\\ \t", max_size=40))
def test_what_is_parsed_reads_back_as_itself(text: str) -> None:
    try:
        url = PublicURL.parse(text)
    except BadValue:
        return
    assert PublicURL.parse(url.join("")) == url
    assert url.origin == url.origin.lower()
    assert not url.mount.endswith("/")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("app.localhost", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("notlocalhost", False),
        ("127.example.org", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
