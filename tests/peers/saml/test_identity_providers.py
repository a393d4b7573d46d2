"""The real SAML identity providers do what the other tests take for granted; judged by python3-saml, not by our code."""

from __future__ import annotations

import base64
import itertools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree

from tests.peers import MissingPart
from tests.peers.agent import Departure, Stuck
from tests.peers.saml.keys import KeyPair
from tests.peers.saml.lemonldap import LemonLDAP, lemonldap
from tests.peers.saml.pysaml2 import PySAML2, pysaml2
from tests.peers.saml.samlp import Samlp, samlp
from tests.peers.saml.simplesamlphp import SimpleSAMLphp, Variant, simplesamlphp
from tests.peers.saml.sp import EMAIL, PERSISTENT, TRANSIENT, ServiceProvider

NS = {
    "p": "urn:oasis:names:tc:SAML:2.0:protocol",
    "a": "urn:oasis:names:tc:SAML:2.0:assertion",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "xenc": "http://www.w3.org/2001/04/xmlenc#",
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
}
ALICE = {"mail": "alice@example.org", "displayName": "Alice Arden", "groups": ["staff", "admins"]}
_numbers = itertools.count(1)


@dataclass
class OtherSP:
    """python3-saml as the service provider."""

    sp: ServiceProvider
    keys: KeyPair
    idp: Any
    wants: Mapping[str, object]

    def settings(self) -> dict[str, Any]:
        from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser as Parser

        redirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
        return {
            "strict": True,
            "sp": {
                "entityId": self.sp.entity_id,
                "assertionConsumerService": {"url": self.sp.acs},
                "singleLogoutService": {"url": self.sp.sls, "binding": redirect},
                "x509cert": self.keys.certificate,
                "privateKey": self.keys.private_key,
            },
            "idp": Parser.parse(self.idp.metadata())["idp"],
            "security": {
                "authnRequestsSigned": True,
                "logoutRequestSigned": True,
                "requestedAuthnContext": False,
                "wantAttributeStatement": False,
                "allowRepeatAttributeName": True,
                "rejectDeprecatedAlgorithm": True,
                **self.wants,
            },
        }

    def auth(self, arrival: Departure | None = None) -> Any:
        from onelogin.saml2.auth import OneLogin_Saml2_Auth

        place = urlsplit(arrival.url if arrival else self.sp.acs)
        query = {name: values[0] for name, values in parse_qs(place.query).items()}
        request = {
            "https": "off",
            "http_host": place.netloc,
            "script_name": place.path,
            "query_string": place.query,
            "get_data": query,
            "post_data": dict(arrival.fields or {}) if arrival else {},
        }
        return OneLogin_Saml2_Auth(request, old_settings=self.settings())

    def login_url(self, **options: object) -> str:
        return str(self.auth().login(return_to="state", **options))

    def take(self, arrival: Departure) -> Any:
        auth = self.auth(arrival)
        auth.process_response()
        assert auth.get_errors() == [], auth.get_last_error_reason()
        return auth


def message(departure: Departure) -> etree._Element:
    """The message a departure carries."""
    (name,) = departure.parameters.keys() & {"SAMLResponse", "SAMLRequest"}
    raw = base64.b64decode(departure.parameters[name])
    return etree.fromstring(zlib.decompress(raw, -15) if departure.fields is None else raw)


def shape(departure: Departure) -> set[str]:
    """What is signed and encrypted on the wire, and how."""
    root = message(departure)
    found = {algorithm.rpartition("#")[2] for algorithm in root.xpath("//ds:SignatureMethod/@Algorithm", namespaces=NS)}
    found |= {a.rpartition("#")[2] for a in root.xpath("//xenc:EncryptionMethod/@Algorithm", namespaces=NS)}
    places = {"response": "/p:Response/ds:Signature", "assertion": "/p:Response/a:Assertion/ds:Signature"}
    return found | {name for name, path in places.items() if root.xpath(path, namespaces=NS)}


