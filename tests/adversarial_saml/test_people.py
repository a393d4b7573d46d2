"""Names and attributes that reach for somebody else's account or for more than their share, in genuine assertions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from jit_middleware.bridge import step
from jit_middleware.model import Account, AuditEvent, Profile
from jit_middleware.ports import Transaction
from tests.adversarial_saml import mint
from tests.adversarial_saml.mint import child, minted, one, posted
from tests.adversarial_saml.test_through_both_edges import Door
from tests.client import Client, Edge
from tests.worlds import Answer

NAME = "saml:Assertion/saml:Subject/saml:NameID"
STATEMENT = "saml:Assertion/saml:AttributeStatement"
MAIL = "urn:oid:0.9.2342.19200300.100.1.3"
SHOWN = "urn:oid:2.16.840.1.113730.3.1.241"
AUTO = 'verified_domains = ["corp.example"]\n'
RULE = json.dumps([{"when": "contains(groups, 'admin')", "grant": ["administrator"]}])
COLLISIONS = ["m\u0131ke", "MI\u212aE", "mi\u017fe", "\uff4dike", "mike\u00ad", "m\u0456ke"]


@pytest.fixture(params=["wsgi", "asgi"])
def edge(request: pytest.FixtureRequest) -> Edge:
    chosen: Edge = request.param
    return chosen


class Corp(Door):
    """The application of ``Door``, and people of its provider who are whatever they say."""

    def arrive(self, patch: pytest.MonkeyPatch, subject: str, **attributes: Sequence[str]) -> tuple[Answer, Client]:
        """Somebody's genuine assertion, carried by a browser of their own."""
        browser, request_id, relay_state = self.begin()
        patch.setattr(mint, "REQUEST", request_id)

        def say(root: etree._Element) -> None:
            one(root, NAME).text = subject
            statement = one(root, STATEMENT)
            for each in list(statement):
                statement.remove(each)
            for name, values in attributes.items():
                attribute = child("saml:Attribute", Name={"mail": MAIL, "shown": SHOWN}.get(name, name))
                attribute.extend([child("saml:AttributeValue", value) for value in values])
                statement.append(attribute)
            if len(statement) == 0:
                one(root, "saml:Assertion").remove(statement)

        return self.carry(browser, posted(minted(edit=say)), relay_state), browser

    def accounts(self) -> dict[str, Account]:
        return {account.user_id: account for account in step(self.ledger.list_users())}

    def refused(self) -> list[str | None]:
        events: Sequence[AuditEvent] = step(self.ledger.list_audit(type="login.refused"))
        return [event.reason for event in events]

    def kept(self, username: str, email: str) -> str:
        """An account from before."""

        async def make(tx: Transaction) -> str:
            assert tx.users is not None
            return (await tx.users.create(Profile(username, username, email=email, email_verified=True))).id

        step(self.ledger.prepare())
        return step(self.ledger.transaction(make))


@contextmanager
def corp(edge: Edge, directory: Path, **how: str) -> Iterator[Corp]:
    door = Corp(edge, directory, **how)
    with door.client:
        yield door
    step(door.ledger.close())


def seen(browser: Client) -> dict[str, Any]:
    user: dict[str, Any] = browser.get("/").json()["user"]
    return user


