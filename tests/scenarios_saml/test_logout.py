"""Single Logout with real identity providers: both ways, by redirect and by POST, always signed and verified."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from jit_middleware.bridge import step
from jit_middleware.model import SessionRecord
from jit_middleware.ports import Transaction
from jit_middleware_sqlalchemy.transaction import Tx
from tests.client import Client
from tests.peers.agent import Departure
from tests.peers.saml.person import Person
from tests.peers.saml.pysaml2 import PySAML2
from tests.peers.saml.samlp import Samlp
from tests.peers.saml.sp import SloBinding
from tests.scenarios_saml.stage import SAMLStage, SAMLStageBuilder, outward
from tests.worlds import Answer

BINDINGS: tuple[SloBinding, ...] = ("redirect", "post")


def person(stage: SAMLStage, who: str) -> Person:
    agent = stage.agent(who)
    assert isinstance(agent, Person)
    return agent


def deliver(stage: SAMLStage, client: Client, departure: Departure) -> Answer:
    """Carry what the provider says to our logout endpoint, as a browser does: from another site."""
    if departure.fields is None:
        return client.get(departure.url, initiator=stage.provider.issuer)
    return client.post(departure.url, departure.fields, initiator=stage.provider.issuer)


def message(departure: Departure) -> Any:
    (name,) = departure.parameters.keys() & {"SAMLResponse", "SAMLRequest"}
    raw = base64.b64decode(departure.parameters[name])
    return etree.fromstring(zlib.decompress(raw, -15) if departure.fields is None else raw)


@pytest.mark.parametrize("theirs", BINDINGS)
@pytest.mark.parametrize("ours", BINDINGS)
def test_a_logout_that_begins_here_ends_the_providers_session_too(
    build: SAMLStageBuilder, ours: SloBinding, theirs: SloBinding
) -> None:
    stage = build(slo_binding=theirs, JIT_SAML_BINDING=ours, at_provider={"validate.logout": True})
    alice = stage.person("alice")
    agent = person(stage, alice)
    stage.sign_in(alice, agent=agent)
    stolen = stage.client.prepare("GET", "/")
    asked = outward(stage.client.post("/_jit/logout"))
    assert (asked.fields is None) == (ours == "redirect")
    assert message(asked).tag.endswith("LogoutRequest")
    back = agent.carry(asked)
    assert back.url.partition("?")[0] == stage.sp.sls
    assert (back.fields is None) == (theirs == "redirect")
    home = deliver(stage, stage.client, back)
    assert home.status in {200, 303}, home.text[:500]
    if home.status == 303:
        assert stage.client.get(home.location).status == 200
    assert b'"session"' not in stage.client.get("/").body
    (replayed,) = stage.client.together(stolen)
    assert b'"session"' not in replayed.body
    assert [event.type for event in stage.events("session.ended")] == ["session.ended"]
    filled = agent.forms_filled
    stage.sign_in(alice, agent=agent)
    assert agent.forms_filled == filled + 1


def test_the_name_of_a_person_is_shown_to_nobody_who_kept_the_cookie_of_an_ended_session(
    build: SAMLStageBuilder,
) -> None:
    """A LogoutRequest names them, and would have the provider end what they have begun since."""
    stage = build()
    alice = stage.person("alice")
    user_id = stage.sign_in(alice, agent=person(stage, alice)).json()["user"]["id"]
    step(stage.ledger.transaction(lambda tx: tx.end_sessions(stage.clock.now(), user_id=user_id)))
    stage.clock.advance(61)
    answer = stage.client.post("/_jit/logout")
    assert answer.status == 303
    assert answer.location.endswith("/_jit/signed-out")


@pytest.mark.parametrize("ended", ["idle", "revoked"])
@pytest.mark.parametrize("ours", BINDINGS)
def test_a_logout_of_a_session_that_is_over_ends_the_providers_session(
    build: SAMLStageBuilder, ours: SloBinding, ended: str
) -> None:
    """On a shared computer the next click would sign the same person in again, without a password."""
    stage = build(JIT_SAML_BINDING=ours, JIT_SESSION_IDLE="30s", at_provider={"validate.logout": True})
    alice = stage.person("alice")
    agent = person(stage, alice)
    user_id = stage.sign_in(alice, agent=agent).json()["user"]["id"]
    if ended == "revoked":
        step(stage.ledger.transaction(lambda tx: tx.end_sessions(stage.clock.now(), user_id=user_id)))
    stage.clock.advance(31)
    assert stage.client.get("/").status != 200 or b'"session"' not in stage.client.get("/").body
    asking = stage.client.get("/_jit/logout")
    assert (asking.status, "is over already" in asking.text) == (200, True)
    asked = outward(stage.client.post("/_jit/logout"))
    assert message(asked).tag.endswith("LogoutRequest")
    assert stage.client.jar.get("jit") is None
    home = deliver(stage, stage.client, agent.carry(asked))
    assert home.status in {200, 303}, home.text[:500]
    if home.status == 303:
        assert stage.client.get(home.location).status == 200
    reasons = [event.reason for event in stage.events("session.ended")]
    assert reasons == (["logout"] if ended == "idle" else []), "nobody claims what was ended before"
    filled = agent.forms_filled
    stage.sign_in(alice, agent=agent)
    assert agent.forms_filled == filled + 1


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_logout_at_the_provider_ends_our_session_in_every_worker(
    build: SAMLStageBuilder, binding: SloBinding
) -> None:
    stage = build(slo_binding=binding, variant="persistent", at_provider={"validate.logout": True})
    alice = stage.person("alice")
    agent = person(stage, alice)
    stage.sign_in(alice, agent=agent)
    other = stage.worker()
    other.jar = stage.client.jar
    cookie = other.prepare("GET", "/page")
    (seen,) = other.together(cookie)
    assert seen.status == 200
    told = agent.visit(stage.idp.logout_url())
    assert (told.fields is None) == (binding == "redirect")
    answer = outward(deliver(stage, stage.client, told))
    assert message(answer).tag.endswith("LogoutResponse")
    assert message(answer).get("InResponseTo") == message(told).get("ID")
    end = agent.carry(answer)
    assert end.url == "http://localhost:8000/", "the provider accepts our answer and goes on"
    stage.clock.advance(1)
    (gone,) = other.together(cookie)
    assert gone.status == 302
    assert len(stage.events("session.ended")) == 1


def test_only_the_session_that_is_named_ends(build: SAMLStageBuilder) -> None:
    stage = build(variant="persistent")
    alice, bob = stage.person("alice"), stage.person("bob")
    first, second = person(stage, alice), person(stage, alice)
    desk, phone, colleague = stage.client, stage.client.another(), stage.client.another()
    stage.sign_in(alice, client=desk, agent=first)
    stage.sign_in(alice, client=phone, agent=second)
    stage.sign_in(bob, client=colleague)
    deliver(stage, desk, first.visit(stage.idp.logout_url()))
    stage.clock.advance(1)
    assert [client.get("/").status for client in (desk, phone, colleague)] == [302, 200, 200]


@pytest.mark.parametrize("subject", ["attribute:uid", "persistent"])
def test_a_person_is_signed_out_however_many_others_are_signed_in(
    any_world: SAMLStageBuilder, monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    """Without a SessionIndex all sessions of the NameID are meant (SAML Core §3.7.1). What is listed of a large house
    is cut off somewhere; what is ended must not be."""
    stage = any_world(variant="persistent", JIT_SAML_SUBJECT=subject)
    alice = stage.person("alice")
    first, second = person(stage, alice), person(stage, alice)
    desk, phone = stage.client, stage.client.another()
    stage.sign_in(alice, client=desk, agent=first)
    stage.sign_in(alice, client=phone, agent=second)
    others = [each.id for each in _sign_in_many(stage)]
    full = Tx.list_sessions

    async def cut_off(tx: Tx, *, limit: int = 1000, **which: Any) -> Sequence[SessionRecord]:
        return await full(tx, limit=min(limit, len(others)), **which)

    monkeypatch.setattr(Tx, "list_sessions", cut_off)
    told = _of_all_sessions(stage, first.visit(stage.idp.logout_url()))
    answer = outward(deliver(stage, desk, told))
    assert message(answer).tag.endswith("LogoutResponse")
    monkeypatch.undo()
    stage.clock.advance(1)
    assert [client.get("/").status for client in (desk, phone)] == [302, 302]
    assert sorted(each.id for each in _live(stage)) == sorted(others)
    assert len(stage.events("session.ended")) == 2


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_logout_request_that_was_changed_ends_nothing(build: SAMLStageBuilder, binding: SloBinding) -> None:
    stage = build(slo_binding=binding, variant="persistent")
    alice = stage.person("alice")
    agent = person(stage, alice)
    stage.sign_in(alice, agent=agent)
    told = agent.visit(stage.idp.logout_url())
    for bent in _bent(told):
        refused = deliver(stage, stage.client, bent)
        assert refused.status in {400, 403}, bent
        assert stage.client.get("/").status == 200
    assert stage.events("session.ended") == []


def test_a_logout_request_is_good_once(build: SAMLStageBuilder, caplog: pytest.LogCaptureFixture) -> None:
    stage = build(variant="persistent")
    alice = stage.person("alice")
    agent = person(stage, alice)
    stage.sign_in(alice, agent=agent)
    told = agent.visit(stage.idp.logout_url())
    deliver(stage, stage.client, told)
    stage.clock.advance(1)
    with_same_session = person(stage, alice)
    stage.sign_in(alice, agent=with_same_session)
    for client in (stage.client, stage.worker()):
        caplog.clear()
        again = deliver(stage, client, told)
        assert (again.status, "logout_not_verified" in again.text) == (400, True)
        assert "logout_not_verified reason=logout_replayed " in caplog.text
    stage.clock.advance(1)
    assert stage.client.get("/").status == 200
    assert len(stage.events("session.ended")) == 1
    assert len(stage.events("signal.received")) == 1


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_logout_request_of_somebody_else_makes_no_browser_forget_its_own_session(
    build: SAMLStageBuilder, binding: SloBinding
) -> None:
    """Whoever can sign in can get such a request for themselves, and put it under anybody's nose."""
    stage = build(slo_binding=binding, variant="persistent")
    alice, mallory = stage.person("alice"), stage.person("mallory")
    stage.sign_in(alice, agent=person(stage, alice))
    attacker, agent = stage.client.another(), person(stage, mallory)
    stage.sign_in(mallory, agent=agent, client=attacker)
    answer = deliver(stage, stage.client, agent.visit(stage.idp.logout_url()))
    assert answer.status < 400, "it is a good one, of mallory's session"
    assert answer.all("set-cookie") == []
    stage.clock.advance(1)
    assert stage.client.get("/").status == 200
    assert attacker.get("/").status == 302