def entity(keys: KeyPair, **changes: Any) -> ServiceProvider:
    number = next(_numbers)
    return ServiceProvider.of(
        "http://localhost:8000", keys.bare_certificate, entity_id=f"http://localhost:8000/sp/{number}", **changes
    )


CBC = {"aes128-cbc", "rsa-oaep-mgf1p"}
SHAPES: dict[Variant, tuple[set[str], str | None]] = {
    "assertion": ({"rsa-sha256", "assertion"}, EMAIL),
    "response": ({"rsa-sha256", "response"}, EMAIL),
    "both": ({"rsa-sha256", "response", "assertion"}, EMAIL),
    "unsigned": (set(), EMAIL),
    "sha1": ({"rsa-sha1", "response", "assertion"}, EMAIL),
    "encrypted-both": (CBC | {"rsa-sha256", "response"}, None),
    "encrypted-response": (CBC | {"rsa-sha256", "response"}, None),
    "encrypted-assertion": (CBC, None),
    "encrypted-nameid": (CBC | {"rsa-sha256", "response", "assertion"}, None),
    "persistent": ({"rsa-sha256", "assertion"}, PERSISTENT),
    "transient": ({"rsa-sha256", "assertion"}, TRANSIENT),
    "urn": ({"rsa-sha256", "assertion"}, PERSISTENT),
    "signed-requests": ({"rsa-sha256", "response", "assertion"}, PERSISTENT),
    "token": ({"rsa-sha256", "response", "assertion"}, PERSISTENT),
}


@pytest.mark.parametrize("variant", SHAPES)
def test_simplesamlphp_sends_the_response_its_variant_promises(
    simplesamlphp_idp: SimpleSAMLphp, sp_keys: KeyPair, variant: Variant
) -> None:
    idp, sp = simplesamlphp_idp, entity(sp_keys)
    idp.register(sp, variant)
    idp.add_user("alice", ALICE)
    other = OtherSP(sp, sp_keys, idp, {})
    with idp.person("alice") as alice:
        departure = alice.visit(other.login_url())
    expected, name_id_format = SHAPES[variant]
    assert shape(departure) == expected
    assert departure.url == sp.acs
    assert departure.parameters["RelayState"] == "state"
    if name_id_format is not None:
        assert message(departure).xpath("string(//a:NameID/@Format)", namespaces=NS) == name_id_format
    if variant not in {"unsigned", "sha1"}:
        auth = other.take(departure)
        told = {name.rpartition(":")[2] for name in auth.get_attributes()}
        assert ("0.9.2342.19200300.100.1.3" if variant == "urn" else "mail") in told


def test_simplesamlphp_knows_people_by_their_password_only(simplesamlphp_idp: SimpleSAMLphp, sp_keys: KeyPair) -> None:
    idp, sp = simplesamlphp_idp, entity(sp_keys)
    idp.register(sp)
    idp.add_user("alice", ALICE)
    with idp.person("alice", "wrong") as stranger, pytest.raises(Stuck):
        stranger.visit(OtherSP(sp, sp_keys, idp, {}).login_url())


def test_simplesamlphp_refuses_unsigned_requests_where_it_wants_signed_ones(
    simplesamlphp_idp: SimpleSAMLphp, sp_keys: KeyPair
) -> None:
    idp, sp = simplesamlphp_idp, entity(sp_keys)
    idp.register(sp, "signed-requests")
    idp.add_user("alice", ALICE)
    unsigned = OtherSP(sp, sp_keys, idp, {"authnRequestsSigned": False})
    with idp.person("alice") as alice, pytest.raises(Stuck):
        alice.visit(unsigned.login_url())


def test_simplesamlphp_asks_again_when_forced_and_not_otherwise(
    simplesamlphp_idp: SimpleSAMLphp, sp_keys: KeyPair
) -> None:
    idp, sp = simplesamlphp_idp, entity(sp_keys)
    idp.register(sp)
    idp.add_user("alice", ALICE)
    other = OtherSP(sp, sp_keys, idp, {})
    with idp.person("alice") as alice:
        alice.visit(other.login_url())
        alice.visit(other.login_url())
        assert alice.forms_filled == 1
        alice.visit(other.login_url(force_authn=True))
        assert alice.forms_filled == 2
    with idp.person("alice") as alice:
        departure = alice.visit(other.login_url(is_passive=True))
        (status,) = message(departure).xpath("/p:Response/p:Status/p:StatusCode/p:StatusCode/@Value", namespaces=NS)
        assert status.endswith(":NoPassive")
        assert alice.forms_filled == 0


