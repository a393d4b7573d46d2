"""Claims that nobody asked for, that are too many, or that are of another shape (attack catalogue 18, 20, 57, 66, 67)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import Stage
from tests.client import Answer, Client, Edge

UNUSED = "zebra-7Qx-nobody-maps-this"


def sign_in(stage: Stage, provider: HostileProvider, **claims: Any) -> tuple[Answer, Client]:
    """Somebody with these claims, in a browser of their own."""
    provider.person = {"sub": "s", "preferred_username": "eve", **claims}
    browser = stage.browser.another()
    return stage.carry(stage.authorized(stage.begin(browser)), browser), browser


def kept(stage: Stage) -> bytes:
    """Everything the database's files hold, rows that are gone included."""
    database: Path = stage.database
    return b"".join(file.read_bytes() for file in database.parent.glob(f"{database.name}*"))


def shapes_of(text: str) -> list[bytes]:
    """The text as it is, and as base64 has it, wherever in a token it stands."""
    encoded = [urlsafe_b64encode(b"x" * shift + text.encode())[4:-4] for shift in range(3)]
    return [text.encode(), *encoded]


@pytest.mark.parametrize("verdict", ["signed in", "refused"])
def test_a_claim_that_no_expression_names_is_kept_nowhere(
    verdict: str, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    env = {"JIT_CLAIMS_FIELDS": '{"team": "team"}', "JIT_ROLE_RULES": '[{"when": "team == \'x\'", "grant": ["r"]}]'}
    if verdict == "refused":
        env["JIT_REQUIRED_GROUPS"] = "staff"
    with Stage(edge, tmp_path, provider, env=env) as stage:
        claims = {"unused": UNUSED, "nested": {"unused": [UNUSED]}, "team": "kestrel-team"}
        answer, browser = sign_in(stage, provider, **claims)
        assert answer.status == (303 if verdict == "signed in" else 403), stage.log.own
        page = browser.get("/reports").text
        trail = repr(stage.audit())
        stored = kept(stage)
    for shape in shapes_of(UNUSED):
        assert shape not in stored
        assert shape.decode() not in "\n".join(stage.log.lines)
        assert shape.decode() not in trail + page
    assert (b"kestrel-team" in stored) is (verdict == "signed in"), "a claim that is mapped would be found"
    assert "kestrel-team" not in "\n".join(stage.log.lines) + trail


def deep(levels: int) -> object:
    value: object = UNUSED
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        ({"groups": [f"g{number}" for number in range(20_001)]}, "claims_too_large"),
        ({"unused": ["x" * 200_000] * 2}, None),
        ({"unused": "x" * 300_000}, "claims_too_large"),
        ({"unused": {str(number): number for number in range(20_001)}}, "claims_too_large"),
        ({"unused": deep(33)}, "userinfo_malformed"),
        ({"team": [[{"a": number, "b": number} for number in range(100)]] * 60}, "expression_too_costly"),
    ],
    ids=["groups", "large", "long text", "members", "deep", "costly"],
)
def test_claim_bombs_are_refused_by_name_before_anything_is_made_of_them(
    bomb: dict[str, object], reason: str | None, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    env = {
        "JIT_OIDC_USERINFO": "always",
        "JIT_CLAIMS_FIELDS": '{"team": "length(team[*][].[a, b, a, b].[@, @, @, @][])"}',
    }
    provider.on_userinfo.append(lambda document: document.update(bomb))
    with Stage(edge, tmp_path, provider, env=env) as stage:
        answer, _ = sign_in(stage, provider)
        refused = [event.reason for event in stage.audit("login.refused")]
        assert answer.status in ({303} if reason is None else {403, 503}), stage.log.own
        assert refused == ([] if reason is None else [reason])
        assert stage.count()["users"] == (1 if reason is None else 0)
        assert all(len(line) < 10_000 for line in stage.log.own)


@pytest.mark.parametrize(
    ("groups", "granted"),
    [
        (["admin"], True),
        ("admin", True),
        ("x,admin", False),
        ("admin,x", False),
        ("admin x", False),
        ("admin;x", False),
        (["x,admin"], False),
        (["Admin"], False),
        (["administrators"], False),
        ({"admin": True}, False),
        ([["admin"]], False),
        (["аdmin"], False),
        (["admin\n"], False),
        ([" admin"], False),
        ([{"name": "admin"}], False),
        (["admin", 1], False),
        (None, False),
    ],
    ids=repr,
)  # fmt: skip
def test_a_group_map_takes_the_exact_id_of_a_group_and_nothing_like_it(
    groups: object, granted: bool, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    env = {"JIT_GROUP_ROLES": json.dumps({"admin": ["administrator"]}), "JIT_DEFAULT_ROLES": "reader"}
    with Stage(edge, tmp_path, provider, env=env) as stage:
        answer, browser = sign_in(stage, provider, name="admin", groups=groups)
        assert answer.status == 303, stage.log.own
        roles = browser.get("/reports").json()["user"]["roles"]
        assert roles == (["administrator", "reader"] if granted else ["reader"])


@pytest.mark.parametrize(
    "address", ["mi\u212ae@example.org", "m\u0131ke@example.org", "mike@example.or\uff47", "a@evil.com@example.org"]
)
def test_no_normaliser_makes_an_allowed_address_of_another(
    address: str, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    env = {
        "JIT_CLAIMS_EMAIL": '{"from": "email", "normalise": ["nfc", "trim", "lower"]}',
        "JIT_ALLOWED_DOMAINS": "example.org",
    }
    with Stage(edge, tmp_path, provider, env=env) as stage:
        answer, _ = sign_in(stage, provider, email=address, email_verified=True)
        assert answer.status == 403
        assert [event.reason for event in stage.audit("login.refused")] == ["domain_not_allowed"]


def test_a_required_field_is_named_and_its_value_is_not(edge: Edge, tmp_path: Path, provider: HostileProvider) -> None:
    env = {"JIT_CLAIMS_EMAIL": '{"required": true}'}
    with Stage(edge, tmp_path, provider, env=env) as stage:
        answer, _ = sign_in(stage, provider, email="Kestrel <kestrel@example.org>")
        assert answer.status == 403
        assert [event.reason for event in stage.audit("login.refused")] == ["claim_required"]
        assert any("claim_required" in line and "email" in line for line in stage.log.own)
        assert "kestrel" not in "\n".join(stage.log.lines).lower() + repr(stage.audit()).lower()
