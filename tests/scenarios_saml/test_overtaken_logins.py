"""A Single Logout that arrives before the assertion it ends: whoever withholds the POST is not signed in by it later."""

from __future__ import annotations

from typing import Any

import pytest

from jit_middleware.bridge import step
from tests.client import Client
from tests.peers.agent import Departure
from tests.peers.saml.person import Person
from tests.scenarios_saml.stage import SAMLStage, SAMLStageBuilder, outward, posted_form
from tests.scenarios_saml.test_logout import deliver, message, person
from tests.worlds import Answer

SESSION_INDEX = "{urn:oasis:names:tc:SAML:2.0:protocol}SessionIndex"


def withheld(stage: SAMLStage, who: str) -> tuple[Client, Person, Departure]:
    """An assertion that the provider has issued, and the browser has not posted yet."""
    client, agent = stage.client.another(), person(stage, who)
    return client, agent, stage.depart(client, agent)


def signed_out_at_the_provider(stage: SAMLStage, agent: Person) -> Departure:
    told = agent.visit(stage.idp.logout_url())
    assert outward(deliver(stage, stage.worker(), told)).parameters.keys() & {"SAMLResponse"}
    return told


def live(stage: SAMLStage) -> int:
    async def count(tx: Any) -> int:
        return len(await tx.list_sessions())

    return int(step(stage.ledger.transaction(count)))


def state_of(departure: Departure) -> str:
    return departure.parameters.get("RelayState", "")


def assertions_used(stage: SAMLStage) -> int:
    """How many messages of the provider the ledger holds for used."""
    ledger: Any = stage.ledger
    with ledger.database.engine.connect() as connection:
        asked = "SELECT count(*) FROM jit_once_keys WHERE purpose = 'saml_assertion'"
        return int(connection.exec_driver_sql(asked).scalar_one())


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
def test_an_assertion_whose_session_was_ended_signs_nobody_in(build: SAMLStageBuilder, is_known: bool) -> None:
    stage = build(variant="persistent")
    alice = stage.person("alice")
    if is_known:
        stage.sign_in(alice)
    client, agent, departure = withheld(stage, alice)
    before = live(stage)
    told = signed_out_at_the_provider(stage, agent)
    assert message(told).find(SESSION_INDEX) is not None
    assert live(stage) == before, "another session of the same person, which goes on"
    stage.clock.advance(120)
    used = assertions_used(stage)
    again = stage.come_back(client, departure)
    assert state_of(outward(again)) not in {"", state_of(departure)}, "the provider is asked once more"
    assert stage.refusal() == "revoked_meanwhile"
    assert (live(stage), client.jar.get("jit")) == (before, None)
    assert assertions_used(stage) == used + 1, "whoever has it serves nobody with it"
    landed = stage.come_back(client, agent.carry(outward(again)))
    assert landed.status == 303, "what begins later is the provider's later word"
    assert client.get(landed.location).status == 200
    assert stage.come_back(client, departure).status == 303, "a reload"
    assert live(stage) == before + 1
    assert len(stage.events("login.refused")) == 1


def test_the_second_time_the_person_is_told(build: SAMLStageBuilder) -> None:
    stage = build(variant="persistent")
    client, agent, departure = withheld(stage, stage.person("alice"))
    signed_out_at_the_provider(stage, agent)
    stage.clock.advance(2)
    departure = agent.carry(outward(stage.come_back(client, departure)))
    signed_out_at_the_provider(stage, agent)
    page = stage.come_back(client, departure)
    assert (page.status, "login_overtaken" in page.text) == (403, True)
    assert live(stage) == 0
    assert [event.reason for event in stage.events("login.refused")] == ["revoked_meanwhile"] * 2


def test_the_loop_breaker_counts_on_when_an_answer_without_its_cookie_begins_anew(build: SAMLStageBuilder) -> None:
    stage = build(variant="persistent")
    alice = stage.person("alice")
    agent = person(stage, alice)
    assert stage.sign_in(alice, agent=agent).status == 200
    assert stage.client.jar.get("jit-hops") == "1"
    stage.client.jar.drop("jit")
    departure = stage.depart(stage.client, agent)
    signed_out_at_the_provider(stage, agent)
    stage.clock.advance(2)
    again = outward(stage.come_back(stage.client, departure))
    assert stage.come_back(stage.client, agent.carry(again)).status == 303
    assert stage.client.jar.get("jit-hops") == "2"


def test_the_logout_of_one_session_leaves_the_assertion_of_another(build: SAMLStageBuilder) -> None:
    stage = build(variant="persistent")
    alice = stage.person("alice")
    client, _, departure = withheld(stage, alice)
    _, other, _ = withheld(stage, alice)
    signed_out_at_the_provider(stage, other)
    assert stage.come_back(client, departure).status == 303
    stage.clock.advance(2)
    assert client.get("/").status == 200


def test_an_unasked_assertion_is_as_old_as_the_provider_says(build: SAMLStageBuilder) -> None:
    stage = build(variant="persistent", JIT_SAML_ALLOW_IDP_INITIATED="true")
    alice = stage.person("alice")
    agent = person(stage, alice)
    unasked = agent.visit(stage.idp.unsolicited_url(stage.sp))
    signed_out_at_the_provider(stage, agent)
    stage.clock.advance(120)
    again = confirmed(stage, unasked)
    assert state_of(outward(again)).endswith(".1"), "the provider is asked, and by us"
    assert stage.refusal() == "revoked_meanwhile"
    assert live(stage) == 0
    departure = agent.carry(outward(again))
    signed_out_at_the_provider(stage, agent)
    assert stage.come_back(stage.client, departure).status == 403, "once"
    assert live(stage) == 0


def test_an_unasked_assertion_that_was_overtaken_ends_in_a_login_of_later(build: SAMLStageBuilder) -> None:
    stage = build(variant="persistent", JIT_SAML_ALLOW_IDP_INITIATED="true")
    agent = person(stage, stage.person("alice"))
    unasked = agent.visit(stage.idp.unsolicited_url(stage.sp))
    signed_out_at_the_provider(stage, agent)
    stage.clock.advance(120)
    landed = stage.come_back(stage.client, agent.carry(outward(confirmed(stage, unasked))))
    assert (landed.status, landed.location) == (303, "http://localhost:8000/")
    assert stage.client.get("/").status == 200


def test_an_unasked_assertion_of_later_is_taken(build: SAMLStageBuilder) -> None:
    stage = build(variant="persistent", JIT_SAML_ALLOW_IDP_INITIATED="true")
    alice = stage.person("alice")
    agent = person(stage, alice)
    stage.depart(stage.client, agent)
    signed_out_at_the_provider(stage, agent)
    assert confirmed(stage, agent.visit(stage.idp.unsolicited_url(stage.sp))).status == 303


def confirmed(stage: SAMLStage, unasked: Departure) -> Answer:
    """What becomes of it when the person says that they mean it."""
    form = posted_form(stage.come_back(stage.client, unasked))
    return stage.client.post(form.action, form.filled({}, form.buttons[0][0] if form.buttons else None))
