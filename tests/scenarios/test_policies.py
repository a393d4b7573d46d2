"""Fields and roles as policy: what a login writes, keeps and takes, through both edges."""

from __future__ import annotations

import json

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Grant
from jit_middleware.ports import Transaction
from tests.scenarios.conftest import Stage, StageBuilder

SCOPES = "openid email profile groups"


def again(stage: Stage, who: str) -> dict[str, object]:
    """One more login, and the user that the app sees."""
    answer = stage.sign_in(who, client=stage.client.another())
    assert answer.status == 200, answer.text
    user: dict[str, object] = answer.json()["user"]
    return user


def give(stage: Stage, role: str, source: str) -> None:
    [account] = stage.accounts()

    async def work(tx: Transaction) -> None:
        await tx.change_grants(account.user_id, add=[Grant(role, source)], remove=[])

    step(stage.ledger.transaction(work))


def held(stage: Stage) -> set[tuple[str, str]]:
    [account] = stage.accounts()
    return {(grant.role, grant.source) for grant in account.grants}


def attributes(stage: Stage) -> dict[str, object]:
    [account] = stage.accounts()
    assert account.user is not None
    return dict(account.user.attributes)


def test_each_field_is_written_by_whoever_owns_it(build: StageBuilder) -> None:
    stage = build(
        JIT_CLAIMS_DISPLAY_NAME='{"authority": "first_write"}',
        JIT_CLAIMS_EMAIL='{"authority": "app"}',
        JIT_CLAIMS_FIELDS=json.dumps(
            {
                "office": {"from": "given_name", "on_missing": "clear"},
                "site": {"from": "locale", "on_missing": "keep"},
                "theme": {"from": "family_name", "default": "plain"},
            }
        ),
    )
    alice = stage.person("alice", given_name="North", locale="de")
    first = again(stage, alice)
    assert (first["display_name"], first["email"]) == ("Alice", None)
    assert attributes(stage) == {"office": "North", "site": "de", "theme": "plain"}
    stage.provider.add_user(alice, {"preferred_username": alice, "name": "Changed", "family_name": "x"})
    second = again(stage, alice)
    assert (second["display_name"], second["email"]) == ("Alice", None)
    assert attributes(stage) == {"site": "de", "theme": "x"}


@pytest.mark.parametrize(
    ("sync", "left"),
    [
        ("owned", {("reader", "birthright"), ("chief", "manual"), ("guest", "idp:other"), ("team", "scim:hr")}),
        (
            "additive",
            {
                ("reader", "birthright"),
                ("writer", "idp:oidc"),
                ("chief", "manual"),
                ("guest", "idp:other"),
                ("team", "scim:hr"),
            },
        ),
        ("exclusive", {("reader", "birthright"), ("team", "scim:hr")}),
    ],
)
def test_a_login_takes_what_the_sync_says_and_no_more(
    sync: str, left: set[tuple[str, str]], build: StageBuilder
) -> None:
    stage = build(
        JIT_DEFAULT_ROLES="reader",
        JIT_GROUP_ROLES='{"staff": ["writer"]}',
        JIT_ROLE_SYNC=sync,
        JIT_OIDC_SCOPES=SCOPES,
    )
    alice = stage.person("alice", groups=["staff"])
    assert again(stage, alice)["roles"] == ["reader", "writer"]
    for role, source in (("chief", "manual"), ("guest", "idp:other"), ("team", "scim:hr")):
        give(stage, role, source)
    stage.person("alice", groups=[])
    assert again(stage, alice)["roles"] == sorted({role for role, _ in left})
    assert held(stage) == left


@pytest.mark.parametrize(
    ("missing", "left"),
    [("keep_unprivileged", ["writer"]), ("keep", ["admin", "writer"]), ("strip", []), ("deny", None)],
)
def test_a_groups_claim_that_is_gone_is_no_empty_one(missing: str, left: list[str] | None, build: StageBuilder) -> None:
    stage = build(
        JIT_GROUP_ROLES='{"staff": ["writer"], "root": ["admin"]}',
        JIT_PRIVILEGED_ROLES="admin",
        JIT_OIDC_ALLOW_PRIVILEGED_ROLES="true",
        JIT_OIDC_MISSING_GROUPS=missing,
        JIT_OIDC_SCOPES=SCOPES,
    )
    alice = stage.person("alice", groups=["staff", "root"])
    assert again(stage, alice)["roles"] == ["admin", "writer"]
    stage.person("alice")
    if left is None:
        assert stage.sign_in(alice, client=stage.client.another()).status == 403
        assert stage.events("login.refused")[-1].reason == "groups_unavailable"
        assert held(stage) == {("admin", "idp:oidc"), ("writer", "idp:oidc")}
        return
    assert again(stage, alice)["roles"] == left
    assert again(stage, alice)["roles"] == left


def test_names_of_roles_come_from_claims_only_when_the_catalogue_has_them(build: StageBuilder) -> None:
    stage = build(
        JIT_CLAIMS_ROLES="groups",
        JIT_ROLE_CATALOGUE="writer, admin",
        JIT_PRIVILEGED_ROLES="admin",
        JIT_OIDC_SCOPES=SCOPES,
    )
    alice = stage.person("alice", groups=["writer", "admin", "root"])
    assert again(stage, alice)["roles"] == ["writer"]
    [created] = stage.events("user.created")
    assert "role_expression: dropped_privileged (admin)" in json.dumps(dict(created.data))
    assert "root" not in json.dumps(dict(created.data))