@pytest.mark.parametrize("policy", ["never", "auto"])
def test_same_address_at_another_name_id_is_another_person(
    policy: str, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with corp(edge, tmp_path, lines=AUTO, JIT_LINK_POLICY=policy) as door:
        assert door.arrive(monkeypatch, "alice", mail=["alice@corp.example"])[0].status == 303
        before = door.accounts()
        answer, browser = door.arrive(monkeypatch, "evil", mail=["alice@corp.example"])
        assert answer.status == (403 if policy == "auto" else 303)
        assert before.items() <= door.accounts().items()
        assert door.refused() == (["subject_changed"] if policy == "auto" else [])
        if policy == "never":
            assert seen(browser)["username"] == "evil"


@pytest.mark.parametrize("subject", ["Alice", "ALICE", "alice\u0301", "alic\u0435", "\uff41lice"], ids=ascii)
def test_name_ids_are_compared_byte_for_byte(
    subject: str, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with corp(edge, tmp_path) as door:
        assert door.arrive(monkeypatch, "alice")[0].status == 303
        [victim] = door.accounts()
        answer, browser = door.arrive(monkeypatch, subject)
        assert answer.status in {303, 403}
        assert victim in door.accounts()
        if answer.status == 303:
            assert seen(browser)["id"] != victim


@pytest.mark.parametrize("local", COLLISIONS, ids=ascii)
def test_address_that_a_mapping_takes_for_another_links_nothing(
    local: str, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with corp(edge, tmp_path, lines=AUTO, JIT_LINK_POLICY="auto") as door:
        victim = door.kept("old", "mike@corp.example")
        answer, browser = door.arrive(monkeypatch, "evil", mail=[f"{local}@corp.example"])
        assert answer.status == 303
        assert (seen(browser)["id"] != victim, seen(browser)["email"]) == (True, None)
        honest, browser = door.arrive(monkeypatch, "mike", mail=["mike@CORP.example"])
        assert (honest.status, seen(browser)["id"]) == (303, victim), "or the above shows nothing"


@pytest.mark.parametrize(
    "email",
    [
        "a@evil.example@corp.example", "a@evilcorp.example", "a@corp.example.", "a@sub.corp.example", "a@CORP.example.evil",
        '"a@evil.example"@corp.example', "a@corp.example,b@evil.example", "a@corp\u3002example", "A <a@corp.example>",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_only_looks_like_an_address_of_the_domain_does_not_enter(
    email: str, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with corp(edge, tmp_path, lines=AUTO, JIT_ALLOWED_DOMAINS="corp.example") as door:
        assert door.arrive(monkeypatch, "evil", mail=[email])[0].status == 403
        assert door.refused() == ["domain_not_allowed"]
        assert door.arrive(monkeypatch, "honest", mail=["a@corp.example"])[0].status == 303


def test_address_of_a_domain_that_nobody_gave_the_provider_is_not_vouched_for(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that asserts addresses of others: no link, no way through the gate."""
    with corp(
        edge, tmp_path, lines=AUTO, JIT_LINK_POLICY="auto", JIT_ALLOWED_DOMAINS="corp.example, b.example"
    ) as door:
        victim = door.kept("old", "ceo@b.example")
        assert door.arrive(monkeypatch, "evil", mail=["ceo@b.example"])[0].status == 403
        assert door.refused() == ["email_not_vouched"]
        assert list(door.accounts()) == [victim]


@pytest.mark.parametrize("subject", ["", " ", "\n", "\u00a0"], ids=ascii)
def test_blank_name_id_is_nobody(subject: str, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with corp(edge, tmp_path) as door:
        assert door.arrive(monkeypatch, subject)[0].status == 403
        assert door.accounts() == {}


@pytest.mark.parametrize(
    "groups",
    [["x,admin"], ["Admin"], ["administrators"], ["\u0430dmin"], ['["admin"]'], ["admin;x"], ["cn=admin,dc=x"], []],
    ids=repr,
)
def test_no_value_but_the_exact_name_grants_a_role(
    groups: list[str], edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = 'missing_groups = "strip"\n'
    with corp(edge, tmp_path, lines=lines, JIT_ROLE_RULES=RULE, JIT_DEFAULT_ROLES="reader") as door:
        answer, browser = door.arrive(monkeypatch, "eve", shown=["admin"], **({"groups": groups} if groups else {}))
        assert (answer.status, seen(browser)["roles"]) == (303, ["reader"])
        answer, browser = door.arrive(monkeypatch, "root", groups=["x", "admin"])
        assert seen(browser)["roles"] == ["administrator", "reader"], "or the above shows nothing"


def test_role_goes_with_its_group_in_every_live_session(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with corp(edge, tmp_path, JIT_ROLE_RULES=RULE, JIT_REVOCATION_MAX_STALENESS="0s") as door:
        _, first = door.arrive(monkeypatch, "eve", groups=["admin"])
        assert seen(first)["roles"] == ["administrator"]
        _, second = door.arrive(monkeypatch, "eve", groups=["other"])
        door.clock.advance(1)
        assert (seen(second)["roles"], seen(first)["roles"]) == ([], [])


@pytest.mark.parametrize(
    "name", ["a\n2026-01-01 login.succeeded user=admin", "a\u2028b\u2029c", "\u202egnp.exe", "x" * 10_000, "%s%n{0}"],
    ids=ascii,
)  # fmt: skip
def test_names_forge_no_line_and_reach_the_app_without_controls(
    name: str, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "jit_middleware")
    with corp(edge, tmp_path) as door:
        answer, browser = door.arrive(monkeypatch, "eve", shown=[name])
        assert answer.status == 303
        shown = seen(browser)["display_name"]
        assert shown is not None
        assert len(shown) <= 255
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]", shown)
        assert not any("user=admin" in entry.getMessage() for entry in caplog.records)


def test_claim_bombs_are_refused_by_name(edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with corp(edge, tmp_path, JIT_REQUIRED_GROUPS="g1") as door:
        answer, _ = door.arrive(monkeypatch, "eve", groups=[f"g{number}" for number in range(2_001)])
        assert answer.status == 403
        assert door.accounts() == {}
        assert len(door.refused()) == 1


def test_refusals_of_one_class_take_the_same_words(edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether an account exists, is tied to somebody else or has the wanted name is not to be told apart."""
    with corp(edge, tmp_path, lines=AUTO, JIT_LINK_POLICY="auto", JIT_PRIVILEGED_ROLES="admin") as door:
        assert door.arrive(monkeypatch, "alice", mail=["alice@corp.example"])[0].status == 303
        door.kept("bob", "bob@elsewhere.example")
        pages = [
            door.arrive(monkeypatch, "evil", mail=["alice@corp.example"])[0].text,
            door.arrive(monkeypatch, "Bob", mail=["eve@corp.example"])[0].text,
        ]
        assert door.refused() == ["subject_changed", "username_taken"]
        assert len({re.sub(r"(?<=[>\s])[\w-]{12}(?=[<\s.])", "#", page) for page in pages}) == 1


def test_session_of_before_is_not_that_of_the_login(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted session of the attacker's ends with the victim's login, and its id is not theirs."""
    with corp(edge, tmp_path) as door:
        _, attacker = door.arrive(monkeypatch, "evil")
        planted = attacker.get("/").json()["session"]["id"]
        stolen = attacker.prepare("GET", "/")
        browser, request_id, relay_state = door.begin()
        monkeypatch.setattr(mint, "REQUEST", request_id)
        for value in [value for name, value in stolen.headers if name == "Cookie"]:
            session = next(part for part in value.split("; ") if "-jit=" in part)
            browser.jar.store(f"{browser.origin}/", [f"{session}; Path=/; Secure; HttpOnly; SameSite=Lax"])
        assert door.carry(browser, posted(minted()), relay_state).status == 303
        after = browser.get("/").json()
        assert after["user"]["username"] == "alice-7f3a"
        assert after["session"]["id"] != planted
