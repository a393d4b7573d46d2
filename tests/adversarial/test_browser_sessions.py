"""Attacks on a session from the browser's side: fixation, theft, planted and forged cookies, tabs, the back button."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

import pytest

from tests.adversarial.judging import assert_begun_anew, assert_signed_in, session_of
from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import LOGIN, ORIGIN, SESSION, TARGET, Ending, Stage
from tests.client import Client


def is_signed_in(browser: Client, cookie: str | None = None) -> bool:
    """Whether a protected page is served; with this session cookie, or those of the jar."""
    headers = None if cookie is None else {"Cookie": f"{SESSION}={cookie}"}
    return browser.get("/reports", headers=headers).status == 200


# --- sessions: fixation, theft, tossing (attack catalogue 53; session attacks) -----------------------------------------


def test_session_id_is_new_at_every_login_and_the_old_one_is_worthless(stage: Stage) -> None:
    assert_signed_in(stage, stage.log_in())
    first = session_of(stage.browser)
    stage.browser.get(f"/_jit/login?next={TARGET}")
    back = stage.authorized(stage.browser.get("/reports", headers={"Cookie": None}))
    answer = stage.carry(back)  # the browser holds both cookies now
    assert answer.status == 303
    second = session_of(stage.browser)
    assert first != second
    assert is_signed_in(stage.browser, second)
    assert not is_signed_in(stage.browser, first)
    assert stage.live_sessions() == 1


def test_planted_session_of_the_attacker_does_not_become_that_of_the_victim(
    stage: Stage, provider: HostileProvider
) -> None:
    attacker = stage.browser
    provider.person["sub"], provider.person["preferred_username"] = "subject-of-eve", "eve"
    stage.log_in(attacker)
    planted = session_of(attacker)
    provider.person.update(sub="subject-of-ada", preferred_username="ada")
    victim = stage.browser.another()
    back = stage.authorized(stage.begin(victim))
    victim.jar.put(ORIGIN, SESSION, planted)
    answer = stage.carry(back, victim)
    assert answer.status == 303
    assert session_of(victim) != planted
    assert victim.get("/reports").json()["user"]["username"] == "ada"
    assert not is_signed_in(attacker, planted)


def test_made_up_session_before_login_is_not_kept(stage: Stage) -> None:
    stage.browser.jar.put(ORIGIN, SESSION, "1:chosen-by-the-attacker:7fffffff.AAAA")
    assert_signed_in(stage, stage.log_in())
    assert "chosen" not in session_of(stage.browser)


def test_session_is_worthless_after_logout(stage: Stage) -> None:
    assert_signed_in(stage, stage.log_in())
    cookie = session_of(stage.browser)
    assert stage.browser.post("/_jit/logout").status == 303
    assert stage.browser.jar.get(SESSION) is None
    assert not is_signed_in(stage.browser, cookie)
    assert stage.live_sessions() == 0


def test_planted_cookies_beside_the_real_one_lock_nobody_out(stage: Stage) -> None:
    assert_signed_in(stage, stage.log_in())
    real = session_of(stage.browser)
    for planted in ("x", "", "1:x:7fffffff.AAAA", real[:-5], real + "A" * 10, f'"{real}"'):
        for header in (f"{SESSION}={planted}; {SESSION}={real}", f"{SESSION}={real}; {SESSION}={planted}"):
            page = stage.browser.get("/reports", headers={"Cookie": header})
            assert page.status == 200, (planted, header)
            assert page.json()["user"]["username"] == "ada"


def test_session_cookie_changed_at_any_place_is_worthless(stage: Stage) -> None:
    assert_signed_in(stage, stage.log_in())
    real = session_of(stage.browser)
    for place in range(len(real) - 1):
        changed = real[:place] + ("A" if real[place] != "A" else "B") + real[place + 1 :]
        assert not is_signed_in(stage.browser, changed), place
    for changed in (real[:-1], real[1:], real + "A", real.swapcase(), real.replace(".", ":"), f" {real}x", real * 2):
        assert not is_signed_in(stage.browser, changed), changed


def test_session_cookie_has_one_spelling_only(stage: Stage) -> None:
    """A signature that is read leniently has several: what is forgotten by its text could come back by another."""
    assert_signed_in(stage, stage.log_in())
    real = session_of(stage.browser)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    taken = [letter for letter in alphabet if letter != real[-1] and is_signed_in(stage.browser, real[:-1] + letter)]
    assert taken == []


def test_login_cookie_changed_at_any_place_opens_no_login(stage: Stage, provider: HostileProvider) -> None:
    back = stage.authorized(stage.begin())
    [cookie] = [cookie for cookie in stage.browser.jar.live() if cookie.name.startswith(LOGIN)]
    thief = stage.browser.another()
    for place in range(0, len(cookie.value) - 1, 9):
        letter = "A" if cookie.value[place] != "A" else "B"
        changed = cookie.value[:place] + letter + cookie.value[place + 1 :]
        answer = thief.get(back.query_url, headers={"Cookie": f"{cookie.name}={changed}"}, initiator=provider.issuer)
        assert_begun_anew(stage, answer)
    assert "token" not in provider.calls


def test_cookies_of_one_purpose_are_worthless_for_another(stage: Stage, provider: HostileProvider) -> None:
    back = stage.authorized(stage.begin())
    [login] = [cookie for cookie in stage.browser.jar.live() if cookie.name.startswith(LOGIN)]
    assert not is_signed_in(stage.browser, login.value)
    assert_signed_in(stage, Ending(stage.carry(back), "callback", 0))
    fresh = stage.browser.another()
    back = stage.authorized(stage.begin(fresh))
    [login] = [cookie for cookie in fresh.jar.live() if cookie.name.startswith(LOGIN)]
    wrong = f"{login.name}={session_of(stage.browser)}"
    assert_begun_anew(stage, fresh.get(back.query_url, headers={"Cookie": wrong}, initiator=provider.issuer))


# --- tabs and the back button (session attacks, 15 and 16) -------------------------------------------------------


def test_many_tabs_keep_five_logins_and_a_short_header(stage: Stage, provider: HostileProvider) -> None:
    backs = [stage.authorized(stage.begin(target=f"/reports/{'x' * 800}/{number}")) for number in range(9)]
    kept = [cookie for cookie in stage.browser.jar.live() if cookie.name.startswith(LOGIN)]
    assert len(kept) <= 5
    header = stage.browser.jar.header(f"{ORIGIN}/_jit/callback/oidc")
    assert len(header) < 8192
    assert stage.carry(backs[-1]).status == 303
    assert stage.carry(backs[-2]).status == 303
    assert stage.count()["users"] == 1
    oldest = stage.carry(backs[0])
    assert (oldest.status, oldest.location) == (303, f"{ORIGIN}/")


@pytest.mark.parametrize("length", [1900, 1000])
def test_longest_targets_in_five_tabs_still_fit_a_header(length: int, stage: Stage) -> None:
    for number in range(6):
        stage.begin(target=f"/r/{number}{'y' * length}")
    assert len(stage.browser.jar.header(f"{ORIGIN}/")) < 8192


def test_back_button_to_the_provider_goes_home(stage: Stage, provider: HostileProvider) -> None:
    start = stage.begin()
    assert_signed_in(stage, Ending(stage.carry(stage.authorized(start)), "callback", 0))
    again = stage.carry(provider.authorize(start.location))  # signs in there once more: a fresh code, the same state
    assert again.status == 303
    assert urlsplit(again.location)[:2] == urlsplit(ORIGIN)[:2]
    assert not stage.has_session(again)
    assert stage.browser.get(TARGET).status == 200


def test_two_tabs_both_end_well(stage: Stage) -> None:
    first, second = (stage.authorized(stage.begin(target=f"/tab/{n}")) for n in (1, 2))
    for number, back in enumerate((first, second), start=1):
        answer = stage.carry(back)
        assert (answer.status, answer.location) == (303, f"{ORIGIN}/tab/{number}")
        assert stage.browser.get(f"/tab/{number}").status == 200
    assert stage.live_sessions() == 1


def test_answer_whose_state_is_long_or_odd_never_breaks(stage: Stage) -> None:
    for state in (
        "x" * 60_000,
        "\0",
        "é" * 8,
        "a" * 8,
        "--------.0",
        "%",
        "\ud7ff",
        "a.b.c.0",
        "../../..",
        " ",
        "\r\n",
    ):
        answer = stage.browser.get(f"/_jit/callback/oidc?{urlencode({'state': state, 'code': 'x'})}")
        assert answer.status in {302, 400}, (state[:20], answer.status)
        assert not stage.has_session(answer)
