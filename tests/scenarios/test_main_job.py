"""The main job, against a certified provider and every database: a person arrives, and is known."""

from __future__ import annotations

from tests.scenarios.conftest import StageBuilder


def test_a_first_login_makes_the_user_and_lands_on_the_deep_link(any_world: StageBuilder) -> None:
    stage = any_world(JIT_DEFAULT_ROLES="reader", JIT_OIDC_SCOPES="openid email profile groups")
    alice = stage.person("alice", groups=["staff"])
    answer = stage.sign_in(alice, "/reports/2026?page=2&sort=a%2Fb")
    assert answer.status == 200
    seen = answer.json()
    assert (seen["path"], seen["query"]) == ("/reports/2026", "page=2&sort=a%2Fb")
    assert seen["remote_user"] == alice
    assert seen["user"]["email"] == f"{alice}@example.org"
    assert seen["user"]["display_name"] == "Alice"
    assert seen["user"]["roles"] == ["reader"]
    assert [event.type for event in stage.events()] == ["user.created", "user.first_login", "login.succeeded"]
    (account,) = stage.accounts()
    assert account.user_id == seen["user"]["id"]


def test_a_returning_login_is_the_same_user_in_a_new_session(any_world: StageBuilder) -> None:
    stage = any_world()
    alice = stage.person("alice")
    first = stage.sign_in(alice).json()
    second = stage.sign_in(alice, client=stage.client.another()).json()
    assert second["user"] == first["user"]
    assert second["session"]["id"] != first["session"]["id"]
    assert len(stage.events("user.created")) == 1
    assert len(stage.events("user.first_login")) == 1
    assert len(stage.events("login.succeeded")) == 2


def test_forty_simultaneous_first_logins_make_one_user(any_world: StageBuilder) -> None:
    stage = any_world()
    alice = stage.person("alice")
    agent = stage.agent(alice)
    browsers = [stage.client.another() for _ in range(40)]
    callbacks = [stage.callback_request(browser, stage.depart(browser, agent)) for browser in browsers]
    answers = stage.client.together(*callbacks)
    assert [answer.status for answer in answers] == [303] * 40
    for browser, answer in zip(browsers, answers, strict=True):
        browser.jar.store(answer.url, answer.all("set-cookie"))
    seen = [browser.get("/").json() for browser in browsers]
    assert {who["user"]["id"] for who in seen} == {stage.accounts()[0].user_id}
    assert len({who["session"]["id"] for who in seen}) == 40
    assert len(stage.accounts()) == 1
    assert len(stage.events("user.created")) == 1
    assert len(stage.events("user.first_login")) == 1
    assert len(stage.events("login.succeeded")) == 40


def test_logout_ends_both_sessions_and_asks_again(any_world: StageBuilder) -> None:
    stage = any_world()
    alice = stage.person("alice")
    agent = stage.agent(alice)
    stage.sign_in(alice, agent=agent)
    stolen = stage.client.prepare("GET", "/")
    asked = stage.client.get("/_jit/logout")
    assert asked.status == 200
    assert "text/html" in (asked.header("content-type") or "")
    left = stage.client.post("/_jit/logout")
    assert left.status == 303
    back = agent.visit(left.location)
    assert stage.client.get(back.url).status == 200
    assert stage.client.get("/").status == 302
    (replayed,) = stage.client.together(stolen)
    assert replayed.status == 302
    assert len(stage.events("session.ended")) == 1
    with stage.provider.agent(alice) as fresh:
        fresh.visit(stage.client.get("/").location)
        assert fresh.forms_filled > 0


def test_a_revocation_in_one_worker_stops_the_next_request_in_another_within_the_bound(
    any_world: StageBuilder,
) -> None:
    stage = any_world()
    alice = stage.person("alice")
    stage.sign_in(alice)
    other = stage.worker()
    other.jar = stage.client.jar
    assert other.get("/").status == 200
    cookie = other.prepare("GET", "/")
    assert stage.client.post("/_jit/logout").status == 303
    stage.clock.advance(1.0)
    (answer,) = other.together(cookie)
    assert answer.status == 302


def test_two_subjects_that_differ_by_case_or_trailing_space_are_two_people(any_world: StageBuilder) -> None:
    stage = any_world()
    stage.provider.add_user("Ann~case", {"preferred_username": "ann-upper"})
    stage.provider.add_user("ann~case", {"preferred_username": "ann-lower"})
    upper = stage.sign_in("Ann~case").json()["user"]
    lower = stage.sign_in("ann~case", client=stage.client.another()).json()["user"]
    assert (upper["username"], lower["username"]) == ("ann-upper", "ann-lower")
    assert upper["id"] != lower["id"]
