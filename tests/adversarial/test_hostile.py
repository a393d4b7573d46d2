"""Every case of the table through both edges: let in whole, or refused by name with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.adversarial.cases import MALFORMED, Case, every_case
from tests.adversarial.judging import LIMIT_SECONDS, NOBODY, assert_refused, assert_signed_in, small_appetite
from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import LOGIN, Stage
from tests.client import Edge

PATHS = {"discovery": "/.well-known/", "jwks": "/jwks", "token": "/token", "userinfo": "/userinfo"}
#: One page for each class of refusal and stage of the login, whatever the reason (attack catalogue 68).
PAGES: dict[tuple[str, str], tuple[str, str]] = {}


@pytest.mark.parametrize("case", every_case(), ids=lambda case: case.name)
def test_hostile_provider(
    case: Case, edge: Edge, tmp_path: Path, make_provider: Callable[..., HostileProvider]
) -> None:
    provider = make_provider(**case.provider)
    dawdles = "deadline" in case.expected and case.name.partition("-")[0] in PATHS
    hurry = (f"{provider.base}{PATHS[case.name.partition('-')[0]]}", 0.3) if dawdles else None
    with Stage(edge, tmp_path, provider, hurry=hurry, env=case.env) as stage, ExitStack() as stack:
        before, browser = NOBODY, stage.browser
        if case.after_a_login:
            assert_signed_in(stage, stage.log_in())
            before, browser = stage.count(), stage.browser.another()
        case.bend(provider)
        if case.heavy:
            stack.enter_context(small_appetite())
        ending = stage.log_in(browser)
        if case.answer is not None:
            page = assert_refused(stage, ending, case.expected, *case.answer, before=before)
            same_name, same_page = PAGES.setdefault((case.answer[0], ending.where), (case.name, page))
            assert page == same_page, f"tells itself from {same_name}"
        elif case.expected == ("restarted",):
            assert ending.answer.status == 302
            assert ending.answer.location.startswith(f"{provider.base}/authorize?")
            assert not stage.has_session(ending.answer)
            assert stage.count() == NOBODY
            assert "token" not in provider.calls
        else:
            seen = assert_signed_in(stage, ending, browser).json()["user"]
            assert {name: seen[name] for name in case.sees} == dict(case.sees)
            assert stage.count() == {"users": 1, "links": 1, "sessions": 1 + case.after_a_login}
            kinds = [event.type for event in stage.audit()]
            assert kinds.count("user.created") == kinds.count("user.first_login") == 1
            assert kinds.count("login.succeeded") == 1 + case.after_a_login
            assert "login.refused" not in kinds
        assert ending.seconds < LIMIT_SECONDS
        in_flight = [cookie for cookie in browser.jar.live() if cookie.name.startswith(LOGIN)]
        assert len(in_flight) == logins_left_in_flight(case)
    assert provider.complaints == []


def logins_left_in_flight(case: Case) -> int:
    """A login is over when its answer was judged; an answer that is none leaves it open, a restart opens another."""
    if case.expected == ("restarted",):
        return 2
    return 1 if case.answer == MALFORMED else 0


def test_the_table_covers_what_it_must() -> None:
    """The modules of the OpenID plans that we aim at, each by its name."""
    told = "\n".join(f"{case.source}" for case in every_case())
    for module in (
        "invalid-iss", "missing-sub", "missing-iat", "invalid-aud", "kid-absent-single-jwks", "kid-absent-multiple-jwks",
        "idtoken-sig-none", "invalid-sig-rs256", "userinfo-invalid-sub", "nonce-invalid", "scope-userinfo-claims",
        "client-secret-basic", "discovery-jwks-uri-keys", "discovery-issuer-mismatch",
        "signing-key-rotation-just-before-signing", "signing-key-rotation", "form-post-error",
    ):  # fmt: skip
        assert f"oidcc-client-test-{module}" in told, module
