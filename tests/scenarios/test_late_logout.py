"""A sign-out that comes when our session is over already: the provider's lives on, and is what the person means to end.

On a shared computer the next click would sign them in again without a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from sqlite3 import connect
from urllib.parse import parse_qs, urlsplit

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Status
from jit_middleware.ports import Transaction
from tests.client import Client
from tests.scenarios.bent import ORIGIN, BentStage, session_id
from tests.scenarios.conftest import StageBuilder
from tests.worlds import Answer

Make = Callable[..., BentStage]
IDLE = 60
A_WHILE = 61
SHORT = {"JIT_SESSION_IDLE": f"{IDLE}s"}
HERE = f"{ORIGIN}/_jit/signed-out"
OTHER_KEY = "Tq7fX1uJm9Zc4RkWv2Yb8Ns5Gd0Lh3PeAi6oKxEtQzU"


def rewrite(stage: BentStage, statement: str, *values: object) -> None:
    path = stage.env["JIT_DATABASE_URL"].removeprefix("sqlite:///")
    with closing(connect(path)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def idle(stage: BentStage) -> None:
    stage.clock.advance(IDLE + 1)


def ended(stage: BentStage) -> None:
    """By an operator, because somebody may have seen the cookie."""

    async def work(tx: Transaction) -> None:
        assert len(await tx.end_sessions(stage.clock.now(), session_id=session_id(stage.client))) == 1

    step(stage.ledger.transaction(work))
    stage.clock.advance(A_WHILE)


def suspended(stage: BentStage) -> None:
    user_id = stage.client.get("/").json()["user"]["id"]
    step(stage.ledger.transaction(lambda tx: tx.set_status(user_id, Status.SUSPENDED)))
    stage.clock.advance(A_WHILE)


OVER: dict[str, Callable[[BentStage], None]] = {"idle": idle, "ended": ended, "suspended": suspended}


def left_alone(bent: Make, how: str = "idle", **env: str) -> BentStage:
    """Somebody has signed in, and their session is over."""
    stage = bent(**{**SHORT, "JIT_APP_COOKIES": "sessionid", **env})
    stage.sign_in()
    OVER[how](stage)
    return stage


def asked(stage: BentStage, answer: Answer) -> dict[str, list[str]]:
    """The parameters of the logout request that the provider gets (OIDC RP-Initiated Logout §2)."""
    assert answer.status == 303, answer.text[:300]
    assert answer.location.startswith(f"{stage.provider.base}/end-session?"), answer.location
    return parse_qs(urlsplit(answer.location).query, strict_parsing=True)


def forgotten(answer: Answer) -> set[str]:
    """The names of the cookies that the browser is told to forget."""
    return {line.partition("=")[0] for line in answer.all("set-cookie") if "; Max-Age=0;" in line}


def reasons(stage: BentStage) -> list[str | None]:
    return [event.reason for event in stage.events("session.ended")]


# --- with the real provider -----------------------------------------------------------------------------------------


def test_a_sign_out_after_the_idle_limit_ends_the_providers_session_too(build: StageBuilder) -> None:
    stage = build(**SHORT)
    alice = stage.person("alice")
    agent = stage.agent(alice)
    stage.sign_in(alice, agent=agent)
    stage.clock.advance(IDLE + 1)
    back = agent.visit(stage.client.post("/_jit/logout").location)
    assert back.url.startswith(f"{HERE}?")
    assert stage.client.get(back.url).status == 200
    filled = agent.forms_filled
    stage.sign_in(alice, agent=agent)
    assert agent.forms_filled == filled + 1, "the next person at this computer is asked for a password"


# --- what is asked, and what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", OVER)
def test_a_sign_out_of_a_session_that_is_over_goes_to_the_provider(bent: Make, how: str) -> None:
    stage = left_alone(bent, how)
    answer = stage.client.post("/_jit/logout")
    sent = asked(stage, answer)
    hint = sent.pop("id_token_hint", [None])[0]
    assert set(sent) == {"client_id", "post_logout_redirect_uri", "state"}
    assert hint is None if how == "ended" else hint in stage.provider.made
    assert sent["post_logout_redirect_uri"] == [HERE]
    assert forgotten(answer) >= {"jit", "sessionid"}
    assert stage.client.jar.get("jit") is None
    foreign = stage.client.get(f"{HERE}?state=x{sent['state'][0]}", initiator=stage.provider.issuer)
    assert (foreign.status, "logout_unconfirmed" in foreign.text) == (400, True)
    page = stage.client.get(f"{HERE}?state={sent['state'][0]}", initiator=stage.provider.issuer)
    assert (page.status, "You are signed out" in page.text) == (200, True)


def test_the_end_of_a_session_is_told_once_and_by_whoever_ended_it(bent: Make) -> None:
    stage = left_alone(bent, "ended")
    before = stage.events()
    asked(stage, stage.client.post("/_jit/logout"))
    assert stage.events() == before, "the operator ended it, and not this sign-out"


def test_an_idle_session_is_ended_by_the_sign_out(bent: Make) -> None:
    """A longer limit would bring it to life again, for whoever has a copy of the cookie."""
    stage = left_alone(bent)
    copied = stage.client.jar.header(f"{ORIGIN}/")
    asked(stage, stage.client.post("/_jit/logout"))
    assert reasons(stage) == ["logout"]
    longer = stage.worker(JIT_SESSION_IDLE="1h")
    assert longer.get("/", headers={"Cookie": copied}).status == 302
    asked(stage, stage.client.post("/_jit/logout", headers={"Cookie": copied}))
    assert reasons(stage) == ["logout"]


def test_a_second_click_goes_to_the_provider_as_the_first_one_did(bent: Make) -> None:
    """A browser follows the answer to the last click, and that one came when the session was over."""
    stage = bent()
    stage.sign_in()
    cookie = {"Cookie": stage.client.jar.header(f"{ORIGIN}/")}
    answers = [stage.client.post("/_jit/logout", headers=cookie) for _ in range(2)]
    assert [set(asked(stage, answer)) for answer in answers] == [set(asked(stage, answers[0]))] * 2
    assert reasons(stage) == ["logout"]
    stage.clock.advance(A_WHILE)
    later = asked(stage, stage.client.post("/_jit/logout", headers=cookie))
    assert "id_token_hint" not in later, "whoever kept a copy of the cookie learns nothing by it"
    last = later["state"][0]
    assert stage.client.get(f"{HERE}?state={last}", initiator=stage.provider.issuer).status == 200


@pytest.mark.parametrize("hint", [None, "", "x", "x.y", "gAAAAABn.AAAA", "é.é"])
def test_a_hint_that_cannot_be_opened_is_left_out(bent: Make, hint: str | None) -> None:
    stage = left_alone(bent)
    rewrite(stage, "UPDATE jit_sessions SET logout_hint = ?", hint)
    assert set(asked(stage, stage.client.post("/_jit/logout"))) == {"client_id", "post_logout_redirect_uri", "state"}


def test_an_erased_person_is_not_told_to_whoever_has_the_cookie(bent: Make) -> None:
    stage = bent()
    stage.sign_in()
    user_id = stage.client.get("/").json()["user"]["id"]
    cookie = {"Cookie": stage.client.jar.header(f"{ORIGIN}/")}
    for status in (Status.DELETED, Status.ERASED):
        step(stage.ledger.transaction(lambda tx, status=status: tx.set_status(user_id, status)))
    step(stage.ledger.transaction(lambda tx: tx.erase_account(user_id)))
    assert "id_token_hint" not in asked(stage, stage.client.post("/_jit/logout", headers=cookie))


def test_of_two_sessions_the_one_that_has_not_ended_is_meant_and_none_is_left(bent: Make) -> None:
    """Without the prefix __Host- somebody can plant a cookie of their own before the person's."""
    stage = bent(**SHORT)
    cookies: list[str] = []
    hints: list[str] = []
    for client in (stage.client, stage.client.another(), stage.client.another()):
        before = set(stage.provider.made)
        stage.sign_in(client=client)
        cookies.append(f"jit={client.jar.get('jit')}")
        hints += [made for made in stage.provider.made - before if made.startswith("eyJ")]
    stage.client.post("/_jit/logout")
    idle(stage)
    sent = asked(stage, stage.client.post("/_jit/logout", headers={"Cookie": "; ".join(cookies)}))
    assert sent["id_token_hint"] == hints[1:2]
    assert reasons(stage) == ["logout"] * 3


