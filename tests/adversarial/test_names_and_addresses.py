"""Names and addresses that some mapping takes for somebody else's, and domains that only look right (attack catalogue 18 to 20)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Profile
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Ledger, Transaction
from tests.adversarial.judging import assert_signed_in
from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import Stage
from tests.client import Edge

AUTO = {"JIT_LINK_POLICY": "auto", "JIT_OIDC_VERIFIED_DOMAINS": "people.example"}
#: A name, and what upper, lower, casefold or NFKC makes the same of it.
PAIRS = [
    ("mike", "m\u0131ke"),
    ("mike", "mi\u212ae"),
    ("mike", "m\u0130ke"),
    ("strasse", "stra\u00dfe"),
    ("sales", "\u017fales"),
    ("office", "o\ufb03ce"),
    ("alice", "\uff41lice"),
    ("alice", "\u0430lice"),
    ("alice", "al\u034fice"),
]


@pytest.fixture
def linking(edge: Edge, tmp_path: Path, provider: HostileProvider) -> Iterator[Stage]:
    """An app that links by verified address."""
    with Stage(edge, tmp_path, provider, env=AUTO) as stage:
        yield stage


def existing(stage: Stage, username: str, email: str) -> str:
    """The id of an account that no identity is linked to yet."""
    ledger: Ledger = open_ledger(stage.settings)

    async def make(tx: Transaction) -> str:
        assert tx.users is not None
        return (await tx.users.create(Profile("key-1", username, email=email, email_verified=True))).id

    try:
        return step(ledger.transaction(make))
    finally:
        step(ledger.close())


def test_the_address_itself_is_linked(linking: Stage, provider: HostileProvider) -> None:
    """Or the refusals below would show nothing."""
    account = existing(linking, "old", "mike@people.example")
    provider.person = {"sub": "s", "preferred_username": "m", "email": "mike@PEOPLE.example", "email_verified": True}
    assert_signed_in(linking, linking.log_in())
    assert linking.browser.get("/reports").json()["user"]["id"] == account


@pytest.mark.parametrize(("name", "other"), PAIRS, ids=ascii)
@pytest.mark.parametrize("place", ["{}@people.example", "x@{}.people.example"])
def test_an_address_that_a_mapping_takes_for_another_links_nothing(
    name: str, other: str, place: str, linking: Stage, provider: HostileProvider
) -> None:
    existing(linking, "old", place.format(name))
    before = linking.rows("jit_users")
    provider.person = {
        "sub": "evil", "preferred_username": "eve", "email": place.format(other), "email_verified": True,
    }  # fmt: skip
    ending = linking.log_in()
    assert ending.answer.status in {303, 403}, linking.log.own
    assert before[0] in linking.rows("jit_users")
    if ending.answer.status == 303:
        user = linking.browser.get("/reports").json()["user"]
        assert (user["username"], user["email"]) == ("eve", None)
        assert linking.count() == {"users": 2, "links": 1, "sessions": 1}


@pytest.mark.parametrize(("name", "other"), PAIRS, ids=ascii)
def test_a_username_that_a_mapping_takes_for_another_is_another_or_none(
    name: str, other: str, stage: Stage, provider: HostileProvider
) -> None:
    provider.person = {"sub": "s", "preferred_username": name}
    assert_signed_in(stage, stage.log_in())
    [victim] = stage.rows("jit_users")
    provider.person = {"sub": "evil", "preferred_username": other}
    browser = stage.browser.another()
    answer = stage.carry(stage.authorized(stage.begin(browser)), browser)
    assert answer.status in {303, 403}, stage.log.own
    assert victim in stage.rows("jit_users")
    if answer.status == 303:
        assert browser.get("/reports").json()["user"]["username"] == other


@pytest.mark.parametrize(
    "username",
    ["\u0958" * 255, "\u212a\u0430\u0434", "a\u037eb", "alice\ufe0f", "\u3164", "\u2800", "\U000e0100" * 3, "\u0344" * 255],
    ids=["twice as long", "mixed scripts", "semicolon", "selector", "filler", "blank", "selectors", "marks"],
)  # fmt: skip
def test_a_username_that_is_another_text_in_its_canonical_form_is_refused(
    username: str, stage: Stage, provider: HostileProvider
) -> None:
    provider.person = {"sub": "s", "preferred_username": username}
    ending = stage.log_in()
    assert ending.answer.status == 403, stage.log.own
    assert any("username_unusable" in line for line in stage.log.own)
    assert stage.count() == {"users": 0, "links": 0, "sessions": 0}


@pytest.mark.parametrize(
    "email",
    [
        "a@evil.example@people.example", "a@people.example@evil.example", "a@evilpeople.example", "a@people.example.",
        "a@sub.people.example", "a@people.example.evil.example", "a@example", '"a@evil.example"@people.example',
        "a@people.example,b@evil.example", "A <a@people.example>", "a@people.example ", "a@people\u3002example",
        "a@p\u0435ople.example", "a@people.example%00.evil.example", "a@evil.example(people.example)", "a@[people.example]",
        "a@people.example\n", "a@people.example\0", "a@people.example\r\nb@evil.example",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_only_looks_like_an_address_of_the_domain_does_not_enter(
    email: str, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    with Stage(edge, tmp_path, provider, env={"JIT_ALLOWED_DOMAINS": "people.example"}) as stage:
        provider.person = {"sub": "evil", "preferred_username": "eve", "email": email, "email_verified": True}
        ending = stage.log_in()
        assert ending.answer.status == 403, stage.log.own
        assert not stage.has_session(ending.answer)
        assert stage.count() == {"users": 0, "links": 0, "sessions": 0}
        assert not any("people.example" in line for line in stage.log.own if "refus" in line)
        provider.person = {"sub": "s", "preferred_username": "ada", "email": "a@PEOPLE.example", "email_verified": True}
        assert stage.log_in().answer.status == 303, stage.log.own
