"""A stronger or more recent login over SAML: what is asked for, and what an answer must show, through both edges."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree

from jit_middleware.bridge import step
from tests.adversarial_saml import mint
from tests.adversarial_saml.mint import NS, one
from tests.adversarial_saml.test_through_both_edges import Door
from tests.client import Client
from tests.worlds import Answer

X509 = "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"
STRONG = json.dumps([{"paths": ["/admin/*"], "acr": ["phr", X509]}])
RECENT = json.dumps([{"paths": ["/admin/*"], "max_age": "15m"}])
Make = Callable[..., Door]


@pytest.fixture(params=["wsgi", "asgi"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    doors: list[Door] = []

    def build(lines: str = "", **env: str) -> Door:
        door = Door(request.param, tmp_path, lines=lines, JIT_SESSION_IDLE="10h", **env)
        door.client.__enter__()
        doors.append(door)
        return door

    yield build
    for door in doors:
        door.client.__exit__(None, None, None)
        step(door.ledger.close())


def request_of(sent: Answer) -> tuple[etree._Element, str]:
    """The AuthnRequest that the browser carries, and its RelayState."""
    assert sent.status in {302, 303}, (sent.status, sent.text)
    query = parse_qs(urlsplit(sent.location).query)
    return etree.fromstring(zlib.decompress(b64decode(query["SAMLRequest"][0]), -15)), query["RelayState"][0]


def contexts(request: etree._Element) -> list[str | None]:
    return [each.text for each in request.iter(f"{{{NS['saml']}}}AuthnContextClassRef")]


def answered(
    door: Door,
    browser: Client,
    sent: Answer,
    monkeypatch: pytest.MonkeyPatch,
    *,
    context: str | None = None,
    name: str = "",
) -> Answer:
    """The provider answers now, with this context; what the browser gets for it."""
    request, relay_state = request_of(sent)
    monkeypatch.setattr(mint, "REQUEST", request.attrib["ID"])
    monkeypatch.setattr(mint, "NOW", door.clock.now())

    def edit(root: etree._Element) -> None:
        if context is not None:
            one(root, "saml:AuthnContextClassRef").text = context
        if name:
            one(root, "saml:NameID").text = name

    return door.carry(browser, mint.posted(mint.minted(edit=edit)), relay_state)


def session_of(browser: Client) -> str:
    return (browser.jar.get("__Host-jit") or "").split(":")[1]


def test_a_stronger_context_is_requested_and_brings_a_new_id(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    door = make(JIT_STEP_UP=STRONG)
    browser = door.client
    assert answered(door, browser, browser.get("/"), monkeypatch).status == 303
    before = session_of(browser)
    sent = browser.get("/admin/users")
    request, _ = request_of(sent)
    assert (contexts(request), request.get("ForceAuthn")) == ([X509], None)
    landed = answered(door, browser, sent, monkeypatch, context=X509)
    assert (landed.status, landed.location) == (303, "https://app.example/admin/users")
    assert browser.get("/admin/users").status == 200
    assert session_of(browser) != before
    ended = [event for event in step(door.ledger.list_audit()) if event.type == "session.ended"]
    assert [(event.session, event.reason) for event in ended] == [(before, "replaced")]


def test_a_lesser_context_is_insisted_on_once_and_then_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    door = make(JIT_STEP_UP=STRONG)
    browser = door.client
    answered(door, browser, browser.get("/"), monkeypatch)
    before = session_of(browser)
    again = answered(door, browser, browser.get("/admin"), monkeypatch)
    request, _ = request_of(again)
    assert (contexts(request), request.get("ForceAuthn")) == ([X509], "true")
    page = answered(door, browser, again, monkeypatch)
    assert (page.status, "step_up_refused" in page.text) == (403, True)
    assert (session_of(browser), browser.get("/").status) == (before, 200)


def test_a_provider_without_that_context_says_so_on_the_same_page(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    door = make(JIT_STEP_UP=STRONG)
    browser = door.client
    answered(door, browser, browser.get("/"), monkeypatch)
    request, relay_state = request_of(browser.get("/admin"))
    monkeypatch.setattr(mint, "REQUEST", request.attrib["ID"])

    def refuse(root: etree._Element) -> None:
        status = one(root, "samlp:StatusCode")
        status.set("Value", "urn:oasis:names:tc:SAML:2.0:status:Responder")
        status.append(mint.child("samlp:StatusCode", Value="urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext"))
        root.remove(one(root, "saml:Assertion"))

    message = mint.posted(mint.minted(sign="response", edit=refuse))
    page = door.carry(browser, message, relay_state)
    assert (page.status, "step_up_refused" in page.text) == (403, True)
    refusal = [event for event in step(door.ledger.list_audit()) if event.type == "login.refused"][-1]
    assert refusal.reason == "acr_unavailable"


def test_an_authentication_that_grew_old_is_forced_anew(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    door = make(JIT_STEP_UP=RECENT)
    browser = door.client
    answered(door, browser, browser.get("/"), monkeypatch)
    assert browser.get("/admin").status == 200, "SAML always says when"
    door.clock.advance(15 * 60 + 60)
    sent = browser.get("/admin")
    assert request_of(sent)[0].get("ForceAuthn") == "true"
    assert answered(door, browser, sent, monkeypatch).status == 303
    assert browser.get("/admin").status == 200


def test_the_contexts_of_a_step_up_take_the_place_of_the_connections_own(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
    door = make(f'authn_contexts = "{usual}"\nis_passive = true\n', JIT_STEP_UP=STRONG)
    browser = door.client
    sent = browser.get("/")
    assert (contexts(request_of(sent)[0]), request_of(sent)[0].get("IsPassive")) == ([usual], "true")
    answered(door, browser, sent, monkeypatch)
    sent = browser.get("/admin")
    assert (contexts(request_of(sent)[0]), request_of(sent)[0].get("IsPassive")) == ([X509], None)
    assert answered(door, browser, sent, monkeypatch, context=X509).status == 303
    assert browser.get("/admin").status == 200


def test_another_person_gets_their_own_session_and_the_first_one_ends(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = make(JIT_STEP_UP=STRONG)
    browser = door.client
    answered(door, browser, browser.get("/"), monkeypatch)
    before = session_of(browser)
    landed = answered(door, browser, browser.get("/admin"), monkeypatch, context=X509, name="bob-9c1d")
    assert browser.get(landed.location).json()["remote_user"] == "bob-9c1d"
    assert session_of(browser) != before


@pytest.mark.parametrize("empty", ["", " ", "\n\t"])
def test_a_provider_that_names_no_context_opens_no_guarded_path(
    make: Make, monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    gold = {"paths": ["/gold/*"], "acr": ["gold"]}
    door = make(JIT_STEP_UP=json.dumps([*json.loads(STRONG), gold]))
    browser = door.client
    answered(door, browser, browser.get("/"), monkeypatch, context=empty)
    view = step(door.ledger.find_session(session_of(browser)))
    assert view is not None
    assert view.session.acr is None
    assert [browser.get(path).status for path in ("/x;y", "//admin")] == [400, 400], "no session is enough for these"
    assert [browser.get(path).status for path in ("/admin", "/gold")] == [302, 302]
