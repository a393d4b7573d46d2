"""Paths that ask for a stronger or more recent login than the session has (RFC 9470)."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.client import Client
from tests.scenarios.bent import BentStage, session_id
from tests.scenarios.conftest import Stage, StageBuilder
from tests.worlds import Answer

PHISHING_RESISTANT = json.dumps([{"paths": ["/admin/*"], "acr": ["phr"]}])
RECENT = json.dumps([{"paths": ["/admin/*"], "max_age": "15m"}])
BOTH = json.dumps(
    [{"paths": ["/admin/*"], "acr": ["phr", "phrh"]}, {"paths": ["/admin/keys"], "acr": ["phrh"], "max_age": "5m"}]
)
SKEW = 60
Make = Callable[..., BentStage]


def asked(sent: Answer) -> dict[str, str]:
    assert sent.status == 302, (sent.status, sent.text)
    return dict(parse_qsl(urlsplit(sent.location).query))


# --- with the real provider ------------------------------------------------------------------------------------------


def test_a_stronger_login_is_asked_for_and_then_insisted_on(build: StageBuilder) -> None:
    """The provider knows the person and takes ``acr_values`` for a wish: only ``prompt=login`` brings it."""
    stage = build(JIT_STEP_UP=PHISHING_RESISTANT)
    alice = stage.person("alice")
    agent = stage.agent(alice)
    stage.sign_in(alice, agent=agent)
    before = session_id(stage.client)
    old = stage.client.another()
    old.jar.put("http://localhost:8000", "jit", stage.client.jar.get("jit") or "")

    first = stage.client.get("/admin/users?x=1")
    assert (asked(first)["acr_values"], asked(first).get("prompt")) == ("phr", None)
    second = stage.come_back(stage.client, agent.visit(first.location))
    assert (asked(second)["acr_values"], asked(second)["prompt"]) == ("phr", "login")
    assert stage.client.get("/").status == 200, "the session goes on until the new one is there"
    landed = stage.come_back(stage.client, agent.visit(second.location))
    assert (landed.status, landed.location) == (303, "http://localhost:8000/admin/users?x=1")
    seen = stage.client.get(landed.location)
    assert (seen.status, seen.json()["remote_user"]) == (200, alice)

    assert session_id(stage.client) != before
    assert old.get("/").status == 302, "the id from before is worth nothing"
    [ended] = stage.events("session.ended")
    assert (ended.reason, ended.session) == ("replaced", before)
    assert stage.events("login.succeeded")[-1].data["acr"] == "phr"
    assert len(stage.accounts()) == 1


def test_a_login_that_already_shows_it_is_asked_for_nothing(build: StageBuilder) -> None:
    stage = build(JIT_STEP_UP=PHISHING_RESISTANT, JIT_OIDC_ACR_VALUES="phr")
    stage.sign_in(stage.person("alice"))
    assert stage.client.get("/admin").status == 200


# --- what is asked, of whom ------------------------------------------------------------------------------------------


def test_other_paths_are_served_as_ever_and_nobody_is_let_in_without_a_login(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=PHISHING_RESISTANT)
    first = stage.asked(stage.client.get("/admin/users"))
    assert "acr_values" not in first, "who signs in for the first time does so as ever"
    assert stage.sign_in().status == 200
    for path in ("/", "/administrators", "/page"):
        assert stage.client.get(path).status == 200
    for path in ("/admin", "/admin/", "/admin/x", "/ADMIN/x"):
        assert stage.client.get(path).status == 302


def test_an_authentication_that_grows_old_is_renewed(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=RECENT, JIT_SESSION_IDLE="10h")
    stage.told["auth_time"] = stage.clock.now()
    stage.sign_in()
    before = session_id(stage.client)
    stage.clock.advance(15 * 60 + SKEW - 5)
    assert stage.client.get("/admin").status == 200
    stage.clock.advance(10)
    sent = stage.client.get("/admin")
    assert (stage.asked(sent)["max_age"], stage.asked(sent).get("prompt")) == ("900", None)
    stage.told["auth_time"] = stage.clock.now()
    assert stage.through(sent).status == 303
    assert stage.client.get("/admin").status == 200
    assert session_id(stage.client) != before


def test_a_time_of_login_that_the_provider_did_not_tell_is_not_recent(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=RECENT)
    stage.sign_in()
    assert stage.asked(stage.client.get("/admin"))["max_age"] == "900"


def test_of_several_rules_for_a_path_all_have_to_hold(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=BOTH)
    stage.told |= {"acr": "phr", "auth_time": stage.clock.now()}
    stage.sign_in()
    assert stage.client.get("/admin/users").status == 200
    sent = stage.client.get("/admin/keys")
    assert (stage.asked(sent)["acr_values"], stage.asked(sent)["max_age"]) == ("phrh", "300")
    stage.told["acr"] = "phrh"
    assert stage.through(sent).status == 303
    assert [stage.client.get(path).status for path in ("/admin/keys", "/admin/users")] == [200, 200]
    stage.clock.advance(300 + SKEW + 1)
    assert [stage.client.get(path).status for path in ("/admin/keys", "/admin/users")] == [302, 200]


def test_only_classes_that_the_provider_knows_are_asked_of_it(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=json.dumps([{"paths": ["/admin/*"], "acr": ["urn:mfa", "phr"]}]))
    stage.provider.on_discovery.append(lambda document: document.update(acr_values_supported=["phr", "low"]))
    stage.sign_in()
    assert stage.asked(stage.client.get("/admin"))["acr_values"] == "phr"


def test_the_classes_of_a_step_up_take_the_place_of_the_connections_own(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=PHISHING_RESISTANT, JIT_OIDC_ACR_VALUES="low")
    stage.told["acr"] = "low"
    stage.sign_in()
    sent = stage.client.get("/admin")
    assert stage.asked(sent)["acr_values"] == "phr"
    stage.told["acr"] = "phr"
    assert stage.through(sent).status == 303
    assert stage.client.get("/admin").status == 200


@pytest.mark.parametrize("path", ["/x//admin", "/x/../admin", "/x;/admin", "/%61dmin/%2e%2e", "//admin"])
def test_a_path_that_an_app_may_read_as_a_guarded_one_is_guarded(bent: Make, path: str) -> None:
    stage = bent(JIT_STEP_UP=PHISHING_RESISTANT)
    stage.sign_in()
    assert stage.client.get(f"http://localhost:8000{path}").status == 302


def test_a_path_that_could_be_one_of_several_that_exclude_each_other_is_refused(bent: Make) -> None:
    rules = [{"paths": ["/a/*"], "acr": ["one"]}, {"paths": ["/b/*"], "acr": ["other"]}]
    stage = bent(JIT_STEP_UP=json.dumps(rules))
    stage.told["acr"] = "one"
    stage.sign_in()
    assert stage.client.get("/a/x").status == 200
    assert stage.client.get("http://localhost:8000/x//a").status == 400


# --- what cannot be sent away ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/admin/things", "/api/admin"])
def test_what_cannot_follow_a_redirect_is_told_what_is_lacking(bent: Make, path: str) -> None:
    rules = json.dumps([{"paths": ["/admin/*", "/api/admin"], "acr": ["phr", "phrh"], "max_age": "5m"}])
    stage = bent(JIT_STEP_UP=rules, JIT_API_PATHS="/api/*")
    stage.sign_in()
    answer = stage.client.xhr(path)
    assert (answer.status, answer.json()["error"]) == (401, "step_up_required")
    challenge = answer.header("www-authenticate") or ""
    for part in ('error="insufficient_user_authentication"', 'acr_values="phr phrh"', 'max_age="300"'):
        assert part in challenge
    # The page that asked sends the browser there, and gets it back.
    sent = stage.client.get(answer.json()["login_url"])
    assert stage.asked(sent)["acr_values"] == "phr phrh"
    stage.told |= {"acr": "phr", "auth_time": stage.clock.now()}
    assert stage.through(sent).status == 303
    assert stage.client.xhr(path).status == 200


def test_a_form_is_not_sent_away_and_its_page_says_so(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=PHISHING_RESISTANT)
    stage.sign_in()
    answer = stage.client.post("/admin/delete", {"id": "1"})
    assert answer.status == 401
    assert "What you sent was not kept" in answer.text
    assert "step_up_required" in answer.text


@pytest.mark.parametrize("bent", ["asgi"], indirect=True)
def test_a_websocket_is_refused_before_it_is_accepted(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=PHISHING_RESISTANT)
    stage.sign_in()
    assert stage.client.handshake("/page").accepted
    refused = stage.client.handshake("/admin/live", headers={"Accept": "*/*"})
    assert (refused.accepted, refused.status) == (False, 401)
    assert json.loads(refused.body)["error"] == "step_up_required"


def test_the_session_endpoint_says_what_a_path_lacks(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=BOTH)
    stage.told["acr"] = "phr"
    stage.sign_in()
    about = stage.client.xhr("/_jit/session").json()
    assert about["acr"] == "phr"
    assert "step_up" not in about
    assert stage.client.xhr("/_jit/session?path=/admin/users").json()["step_up"] is None
    wanted = {"acr_values": ["phrh"], "max_age": 300}
    assert stage.client.xhr("/_jit/session?path=/admin/keys").json()["step_up"] == wanted


# --- answers that do not help ----------------------------------------------------------------------------------------


def refused(stage: BentStage, sent: Answer) -> Answer:
    """Twice lesser than asked for: once it is insisted on, then the page."""
    again = stage.through(sent)
    assert stage.asked(again)["prompt"] == "login"
    return stage.through(again)


@pytest.mark.parametrize(
    ("rules", "told", "reason"),
    [
        (PHISHING_RESISTANT, {}, "acr_insufficient"),
        (PHISHING_RESISTANT, {"acr": "low"}, "acr_insufficient"),
        (RECENT, {}, "auth_time_missing"),
        (RECENT, {"auth_time": 1_700_000_000}, "login_too_old"),
    ],
    ids=["no-acr", "lesser-acr", "no-auth-time", "old-auth-time"],
)
def test_a_provider_that_answers_with_less_ends_on_a_page_and_in_no_loop(
    bent: Make, rules: str, told: dict[str, object], reason: str
) -> None:
    stage = bent(JIT_STEP_UP=rules)
    stage.told |= told
    stage.sign_in()
    before = session_id(stage.client)
    page = refused(stage, stage.client.get("/admin"))
    assert page.status == 403
    assert "step_up_refused" in page.text
    assert (session_id(stage.client), stage.client.get("/").status) == (before, 200)
    [event] = stage.events("login.refused")
    assert (event.reason, event.data["code"]) == (reason, "step_up_refused")
    assert event.reference is not None
    assert event.reference in page.text
    assert stage.events("session.ended") == []


def test_a_provider_that_says_it_cannot_ends_on_that_page_at_once(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=PHISHING_RESISTANT)
    stage.sign_in()
    sent = stage.client.get("/admin")
    stage.provider.on_answer.append(
        lambda answer: answer.__setitem__(0, ("error", "unmet_authentication_requirements"))
    )
    page = stage.through(sent)
    assert (page.status, "step_up_refused" in page.text) == (403, True)
    assert stage.events("login.refused")[-1].reason == "acr_unavailable"


def test_an_answer_is_judged_by_what_was_asked_when_it_began(bent: Make) -> None:
    """The demand is sealed into the login: nothing that the browser sends along lowers it."""
    stage = bent(JIT_STEP_UP=PHISHING_RESISTANT)
    stage.sign_in()
    sent = stage.client.get("/admin")
    lowered = sent.location.replace("acr_values=phr", "acr_values=low")
    stage.told["acr"] = "low"
    back = stage.provider.authorize(lowered)
    answer = stage.client.get(back.query_url, initiator=stage.provider.issuer)
    assert stage.asked(answer)["prompt"] == "login"


def test_another_person_who_signs_in_on_the_way_gets_their_own_session(bent: Make) -> None:
    stage = bent(JIT_STEP_UP=PHISHING_RESISTANT)
    stage.sign_in()
    before = session_id(stage.client)
    sent = stage.client.get("/admin")
    stage.provider.person |= {"sub": "subject-of-bob", "preferred_username": "bob", "email": "bob@people.example"}
    stage.told["acr"] = "phr"
    landed = stage.through(sent)
    assert landed.status == 303
    assert stage.client.get(landed.location).json()["remote_user"] == "bob"
    [live] = stage.live()
    assert live.id == session_id(stage.client) != before
    assert [event.session for event in stage.events("session.ended")] == [before]


# --- privileges that rise --------------------------------------------------------------------------------------------


def test_a_login_that_brings_more_roles_brings_a_new_id(build: StageBuilder) -> None:
    rules = json.dumps([{"when": "contains(groups, 'ops')", "grant": ["admin"]}])
    stage: Stage = build(
        JIT_ROLE_RULES=rules, JIT_PRIVILEGED_ROLES="admin", JIT_OIDC_ALLOW_PRIVILEGED_ROLES="true",
        JIT_OIDC_SCOPES="openid profile email groups",
    )  # fmt: skip
    alice = stage.person("alice", groups=["staff"])
    stage.sign_in(alice)
    before, kept = session_id(stage.client), stage.client.jar.get("jit")
    stage.provider.add_user(alice, {"preferred_username": alice, "groups": ["staff", "ops"]})
    raised: Client = stage.client
    sent = raised.get("/_jit/login/oidc?next=/", headers={"Cookie": None})
    landed = stage.come_back(raised, stage.agent(alice).visit(sent.location))
    assert raised.get(landed.location).json()["user"]["roles"] == ["admin"]
    assert session_id(raised) != before
    [change] = stage.events("roles.changed")
    assert [each["role"] for each in change.data["added"]] == ["admin"]  # type: ignore[union-attr,index,call-overload]
    fixed = stage.client.another()
    fixed.jar.put("http://localhost:8000", "jit", kept or "")
    stage.clock.advance(2)
    assert fixed.get("/").status == 302, "an id that somebody may have seen before never carries the new role"
