"""What a login answers to when somebody is revoked, and when it was overtaken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jit_middleware.model import Marks, VerifiedIdentity
from jit_middleware.overtaking import (
    email_mark,
    identity_mark,
    is_overtaken,
    marks_of,
    own_session_mark,
    person_mark,
    session_mark,
    with_email,
)

ALICE = VerifiedIdentity("oidc", "https://idp.example", "alice", {}, idp_session="a1.b2.c3")


def values(marks: Marks) -> list[str | None]:
    return [marks.connection, marks.identity, marks.session, marks.own_session, marks.person, marks.email]


def test_a_login_answers_to_all_its_names() -> None:
    who = identity_mark("oidc", "https://idp.example", "alice")
    assert values(marks_of(ALICE, "Alice@example.org")) == [
        "oidc",
        who,
        session_mark("oidc", "a1.b2.c3"),
        own_session_mark(who, "a1.b2.c3"),
        person_mark("oidc", "a1.b2."),
        email_mark("oidc", "aLICE@example.org"),
    ]
    bare = replace(ALICE, idp_session=None)
    assert values(marks_of(bare, None)) == ["oidc", who, None, own_session_mark(who, None), None, None]
    assert own_session_mark(who, None) != own_session_mark(who, "a1.b2.c3")
    assert marks_of(replace(ALICE, idp_session="plain"), None).person is None


def test_only_the_mark_of_the_address_is_another_for_a_user_with_another_address() -> None:
    marks = marks_of(ALICE, "alice@example.org")
    assert with_email(marks, "old@example.org") == marks_of(ALICE, "old@example.org") != marks
    assert with_email(marks, None) == marks_of(ALICE, None)


@pytest.mark.parametrize(
    "other",
    [
        replace(ALICE, connection="other"),
        replace(ALICE, connection="oid", issuer="chttps://idp.example"),
        replace(ALICE, subject="Alice", idp_session="A1.b2.c3"),
    ],
)
def test_no_digest_is_anybody_elses(other: VerifiedIdentity) -> None:
    mine, theirs = marks_of(ALICE, "a@example.org"), marks_of(other, "b@example.org")
    assert not set(values(mine)[1:4]) & set(values(theirs))
    assert len({mark for marks in (mine, theirs) for mark in values(marks)[1:]}) >= 8
    assert all(mark is not None and len(mark) == 64 for mark in values(mine)[1:])


def test_half_a_surrogate_pair_or_a_letter_without_ascii_case_is_no_crash() -> None:
    assert identity_mark("oidc", "i", "\ud800") != identity_mark("oidc", "i", "\\ud800")
    assert email_mark("oidc", "\u212a@example.org") != email_mark("oidc", "k@example.org"), "the Kelvin sign"
    assert email_mark("oidc", "\u00c4A@example.org") == email_mark("oidc", "\u00c4a@example.org"), "ASCII case alone"
    assert email_mark("oidc", "\u00c4a@example.org") != email_mark("oidc", "\u00e4a@example.org")


@pytest.mark.parametrize(
    ("begun_at", "marked_at", "overtaken"),
    [(10, 9, False), (10, 10, True), (10, 11, True), (10, None, False), (None, 11, False), (0, 1, True)],
)
def test_what_began_before_the_mark_or_in_its_second_is_overtaken(
    begun_at: int | None, marked_at: int | None, overtaken: bool
) -> None:
    assert is_overtaken(begun_at, marked_at) is overtaken
