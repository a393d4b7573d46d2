"""A login that a sign-out has overtaken is begun anew, once, without a page in between; the second time it is said.

Signing out at the provider tells this application behind the browser, and an application that redirects into a new
login at once begins it within the same second.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jit_middleware.overtaking import identity_mark
from tests.client import Client
from tests.peers.agent import Agent
from tests.scenarios.bent import BentStage, session_id
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.linking import asked_for_password, give_password
from tests.scenarios.test_linking import Place
from tests.scenarios.test_outside_races import Interrupted
from tests.scenarios.test_overtaken_logins import SID, backchannel, between, leave, refused, staged, subject
from tests.scenarios.test_overtaken_logins import while_redeeming as meanwhile
from tests.worlds import Answer

__all__ = ["between"]

BENT = Callable[..., BentStage]
OVERTAKEN = ("login_overtaken", "revoked_meanwhile")


def logins_in_flight(client: Client) -> list[str]:
    return [cookie.name for cookie in client.jar.live() if cookie.name.startswith("jit-login-")]


def begun_in_the_second_of_the_sign_out(stage: BentStage, client: Client, target: str = "/") -> Answer:
    """The provider ends the session and tells us so; the application sends the browser to sign in at once."""
    assert backchannel(stage.worker(), stage, sub=subject(stage)).status == 200
    return client.get(target)


# --- once more ------------------------------------------------------------------------------------------------------


def test_whoever_signs_in_right_after_signing_out_types_one_password_and_is_in(bent: BENT) -> None:
    stage = staged(bent)
    stage.sign_in()
    assert stage.client.post("/_jit/logout").status in {302, 303}
    sent = begun_in_the_second_of_the_sign_out(stage, stage.client, "/reports?year=7")
    stage.clock.advance(8)  # the password
    [first] = logins_in_flight(stage.client)
    again = stage.through(sent)
    told = stage.asked(again)
    assert told["state"].endswith(".1")
    assert "prompt" not in told, "the provider knows the person by now"
    [second] = logins_in_flight(stage.client)
    assert second != first
    assert stage.live() == []
    landed = stage.through(again)
    assert (landed.status, landed.location) == (303, "http://localhost:8000/reports?year=7")
    assert stage.client.get("/").status == 200
    assert refused(stage) == [OVERTAKEN], "and the trail has it"
    assert logins_in_flight(stage.client) == []


def test_the_second_time_the_person_is_told(bent: BENT) -> None:
    stage = staged(bent)
    other = stage.worker()
    sent = begun_in_the_second_of_the_sign_out(stage, stage.client)
    stage.clock.advance(1)
    again = stage.through(sent)
    meanwhile(stage, lambda: backchannel(other, stage, sid=SID))
    page = stage.through(again)
    assert (page.status, "login_overtaken" in page.text) == (403, True)
    assert "signed out while you were signing in" in page.text
    assert "/_jit/login/oidc" in page.text, "the way to sign in again"
    assert stage.client.get("/").status == 302
    assert stage.live() == []
    assert refused(stage) == [OVERTAKEN, OVERTAKEN]
    assert stage.sign_in().status == 200


def test_another_answer_to_the_same_login_does_not_begin_it_a_third_time(bent: BENT) -> None:
    stage = staged(bent)
    sent = begun_in_the_second_of_the_sign_out(stage, stage.client)
    stage.clock.advance(1)
    back = stage.provider.authorize(sent.location)
    again = stage.client.get(back.query_url, initiator=stage.provider.issuer)
    assert stage.through(again).status == 303
    assert stage.client.get(back.query_url, initiator=stage.provider.issuer).location == "http://localhost:8000/"
    assert len(stage.live()) == 1
    assert len(refused(stage)) == 1


def test_whom_the_provider_was_to_ask_anew_it_asks_anew_again(bent: BENT) -> None:
    stage = staged(bent)
    assert backchannel(stage.worker(), stage, sub=subject(stage)).status == 200
    sent = stage.client.get("/_jit/login/oidc?next=/&someone=else")
    stage.clock.advance(1)
    assert (stage.asked(sent)["prompt"], stage.asked(stage.through(sent))["prompt"]) == ("login", "login")


def test_a_step_up_stays_one_and_ends_the_session_before_it(bent: BENT) -> None:
    stage = staged(bent, JIT_STEP_UP='[{"paths": ["/admin/*"], "acr": ["phr"]}]')
    stage.sign_in()
    before = session_id(stage.client)
    stage.told["acr"] = "phr"
    sent = stage.client.get("/admin/users")
    # By ``sub`` alone, that means the session and the login that is to take its place.
    meanwhile(stage, lambda: backchannel(stage.worker(), stage, sub=subject(stage)))
    again = stage.through(sent)
    assert (stage.asked(again)["acr_values"], stage.live()) == ("phr", [])
    stage.told["acr"] = "pwd"
    insisting = stage.through(again)
    assert (stage.asked(insisting)["acr_values"], stage.asked(insisting)["prompt"]) == ("phr", "login")
    assert stage.asked(insisting)["state"].endswith(".1"), "an overtaken login that is insisted on was begun anew once"
    stage.told["acr"] = "phr"
    landed = stage.through(insisting)
    assert (landed.status, landed.location) == (303, "http://localhost:8000/admin/users")
    assert session_id(stage.client) != before
    assert len(stage.live()) == 1


def test_a_provider_that_ends_the_session_of_whoever_it_asks_anew_asks_them_once(bent: BENT) -> None:
    """It says so by ``sub`` alone: each time that a step-up is insisted on, that very login is overtaken."""
    stage = staged(bent, JIT_STEP_UP='[{"paths": ["/admin/*"], "acr": ["phr"]}]')
    stage.sign_in()
    insisting = stage.through(stage.client.get("/admin/users"))
    assert stage.asked(insisting)["prompt"] == "login"
    stage.told["acr"] = "phr"
    meanwhile(stage, lambda: backchannel(stage.worker(), stage, sub=subject(stage)))
    again = stage.through(insisting)
    assert (stage.asked(again)["acr_values"], stage.asked(again).get("prompt")) == ("phr", None)
    assert stage.through(again).location == "http://localhost:8000/admin/users"
    assert len(stage.live()) == 1


@pytest.mark.parametrize("loses", [True, False], ids=["session-cookie-lost", "session-cookie-there"])
def test_the_session_that_the_browser_had_ends_with_the_login_that_is_begun_anew(bent: BENT, loses: bool) -> None:
    stage = staged(bent, JIT_STEP_UP='[{"paths": ["/admin/*"], "acr": ["phr"]}]')
    stage.sign_in()
    before, stage.told["sid"], stage.told["acr"] = session_id(stage.client), "sid-8", "phr"
    sent = stage.client.get("/admin/users")
    meanwhile(stage, lambda: backchannel(stage.worker(), stage, sid="sid-8"))
    if loses:
        stage.client.jar.drop("jit")
    again = stage.through(sent)
    assert [session.id for session in stage.live()] == [before], "another session at the provider, which goes on"
    assert stage.through(again).status == 303
    assert before not in [session.id for session in stage.live()]
    assert [(event.reason, event.session) for event in stage.events("session.ended")] == [("replaced", before)]


def test_the_password_that_was_given_for_an_account_is_not_asked_for_again(build: StageBuilder, tmp_path: Path) -> None:
    place = Place(build, tmp_path)
    stage, old = place.stage, place.register()
    sent = give_password(stage, asked_for_password(stage, place.alice))
    departure = stage.agent(place.alice).visit(sent.location)
    leave(stage, identity_mark("oidc", stage.provider.issuer, place.alice))
    stage.clock.advance(1)
    again = stage.come_back(stage.client, departure)
    assert [event.reason for event in stage.events("login.refused")] == ["link_required", "revoked_meanwhile"]
    landed = stage.come_back(stage.client, stage.agent(place.alice).visit(again.location))
    assert landed.status == 303
    assert stage.client.get("/").json()["user"]["id"] == old.id


def test_a_browser_that_takes_no_cookies_is_not_sent_round_and_round(bent: BENT) -> None:
    stage = staged(bent)
    sent = begun_in_the_second_of_the_sign_out(stage, stage.client)
    stage.clock.advance(1)
    again = stage.through(sent)
    stage.client.jar.drop()
    page = stage.through(again)
    assert (page.status, "login_expired" in page.text) == (400, True)


# --- a provider that asks the person nothing, within the same second -----------------------------------------------


def to_the_end(stage: Stage, client: Client, agent: Agent) -> list[str]:
    """Ask for the page, and follow wherever that leads: the states of all logins on the way."""
    states: list[str] = []
    answer = client.get("/")
    while answer.status != 200 and len(states) < 9:
        if answer.status == 302:
            [state] = re.findall(r"[?&]state=([^&]+)", answer.location)
            states.append(state)
            answer = stage.come_back(client, agent.visit(answer.location))
        assert answer.status in {302, 303}, answer.text
        if answer.status == 303:
            answer = client.get(answer.location)
    assert answer.status == 200
    return states


def test_the_second_of_the_sign_out_is_over_before_the_login_begins_anew(any_world: StageBuilder) -> None:
    stage = any_world()
    alice, client = stage.person("alice"), stage.client
    agent = stage.agent(alice)
    mark = identity_mark("oidc", stage.provider.issuer, alice)
    departure = stage.depart(client, agent)
    at = stage.clock.now()
    leave(stage, mark)
    again = stage.come_back(client, departure)
    assert again.status == 302
    assert stage.clock.now() > at
    assert stage.come_back(client, agent.visit(again.location)).status == 303
    assert client.get("/").status == 200


def test_nobody_waits_for_a_sign_out_of_a_clock_that_is_ahead(build: StageBuilder) -> None:
    stage = build()
    alice, client = stage.person("alice"), stage.client
    departure = stage.depart(client, stage.agent(alice))
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    house = client.middleware.gate.house
    object.__setattr__(house, "pause", pause)
    stage.clock.advance(60)
    leave(stage, identity_mark("oidc", stage.provider.issuer, alice))
    stage.clock.advance(-60)
    again = stage.come_back(client, departure)
    assert (again.status, waited) == (302, [])
    page = stage.come_back(client, stage.agent(alice).visit(again.location))
    assert (page.status, "login_overtaken" in page.text) == (403, True)


def test_a_session_that_is_found_overtaken_leads_to_one_login_that_may_be_begun_anew_once(
    between: tuple[Stage, Interrupted],
) -> None:
    stage, ledger = between
    alice = stage.person("alice")
    mark = identity_mark("oidc", stage.provider.issuer, alice)
    client, agent = stage.client, stage.agent(alice)
    departure = stage.depart(client, agent)
    ledger.then = lambda: leave(stage, mark)
    assert stage.come_back(client, departure).status == 303, "the login has looked before"
    states = to_the_end(stage, client, agent)
    assert len(states) <= 2, states
    assert [state.rpartition(".")[2] for state in states] == ["0", "1"][: len(states)]
    assert [event.reason for event in stage.events("session.ended")] == ["revoked_meanwhile"]