def test_simplesamlphp_sends_people_without_being_asked(simplesamlphp_idp: SimpleSAMLphp, sp_keys: KeyPair) -> None:
    idp, sp = simplesamlphp_idp, entity(sp_keys)
    idp.register(sp)
    idp.add_user("alice", ALICE)
    with idp.person("alice") as alice:
        departure = alice.visit(idp.unsolicited_url(sp, "/deep"))
    assert message(departure).get("InResponseTo") is None
    assert departure.parameters["RelayState"] == "/deep"


@pytest.mark.parametrize("binding", ["redirect", "post"])
def test_simplesamlphp_tells_the_other_application_of_a_logout(
    simplesamlphp_idp: SimpleSAMLphp, sp_keys: KeyPair, binding: Any
) -> None:
    idp, sp = simplesamlphp_idp, entity(sp_keys, slo_binding=binding)
    idp.register(sp, "persistent")
    idp.add_user("alice", ALICE)
    other = OtherSP(sp, sp_keys, idp, {})
    with idp.person("alice") as alice:
        auth = other.take(alice.visit(other.login_url()))
        departure = alice.visit(idp.logout_url())
    request = message(departure)
    assert departure.url.partition("?")[0] == sp.sls
    assert (departure.fields is None) == (binding == "redirect")
    assert request.xpath("string(/p:LogoutRequest/p:SessionIndex)", namespaces=NS) == auth.get_session_index()
    signed = request.xpath("boolean(/p:LogoutRequest/ds:Signature)", namespaces=NS)
    assert "Signature" in departure.parameters if binding == "redirect" else signed


def test_simplesamlphp_announces_a_key_before_it_signs_with_it(sp_keys: KeyPair) -> None:
    from tests.peers.saml.keys import fresh_key_pair

    with simplesamlphp() as idp:
        sp, next_key = entity(sp_keys), fresh_key_pair("next")
        idp.register(sp)
        idp.add_user("alice", ALICE)
        first = idp.keys[0]
        idp.use_keys(first, next_key)
        announced = etree.fromstring(idp.metadata().encode()).xpath(
            "//md:KeyDescriptor[@use='signing']//ds:X509Certificate/text()", namespaces=NS
        )
        assert {"".join(text.split()) for text in announced} == {first.bare_certificate, next_key.bare_certificate}
        idp.use_keys(next_key)
        other = OtherSP(sp, sp_keys, idp, {})
        with idp.person("alice") as alice:
            other.take(alice.visit(other.login_url()))


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("assertion", {"rsa-sha256", "assertion"}),
        ("response", {"rsa-sha256", "response"}),
        ("both", {"rsa-sha256", "response", "assertion"}),
        ("encrypted-both", {"rsa-sha256", "response", "aes256-gcm", "rsa-oaep-mgf1p"}),
        ("encrypted-assertion", {"aes256-gcm", "rsa-oaep-mgf1p"}),
    ],
)
def test_samlp_sends_the_response_its_variant_promises(
    samlp_idp: Samlp, sp_keys: KeyPair, variant: Any, expected: set[str]
) -> None:
    sp = entity(sp_keys)
    samlp_idp.register(sp, variant)
    samlp_idp.add_user("alice", ALICE)
    other = OtherSP(sp, sp_keys, samlp_idp, {})
    with samlp_idp.person("alice") as alice:
        departure = alice.visit(other.login_url())
    assert shape(departure) == expected
    auth = other.take(departure)
    assert auth.get_nameid() == "alice@example.org"
    assert auth.get_attributes()["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"] == [
        "alice@example.org"
    ]


