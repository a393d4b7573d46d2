"""A login for every way a real identity provider answers, and a named refusal for every way it must not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.peers.saml.keys import fresh_key_pair
from tests.peers.saml.lemonldap import LemonLDAP
from tests.peers.saml.pysaml2 import PySAML2
from tests.peers.saml.samlp import Samlp
from tests.peers.saml.sp import ServiceProvider
from tests.scenarios_saml.stage import SAMLStage, SAMLStageBuilder

TOKEN = "urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken"
X509 = "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"
SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
SHA1_DIGEST = "http://www.w3.org/2000/09/xmldsig#sha1"
PERSISTENT = {"JIT_SAML_SUBJECT": "persistent"}
EMAIL = {"JIT_SAML_SUBJECT": "email"}


def is_in(stage: SAMLStage, who: str) -> None:
    """The person arrives at the deep link, as the user they are."""
    seen = stage.sign_in(who, "/deep?x=1")
    assert seen.status == 200, stage.refusal()
    told = seen.json()
    assert (told["path"], told["query"], told["user"]["username"]) == ("/deep", "x=1", who)
    assert told["user"]["email"] == f"{who}@example.org"
    assert told["user"]["display_name"] == "Alice"
    again = stage.sign_in(who, client=stage.client.another())
    assert again.json()["user"]["id"] == told["user"]["id"]
    assert [event.type for event in stage.events("user.created", "login.refused")] == ["user.created"]


def is_refused(stage: SAMLStage, who: str, reason: str) -> None:
    """Nobody is signed in, the page says no more than any other refusal, and the audit says why."""
    page = stage.sign_in(who)
    assert page.status in {400, 403}, page.text[:300]
    assert stage.refusal() == reason
    assert reason not in page.text
    assert stage.client.get("/").status != 200
    assert stage.accounts() == []


@pytest.mark.parametrize(
    ("variant", "env"),
    [
        ("assertion", EMAIL),
        ("response", EMAIL),
        ("both", EMAIL),
        ("encrypted-both", PERSISTENT),
        ("encrypted-response", PERSISTENT),
        ("persistent", PERSISTENT),
        ("transient", {"JIT_SAML_SUBJECT": "attribute:uid", "JIT_SAML_NAME_ID_FORMAT": "transient"}),
        ("persistent", {"JIT_SAML_SUBJECT": "attribute:mail"}),
        ("urn", {"JIT_SAML_SUBJECT": "attribute:urn:oid:0.9.2342.19200300.100.1.1", "JIT_SAML_PRESET": "shibboleth"}),
        ("signed-requests", {**PERSISTENT, "JIT_SAML_SIGN_REQUESTS": "true"}),
        ("signed-requests", {**PERSISTENT, "JIT_SAML_SIGN_REQUESTS": "true", "JIT_SAML_BINDING": "post"}),
        ("both", {**EMAIL, "JIT_SAML_BINDING": "post"}),
        ("token", {**PERSISTENT, "JIT_SAML_AUTHN_CONTEXTS": TOKEN}),
    ],
)
def test_simplesamlphp(build: SAMLStageBuilder, variant: str, env: dict[str, str]) -> None:
    stage = build(variant=variant, **env)
    is_in(stage, stage.person("alice"))


@pytest.mark.parametrize(
    ("variant", "env", "reason"),
    [
        ("unsigned", EMAIL, "signature_missing"),
        ("sha1", EMAIL, "signature_algorithm"),
        # CBC is only believed inside a signed Response: without one its padding is an oracle.
        ("encrypted-assertion", PERSISTENT, "encryption_algorithm"),
        ("transient", PERSISTENT, "subject_transient"),
        ("assertion", PERSISTENT, "subject_format_mismatch"),
        ("persistent", EMAIL, "subject_format_mismatch"),
        ("persistent", {"JIT_SAML_SUBJECT": "attribute:employeeNumber"}, "subject_attribute_missing"),
        ("persistent", {"JIT_SAML_SUBJECT": "attribute:groups"}, "subject_attribute_ambiguous"),
        ("token", {**PERSISTENT, "JIT_SAML_AUTHN_CONTEXTS": X509}, "authn_context_mismatch"),
        ("both", {**EMAIL, "JIT_SAML_IS_PASSIVE": "true"}, "status_not_success"),
    ],
)
def test_simplesamlphp_is_refused(build: SAMLStageBuilder, variant: str, env: dict[str, str], reason: str) -> None:
    stage = build(variant=variant, **env)
    is_refused(stage, stage.person("alice", groups=["staff", "admins"]), reason)


def test_encryption_without_a_key_is_refused(build: SAMLStageBuilder) -> None:
    stage = build(variant="encrypted-both", with_key=False, **PERSISTENT)
    is_refused(stage, stage.person("alice"), "encryption_not_expected")


def test_whatever_is_encrypted_for_a_key_to_come_is_read(build: SAMLStageBuilder) -> None:
    coming = fresh_key_pair("the service provider's next")
    keys = {
        "JIT_SAML_SP_KEY": build.keys.private_key + coming.private_key,
        "JIT_SAML_SP_CERT": build.keys.certificate + coming.certificate,
    }
    stage = build(variant="encrypted-response", at_provider={"certData": coming.bare_certificate}, **PERSISTENT, **keys)
    is_in(stage, stage.person("alice"))
    announced = "".join(stage.client.get("/_jit/metadata/saml").text.split())
    assert build.keys.bare_certificate in announced
    assert coming.bare_certificate in announced


def test_an_encrypted_name_is_the_name_inside(build: SAMLStageBuilder) -> None:
    stage = build(variant="encrypted-nameid", **PERSISTENT)
    is_in(stage, stage.person("alice"))


@pytest.mark.parametrize("variant", ["assertion", "response", "both", "encrypted-both", "encrypted-assertion"])
@pytest.mark.parametrize("preset", ["adfs", None])
def test_samlp(build: SAMLStageBuilder, samlp_idp: Samlp, variant: str, preset: str | None) -> None:
    chosen = {} if preset is None else {"JIT_SAML_PRESET": preset}
    stage = build(idp=samlp_idp, variant=variant, **EMAIL, **chosen)
    alice = stage.person("alice")
    answer = stage.sign_in(alice, "/deep")
    assert answer.status == 200, stage.refusal()
    seen = answer.json()
    assert (seen["path"], seen["user"]["email"]) == ("/deep", f"{alice}@example.org")
    if preset is not None:
        assert seen["user"]["display_name"] == "Alice"
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"] == seen["user"]


@pytest.mark.parametrize(
    ("variant", "env"),
    [
        ("assertion", EMAIL),
        ("response", EMAIL),
        ("both", {**EMAIL, "JIT_SAML_BINDING": "post"}),
        ("sha512", EMAIL),
        ("persistent", PERSISTENT),
        (
            "mace",
            {
                **EMAIL,
                "JIT_CLAIMS_USERNAME": "eduPersonPrincipalName",
                "JIT_CLAIMS_EMAIL": "mail",
                "JIT_CLAIMS_DISPLAY_NAME": "displayName",
            },
        ),
    ],
)
def test_pysaml2(build: SAMLStageBuilder, pysaml2_idp: PySAML2, variant: str, env: dict[str, str]) -> None:
    stage = build(idp=pysaml2_idp, variant=variant, **env)
    is_in(stage, stage.person("alice"))


@pytest.mark.parametrize(
    ("oddities", "reason"),
    [
        ({"issuer": "https://evil.example/idp"}, "issuer_mismatch"),
        ({"in_response_to": "_another"}, "in_response_to_mismatch"),
        ({"in_response_to": None}, "in_response_to_missing"),
        ({"destination": "http://localhost:8000/elsewhere"}, "destination_mismatch"),
        ({"sign_response": False, "sign_assertion": False}, "signature_missing"),
        ({"sign_alg": SHA1}, "signature_algorithm"),
        ({"digest_alg": SHA1_DIGEST}, "signature_algorithm"),
        ({"session_not_on_or_after": "2020-01-01T00:00:00Z"}, "session_ended"),
        ({"context": X509}, "authn_context_mismatch"),
        ({"sp_entity_id": "the other"}, "audience_mismatch"),
    ],
)
def test_pysaml2_bent_is_refused(
    build: SAMLStageBuilder, pysaml2_idp: PySAML2, oddities: dict[str, Any], reason: str
) -> None:
    contexts = {"JIT_SAML_AUTHN_CONTEXTS": TOKEN} if "context" in oddities else {}
    stage = build(idp=pysaml2_idp, **EMAIL, **contexts)
    alice = stage.person("alice")
    if "sp_entity_id" in oddities:
        oddities = {"sp_entity_id": build(idp=pysaml2_idp).sp.entity_id}
    pysaml2_idp.bend(**oddities)
    is_refused(stage, alice, reason)
    assert stage.sign_in(alice, client=stage.client.another()).status == 200


def test_the_providers_end_of_the_session_is_ours(build: SAMLStageBuilder, pysaml2_idp: PySAML2) -> None:
    stage = build(idp=pysaml2_idp, **EMAIL)
    end = datetime.now(UTC) + timedelta(seconds=120)
    pysaml2_idp.bend(session_not_on_or_after=end.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert stage.sign_in(stage.person("alice")).status == 200
    stage.clock.advance(110)
    assert stage.client.get("/").status == 200
    stage.clock.advance(11)
    assert stage.client.get("/").status == 302


def test_triple_des_is_refused(build: SAMLStageBuilder, pysaml2_idp: PySAML2) -> None:
    stage = build(idp=pysaml2_idp, variant="encrypted-both", **EMAIL)
    is_refused(stage, stage.person("alice"), "encryption_algorithm")


def test_pysaml2_knows_us_by_our_own_metadata(build: SAMLStageBuilder, pysaml2_idp: PySAML2) -> None:
    stage = build(idp=pysaml2_idp, **EMAIL, JIT_SAML_SIGN_REQUESTS="true")
    ours = stage.client.get("/_jit/metadata/saml")
    assert (ours.status, ours.header("content-type")) == (200, "application/samlmetadata+xml")
    pysaml2_idp.register(stage.sp, metadata=ours.text)
    is_in(stage, stage.person("alice"))


def test_lemonldap_logs_in_and_out(
    build: SAMLStageBuilder, lemonldap_idp: LemonLDAP, lemonldap_sp: ServiceProvider
) -> None:
    signed = {"JIT_SAML_SIGN_REQUESTS": "true", **PERSISTENT}
    stage = build(idp=lemonldap_idp, entity_id=lemonldap_sp.entity_id, **signed)
    with lemonldap_idp.person("dwho") as dwho:
        answer = stage.sign_in("dwho", "/deep", agent=dwho)
        assert answer.status == 200, stage.refusal()
        seen = answer.json()
        assert (seen["path"], seen["user"]["username"]) == ("/deep", "dwho")
        back = dwho.visit(stage.client.post("/_jit/logout").location)
        assert stage.client.get(back.url, initiator=stage.provider.issuer, follow=True).status == 200
        assert stage.client.get("/").status == 302
        filled = dwho.forms_filled
        stage.sign_in("dwho", agent=dwho)
        assert dwho.forms_filled > filled