def test_a_logout_answer_to_no_request_of_ours_is_refused(build: SAMLStageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    agent = person(stage, alice)
    stage.sign_in(alice, agent=agent)
    back = agent.carry(outward(stage.client.post("/_jit/logout")))
    stranger = stage.client.another()
    stage.sign_in(alice, client=stranger)
    assert deliver(stage, stranger, back).status == 400
    assert stranger.get("/").status == 200


def test_a_provider_that_is_down_does_not_keep_anybody_signed_in(build: SAMLStageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    stage.provider.stop()
    try:
        assert stage.client.post("/_jit/logout").status == 303
        assert stage.client.get("/").status != 200
    finally:
        stage.provider.start()


def test_without_a_key_of_ours_logout_ends_our_session_alone(build: SAMLStageBuilder) -> None:
    stage = build(with_key=False)
    alice = stage.person("alice")
    stage.sign_in(alice)
    left = stage.client.post("/_jit/logout")
    assert left.location.startswith("http://localhost:8000/")
    assert stage.client.get(left.location).status == 200
    assert stage.client.get("/").status == 302


def test_samlp_and_pysaml2_log_out_too(build: SAMLStageBuilder, samlp_idp: Samlp, pysaml2_idp: PySAML2) -> None:
    for idp in (samlp_idp, pysaml2_idp):
        stage = build(idp=idp, JIT_SAML_SUBJECT="email")
        alice = stage.person("alice")
        agent = person(stage, alice)
        stage.sign_in(alice, agent=agent)
        back = agent.carry(outward(stage.client.post("/_jit/logout")))
        assert message(back).tag.endswith("LogoutResponse")
        home = stage.client.get(back.url, initiator=stage.provider.issuer, follow=True)
        assert home.status == 200, (idp.site, home.text[:500])
        assert stage.client.get("/").status == 302
        filled = agent.forms_filled
        stage.sign_in(alice, agent=agent)
        assert agent.forms_filled == filled + 1, idp.site


def _bent(told: Departure) -> list[Departure]:
    """The message unsigned, with another name in it, and with a parameter twice."""
    if told.fields is None:
        place = urlsplit(told.url)
        pairs = parse_qsl(place.query)
        text = zlib.decompress(base64.b64decode(dict(pairs)["SAMLRequest"]), -15)
        deflate = zlib.compressobj(wbits=-15)
        other = deflate.compress(text.replace(b"<samlp:SessionIndex>", b"<samlp:SessionIndex>x")) + deflate.flush()
        swapped = [(n, base64.b64encode(other).decode() if n == "SAMLRequest" else v) for n, v in pairs]
        variants = [[p for p in pairs if p[0] not in {"Signature", "SigAlg"}], swapped, [*pairs, pairs[0]]]
        return [Departure(place._replace(query=urlencode(variant)).geturl()) for variant in variants]
    root = message(told)
    unsigned = message(told)
    for signature in unsigned.findall("{http://www.w3.org/2000/09/xmldsig#}Signature"):
        unsigned.remove(signature)
    root.find("{urn:oasis:names:tc:SAML:2.0:protocol}SessionIndex").text = "_another"
    return [
        Departure(told.url, {**told.fields, "SAMLRequest": base64.b64encode(etree.tostring(tree)).decode()})
        for tree in (unsigned, root)
    ]


def _of_all_sessions(stage: SAMLStage, told: Departure) -> Departure:
    """The message without its SessionIndex, signed by the provider (SAML Bindings §3.4.4.1)."""
    place = urlsplit(told.url)
    pairs = dict(parse_qsl(place.query))
    root = message(told)
    for index in root.findall("{urn:oasis:names:tc:SAML:2.0:protocol}SessionIndex"):
        root.remove(index)
    deflate = zlib.compressobj(wbits=-15)
    small = deflate.compress(etree.tostring(root)) + deflate.flush()
    pairs["SAMLRequest"] = base64.b64encode(small).decode()
    signed = urlencode({name: pairs[name] for name in ("SAMLRequest", "RelayState", "SigAlg") if name in pairs})
    key = serialization.load_pem_private_key(stage.idp.keys[0].private_key.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = base64.b64encode(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    return Departure(place._replace(query=f"{signed}&{urlencode({'Signature': signature})}").geturl())


def _live(stage: SAMLStage) -> Sequence[SessionRecord]:
    async def listed(tx: Transaction) -> Sequence[SessionRecord]:
        return await tx.list_sessions(limit=100)

    return step(stage.ledger.transaction(listed))


def _sign_in_many(stage: SAMLStage) -> Sequence[SessionRecord]:
    """Other people, who have signed in at the same connection since."""
    model = _live(stage)[0]
    others = [
        replace(model, id=f"other-{number}", user_id=f"other-{number}", subject=f"other-{number}",
                idp_session=f"{number:032x}.-", created_at=model.created_at + 1 + number)
        for number in range(5)
    ]  # fmt: skip

    async def sign_in(tx: Transaction) -> None:
        for other in others:
            await tx.add_session(other)

    step(stage.ledger.transaction(sign_in))
    return others
