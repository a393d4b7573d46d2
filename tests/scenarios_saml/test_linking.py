"""Linking by password and by invitation where the provider answers with a cross-site POST."""

from __future__ import annotations

from pathlib import Path

from tests.peers.saml.person import Person
from tests.scenarios.linking import PASSWORD, accept, accounts_in, invitation_for, kept_user, linked_users, nonce_of
from tests.scenarios_saml.stage import SAMLStage, SAMLStageBuilder, outward
from tests.worlds import Answer


def carried(stage: SAMLStage, sent: Answer, who: str) -> Answer:
    """From our answer to the provider and back to the assertion consumer service."""
    agent = stage.agent(who)
    assert isinstance(agent, Person)
    return stage.come_back(stage.client, agent.carry(outward(sent)))


def test_password_links_the_account_across_two_posts_of_the_provider(build: SAMLStageBuilder, tmp_path: Path) -> None:
    accounts = accounts_in(tmp_path)
    stage = build(users=accounts, JIT_LINK_POLICY="confirm")
    alice = stage.person("alice")
    old = accounts.register("old-timer", f"{alice}@example.org", PASSWORD, mail_confirmed=True)
    landed = carried(stage, stage.client.get("/deep"), alice)
    assert (landed.status, landed.location) == (303, "http://localhost:8000/_jit/link/saml")
    page = stage.client.get(landed.location, initiator=stage.provider.issuer)
    assert page.status == 200, page.text
    sent = stage.client.post("/_jit/link/saml", {"jit_link": nonce_of(page), "password": PASSWORD})
    done = carried(stage, sent, alice)
    assert (done.status, done.location) == (303, "http://localhost:8000/deep"), done.text
    assert stage.client.get("/deep").json()["user"]["id"] == old.id
    assert [event.data["proof"] for event in stage.events("identity.linked")] == ["password"]


def test_invitation_to_a_saml_connection(build: SAMLStageBuilder) -> None:
    stage = build()
    old = kept_user(stage, "old-timer", None)
    sent = accept(stage, invitation_for(stage, old, connection="saml"))
    assert carried(stage, sent, stage.person("alice")).status == 303
    assert stage.client.get("/").json()["user"]["id"] == old.id
    assert linked_users(stage) == [old.id]