@pytest.mark.parametrize("variant", ["assertion", "response", "both", "encrypted-both", "sha512", "persistent"])
def test_pysaml2_logs_in(pysaml2_idp: PySAML2, sp_keys: KeyPair, variant: Any) -> None:
    sp = entity(sp_keys)
    pysaml2_idp.register(sp, variant)
    pysaml2_idp.add_user("alice", ALICE)
    other = OtherSP(sp, sp_keys, pysaml2_idp, {})
    with pysaml2_idp.person("alice") as alice:
        auth = other.take(alice.visit(other.login_url()))
    assert auth.get_nameid_format() == (PERSISTENT if variant == "persistent" else EMAIL)


def test_pysaml2_bends_the_next_response_only(pysaml2_idp: PySAML2, sp_keys: KeyPair) -> None:
    sp = entity(sp_keys)
    pysaml2_idp.register(sp)
    pysaml2_idp.add_user("alice", ALICE)
    other = OtherSP(sp, sp_keys, pysaml2_idp, {})
    with pysaml2_idp.person("alice") as alice:
        pysaml2_idp.bend(issuer="https://evil.example/idp")
        bent = alice.visit(other.login_url())
        assert message(bent).xpath("string(/p:Response/a:Issuer)", namespaces=NS) == "https://evil.example/idp"
        other.take(alice.visit(other.login_url()))


def test_logouts_by_redirect_are_confirmed_with_a_signature(
    simplesamlphp_idp: SimpleSAMLphp, samlp_idp: Samlp, pysaml2_idp: PySAML2, sp_keys: KeyPair
) -> None:
    for idp in (simplesamlphp_idp, samlp_idp, pysaml2_idp):
        sp = entity(sp_keys)
        idp.register(sp)
        idp.add_user("alice", ALICE)
        other = OtherSP(sp, sp_keys, idp, {})
        with idp.person("alice") as alice:
            auth = other.take(alice.visit(other.login_url()))
            asked = auth.logout(
                name_id=auth.get_nameid(),
                session_index=auth.get_session_index(),
                name_id_format=auth.get_nameid_format(),
            )
            back = alice.visit(asked)
            assert message(back).xpath("string(//p:StatusCode/@Value)", namespaces=NS).endswith(":Success"), idp.site
            assert {"SAMLResponse", "Signature", "SigAlg"} <= back.parameters.keys()
            filled = alice.forms_filled
            alice.visit(other.login_url())
            assert alice.forms_filled == filled + 1, f"{idp.site} kept its session"


def test_lemonldap_logs_in_and_out(lemonldap_idp: LemonLDAP, lemonldap_sp: ServiceProvider, sp_keys: KeyPair) -> None:
    other = OtherSP(lemonldap_sp, sp_keys, lemonldap_idp, {})
    with lemonldap_idp.person() as dwho:
        departure = dwho.visit(other.login_url())
        assert shape(departure) == {"rsa-sha256", "response", "assertion"}
        auth = other.take(departure)
        assert auth.get_attributes()["uid"] == ["dwho"]
        back = dwho.visit(
            auth.logout(
                name_id=auth.get_nameid(),
                session_index=auth.get_session_index(),
                name_id_format=auth.get_nameid_format(),
                nq=auth.get_nameid_nq(),
                spnq=auth.get_nameid_spnq(),
            )
        )
        assert message(back).xpath("string(//p:StatusCode/@Value)", namespaces=NS).endswith(":Success")


def test_a_missing_part_is_a_failure_that_names_its_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.peers.saml.simplesamlphp.ROOT", tmp_path)
    monkeypatch.setattr("tests.peers.saml.samlp.SOURCES", tmp_path)
    monkeypatch.setattr("tests.peers.saml.lemonldap.PORTAL", tmp_path)
    monkeypatch.setattr("tests.peers.saml.pysaml2.find_spec", lambda name: None)
    for start in (simplesamlphp, samlp, pysaml2, lambda: lemonldap([])):
        with pytest.raises(MissingPart, match="make setup"), start():
            raise AssertionError("it started without its parts")
