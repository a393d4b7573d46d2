"""Claims that reach for somebody else's account or for more than their share (attack catalogue 1 to 5, 10, 12, 17, 57, 66)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Status
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Transaction
from tests.adversarial import keys
from tests.adversarial.bends import endless, header, metadata, reset_connection, status
from tests.adversarial.judging import LIMIT_SECONDS, assert_signed_in, code_of, reference_of
from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import Stage
from tests.client import Answer, Client, Edge

MAIL = "ada.quill@people.example"
AUTO = {"JIT_LINK_POLICY": "auto", "JIT_OIDC_VERIFIED_DOMAINS": "people.example"}


def sign_in(stage: Stage, provider: HostileProvider, **claims: Any) -> tuple[Answer, Client]:
    """Somebody else's browser, with these claims."""
    provider.person = claims
    browser = stage.browser.another()
    return stage.carry(stage.authorized(stage.begin(browser)), browser), browser


@pytest.mark.parametrize("policy", ["never", "auto"])
@pytest.mark.parametrize(
    "verified", [True, False, "true", "false", "TRUE ", 0, 1, "0", "1", None, [], [False], {}, "None"], ids=repr
)
def test_same_address_at_another_subject_is_another_person(
    policy: str, verified: object, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    """nOAuth: an address, verified or not, is no key; an account with an identity of its own is never linked again."""
    with Stage(edge, tmp_path, provider, env={} if policy == "never" else AUTO) as stage:
        assert_signed_in(stage, stage.log_in())
        [victim], [link] = stage.rows("jit_users"), stage.rows("jit_identity_links")
        answer, browser = sign_in(
            stage, provider, sub="evil", preferred_username="eve", email=MAIL, email_verified=verified
        )
        assert answer.status in {303, 403}, stage.log.own
        assert victim in stage.rows("jit_users")
        assert link in stage.rows("jit_identity_links")
        if answer.status == 303:
            assert browser.get("/reports").json()["user"]["username"] == "eve"
            assert stage.count()["users"] == 2


@pytest.mark.parametrize("username", ["ada", "ADA", "Ada", "ada ", "ａda", "ada\u200d", "аda", MAIL])
def test_username_of_another_person_is_no_way_in(username: str, stage: Stage, provider: HostileProvider) -> None:
    assert_signed_in(stage, stage.log_in())
    [victim] = stage.rows("jit_users")
    answer, browser = sign_in(stage, provider, sub="evil", preferred_username=username)
    assert answer.status < 500, stage.log.own
    assert victim in stage.rows("jit_users")
    if answer.status == 303:
        assert browser.get("/reports").json()["user"]["id"] not in victim


@pytest.mark.parametrize("subject", ["Subject-Of-Ada", "subject-of-ada-", "subject-of-ad", "SUBJECT-OF-ADA"])
def test_subjects_are_compared_byte_for_byte(subject: str, stage: Stage, provider: HostileProvider) -> None:
    assert_signed_in(stage, stage.log_in())
    answer, _ = sign_in(stage, provider, sub=subject, preferred_username="bob")
    assert answer.status == 303
    assert stage.count()["users"] == 2


@pytest.mark.parametrize(
    "groups", ["admin", "x,admin", ["x,admin"], ["Admin"], ["administrators"], {"admin": True}, [["admin"]], ["аdmin"], ["admin\n"], [" admin"], "administrator", [{"name": "admin"}], [1, "x"], None], ids=repr
)  # fmt: skip
def test_no_shape_of_groups_but_the_exact_name_in_a_list_grants_a_role(
    groups: object, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    rules = json.dumps([{"when": "contains(groups, 'admin')", "grant": ["administrator"]}])
    with Stage(edge, tmp_path, provider, env={"JIT_ROLE_RULES": rules, "JIT_DEFAULT_ROLES": "reader"}) as stage:
        answer, browser = sign_in(stage, provider, sub="s", preferred_username="eve", name="admin", groups=groups)
        assert answer.status in {303, 403}
        if answer.status == 303:
            assert browser.get("/reports").json()["user"]["roles"] == ["reader"]


def test_role_goes_with_its_group(edge: Edge, tmp_path: Path, provider: HostileProvider) -> None:
    """attack catalogue 59, 69: what the provider no longer says is gone at the next login, in every live session."""
    rules = json.dumps([{"when": "contains(groups, 'admin')", "grant": ["administrator"]}])
    with Stage(edge, tmp_path, provider, env={"JIT_ROLE_RULES": rules, "JIT_REVOCATION_MAX_STALENESS": "0s"}) as stage:
        _, first = sign_in(stage, provider, sub="s", preferred_username="eve", groups=["admin"])
        assert first.get("/reports").json()["user"]["roles"] == ["administrator"]
        _, second = sign_in(stage, provider, sub="s", preferred_username="eve", groups=["other"])
        assert second.get("/reports").json()["user"]["roles"] == []
        assert first.get("/reports").json()["user"]["roles"] == []


@pytest.mark.parametrize(
    "name", ["x\r\n2026-01-01 login.succeeded user=admin", "\x1b[2J\x1b[31mroot", "a\u2028b\u2029c", "\u202egnp.exe", "a\0b", "x" * 100_00, "<script>alert(1)</script>", "%s%s%n{0}{}"], ids=ascii
)  # fmt: skip
def test_names_forge_no_line_and_reach_the_app_without_controls(
    name: str, stage: Stage, provider: HostileProvider
) -> None:
    answer, browser = sign_in(stage, provider, sub="s", preferred_username="eve", name=name)
    assert answer.status == 303
    shown = browser.get("/reports").json()["user"]["display_name"]
    assert shown is None or (len(shown) <= 255 and not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]", shown))
    own = "\n".join(stage.log.own)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u2028\u2029\u202e]", own)
    assert "user=admin" not in own


def test_every_refusal_of_a_class_takes_the_same_words(stage: Stage, provider: HostileProvider) -> None:
    """attack catalogue 68 for scripts: JSON of two different refusals differs in the reference only."""
    answers = []
    for bend in (lambda c: c.update(nonce="x"), lambda c: c.update(aud="x")):
        provider.on_claims[:] = [bend]
        back = stage.authorized(stage.begin())
        answers.append(stage.browser.get(back.query_url, headers={"Accept": "application/json"}).json())
    assert [answer.pop("reference") != "" for answer in answers] == [True, True]
    assert answers[0] == answers[1]


# --- what a refusal leaves behind ---------------------------------------------------------------------------------


def test_login_that_ends_before_the_provider_is_in_the_trail(stage: Stage, provider: HostileProvider) -> None:
    """A connection that was re-pointed (attack catalogue 51) must show in the audit trail, not in the log alone."""
    metadata(issuer="https://evil.example")(provider)
    answer = stage.begin()
    assert answer.status == 403
    [event] = stage.audit("login.refused")
    assert (event.reason, event.reference) == ("metadata_issuer_mismatch", reference_of(answer))


def test_login_that_ends_because_the_provider_failed_is_in_the_trail(stage: Stage, provider: HostileProvider) -> None:
    reset_connection("token")(provider)
    ending = stage.log_in()
    assert ending.answer.status == 503
    [event] = stage.audit("login.refused")
    assert (event.reason, event.reference) == ("unreachable", reference_of(ending.answer))


# --- hostile tokens are not turned against others -----------------------------------------------------------------


def test_tokens_with_unknown_keys_cost_the_provider_one_more_fetch_in_all(
    stage: Stage, provider: HostileProvider
) -> None:
    header(kid="nobody-has-this-key")(provider)
    for _ in range(6):
        assert stage.log_in(stage.browser.another()).answer.status == 403
    assert provider.calls.count("jwks") <= 2
    assert provider.calls.count("discovery") == 1


def test_provider_that_failed_is_left_alone_for_a_moment(stage: Stage, provider: HostileProvider) -> None:
    status("discovery", 500)(provider)
    for _ in range(10):
        assert stage.begin(stage.browser.another()).status == 503
    assert provider.calls.count("discovery") <= 3


def test_no_address_that_a_token_names_is_ever_asked(stage: Stage, provider: HostileProvider) -> None:
    """attack catalogue 36: ``iss``, ``jku`` and ``x5u`` are compared or refused, never followed."""
    elsewhere = provider.base + "/of-the-attacker"
    for bend in (header(jku=elsewhere), header(x5u=elsewhere)):
        bend(provider)
    provider.on_claims.append(
        lambda claims: claims.update(iss=elsewhere, _claim_sources={"s": {"endpoint": elsewhere}})
    )
    assert stage.log_in().answer.status == 403
    assert not any("attacker" in call for call in provider.calls)


def test_one_connection_failing_leaves_the_other_alone(
    edge: Edge, tmp_path: Path, make_provider: Callable[..., HostileProvider]
) -> None:
    broken, sound = make_provider(), make_provider()
    status("discovery", 500)(broken)
    with Stage(edge, tmp_path, broken, sound) as stage:
        assert stage.browser.get("/_jit/login/oidc").status == 503
        back = stage.authorized(stage.browser.get(f"/_jit/login/{sound.name}"))
        assert stage.carry(back).status == 303
        status("discovery", 500)(sound)
        assert stage.browser.get("/reports").status == 200, "a live session needs no provider"


def test_key_of_one_issuer_verifies_nothing_for_another(
    edge: Edge, tmp_path: Path, make_provider: Callable[..., HostileProvider]
) -> None:
    """Both are configured; the evil one signs for the honest one with a published key of its own."""
    honest = make_provider()
    evil = make_provider(signing_key=keys.rsa("evil"))
    with Stage(edge, tmp_path, honest, evil) as stage:
        assert stage.carry(stage.authorized(stage.browser.get(f"/_jit/login/{evil.name}"))).status == 303
        honest.signing_key = keys.rsa("evil")
        browser = stage.browser.another()
        answer = stage.carry(stage.authorized(browser.get("/_jit/login/oidc")), browser)
        assert (answer.status, code_of(answer)) == (403, "login_not_verified")
        assert stage.audit("login.refused")[0].reason == "key_unknown"


def test_provider_that_drips_is_given_up_at_the_real_deadline(stage: Stage, provider: HostileProvider) -> None:
    """The whole exchange has a deadline, however little each wait is: five seconds for the documents."""
    endless("discovery", b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b" ", 0.1)(provider)
    started = time.monotonic()
    answer = stage.begin()
    assert (answer.status, code_of(answer)) == (503, "provider_unavailable")
    assert 4.5 < time.monotonic() - started < LIMIT_SECONDS


# --- who was let go stays out (attack catalogue 16, 61, 65) -------------------------------------------------------------


def change(stage: Stage, work: Callable[[Transaction], Awaitable[None]]) -> None:
    """What an administrator does from another process."""
    ledger = open_ledger(stage.settings)
    try:
        step(ledger.transaction(work))
    finally:
        step(ledger.close())


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.SUSPENDED, "account_suspended"),
        (Status.DEPROVISIONED, "account_closed"),
        (Status.DELETED, "account_closed"),
        (Status.PENDING, "account_pending"),
    ],
)
def test_person_who_was_let_go_is_not_let_in_again_by_signing_in(
    status: Status, code: str, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    with Stage(edge, tmp_path, provider, env={"JIT_REVOCATION_MAX_STALENESS": "0s"}) as stage:
        assert_signed_in(stage, stage.log_in())
        [user] = stage.audit("user.created")

        async def let_go(tx: Transaction) -> None:
            await tx.set_status(user.user_id or "", status)
            await tx.append_feed("user", user.user_id or "")

        change(stage, let_go)
        assert stage.browser.get("/reports").status == 302, "the live session is over"
        before = stage.rows("jit_users")
        again = stage.log_in(stage.browser.another())
        assert (again.answer.status, code_of(again.answer)) == (403, code)
        assert stage.rows("jit_users") == before
        assert stage.count() == {"users": 1, "links": 1, "sessions": 1}
        assert len(stage.audit("login.refused")) == 1


def test_tombstoned_identity_gets_no_second_life(stage: Stage, provider: HostileProvider) -> None:
    async def bury(tx: Transaction) -> None:
        await tx.add_tombstone("oidc", provider.issuer, provider.person["sub"], 1)

    change(stage, bury)
    ending = stage.log_in()
    assert (ending.answer.status, code_of(ending.answer)) == (403, "not_provisioned")
    assert stage.count() == {"users": 0, "links": 0, "sessions": 0}
