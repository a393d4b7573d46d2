"""Where people can go on to from a page that refuses something: no dead end, and no way to another site."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.scenarios.bent import BentStage
from tests.scenarios.conftest import Stage, StageBuilder
from tests.worlds import Answer

APP = "http://localhost:8000"


def buttons(page: Answer) -> dict[str, str]:
    """Where each button of the page leads, in the order in which they are shown."""
    found = re.findall(r'<a class="button[^"]*" href="([^"]*)">([^<]*)</a>', page.text)
    return {label: unescape(url) for url, label in found}


def words(page: Answer) -> str:
    return re.sub(r"<[^>]*>", "", page.text.partition("<main")[2])


def landing(url: str) -> str:
    """The target that a login at this address lands on."""
    return parse_qs(urlsplit(url).query)["next"][0]


# --- a form sent after the session ended ----------------------------------------------------------------------------


def test_a_write_without_a_session_leads_by_a_login_back_to_the_form_that_sent_it(build: StageBuilder) -> None:
    stage = build()
    page = stage.client.post("/save", {"a": "1"}, headers={"Referer": f"{APP}/form?id=3&x=a%2Fb"})
    assert page.status == 401
    assert "You are not signed in, or not any more. What you sent was not kept." in words(page)
    assert "If this goes on" not in page.text
    assert list(buttons(page)) == ["Sign in"]
    assert landing(buttons(page)["Sign in"]) == "/form?id=3&x=a%2Fb"
    begun = stage.client.get(buttons(page)["Sign in"])
    landed = stage.come_back(stage.client, stage.agent(stage.person("alice")).visit(begun.location))
    assert landed.location == f"{APP}/form?id=3&x=a%2Fb"


@pytest.mark.parametrize(
    "referer",
    [
        None,
        "",
        "about:client",
        "https://evil.example/form",
        "http://localhost:8000.evil.example/form",
        "http://localhost:8000@evil.example/form",
        "http://localhost:9000/form",
        "https://localhost:8000/form",
        "//evil.example/form",
        "/\\evil.example",
        "http://localhost:8000//evil.example/form",
        "http://localhost:8000/.//evil.example",
        "http://localhost:8000/%2e%2e//evil.example",
        "http://localhost:8000/form\tx",
        "javascript:alert(1)",
        "http://localhost:8000/_jit/logout",
        "http://localhost:8000/%5fjit/logout",
        "http://localhost:8000/x/../_jit/logout",
        "http://localhost:8000/" + "a" * 2100,
    ],
)
def test_a_write_from_no_page_of_ours_leads_to_the_front_page(build: StageBuilder, referer: str | None) -> None:
    page = build().client.post("/save", {"a": "1"}, headers={"Referer": referer})
    assert page.status == 401
    assert landing(buttons(page)["Sign in"]) == "/"


def test_a_referer_that_is_there_twice_counts_as_none(build: StageBuilder) -> None:
    client = build().client
    pairs = [("Referer", f"{APP}/one"), ("Referer", f"{APP}/two")]
    page = client.request("POST", "/save", form={"a": "1"}, headers=pairs)
    target = landing(buttons(page)["Sign in"])
    # A WSGI server shows one value, with a comma: what may be in a path of ours.
    assert target == ("/" if client.edge == "asgi" else f"/one,{APP}/two")


def test_below_a_mount_path_the_front_page_is_that_of_the_application(build: StageBuilder) -> None:
    client = build(mount="/legacy").client
    assert landing(buttons(client.post("/save", {"a": "1"}))["Sign in"]) == "/legacy/"
    page = client.post("/save", {"a": "1"}, headers={"Referer": f"{APP}/legacy/form"})
    assert landing(buttons(page)["Sign in"]) == "/legacy/form"


def test_a_script_that_writes_is_told_the_page_to_come_back_to(build: StageBuilder) -> None:
    answer = build().client.xhr("/save", method="POST", headers={"Referer": f"{APP}/board"})
    assert answer.json()["login_url"] == f"{APP}/_jit/login?next=/board"


def test_a_page_is_asked_for_itself_wherever_the_link_to_it_was(build: StageBuilder) -> None:
    client = build(JIT_API_PATHS="/api/*").client
    page = client.get("/api/things?x=1", headers={"Referer": f"{APP}/board"})
    assert landing(buttons(page)["Sign in"]) == "/api/things?x=1"
    assert "not kept" not in page.text


def test_a_write_that_asks_for_a_stronger_login_leads_back_to_its_form(build: StageBuilder) -> None:
    stage = build(JIT_STEP_UP='[{"paths": ["/pay"], "acr": ["strong"]}]')
    stage.sign_in(stage.person("alice"))
    page = stage.client.post("/pay", {"a": "1"}, headers={"Referer": f"{APP}/bill/7"})
    assert page.status == 401
    assert "Please sign in once more" in words(page)
    assert "What you sent was not kept." in words(page)
    assert list(buttons(page)) == ["Sign in", "Go to localhost:8000"]
    assert landing(buttons(page)["Sign in"]) == "/bill/7"
    assert "for=/pay" in buttons(page)["Sign in"]


# --- no dead ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/_jit/nothing", "/_jit/callback/nobody", "/_jit/login/nobody", "/_jit/login/a/b"])
def test_an_address_with_nothing_at_it_says_so_and_leads_to_the_application(build: StageBuilder, path: str) -> None:
    stage = build(JIT_APP_NAME="Lager & Süd")
    page = stage.client.get(path)
    assert page.status == 404
    assert "There is no page at this address." in words(page)
    assert "not_found" in words(page)
    assert "could not be understood" not in page.text
    assert {unescape(label): url for label, url in buttons(page).items()} == {"Go to Lager & Süd": "/"}
    assert stage.client.xhr(path).json()["error"] == "not_found"


def test_a_bookmark_of_the_callback_leads_to_the_application(build: StageBuilder) -> None:
    page = build(mount="/legacy").client.get("/_jit/callback/oidc")
    assert page.status == 400
    assert buttons(page) == {"Go to localhost:8000": "/legacy/"}


def test_a_write_from_another_site_says_that_it_was_not_carried_out(build: StageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    page = stage.client.post("/things", {"a": "1"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert page.status == 403
    assert "That was not carried out" in words(page)
    assert buttons(page) == {"Go to localhost:8000": "/"}


def test_a_fresh_start_promises_the_page_only_where_it_is_known(build: StageBuilder) -> None:
    stage = build()
    unknown = stage.client.get("/_jit/callback/oidc?code=x&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.1")
    assert unknown.status == 400
    assert "the front page of localhost:8000" in words(unknown)
    assert "the page that you wanted" not in words(unknown)
    assert landing(buttons(unknown)["Sign in again"]) == "/"

    agent = stage.agent(stage.person("alice"))
    departure = stage.depart(stage.client, agent, "/deep")
    for _ in range(2):  # signed in, which the browser's jar never hears of; the second time it was begun anew before
        (landed,) = stage.client.together(stage.callback_request(stage.client, departure))
        assert landed.status == 303
        known = stage.come_back(stage.client, departure)
        if known.status == 302:
            departure = agent.visit(known.location)
    assert known.status == 400
    assert "the page that you wanted" in words(known)
    assert landing(buttons(known)["Sign in again"]) == "/deep"


# --- refused at the login ---------------------------------------------------------------------------------------------


def given_up(stage: Stage) -> Answer:
    agent = stage.closing.enter_context(stage.provider.agent(stage.person("alice"), press="abort"))
    return stage.come_back(stage.client, stage.depart(stage.client, agent, "/deep"))


def test_who_gives_up_at_the_provider_may_try_again(build: StageBuilder) -> None:
    page = given_up(build())
    assert list(buttons(page)) == ["Try again"]
    assert landing(buttons(page)["Try again"]) == "/deep"


@pytest.mark.parametrize("setting", ["JIT_PUBLIC_PATHS", "JIT_OPTIONAL_PATHS"])
def test_who_gives_up_may_go_back_to_a_front_page_that_is_open_to_all(build: StageBuilder, setting: str) -> None:
    page = given_up(build(**{setting: "/"}))
    assert list(buttons(page)) == ["Try again", "Go to localhost:8000"]
    assert buttons(page)["Go to localhost:8000"] == "/"


def test_who_gets_no_account_may_sign_in_as_somebody_else(build: StageBuilder) -> None:
    stage = build(JIT_PROVISIONING="off")
    page = stage.sign_in(stage.person("alice"), "/deep")
    assert page.status == 403
    assert list(buttons(page)) == ["Sign in as somebody else"]
    assert buttons(page)["Sign in as somebody else"].endswith("?next=/deep&someone=else")
    begun = stage.client.get(buttons(page)["Sign in as somebody else"])
    assert parse_qs(urlsplit(begun.location).query)["prompt"]


def test_who_waits_for_approval_may_try_again_or_be_somebody_else(build: StageBuilder) -> None:
    stage = build(JIT_INITIAL_STATUS="pending")
    page = stage.sign_in(stage.person("alice"), "/deep")
    assert page.status == 403
    assert "Your account is not open yet" in words(page)
    assert list(buttons(page)) == ["Try again", "Sign in as somebody else"]
    assert buttons(page)["Try again"].endswith("?next=/deep")
    assert buttons(page)["Sign in as somebody else"].endswith("?next=/deep&someone=else")


def test_whose_step_up_is_refused_is_led_back_into_the_application(bent: Callable[..., BentStage]) -> None:
    stage = bent(JIT_STEP_UP='[{"paths": ["/pay"], "acr": ["strong"]}]')
    stage.sign_in()
    page = stage.through(stage.through(stage.client.get("/pay")))  # asked for, then insisted on
    assert page.status == 403
    assert "step_up_refused" in words(page)
    assert "You cannot open this page yet" in words(page)
    assert "You were not let in" not in page.text
    assert list(buttons(page)) == ["Try again", "Go to localhost:8000"]
    assert stage.client.get(buttons(page)["Go to localhost:8000"]).status == 200


# --- signing out ----------------------------------------------------------------------------------------------------


def test_the_question_before_the_logout_has_a_way_back_to_the_page_before(build: StageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    page = stage.client.get("/_jit/logout", headers={"Referer": f"{APP}/board?page=2"})
    assert buttons(page) == {"Stay signed in": "/board?page=2"}
    assert stage.client.get("/board?page=2").status == 200
    from_afar = stage.client.get("/_jit/logout", headers={"Referer": "https://evil.example/board"})
    assert buttons(from_afar) == {"Stay signed in": "/"}
