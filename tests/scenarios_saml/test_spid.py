"""The 111 responses of ``spid-sp-test``, which nobody here wrote, through both edges.

Every case is answered to a login of ours. What SPID refuses is refused, each for its own reason, but for the cases in
``BEYOND_SAML``, where SPID's rules go beyond SAML 2.0: those are accepted, and the table says why that is right. The
suite's checks of metadata and AuthnRequests are left out: nearly all of them ask for SPID's own (a public body's data and
purposes in the metadata, attribute sets by index, a NameQualifier on our Issuer, levels SpidL1 to SpidL3).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jit_middleware.bridge import step
from jit_middleware.outside import open_ledger
from jit_middleware.settings import Settings
from tests.client import Client, Edge, middleware_of
from tests.peers.saml.keys import KeyPair, fresh_key_pair
from tests.peers.saml.spid import AuthnRequest, Suite
from tests.scenarios.conftest import SECRET, StageClock
from tests.worlds import Answer

IDP = "https://idp.example/spid"
LEVELS = " ".join(f"https://www.spid.gov.it/SpidL{level}" for level in (1, 2, 3))

# Why a response that SPID refuses is a good one in SAML 2.0 with this configuration.
BEYOND_SAML = {
    "3": "one signature over the Response covers the assertion in it (SAML Core §5.3); SPID wants two",
    "46": "a NameID without Format is unspecified (SAML Core §2.2.2), and an attribute is the subject here",
    "48": "NameQualifier is optional (SAML Core §2.2.1); SPID prescribes it",
    "49": "NameQualifier is optional (SAML Core §2.2.1); SPID prescribes it",
    "71": "an Issuer without Format is an entity (SAML Core §2.2.5); SPID prescribes the attribute",
    "76": "NotBefore is optional (SAML Core §2.5.1); SPID prescribes it",
}
# What SPID accepts and is accepted: the right response, and right ones of another kind.
ACCEPTED = {"1", "31", "94", "95", "96", "103", "109", "110"}

# What SPID refuses and is refused, by the reason in the audit.
REFUSED_FOR = {
    "signature_missing": "2",
    "signature_invalid": "4 5 100",
    "element_not_allowed": "xsw1 xsw2 xsw4 xsw6 xsw7 xsw8 xslt",
    "assertion_count": "xsw3 xsw5 32",
    "id_malformed": "8 9 33 34",
    "version_unsupported": "10 35",
    "time_malformed": "11 12 13 36 37 38 63 65 75 77 79 81",
    "issued_too_long_ago": "14 39",
    "issued_in_future": "15 40",
    "in_response_to_mismatch": "16 18 60 62",
    "in_response_to_missing": "17 61",
    "destination_mismatch": "19 20 21",
    "status_malformed": "22 23 24",
    "status_not_success": "26 104 105 106 107 108 111",
    "issuer_mismatch": "27 28 29 68 69",
    "issuer_malformed": "30 70 72",
    "confirmation_missing": "41 42 51 52 53 54 55 56",
    "name_id_malformed": "43",
    "subject_missing": "44",
    "name_id_format": "45 47",
    "recipient_mismatch": "57 58 59",
    "confirmation_without_end": "64",
    "confirmation_expired": "66",
    "audience_missing": "73",
    "conditions_missing": "74",
    "conditions_not_yet_valid": "78 80 82",
    "audience_mismatch": "83 85 86 87",
    "authn_context_mismatch": "88 90 92 93 97",
    "authn_statement_count": "89",
    "schema_invalid": "98",
    "subject_attribute_missing": "99",
}
REFUSED = {name: reason for reason, names in REFUSED_FOR.items() for name in names.split()}


@pytest.fixture(scope="module")
def spid_key() -> KeyPair:
    return fresh_key_pair("spid-sp-test")


@pytest.fixture(scope="module")
def suite(spid_key: KeyPair) -> Suite:
    return Suite(IDP, spid_key)


class Gate:
    """One middleware in front of which all the responses arrive."""

    def __init__(self, edge: Edge, key: KeyPair, folder: Path, closing: ExitStack) -> None:
        self.clock = StageClock()
        settings = Settings.load(
            {
                "JIT_PUBLIC_URL": "http://localhost:8000",
                "JIT_SECRET_KEY": SECRET,
                "JIT_DATABASE_URL": f"sqlite:///{folder / 'jit.db'}",
                "JIT_SAML_IDP_METADATA": idp_metadata(key),
                "JIT_SAML_SUBJECT": "attribute:spidCode",
                "JIT_SAML_NAME_ID_FORMAT": "transient",
                "JIT_SAML_AUTHN_CONTEXTS": LEVELS,
                "JIT_CLAIMS_USERNAME": "spidCode",
            }
        )

        def wrap(app: Any) -> Any:
            return middleware_of(edge)(app, settings, clock=self.clock)

        self._ledger = open_ledger(settings, keep_users=True)
        closing.callback(lambda: step(self._ledger.close()))
        self.client = closing.enter_context(Client(edge, wrap, now=self.clock.now))

    def answer(self, suite: Suite, name: str) -> tuple[Client, Answer]:
        """A browser of its own asks for a page and brings this case's response back."""
        browser = self.client.another()
        asked = browser.get("/page").location
        relay_state = dict(pair.split("=") for pair in asked.partition("?")[2].split("&"))["RelayState"]
        response = suite.response(name, AuthnRequest.of(asked), now=self.clock.now())
        form = {"SAMLResponse": base64.b64encode(response).decode(), "RelayState": relay_state}
        return browser, browser.post("/_jit/acs/saml", form, initiator=f"{IDP}/login")

    def reason(self) -> str:
        """Why the last login was refused."""
        return step(self._ledger.list_audit(limit=10_000))[-1].reason or ""


def idp_metadata(key: KeyPair) -> str:
    return (
        f'<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{IDP}"><md:IDPSSODescriptor'
        ' protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:KeyDescriptor use="signing">'
        '<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>'
        f"{key.bare_certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
        f'<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{IDP}/sso"/>'
        "</md:IDPSSODescriptor></md:EntityDescriptor>"
    )


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def gate(request: pytest.FixtureRequest, spid_key: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with ExitStack() as closing:
        yield Gate(request.param, spid_key, tmp_path_factory.mktemp("spid"), closing)


def test_the_table_is_about_every_response_of_the_suite(suite: Suite) -> None:
    judged = [*ACCEPTED, *BEYOND_SAML, *REFUSED]
    assert sorted(judged) == sorted(suite.cases)
    assert len(judged) == 111
    assert {name for name in suite.cases if suite.accepts(name)} == ACCEPTED


@pytest.mark.parametrize("name", sorted({*ACCEPTED, *BEYOND_SAML}, key=int))
def test_a_good_response_signs_in(gate: Gate, suite: Suite, name: str) -> None:
    browser, answer = gate.answer(suite, name)
    assert answer.status == 303, gate.reason()
    assert browser.get("/page").status == 200


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_a_bad_response_is_refused_for_its_own_reason(gate: Gate, suite: Suite, name: str, reason: str) -> None:
    browser, answer = gate.answer(suite, name)
    assert answer.status == 403
    assert gate.reason() == reason
    assert reason not in answer.text
    assert browser.get("/page").status == 302