def test_a_cookie_that_is_not_ours_beside_it_does_no_harm(bent: Make) -> None:
    stage = left_alone(bent)
    real = stage.client.jar.get("jit")
    planted = f"jit=1:{'A' * 32}:7fffffff.forged; jit={real}; jit="
    assert "id_token_hint" in asked(stage, stage.client.post("/_jit/logout", headers={"Cookie": planted}))


# --- nothing to do at the provider ----------------------------------------------------------------------------------


def assert_is_over_here(answer: Answer) -> None:
    assert (answer.status, answer.location) == (303, HERE)
    assert "jit" in forgotten(answer)


def test_a_session_that_was_swept_away_is_over(bent: Make) -> None:
    stage = left_alone(bent)
    rewrite(stage, "DELETE FROM jit_sessions")
    assert_is_over_here(stage.client.post("/_jit/logout"))
    assert reasons(stage) == []


def test_a_cookie_of_a_retired_key_names_nobody(bent: Make) -> None:
    stage = left_alone(bent)
    retired = stage.worker(JIT_SECRET_KEY=OTHER_KEY)
    retired.jar = stage.client.jar
    assert_is_over_here(retired.post("/_jit/logout"))
    assert reasons(stage) == []


def test_a_cookie_past_the_absolute_limit_names_nobody(bent: Make) -> None:
    """The browser has forgotten it by then; whoever still shows it has kept a copy."""
    stage = bent(**SHORT, JIT_SESSION_ABSOLUTE="1h")
    stage.sign_in()
    kept = stage.client.jar.header(f"{ORIGIN}/")
    stage.clock.advance(3600)
    assert stage.client.jar.get("jit") is None
    assert_is_over_here(stage.client.post("/_jit/logout", headers={"Cookie": kept}))
    assert reasons(stage) == []


