"""The same attacks carried to the assertion consumer service, through WSGI and through ASGI.

Nobody is signed in, nothing is created, the page says the same for all of them, and the audit trail names the reason.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree

from jit_middleware.bridge import step
from jit_middleware.outside import open_ledger
from jit_middleware.settings import Settings
from tests.adversarial_saml import mint
from tests.adversarial_saml.attack import Attack
from tests.adversarial_saml.attacks_binding import BINDING
from tests.adversarial_saml.attacks_details import DETAILS
from tests.adversarial_saml.attacks_forgery import FORGERY, told
from tests.adversarial_saml.mint import ACS, IDP, NOW, SP, minted, pair, posted
from tests.adversarial_saml.test_wrapping import IN_THE_CLEAR, PLACEMENTS
from tests.adversarial_saml.wrapping import FORMS, wrapped
from tests.client import Client, Edge, middleware_of
from tests.conftest import FakeClock
from tests.databases import prepared
from tests.worlds import Answer

# What another configuration is needed for is proven at the verifier alone.
AS_CONFIGURED = [attack for attack in (*BINDING, *FORGERY, *DETAILS) if not told(attack)]
ORIGIN = "https://app.example"


class Door:
    """An application behind a SAML connection to the identity provider that ``mint`` plays."""

    def __init__(self, edge: Edge, directory: Path, *, lines: str = "", **env: str) -> None:
        self.clock = FakeClock(seconds=float(NOW))
        certificate = "".join(pair().certificate.split("-----")[2].split())
        metadata = directory / "idp.xml"
        metadata.write_text(
            f'<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{IDP}"><md:IDPSSODescriptor'
            ' protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor use="signing">'
            '<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>'
            f"{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor><md:SingleSignOnService"
            ' Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example/sso"/>'
            "</md:IDPSSODescriptor></md:EntityDescriptor>"
        )
        config = directory / "jit.toml"
        config.write_text(
            f'[connections.corp]\nprotocol = "saml"\nidp_metadata = "{metadata}"\nsp_entity_id = "{SP}"\n{lines}'
            '[connections.corp.claims]\nusername = "name_id"\n'
        )
        settings = Settings.load(
            {
                "JIT_PUBLIC_URL": ORIGIN,
                "JIT_ENDPOINT_PREFIX": "/sso",
                "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
                "JIT_CONFIG": str(config),
                "JIT_DATABASE_URL": f"sqlite:///{prepared(directory / 'jit.db')}",
                **env,
            }
        )

        def wrap(app: Any) -> Any:
            return middleware_of(edge)(app, settings, clock=self.clock)

        self.client = Client(edge, wrap, origin=ORIGIN, now=self.clock.now)
        self.ledger = open_ledger(settings)

    def begin(self) -> tuple[Client, str, str]:
        """A browser on its way, the id of the request it carries, and its RelayState."""
        browser = self.client.another()
        sent = parse_qs(urlsplit(browser.get("/").location).query)
        request = zlib.decompress(b64decode(sent["SAMLRequest"][0]), -15)
        return browser, etree.fromstring(request).attrib["ID"], sent["RelayState"][0]

    def carry(self, browser: Client, message: str, relay_state: str) -> Answer:
        fields = {"SAMLResponse": message, "RelayState": relay_state}
        return browser.post(ACS.removeprefix(ORIGIN), fields, initiator="https://idp.example/sso")


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    door = Door(request.param, tmp_path_factory.mktemp("door"))
    with door.client:
        yield door
    step(door.ledger.close())


def refusal(door: Door, monkeypatch: pytest.MonkeyPatch, make: Any) -> str:
    """Carry the message; the reason that the audit trail names, after everything else about the refusal is judged."""
    browser, request_id, relay_state = door.begin()
    monkeypatch.setattr(mint, "REQUEST", request_id)
    before = len(step(door.ledger.list_audit(limit=100_000)))
    answer = door.carry(browser, make(), relay_state)
    assert answer.status == 403
    assert "login_not_verified" in answer.text
    assert browser.get("/").status == 302
    (event,) = step(door.ledger.list_audit(limit=100_000))[before:]
    assert event.type == "login.refused"
    assert event.reference is not None
    assert event.reference in answer.text
    assert not re.search(re.escape(str(event.reason)), answer.text)
    return str(event.reason)


@pytest.mark.parametrize("attack", [pytest.param(attack, id=attack.name) for attack in AS_CONFIGURED])
def test_an_attack_signs_nobody_in(door: Door, monkeypatch: pytest.MonkeyPatch, attack: Attack) -> None:
    assert refusal(door, monkeypatch, attack.make) == attack.reason


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("form", FORMS)
def test_wrapping_signs_nobody_in(door: Door, monkeypatch: pytest.MonkeyPatch, form: str, placement: str) -> None:
    assert refusal(door, monkeypatch, lambda: posted(wrapped(form, placement))) == IN_THE_CLEAR[form][0]


def test_the_message_the_attacks_start_from_signs_in_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, request_id, relay_state = door.begin()
    monkeypatch.setattr(mint, "REQUEST", request_id)
    message = posted(minted())
    landed = door.carry(browser, message, relay_state)
    assert landed.status == 303
    assert browser.get("/").json()["remote_user"] == "alice-7f3a"
    other, _, other_state = door.begin()
    assert door.carry(other, message, other_state).status == 403


def test_attacks_left_nobody_behind(door: Door) -> None:
    assert {account.user.username for account in step(door.ledger.list_users()) if account.user} <= {"alice-7f3a"}
