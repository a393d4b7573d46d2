"""Attacks on a login from the browser's side: foreign answers, used answers, mixed-up answers, planted cookies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.adversarial.judging import (
    NOBODY,
    assert_begun_anew,
    assert_careful_headers,
    assert_expired,
    assert_signed_in,
    code_of,
    session_of,
)
from tests.adversarial.provider import HostileProvider, SentBack
from tests.adversarial.stage import ORIGIN, SESSION, Ending, Stage
from tests.client import Edge


def replaced(back: SentBack, **parameters: str) -> SentBack:
    """The same answer with other parameters."""
    return SentBack(back.mode, back.url, list({**dict(back.parameters), **parameters}.items()))


# --- login CSRF, RFC 9700 §4.7 (attack catalogue 25, 26, 14) ------------------------------------------------------------


def test_callback_without_the_cookie_of_its_login_signs_nobody_in(stage: Stage, provider: HostileProvider) -> None:
    back = stage.authorized(stage.begin())
    victim = stage.browser.another()
    assert_begun_anew(stage, stage.carry(back, victim))
    assert_begun_anew(stage, stage.carry(back, victim))
    assert stage.count() == NOBODY
    assert "token" not in provider.calls


def test_callback_in_a_browser_with_a_login_of_its_own_signs_nobody_in(stage: Stage, provider: HostileProvider) -> None:
    attackers = stage.authorized(stage.begin())
    victim = stage.browser.another()
    stage.begin(victim)
    assert_begun_anew(stage, stage.carry(attackers, victim))
    assert stage.count() == NOBODY
    assert "token" not in provider.calls


def test_callback_in_a_browser_that_is_signed_in_changes_nothing(stage: Stage) -> None:
    victim = stage.browser.another()
    assert_signed_in(stage, stage.log_in(victim), victim)
    before = session_of(victim)
    answer = stage.carry(stage.authorized(stage.begin()), victim)
    assert (answer.status, answer.location) == (303, f"{ORIGIN}/")
    assert session_of(victim) == before
    assert stage.count()["sessions"] == 1


def test_code_of_another_login_is_stopped_by_pkce(stage: Stage, provider: HostileProvider) -> None:
    attackers, victim = stage.authorized(stage.begin()), stage.browser.another()
    own = stage.authorized(stage.begin(victim))
    answer = stage.carry(replaced(own, code=attackers.get("code")), victim)
    assert (answer.status, code_of(answer)) == (403, "provider_refused")
    assert stage.audit("login.refused")[0].reason == "invalid_grant"
    assert stage.count() == NOBODY


def test_code_of_another_login_is_stopped_by_the_nonce_where_the_provider_knows_no_pkce(
    stage: Stage, provider: HostileProvider
) -> None:
    provider.careless = True
    attackers, victim = stage.authorized(stage.begin()), stage.browser.another()
    own = stage.authorized(stage.begin(victim))
    answer = stage.carry(replaced(own, code=attackers.get("code")), victim)
    assert (answer.status, code_of(answer)) == (403, "login_not_verified")
    assert stage.audit("login.refused")[0].reason == "nonce_mismatch"
    assert stage.count() == NOBODY


def test_state_that_shares_only_its_head_with_that_of_the_login_is_refused(
    stage: Stage, provider: HostileProvider
) -> None:
    back = stage.authorized(stage.begin())
    state = back.get("state")
    assert_begun_anew(stage, stage.carry(replaced(back, state=state[:-4] + "AA.0")))
    assert "token" not in provider.calls


# --- used answers (attack catalogue 37) ---------------------------------------------------------------------------------


def test_reload_of_the_callback_goes_home_and_sends_no_code_twice(stage: Stage, provider: HostileProvider) -> None:
    back = stage.authorized(stage.begin())
    assert_signed_in(stage, Ending(stage.carry(back), "callback", 0))
    for _ in range(3):
        answer = stage.carry(back)
        assert (answer.status, urlsplit(answer.location).netloc) == (303, urlsplit(ORIGIN).netloc)
        assert not stage.has_session(answer)
    assert provider.calls.count("token") == 1
    assert stage.count()["sessions"] == 1


def test_used_answer_with_the_old_login_cookie_signs_nobody_in(stage: Stage, provider: HostileProvider) -> None:
    back = stage.authorized(stage.begin())
    thief = stage.browser.another()
    for cookie in stage.browser.jar.live():
        thief.jar.put(ORIGIN, cookie.name, cookie.value)
    assert_signed_in(stage, Ending(stage.carry(back), "callback", 0))
    assert_begun_anew(stage, stage.carry(back, thief))
    assert provider.calls.count("token") == 1
    assert stage.count()["sessions"] == 1


def test_used_answer_at_another_worker_is_refused_by_the_ledger(stage: Stage, provider: HostileProvider) -> None:
    provider.careless = True
    back = stage.authorized(stage.begin())
    cookies = {cookie.name: cookie.value for cookie in stage.browser.jar.live()}
    assert_signed_in(stage, Ending(stage.carry(back), "callback", 0))
    with stage.other_worker() as worker:
        for name, value in cookies.items():
            worker.jar.put(ORIGIN, name, value)
        answer = worker.get(back.query_url, initiator=provider.issuer)
        assert_expired(stage, answer)
    assert [event.reason for event in stage.audit("login.refused")] == ["state_replayed"]
    assert stage.count() == {"users": 1, "links": 1, "sessions": 1}


def test_answer_that_failed_once_cannot_be_tried_again(stage: Stage, provider: HostileProvider) -> None:
    provider.on_claims.append(lambda claims: claims.update(nonce="wrong"))
    back = stage.authorized(stage.begin())
    cookie = stage.browser.prepare("GET", back.query_url, initiator=provider.issuer)
    assert stage.carry(back).status == 403
    provider.on_claims.clear()
    assert_begun_anew(stage, stage.browser.world.exchange(cookie))
    assert provider.calls.count("token") == 1
    assert stage.count() == NOBODY


@pytest.mark.parametrize("mode", ["query", "form_post"])
def test_many_submissions_of_one_answer_at_once_make_exactly_one_session(
    mode: str, edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    with Stage(edge, tmp_path, provider, env={"JIT_OIDC_RESPONSE_MODE": mode}) as stage:
        back = stage.authorized(stage.begin())
        if mode == "query":
            one = stage.browser.prepare("GET", back.query_url, initiator=provider.issuer)
        else:
            one = stage.browser.prepare("POST", back.url, form=back.parameters, initiator=provider.issuer)
        answers = stage.browser.together(*[one] * 8)
        assert sum(stage.has_session(answer) for answer in answers) == 1
        assert {answer.status for answer in answers} <= {302, 303}
        assert stage.count() == {"users": 1, "links": 1, "sessions": 1}
        assert provider.calls.count("token") == 1
    assert provider.complaints == []


def test_many_first_logins_at_once_make_exactly_one_user(stage: Stage, provider: HostileProvider) -> None:
    browsers = [stage.browser.another() for _ in range(8)]
    backs = [stage.authorized(stage.begin(browser)) for browser in browsers]
    requests = [
        browser.prepare("GET", back.query_url, initiator=provider.issuer)
        for browser, back in zip(browsers, backs, strict=True)
    ]
    answers = stage.browser.together(*requests)
    assert [answer.status for answer in answers] == [303] * 8, stage.log.own
    assert stage.count() == {"users": 1, "links": 1, "sessions": 8}
    assert len(stage.audit("user.first_login")) == 1
    assert len(stage.audit("user.created")) == 1


# --- stale answers heal once, then stop ---------------------------------------------------------------------------


def test_stale_answer_begins_anew_once_and_succeeds(stage: Stage) -> None:
    back = stage.authorized(stage.begin())
    stage.browser.jar.drop()
    again = stage.carry(back)
    assert_begun_anew(stage, again)
    done = stage.carry(stage.authorized(again))
    assert done.status == 303
    assert stage.has_session(done)


def test_browser_that_keeps_no_cookies_gets_a_page_and_no_loop(stage: Stage, provider: HostileProvider) -> None:
    back = stage.authorized(stage.begin())
    stage.browser.jar.drop()
    again = stage.carry(back)
    assert_begun_anew(stage, again)
    stage.browser.jar.drop()
    assert_expired(stage, stage.carry(stage.authorized(again)))
    assert list(stage.audit("login.refused")) == []  # anybody can send such a thing, as often as they like
    assert "token" not in provider.calls


@pytest.mark.parametrize("count", ["1", "2", "99", "100", "-1", "x", "", "١", "0x0", "00000"])
def test_restart_count_that_is_made_up_never_loops(count: str, stage: Stage) -> None:
    back = stage.authorized(stage.begin())
    stage.browser.jar.drop()
    assert_expired(stage, stage.carry(replaced(back, state=f"{'a' * 32}.{count}")))


def test_logins_that_succeed_again_and_again_end_at_a_page_that_names_the_cause(stage: Stage) -> None:
    for _ in range(3):
        assert stage.has_session(stage.log_in().answer)
        stage.browser.jar.drop(SESSION)
    answer = stage.begin()
    assert answer.status != 302, "the loop goes on"
    assert answer.status < 500
    assert "cookie" in answer.text.lower()
    assert_careful_headers(answer)


# --- mix-up (attack catalogue 24; RFC 9700 §4.4) ------------------------------------------------------------------------


@pytest.fixture
def pair(
    edge: Edge, tmp_path: Path, make_provider: Callable[..., HostileProvider]
) -> Iterator[tuple[Stage, HostileProvider, HostileProvider]]:
    """An app with two connections: an honest provider and an evil one."""
    honest, evil = make_provider(), make_provider(person={"sub": "subject-of-ada", "preferred_username": "eve"})
    with Stage(edge, tmp_path, honest, evil) as stage:
        yield stage, honest, evil


Pair = tuple[Stage, HostileProvider, HostileProvider]


def test_callback_of_one_connection_with_the_state_of_the_other_is_refused(pair: Pair) -> None:
    stage, honest, evil = pair
    back = stage.authorized(stage.browser.get("/_jit/login/oidc"))
    moved = SentBack("query", f"{ORIGIN}/_jit/callback/{evil.name}", back.parameters)
    answer = stage.carry(moved)
    assert_begun_anew(stage, answer)
    assert "token" not in honest.calls + evil.calls
    assert stage.count() == NOBODY


def test_honest_code_never_reaches_the_token_endpoint_of_the_evil_provider(pair: Pair) -> None:
    stage, honest, evil = pair
    evil.on_discovery.append(lambda d: d.update(authorization_endpoint=f"{honest.base}/authorize"))
    start = stage.browser.get(f"/_jit/login/{evil.name}")
    asked = dict(parse_qsl(urlsplit(start.location).query))
    # Each connection has a callback of its own, so an honest provider that compares redirect URIs stops it here.
    assert asked["redirect_uri"] == f"{ORIGIN}/_jit/callback/{evil.name}"
    answer = stage.carry(honest.authorize(start.location))
    assert (answer.status, code_of(answer)) == (403, "login_not_verified")
    assert stage.audit("login.refused")[0].reason == "response_iss_mismatch"
    assert "token" not in evil.calls
    assert stage.count() == NOBODY


def test_evil_provider_that_names_the_honest_issuer_and_keys_is_refused(pair: Pair) -> None:
    stage, honest, evil = pair
    evil.on_discovery.append(lambda d: d.update(jwks_uri=f"{honest.base}/jwks"))
    evil.on_claims.append(lambda claims: claims.update(iss=honest.issuer))
    answer = stage.carry(stage.authorized(stage.browser.get(f"/_jit/login/{evil.name}")))
    assert (answer.status, code_of(answer)) == (403, "login_not_verified")
    assert stage.count() == NOBODY


def test_one_subject_at_two_providers_is_two_people(pair: Pair) -> None:
    stage, _, evil = pair
    evil.person = {
        "sub": "subject-of-ada",
        "preferred_username": "eve",
        "email": "ada.quill@people.example",
        "email_verified": True,
    }
    assert stage.carry(stage.authorized(stage.browser.get("/_jit/login/oidc"))).status == 303
    [first] = stage.rows("jit_users")
    other = stage.browser.another()
    answer = stage.carry(stage.authorized(other.get(f"/_jit/login/{evil.name}")), other)
    assert answer.status in {303, 403}
    assert first in stage.rows("jit_users"), "the row of the first person is as it was"
    if answer.status == 303:
        seen = other.get("/reports").json()["user"]
        assert seen["username"] != "ada"
        assert stage.count()["users"] == 2


@pytest.mark.parametrize("name", ["ada", "ADA", "Ada"])
def test_username_of_somebody_else_takes_over_no_account(name: str, pair: Pair) -> None:
    stage, _, evil = pair
    assert stage.carry(stage.authorized(stage.browser.get("/_jit/login/oidc"))).status == 303
    [victim] = stage.rows("jit_users")
    evil.person = {
        "sub": "another-subject",
        "preferred_username": name,
        "email": "ada.quill@people.example",
        "email_verified": True,
    }
    other = stage.browser.another()
    answer = stage.carry(stage.authorized(other.get(f"/_jit/login/{evil.name}")), other)
    assert answer.status < 500, stage.log.own
    assert victim in stage.rows("jit_users")
    if answer.status == 303:
        assert other.get("/reports").json()["user"]["id"] not in victim
