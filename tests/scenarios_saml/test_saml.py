"""What only SAML has to tell: who began, once only, new keys, and two protocols for one person."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest

from jit_middleware import ConfigurationError, Profile
from jit_middleware.bridge import step
from jit_middleware.ports import Transaction
from tests.peers.agent import Departure
from tests.peers.oidc_provider import Provider
from tests.peers.saml.keys import fresh_key_pair
from tests.peers.saml.person import Person
from tests.peers.saml.simplesamlphp import simplesamlphp
from tests.scenarios_saml.stage import SAMLStage, SAMLStageBuilder, outward, posted_form

GET_OUT = {301, 302, 303}


def arrival(stage: SAMLStage, who: str, target: str = "/") -> Departure:
    return stage.depart(stage.client, stage.agent(who), target)


# --- who begins -----------------------------------------------------------------------------------------------------


def test_a_login_that_began_at_the_provider_is_refused_by_default(build: SAMLStageBuilder) -> None:
    stage = build()
    agent = stage.agent(stage.person("alice"))
    assert isinstance(agent, Person)
    for relay_state in (None, "/deep", "http://localhost:8000/"):
        unasked = agent.visit(stage.idp.unsolicited_url(stage.sp, relay_state))
        page = stage.come_back(stage.client, unasked)
        assert page.status in {400, 403}, (page.status, page.location)
        assert "Traceback" not in page.text
        assert stage.client.get("/").status == 302
    assert stage.accounts() == []


@pytest.mark.parametrize("idp", ["simplesamlphp_idp", "pysaml2_idp"])
def test_where_it_is_allowed_the_person_confirms_first(
    build: SAMLStageBuilder, idp: str, request: pytest.FixtureRequest
) -> None:
    chosen = request.getfixturevalue(idp)
    stage = build(idp=chosen, JIT_SAML_ALLOW_IDP_INITIATED="true", JIT_SAML_SUBJECT="email")
    alice = stage.person("alice")
    agent = stage.agent(alice)
    assert isinstance(agent, Person)
    unasked = agent.visit(stage.idp.unsolicited_url(stage.sp, "https://evil.example/"))
    asked = stage.come_back(stage.client, unasked)
    assert asked.status == 200
    assert stage.client.get("/").status == 302, "nobody is signed in before they say so"
    form = posted_form(asked)
    confirmed = stage.client.post(form.action, form.filled({}, form.buttons[0][0] if form.buttons else None))
    assert confirmed.status == 303, confirmed.text[:500]
    assert confirmed.location == "http://localhost:8000/"
    assert stage.client.get("/").json()["user"]["username"] == alice


def test_an_unasked_response_is_good_for_one_session(build: SAMLStageBuilder) -> None:
    stage = build(JIT_SAML_ALLOW_IDP_INITIATED="true")
    agent = stage.agent(stage.person("alice"))
    assert isinstance(agent, Person)
    unasked = agent.visit(stage.idp.unsolicited_url(stage.sp))
    sessions = 0
    for client in (stage.client, stage.client.another(), stage.worker()):
        page = stage.come_back(client, unasked)
        if page.status == 200:
            form = posted_form(page)
            client.post(form.action, form.filled({}, form.buttons[0][0] if form.buttons else None))
        sessions += client.get("/").status == 200
    assert sessions == 1
    assert len(stage.events("login.succeeded")) == 1


def test_an_answer_to_a_request_is_not_taken_for_an_unasked_one(build: SAMLStageBuilder) -> None:
    stage = build(JIT_SAML_ALLOW_IDP_INITIATED="true")
    departure = arrival(stage, stage.person("alice"))
    assert departure.fields is not None
    without = Departure(departure.url, {"SAMLResponse": departure.fields["SAMLResponse"]})
    stranger = stage.client.another()
    page = stage.come_back(stranger, without)
    if page.status == 200:
        form = posted_form(page)
        page = stranger.post(form.action, form.filled({}, form.buttons[0][0] if form.buttons else None))
    assert page.status in {400, 403}
    assert stranger.get("/").status == 302


def test_a_forced_login_asks_again(build: SAMLStageBuilder) -> None:
    stage = build(JIT_SAML_FORCE_AUTHN="true")
    alice = stage.person("alice")
    agent = stage.agent(alice)
    for times in (1, 2):
        assert stage.sign_in(alice, client=stage.client.another(), agent=agent).status == 200
        assert agent.forms_filled == times


def test_without_force_the_provider_remembers(build: SAMLStageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    agent = stage.agent(alice)
    for _ in range(2):
        assert stage.sign_in(alice, client=stage.client.another(), agent=agent).status == 200
    assert agent.forms_filled == 1


def test_a_passive_login_lets_in_who_is_signed_in_there(build: SAMLStageBuilder) -> None:
    eager, passive = build(), build(JIT_SAML_IS_PASSIVE="true")
    alice = eager.person("alice")
    agent = eager.agent(alice)
    eager.sign_in(alice, agent=agent)
    assert passive.sign_in(alice, agent=agent).status == 200
    assert agent.forms_filled == 1


# --- where to -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/reports/2026?page=2&sort=a%2Fb", "/a%20b?next=https%3A%2F%2Fevil.example", "/%C3%A9t%C3%A9"]
)
def test_the_deep_link_is_kept_across_the_post(build: SAMLStageBuilder, target: str) -> None:
    stage = build()
    landed = stage.come_back(stage.client, arrival(stage, stage.person("alice"), target))
    assert (landed.status, landed.location) == (303, f"http://localhost:8000{target}")


def test_the_relay_state_leads_nowhere_else(build: SAMLStageBuilder) -> None:
    stage = build()
    departure = arrival(stage, stage.person("alice"))
    assert departure.fields is not None
    bent = Departure(departure.url, {**departure.fields, "RelayState": "https://evil.example/"})
    landed = stage.come_back(stage.client, bent)
    assert landed.header("location") is None or "evil" not in landed.location
    assert stage.client.get("/").status == 302


def test_the_request_page_of_the_post_binding_has_no_script_in_it(build: SAMLStageBuilder) -> None:
    stage = build(JIT_SAML_BINDING="post")
    page = stage.client.get("/")
    form = posted_form(page)
    assert {name for name, _ in form.fields} == {"SAMLRequest", "RelayState"}
    policy = page.header("content-security-policy") or ""
    assert "unsafe-inline" not in policy
    assert f"form-action {stage.idp.site}" in policy or stage.idp.site in policy
    assert "<button" in page.text


# --- once -----------------------------------------------------------------------------------------------------------


def test_a_response_is_good_once(build: SAMLStageBuilder) -> None:
    stage = build()
    departure = arrival(stage, stage.person("alice"))
    before = dict(stage.client.jar._kept)
    assert stage.come_back(stage.client, departure).status == 303
    thief = stage.client.another()
    thief.jar._kept = dict(before)
    replayed = stage.come_back(thief, departure)
    assert not any(line.startswith("jit=") for line in replayed.all("set-cookie"))
    assert thief.get("/").status == 302
    assert len(stage.events("login.succeeded")) == 1


def test_a_response_is_good_once_for_two_workers_at_the_same_time(any_world: SAMLStageBuilder) -> None:
    stage = any_world()
    first, second = stage.client, stage.worker()
    departure = arrival(stage, stage.person("alice"))
    second.jar = first.jar
    requests = [stage.callback_request(client, departure) for client in (first, second) for _ in range(3)]
    answers = [*first.together(*requests[:3]), *second.together(*requests[3:])]
    sessions = [answer for answer in answers if any(line.startswith("jit=") for line in answer.all("set-cookie"))]
    assert len(sessions) == 1
    assert len(stage.events("login.succeeded")) == 1
    assert all(answer.status < 500 for answer in answers)


def test_another_persons_response_does_not_answer_this_browsers_request(build: SAMLStageBuilder) -> None:
    stage = build()
    alice, mallory = stage.person("alice"), stage.person("mallory")
    victim, attacker = stage.client, stage.client.another()
    mine = stage.depart(attacker, stage.agent(mallory))
    theirs = stage.depart(victim, stage.agent(alice))
    assert mine.fields is not None
    assert theirs.fields is not None
    forged = Departure(theirs.url, {**theirs.fields, "SAMLResponse": mine.fields["SAMLResponse"]})
    assert stage.come_back(victim, forged).status == 403
    assert stage.refusal() == "in_response_to_mismatch"
    assert victim.get("/").status == 302


def test_a_response_for_another_application_is_refused(build: SAMLStageBuilder) -> None:
    stage, other = build(), build()
    alice = stage.person("alice")
    elsewhere, here = arrival(other, alice), arrival(stage, alice)
    assert elsewhere.fields is not None
    assert here.fields is not None
    swapped = Departure(here.url, {**here.fields, "SAMLResponse": elsewhere.fields["SAMLResponse"]})
    assert stage.come_back(stage.client, swapped).status == 403
    assert stage.refusal() in {"in_response_to_mismatch", "audience_mismatch"}


def test_a_late_response_is_refused(build: SAMLStageBuilder) -> None:
    stage = build()
    departure = arrival(stage, stage.person("alice"))
    stage.clock.advance(300 + 61)
    assert stage.come_back(stage.client, departure).status == 403
    assert stage.refusal() in {"confirmation_expired", "conditions_expired"}


@pytest.mark.parametrize("change", ["name", "byte", "cut", "junk", "nothing"])
def test_a_changed_response_is_refused_without_a_trace(build: SAMLStageBuilder, change: str) -> None:
    stage = build(variant="response", JIT_SAML_SUBJECT="email")
    alice = stage.person("alice")
    departure = arrival(stage, alice)
    assert departure.fields is not None
    raw = base64.b64decode(departure.fields["SAMLResponse"])
    changed = {
        "name": raw.replace(alice.encode(), b"admin"),
        "byte": raw.replace(b"</saml:NameID>", b" </saml:NameID>"),
        "cut": raw[:-20],
        "junk": b"\xff\x00<>",
        "nothing": b"",
    }[change]
    assert changed != raw
    bent = {**departure.fields, "SAMLResponse": base64.b64encode(changed).decode()}
    page = stage.come_back(stage.client, Departure(departure.url, bent))
    assert page.status in {400, 403}
    assert "Traceback" not in page.text
    assert stage.client.get("/").status == 302
    assert stage.accounts() == []


def test_trying_again_after_a_refusal_lets_another_person_sign_in(build: SAMLStageBuilder) -> None:
    stage = build(JIT_REQUIRED_GROUPS="staff")
    nobody = stage.person("nobody", groups=[])
    page = stage.sign_in(nobody)
    assert page.status == 403
    assert "someone=else" in page.text
    again = outward(stage.client.get("/_jit/login/saml?next=/&someone=else"))
    packed = base64.b64decode(again.parameters["SAMLRequest"])
    assert b'ForceAuthn="true"' in zlib.decompress(packed, -15)


def test_idle_and_absolute_limits(build: SAMLStageBuilder) -> None:
    limits = {"JIT_SESSION_IDLE": "10m", "JIT_SESSION_ABSOLUTE": "30m"}
    busy, idle = build(**limits), build(**limits)
    for stage in (busy, idle):
        stage.sign_in(stage.person("alice"))
    for _ in range(5):
        busy.clock.advance(5 * 60)
        assert busy.client.get("/").status == 200
    busy.clock.advance(5 * 60 + 1)
    assert busy.client.get("/").status == 302
    idle.clock.advance(10 * 60 + 1)
    assert idle.client.get("/").status == 302


@pytest.mark.parametrize(("domains", "adopted"), [("example.org", True), ("example.com", False)])
def test_an_existing_account_is_adopted_only_by_an_address_of_the_providers_domain(
    build: SAMLStageBuilder, domains: str, adopted: bool
) -> None:
    stage = build(JIT_LINK_POLICY="auto", JIT_SAML_VERIFIED_DOMAINS=domains)
    alice = stage.person("alice")

    async def make(tx: Transaction) -> str:
        assert tx.users is not None
        old = Profile("key-1", "old-timer", email=f"{alice}@example.org", email_verified=True)
        return (await tx.users.create(old)).id

    step(stage.ledger.prepare())
    old = step(stage.ledger.transaction(make))
    stage.sign_in(alice)
    page = stage.client.get("/")
    assert (page.status == 200 and page.json()["user"]["id"] == old) == adopted


# --- keys and metadata ----------------------------------------------------------------------------------------------


def test_a_new_key_that_was_announced_needs_no_restart(build: SAMLStageBuilder) -> None:
    with simplesamlphp() as idp:
        stage = build(idp=idp)
        alice = stage.person("alice")
        assert stage.sign_in(alice).status == 200
        second = fresh_key_pair("second")
        idp.use_keys(idp.keys[0], second)
        stage.clock.advance(60)
        assert stage.sign_in(alice, client=stage.client.another()).status == 200
        idp.use_keys(second)
        assert stage.sign_in(alice, client=stage.client.another()).status == 200
        third = fresh_key_pair("third")
        idp.use_keys(third)
        stage.clock.advance(60)
        assert stage.sign_in(alice, client=stage.client.another()).status == 200
        assert stage.events("login.refused") == []


def test_a_metadata_file_that_changes_is_read_again(build: SAMLStageBuilder, tmp_path: Path) -> None:
    with simplesamlphp() as idp:
        file = tmp_path / "idp.xml"
        file.write_text(idp.metadata())
        stage = build(idp=idp, JIT_SAML_IDP_METADATA=str(file))
        alice = stage.person("alice")
        assert stage.sign_in(alice).status == 200
        idp.use_keys(fresh_key_pair("second"))
        assert stage.sign_in(alice, client=stage.client.another()).status == 403
        assert stage.refusal() == "signature_invalid"
        file.write_text(idp.metadata() + "\n")
        assert stage.sign_in(alice, client=stage.client.another()).status == 200


def test_one_of_many_providers_is_found_by_its_entity_id(build: SAMLStageBuilder, tmp_path: Path) -> None:
    stage = build()
    theirs = stage.idp.metadata().partition("?>")[2].strip() or stage.idp.metadata()
    other = theirs.replace(stage.idp.entity_id, "https://other.example/idp")
    file = tmp_path / "federation.xml"
    file.write_text(
        f'<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">{other}{theirs}</md:EntitiesDescriptor>'
    )
    federated = build(JIT_SAML_IDP_METADATA=str(file), JIT_SAML_IDP_ENTITY_ID=stage.idp.entity_id)
    assert federated.sign_in(federated.person("alice")).status == 200
    foreign = build(JIT_SAML_IDP_METADATA=str(file), JIT_SAML_IDP_ENTITY_ID="https://other.example/idp")
    assert foreign.sign_in(foreign.person("alice")).status == 403
    assert foreign.refusal() == "issuer_mismatch"


def test_our_metadata_says_where_we_listen_and_with_which_keys(build: SAMLStageBuilder) -> None:
    stage = build(JIT_SAML_SIGN_METADATA="true", JIT_SAML_METADATA_VALID_FOR="30d")
    answer = stage.client.get("/_jit/metadata/saml")
    assert (answer.status, answer.header("content-type")) == (200, "application/samlmetadata+xml")
    for wanted in (stage.sp.entity_id, stage.sp.acs, stage.sp.sls, "validUntil=", "SignatureValue"):
        assert wanted in answer.text
    assert stage.sp.certificate in "".join(answer.text.split())
    assert "PRIVATE KEY" not in answer.text


def test_a_transient_subject_is_refused_at_start(build: SAMLStageBuilder) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build(JIT_SAML_SUBJECT="transient")
    assert [fault.setting for fault in refused.value.faults] == ["JIT_SAML_SUBJECT"]


# --- groups ---------------------------------------------------------------------------------------------------------


def test_one_group_is_a_group_and_not_a_text_to_search_in(build: SAMLStageBuilder) -> None:
    stage = build(JIT_ROLE_RULES='[{"when": "contains(groups, \'staff\')", "grant": ["writer"]}]')
    assert stage.sign_in(stage.person("one", groups=["staff"])).json()["user"]["roles"] == ["writer"]
    outside = stage.person("other", groups=["staffing-agency"])
    assert stage.sign_in(outside, client=stage.client.another()).json()["user"]["roles"] == []


# --- two protocols --------------------------------------------------------------------------------------------------


def test_a_person_of_two_connections_is_two_identities(build: SAMLStageBuilder, provider: Provider) -> None:
    name = f"both-{build.edge}"
    stage = build(
        JIT_OIDC_ISSUER=provider.issuer,
        JIT_OIDC_CLIENT_ID=name,
        JIT_OIDC_CLIENT_SECRET="a secret of the tests, long enough",
    )
    provider.register(
        client_id=name,
        redirect_uris=["http://localhost:8000/_jit/callback/oidc"],
        client_secret="a secret of the tests, long enough",
    )
    alice = stage.person("alice")
    address = f"{alice}@example.org"
    provider.add_user(alice, {"preferred_username": f"{alice}-oidc", "email": address, "email_verified": True})
    chooser = stage.client.get("/deep")
    assert chooser.status == 200
    assert "/_jit/login/saml" in chooser.text
    assert "/_jit/login/oidc" in chooser.text

    agent = stage.agent(alice)
    assert isinstance(agent, Person)
    by_saml = stage.come_back(stage.client, agent.carry(outward(stage.client.get("/_jit/login/saml?next=/deep"))))
    assert by_saml.location.endswith("/deep")
    first = stage.client.get("/").json()
    other = stage.client.another()
    with provider.agent(alice) as other_agent:
        departure = other_agent.visit(other.get("/_jit/login/oidc?next=/deep").location)
    assert other.get(departure.url, initiator=provider.issuer).status == 303
    second = other.get("/").json()
    assert (first["session"]["connection"], second["session"]["connection"]) == ("saml", "oidc")
    assert first["user"]["id"] != second["user"]["id"]
    assert len(stage.accounts()) == 2


def test_two_saml_connections_do_not_answer_for_each_other(build: SAMLStageBuilder, tmp_path: Path) -> None:
    with simplesamlphp() as second:
        config = tmp_path / "jit.toml"
        config.write_text(
            '[connections.second]\nprotocol = "saml"\nsubject = "attribute:uid"\n'
            f'idp_metadata = "{second.metadata_url}"\nsp_entity_id = "http://localhost:8000/second"\n'
        )
        stage = build(JIT_CONFIG=str(config))
        alice = stage.person("alice")
        agent = stage.agent(alice)
        assert isinstance(agent, Person)
        departure = agent.carry(outward(stage.client.get("/_jit/login/saml")))
        crossed = Departure(departure.url.replace("/acs/saml", "/acs/second"), departure.fields)
        answer = stage.come_back(stage.client, crossed)
        assert answer.status != 303 or answer.location.startswith(second.site)
        assert stage.client.get("/").status in {200, 302}
        assert stage.events("login.succeeded") == []
