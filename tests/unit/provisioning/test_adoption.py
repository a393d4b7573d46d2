"""What the report says of each account, before anybody is moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.model import Status
from jit_middleware.provisioning.adoption import COLLISIONS, Finding, KnownUser, Person, Terms, report, skeleton

TERMS = Terms(("example.org",), frozenset({"admin"}))


def ann(**fields: object) -> KnownUser:
    return KnownUser(**{"id": "1", "username": "ann", "email": "ann@example.org", "email_verified": True, **fields})  # type: ignore[arg-type]


def found(*users: KnownUser, people: list[Person] | None = None) -> list[Finding]:
    return [verdict.finding for verdict in report(users, people, TERMS)]


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({}, "would_match"),
        ({"linked": True}, "linked"),
        ({"status": Status.SUSPENDED}, "closed"),
        ({"email": None}, "no_address"),
        ({"email": ""}, "no_address"),
        ({"roles": ("admin", "member")}, "excluded"),
        ({"email": "änn@example.org"}, "address_unusable"),
        ({"email": '"ann"@example.org'}, "address_unusable"),
        ({"email": "ann@example.org@example.org"}, "address_unusable"),
        ({"email": "ann@elsewhere.example"}, "foreign_domain"),
        ({"email": "ann@sub.example.org"}, "foreign_domain"),
        ({"email_verified": False}, "unverified"),
        ({"has_password": True}, "would_confirm"),
        ({"has_password": False}, "would_match"),
        ({"linked_elsewhere": True}, "would_confirm"),
    ],
)
def test_each_account_gets_the_first_finding_that_applies(fields: dict[str, object], finding: Finding) -> None:
    assert found(ann(**fields)) == [finding]


def test_same_address_but_for_ascii_case_is_a_collision_of_both() -> None:
    verdicts = report([ann(), ann(id="2", username="bob", email="ANN@Example.org")], None, TERMS)
    assert [(verdict.finding, verdict.others) for verdict in verdicts] == [
        ("same_address", ("2",)),
        ("same_address", ("1",)),
    ]


@pytest.mark.parametrize(
    "twin",
    ["\u212aim@example.org", "kim\u200b@example.org", "\uff4bim@example.org", "k\u0456m@example.org", "\u03bas@example.org"],
    ids=ascii,
)  # fmt: skip
def test_addresses_that_look_alike_collide(twin: str) -> None:
    plain = skeleton(twin)
    assert found(ann(email=plain), ann(id="2", username="bob", email=twin)) == ["looks_alike", "looks_alike"]


def test_usernames_that_look_alike_collide_and_accents_tell_people_apart() -> None:
    other = ann(id="2", username="\u0430nn", email="other@example.org")
    assert found(ann(), other) == ["looks_alike", "looks_alike"]
    rene = ann(id="2", username="ren\u00e9", email="ren\u00e9@example.org")
    assert found(ann(username="rene", email="rene@example.org"), rene) == ["would_match", "address_unusable"]


def test_collisions_come_before_what_would_hide_them() -> None:
    """A suspended twin does not make an account unique: the login counts every account with the address."""
    assert found(ann(), ann(id="2", username="bob", status=Status.SUSPENDED)) == ["same_address", "closed"]


def test_export_of_the_provider_is_held_against_the_accounts() -> None:
    people = [
        Person(2, "s-1", "Ann@example.org"),
        Person(3, "s-2", "dup@example.org"),
        Person(4, "s-3", "DUP@example.org"),
        Person(5, "s-4", "stranger@example.org"),
        Person(6, "s-5", None),
    ]
    users = [
        ann(),
        ann(id="2", username="dup", email="dup@example.org"),
        ann(id="3", username="gone", email="gone@example.org"),
    ]
    verdicts = report(users, people, TERMS)
    assert [(verdict.user_id, verdict.finding, verdict.line) for verdict in verdicts] == [
        ("1", "would_match", None),
        ("2", "several_at_provider", None),
        ("3", "not_at_provider", None),
        (None, "new", 5),
        (None, "new", 6),
    ]


def test_collisions_are_what_makes_the_report_a_no() -> None:
    assert {"same_address", "looks_alike", "several_at_provider"} == COLLISIONS


@given(st.text(max_size=40))
def test_skeleton_of_a_skeleton_is_itself(text: str) -> None:
    once = skeleton(text)
    assert skeleton(skeleton(once)) == skeleton(once)


@given(st.emails())
def test_skeleton_ignores_ascii_case(address: str) -> None:
    assert skeleton(address.upper()) == skeleton(address.lower())
