"""A LogoutRequest with a SessionIndex from a provider that leaves it out of its assertions.

Such a session has no name of its own here. The NameID of the request says whose it is, so it ends, and no session that
has another SessionIndex does (SAML Core §3.7.3.1, Profiles §4.4).
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree

from jit_middleware.sso.saml.signature import sign_enveloped
from tests.client import Client
from tests.unit.sso.saml.protocol.idp import PERSISTENT, SUCCESS, attribute, logout_request
from tests.unit.sso.saml.protocol.test_endpoints import OURS, THEIRS, Stage, stage
from tests.worlds import Answer

__all__ = ["stage"]

pytestmark = pytest.mark.slow

Make = Callable[..., Stage]
Tell = Callable[[Stage, bytes], Answer]
PROTOCOL = {"p": "urn:oasis:names:tc:SAML:2.0:protocol"}
ONE = "<samlp:SessionIndex>one</samlp:SessionIndex>"
SUBJECTS = pytest.mark.parametrize("subject", ["persistent", "attribute:uid"])


def by_redirect(at: Stage, xml: bytes) -> Answer:
    return at.logout(xml)


def by_post(at: Stage, xml: bytes) -> Answer:
    return at.post("sls", {"SAMLRequest": b64encode(sign_enveloped(xml, THEIRS)).decode()})


BINDINGS = pytest.mark.parametrize("tell", [by_redirect, by_post])


def bent(index: str | None, name: str, number: int) -> dict[str, Any]:
    return {
        "session_index": index,
        "name": name,
        "assertion_id": f"_a{number}",
        "attributes": attribute("uid", f"uid-{name}"),
    }


def signed_in(at: Stage, index: str | None, number: int, name: str = "alice") -> Client:
    """One more browser, at a provider that calls its session so, or by no name at all."""
    browser = at.client.another()
    assert at.sign_in(browser, **bent(index, name, number)).status == 303
    assert browser.get("/").status == 200
    at.clock.advance(1)
    return browser


def status_of(answer: Answer) -> Any:
    assert answer.status == 303, answer.text[:300]
    query = parse_qs(urlsplit(answer.location).query)
    return etree.fromstring(zlib.decompress(b64decode(query["SAMLResponse"][0]), -15)).xpath(
        "/p:LogoutResponse/p:Status/p:StatusCode/@Value", namespaces=PROTOCOL
    )


@SUBJECTS
@BINDINGS
def test_a_session_without_an_index_ends_with_any_session_of_its_name(stage: Make, tell: Tell, subject: str) -> None:
    at = stage(**OURS, JIT_SAML_SUBJECT=subject)
    unnamed, named, other = signed_in(at, None, 1), signed_in(at, "one", 2), signed_in(at, "two", 3)
    colleague = signed_in(at, None, 4, "bob")
    assert status_of(tell(at, logout_request())) == [SUCCESS]
    assert [at.is_in(browser) for browser in (unnamed, named, other, colleague)] == [False, False, True, True]
    assert [event.reason for event in at.events("session.ended")] == ["slo"] * 2
    [received] = at.events("signal.received")
    assert (received.outcome, received.data["sessions_ended"]) == ("success", 2)


@BINDINGS
def test_a_session_without_an_index_ends_though_no_session_has_the_one_that_is_told(stage: Make, tell: Tell) -> None:
    at = stage(**OURS)
    first, second = signed_in(at, None, 1), signed_in(at, None, 2)
    told = "".join(f"<samlp:SessionIndex>told-{number}</samlp:SessionIndex>" for number in range(2))
    assert status_of(tell(at, logout_request(inside=told))) == [SUCCESS]
    assert [at.is_in(browser) for browser in (first, second)] == [False, False]
    assert len(at.events("session.ended")) == 2, "each once, however many indexes are told"


def test_the_cookie_of_a_session_without_an_index_goes_with_it(stage: Make) -> None:
    at = stage(**OURS)
    at.sign_in(**bent(None, "alice", 1))
    assert at.client.jar.get("__Host-jit") is not None
    assert status_of(by_redirect(at, logout_request())) == [SUCCESS]
    assert at.client.jar.get("__Host-jit") is None


@pytest.mark.parametrize("name", ["bob", "Alice"])
@BINDINGS
def test_a_session_without_an_index_stays_where_another_name_is_told(stage: Make, tell: Tell, name: str) -> None:
    at = stage(**OURS)
    unnamed = signed_in(at, None, 1)
    assert status_of(tell(at, logout_request(name=name))) == [SUCCESS], "of that name nobody is here"
    assert at.is_in(unnamed)
    assert list(at.events("session.ended")) == []


def test_a_name_with_another_qualifier_is_another_persons(stage: Make) -> None:
    at = stage(**OURS, JIT_SAML_SUBJECT="persistent")
    unnamed = signed_in(at, None, 1)
    form = f'Format="{PERSISTENT}"'
    qualified = logout_request().decode().replace(form, f'{form} NameQualifier="https://other.example/idp"')
    assert status_of(by_redirect(at, qualified.encode())) == [SUCCESS]
    assert at.is_in(unnamed)


@BINDINGS
def test_the_same_name_at_another_connection_stays(stage: Make, tmp_path: Path, tell: Tell) -> None:
    (tmp_path / "jit.toml").write_text(
        '[connections.campus]\nprotocol = "saml"\nidp_metadata = "idp.xml"\nlabel = "Campus"\n'
    )
    env = stage(**OURS).env
    (tmp_path / "idp.xml").write_text(env["JIT_SAML_IDP_METADATA"])
    at = stage(**OURS, JIT_CONFIG=str(tmp_path / "jit.toml"))
    here, there = at.client.another(), at.client.another()
    for number, (browser, connection) in enumerate([(here, "saml"), (there, "campus")]):
        place = {
            "acs": f"https://app.example/_jit/acs/{connection}",
            "audience": f"https://app.example/_jit/metadata/{connection}",
            "attributes": attribute("uid", f"uid-at-{connection}"),
        }
        form = at.answer(browser.get(f"/_jit/login/{connection}"), **{**bent(None, "alice", number), **place})
        assert browser.post(f"/_jit/acs/{connection}", form, initiator="https://idp.example/").status == 303
        assert b'"session"' in browser.get("/").body
    at.clock.advance(1)
    assert status_of(tell(at, logout_request())) == [SUCCESS]
    at.clock.advance(2)
    pages = [browser.get("/").body for browser in (here, there)]
    assert [b'"session"' in page for page in pages] == [False, True], "the first sees the choice of connections"


@pytest.mark.parametrize("empty", ["<samlp:SessionIndex/>", "<samlp:SessionIndex> </samlp:SessionIndex>"])
@BINDINGS
def test_an_empty_index_narrows_nothing_down(stage: Make, tell: Tell, empty: str) -> None:
    """It names no session (SAML Core §1.3.1), so it cannot be what the rest is spared by."""
    at = stage(**OURS)
    browsers = [signed_in(at, "one", 1), signed_in(at, None, 2), signed_in(at, "two", 3, "bob")]
    assert status_of(tell(at, logout_request(inside=empty))) == [SUCCESS]
    assert [at.is_in(browser) for browser in browsers] == [False, False, True]


def test_an_empty_index_beside_another_adds_nothing(stage: Make) -> None:
    at = stage(**OURS)
    named, other = signed_in(at, "one", 1), signed_in(at, "two", 2)
    assert status_of(by_redirect(at, logout_request(inside=f"<samlp:SessionIndex/>{ONE}"))) == [SUCCESS]
    assert [at.is_in(browser) for browser in (named, other)] == [False, True]


# --- while somebody signs in ----------------------------------------------------------------------------------------


@SUBJECTS
@BINDINGS
def test_a_login_without_an_index_is_overtaken_by_any_session_of_its_name(
    stage: Make, tell: Tell, subject: str
) -> None:
    at = stage(**OURS, JIT_SAML_SUBJECT=subject)
    signed_in(at, None, 1)
    browser = at.client.another()
    withheld = at.answer(browser.get("/"), **bent(None, "alice", 2))
    assert status_of(tell(at, logout_request())) == [SUCCESS]
    at.clock.advance(20)
    again = at.post("acs", withheld, client=browser)
    assert again.location.startswith("https://idp.example/sso"), "the provider is asked once more"
    assert [event.reason for event in at.events("login.refused")] == ["revoked_meanwhile"]
    assert browser.jar.get("__Host-jit") is None
    assert not at.is_in(browser)
    assert at.sign_in(browser, **bent(None, "alice", 3)).status == 303, "what begins later counts"
    assert at.is_in(browser)


@pytest.mark.parametrize(
    ("index", "name"), [("two", "alice"), (None, "bob")], ids=["another-index", "no-index-and-another-name"]
)
def test_a_login_that_is_not_meant_goes_on(stage: Make, index: str | None, name: str) -> None:
    at = stage(**OURS)
    browser = at.client.another()
    withheld = at.answer(browser.get("/"), **bent(index, name, 1))
    assert status_of(by_redirect(at, logout_request())) == [SUCCESS]
    at.clock.advance(20)
    assert at.post("acs", withheld, client=browser).location == "https://app.example/"
    assert at.is_in(browser)