def test_a_provider_without_a_logout_endpoint_or_without_an_answer_is_left_alone(bent: Make) -> None:
    stage = bent(**SHORT)
    stage.provider.on_discovery.append(lambda document: document.pop("end_session_endpoint"))
    stage.sign_in()
    idle(stage)
    cookie = stage.client.jar.header(f"{ORIGIN}/")
    fresh = stage.worker()
    stage.provider.on_discovery.append(lambda document: document.clear())
    for client in (stage.client, fresh):
        page = client.get("/_jit/logout", headers={"Cookie": cookie})
        assert (page.status, page.all("set-cookie")) == (200, []), "the provider may be back for the click"
        assert_is_over_here(client.post("/_jit/logout", headers={"Cookie": cookie}))
    assert reasons(stage) == ["logout"]


def test_a_connection_that_is_gone_is_left_alone(bent: Make) -> None:
    stage = left_alone(bent)
    rewrite(stage, "UPDATE jit_sessions SET connection = 'gone'")
    assert_is_over_here(stage.client.post("/_jit/logout"))


# --- whoever means it -----------------------------------------------------------------------------------------------


def _form_of(page: Answer) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page.text))


@pytest.mark.parametrize("how", OVER)
def test_a_link_asks_first(bent: Make, how: str) -> None:
    stage = left_alone(bent, how)
    page = stage.client.get("/_jit/logout")
    assert (page.status, page.all("set-cookie")) == (200, [])
    assert "is over already" in page.text
    assert 'name="everywhere"' not in page.text
    assert f"form-action 'self' {stage.provider.base.rpartition('/')[0]}" in (
        page.header("content-security-policy") or ""
    )
    bare = {"Origin": None, "Sec-Fetch-Site": None}
    answer = stage.client.post("/_jit/logout", _form_of(page), headers=bare)
    assert ("id_token_hint" in asked(stage, answer)) == (how != "ended")
    assert "jit" in forgotten(answer)


def test_another_site_gains_nothing_by_it(bent: Make) -> None:
    stage = left_alone(bent)
    other = stage.client.another()
    stage.sign_in(client=other)
    foreign_token = _form_of(other.get("/_jit/logout"))
    before, evil = stage.events(), "https://evil.example/"
    cookie = {"Cookie": stage.client.jar.header(f"{ORIGIN}/")}

    def post(form: dict[str, str], **headers: str | None) -> Answer:
        return stage.client.post("/_jit/logout", form, headers={**cookie, **headers}, initiator=evil)

    for page in (
        stage.client.get("/_jit/logout", initiator=evil),
        stage.client.get("/_jit/logout", headers={**cookie, "Sec-Fetch-Dest": "image"}, initiator=evil),
        post({}),
        post({}, Origin="null"),
        post({}, **{"Origin": None, "Sec-Fetch-Site": None}),
        post({"token": "guess", "everywhere": "yes"}),
        post(foreign_token),
        # A sibling, which the browser takes for the same site: it sends the cookie along.
        stage.client.post("/_jit/logout", headers=cookie, initiator="http://localhost:9000/"),
        stage.client.post("/_jit/logout", headers={**cookie, "Origin": None}, initiator="http://localhost:9000/"),
    ):
        assert (page.status, page.all("set-cookie"), page.header("location")) == (200, [], None)
        assert "eyJ" not in page.text
    # A browser withholds a Lax cookie from a form of another site, and obeys a Set-Cookie all the same.
    assert stage.client.post("/_jit/logout", initiator=evil).all("set-cookie") == []
    assert stage.events() == before


def test_a_session_that_is_over_has_no_say_about_other_devices(bent: Make) -> None:
    stage = bent(**SHORT)
    stage.sign_in()
    phone = stage.client.another()
    idle(stage)
    stage.sign_in(client=phone)
    asked(stage, stage.client.post("/_jit/logout", {"everywhere": "yes"}))
    assert reasons(stage) == ["logout"]
    assert is_in(stage, phone)


def is_in(stage: BentStage, client: Client) -> bool:
    stage.clock.advance(2)
    return client.get("/").status == 200
