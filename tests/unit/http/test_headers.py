"""Identity headers of the client never reach the app."""

from __future__ import annotations

import pytest

from jit_middleware.http.headers import DEFAULT_IDENTITY_HEADERS, OWNED_ENVIRON_KEYS, Scrubber

ORDINARY = [
    (b"host", b"app.example.com"),
    (b"accept", b"*/*"),
    (b"cookie", b"a=1"),
    (b"x-app", b"1"),
    (b"cookie", b"b=2"),
]


@pytest.mark.parametrize(
    "name",
    [
        b"remote-user",
        b"Remote-User",
        b"REMOTE_USER",
        b"x-remote-user",
        b"X_Remote_User",
        b"x_remote-user",
        b"X-REMOTE_USER",
        b"x-forwarded-user",
        b"X_Forwarded_Email",
        b"x-forwarded_groups",
        b"x_forwarded-preferred_username",
        b"X-Auth-Request-User",
        b"x_auth_request_email",
        b"x-webauth-user",
        b"X-Script-Name",
        b"x-remote-groups",
        b"X-REMOTE-EMAIL",
        b"x-remote-name",
        b"remote-groups",
        b" remote-user",
        b"Remote-User \t",
    ],
)
def test_every_spelling_of_an_identity_header_is_removed_everywhere(name: bytes) -> None:
    headers = [(name, b"admin"), *ORDINARY, (name, b"admin"), (name.swapcase(), b"admin")]
    assert Scrubber().clean_headers(headers) == ORDINARY


def test_headers_without_an_identity_come_back_as_a_new_equal_list() -> None:
    everyday = [(b"host", b"app.example.com"), (b"user-agent", b"x"), (b"accept", b"*/*")]
    for headers in (everyday, ORDINARY, []):
        cleaned = Scrubber().clean_headers(headers)
        assert cleaned == headers
        assert cleaned is not headers


def test_an_identity_header_that_is_otherwise_ordinary_is_removed_when_it_is_named() -> None:
    assert Scrubber(["Priority"]).clean_headers([(b"priority", b"u=1"), (b"Priority", b"u=1"), (b"te", b"")]) == [
        (b"te", b"")
    ]


def test_environ_loses_identity_headers_and_the_keys_we_own_and_nothing_else() -> None:
    kept: dict[str, object] = {"REQUEST_METHOD": "GET", "HTTP_HOST": "app.example.com", "REMOTE_ADDR": "192.0.2.1"}
    forged: dict[str, object] = {f"HTTP_{name.upper().replace('-', '_')}": "admin" for name in DEFAULT_IDENTITY_HEADERS}
    for key in (*forged, *OWNED_ENVIRON_KEYS):
        environ = {**kept, key: "admin"}
        Scrubber().clean_environ(environ)
        assert environ == kept
    environ = {**kept, **forged, **dict.fromkeys(OWNED_ENVIRON_KEYS)}
    Scrubber().clean_environ(environ)
    assert environ == kept


def test_owned_keys_are_those_that_carry_an_identity() -> None:
    assert {"REMOTE_USER", "AUTH_TYPE", "REMOTE_IDENT", "jit.user", "jit.session"} <= OWNED_ENVIRON_KEYS


def test_names_of_a_preset_are_scrubbed_in_the_same_way() -> None:
    scrubber = Scrubber(["Mail_Of-User"])
    assert scrubber.environ_keys == {"HTTP_MAIL_OF_USER"}
    assert scrubber.raw_names == {b"mail-of-user", b"mail_of-user", b"mail-of_user", b"mail_of_user"}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "é", "-".join("abcdefghij")])
def test_a_name_that_cannot_be_scrubbed_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="header name"):
        Scrubber([name])


def test_a_name_with_eight_separators_is_still_accepted() -> None:
    assert len(Scrubber(["-".join("abcdefghi")]).raw_names) == 2**8
