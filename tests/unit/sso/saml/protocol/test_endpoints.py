"""The SAML endpoints behind both edges: asked and unasked logins, Single Logout, and what is not there."""

from __future__ import annotations

import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree

from jit_middleware.bridge import step
from jit_middleware.model import AuditEvent
from jit_middleware.outside import open_ledger
from jit_middleware.settings import Settings
from jit_middleware.sso.saml.signature import sign_enveloped, sign_redirect
from jit_middleware.testing.login import login_as
from tests.client import Client, Edge, middleware_of
from tests.conftest import FakeClock
from tests.databases import prepared
from tests.unit.sso.saml.protocol.idp import (
    NOW,
    SLS,
    attribute,
    descriptor,
    key_pair,
    logout_request,
    logout_response,
    response,
)
from tests.worlds import Answer

pytestmark = pytest.mark.slow

IDP_SITE = "https://idp.example/"
THEIRS = key_pair("idp")
OURS = {"JIT_SAML_SP_KEY": key_pair("sp").private_key_pem, "JIT_SAML_SP_CERT": key_pair("sp").certificate_pem}


class Stage:
    def __init__(self, edge: Edge, directory: Path, closing: ExitStack, env: dict[str, str]) -> None:
        self.clock = FakeClock()
        self.env = {
            "JIT_PUBLIC_URL": "https://app.example",
            "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
            "JIT_SAML_IDP_METADATA": descriptor(),
            "JIT_DATABASE_URL": f"sqlite:///{prepared(directory / 'jit.db')}",
            **env,
        }
        settings = Settings.load(self.env)

        def wrap(app: Any) -> Any:
            return middleware_of(edge)(app, settings, clock=self.clock)

        client = Client(edge, wrap, origin="https://app.example", now=self.clock.now)
        self.client = closing.enter_context(client)
        self.ledger = open_ledger(settings)
        closing.callback(lambda: step(self.ledger.close()))

    def answer(self, sent: Answer, **bent: Any) -> dict[str, str]:
        """What the provider posts for the request that this redirect carries."""
        assert sent.status == 302, sent.text[:300]
        query = parse_qs(urlsplit(sent.location).query)
        request = etree.fromstring(zlib.decompress(b64decode(query["SAMLRequest"][0]), -15))
        return {**unasked(in_response_to=request.get("ID"), **bent), "RelayState": query["RelayState"][0]}

    def sign_in(self, client: Client | None = None, **bent: Any) -> Answer:
        browser = client or self.client
        return self.post("acs", self.answer(browser.get("/"), **bent), client=browser)

    def post(self, endpoint: str, form: dict[str, str], *, client: Client | None = None) -> Answer:
        """A cross-site POST, as the provider's page sends it."""
        return (client or self.client).post(f"/_jit/{endpoint}/saml", form, initiator=IDP_SITE)

    def logout(self, xml: bytes, *, kind: Any = "SAMLRequest", relay_state: str | None = None) -> Answer:
        return self.client.get(sign_redirect(SLS, kind, xml, relay_state, THEIRS), initiator=IDP_SITE)

    def is_in(self, client: Client | None = None) -> bool:
        self.clock.advance(2)
        return (client or self.client).get("/").status == 200

    def events(self, kind: str) -> Sequence[AuditEvent]:
        return [event for event in step(self.ledger.list_audit(limit=1000)) if event.type == kind]


def unasked(**bent: Any) -> dict[str, str]:
    xml = response(**{"in_response_to": None, **bent})
    return {"SAMLResponse": b64encode(sign_enveloped(xml, THEIRS)).decode()}


def fields_of(page: Answer) -> dict[str, str]:
    assert page.status == 200, page.text[:300]
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))


@pytest.fixture(params=["wsgi", "asgi"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as closing:
        yield lambda **env: Stage(request.param, tmp_path, closing, env)


# --- signing in -------------------------------------------------------------------------------------------------------


def test_a_login_that_we_asked_for_lands_where_it_began(stage: Any) -> None:
    at = stage()
    landed = at.post("acs", at.answer(at.client.get("/deep?a=b"), attributes=attribute("uid", "alice-a")))
    assert (landed.status, landed.location) == (303, "https://app.example/deep?a=b")
    assert at.client.get("/").json()["user"]["username"] == "alice-a"


def test_the_providers_own_end_bounds_our_session(stage: Any) -> None:
    at = stage()
    at.sign_in(ends=NOW + 1000)
    at.clock.advance(997)
    assert at.client.get("/").status == 200
    at.clock.advance(3)
    assert at.client.get("/").status == 302


@pytest.mark.parametrize("past", [0, 1, 20, 59])
def test_a_session_that_has_ended_at_the_provider_begins_none_here(stage: Any, past: int) -> None:
    """The skew is for clocks; by our own clock such a session would be over before its cookie is set."""
    at = stage()
    page = at.sign_in(ends=NOW - past)
    assert (page.status, page.header("location")) == (403, None)
    assert [line for line in page.all("set-cookie") if line.startswith("__Host-jit=")] == []
    assert [event.reason for event in at.events("login.refused")] == ["session_ended"]
    assert at.events("login.succeeded") == []


def test_a_session_with_two_seconds_left_is_served_for_them_and_then_refused(stage: Any) -> None:
    at = stage()
    landed = at.sign_in(ends=NOW + 2)
    assert landed.status == 303
    at.clock.advance(1)
    assert at.client.get("/").status == 200
    at.clock.advance(1)
    assert at.sign_in(ends=NOW + 2, assertion_id="_assertion-2").status == 403
    assert [event.reason for event in at.events("login.refused")] == ["session_ended"]


def test_a_forced_authentication_is_a_new_one(stage: Any) -> None:
    at = stage(JIT_SAML_FORCE_AUTHN="on", JIT_SAML_ALLOW_IDP_INITIATED="on")
    assert at.sign_in(signed_in=NOW - 61).status == 403
    assert at.events("login.refused")[-1].reason == "login_too_old"
    assert at.post("acs", unasked(signed_in=NOW - 661)).status == 403
    assert at.post("acs", unasked(signed_in=NOW - 660)).status == 200
    assert at.sign_in(signed_in=NOW - 60, assertion_id="_assertion-2").status == 303


def test_without_force_an_older_authentication_counts(stage: Any) -> None:
    assert stage().sign_in(signed_in=NOW - 20_000).status == 303


def reasons_logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log names: these refusals leave no audit event, since anybody can cause them."""
    return [found[1] for record in caplog.records if (found := re.search(r"reason=(\S+)", record.getMessage()))]


def test_an_answer_that_nobody_asked_for_is_refused_by_name(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    at = stage()
    assert at.post("acs", unasked()).status == 403
    assert at.post("acs", {**unasked(), "RelayState": "https://app.example/deep"}).status == 403
    assert reasons_logged(caplog) == ["idp_initiated_off"] * 2
    assert list(at.events("login.refused")) == []
    assert not at.is_in()


def test_where_it_is_allowed_the_click_of_the_same_browser_decides(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    at = stage(JIT_SAML_ALLOW_IDP_INITIATED="on")
    page = at.post("acs", {**unasked(), "RelayState": "https://evil.example/"})
    assert "alice" in page.text
    assert "evil" not in page.text
    assert not at.is_in()
    fields = fields_of(page)
    stranger = at.client.another()
    assert stranger.post("/_jit/acs/saml", fields).status == 400
    other = {**fields, **unasked(name="mallory", assertion_id="_assertion-2")}
    assert at.client.post("/_jit/acs/saml", other).status == 400
    landed = at.client.post("/_jit/acs/saml", fields)
    assert (landed.status, landed.location) == (303, "https://app.example/")
    assert at.is_in()
    assert set(reasons_logged(caplog)) == {"confirmation_unknown"}


def test_an_unasked_answer_works_once(stage: Any) -> None:
    at = stage(JIT_SAML_ALLOW_IDP_INITIATED="on")
    form = unasked()
    for browser, status in ((at.client, 303), (at.client.another(), 400)):
        fields = fields_of(at.post("acs", form, client=browser))
        assert browser.post("/_jit/acs/saml", fields).status == status
    assert at.events("login.refused")[-1].reason == "assertion_replayed"


def test_an_unasked_answer_that_was_refused_is_used_up(stage: Any) -> None:
    """SAML Profiles §4.1.4.5: whoever is let in meanwhile is not let in by an answer that has been judged."""
    at = stage(JIT_SAML_ALLOW_IDP_INITIATED="on", JIT_REQUIRED_GROUPS="staff")
    welcome = stage(JIT_SAML_ALLOW_IDP_INITIATED="on")
    form = unasked()
    assert at.client.post("/_jit/acs/saml", fields_of(at.post("acs", form))).status == 403
    assert at.events("login.refused")[-1].reason not in {"assertion_replayed", "assertion_expired"}
    again = welcome.client.post("/_jit/acs/saml", fields_of(welcome.post("acs", form)))
    assert again.status == 400
    assert at.events("login.refused")[-1].reason == "assertion_replayed"
    assert not welcome.is_in()
    fresh = unasked(assertion_id="_assertion-2")
    assert welcome.client.post("/_jit/acs/saml", fields_of(welcome.post("acs", fresh))).status == 303


def test_an_answer_that_could_not_be_judged_is_not_used_up(stage: Any) -> None:
    at = stage(JIT_SAML_ALLOW_IDP_INITIATED="on")
    form = unasked()
    fields = fields_of(at.post("acs", form))
    at.clock.set_back(3600)
    assert at.client.post("/_jit/acs/saml", fields).status == 403, "not yet valid"
    at.clock.advance(3600)
    assert at.client.post("/_jit/acs/saml", fields_of(at.post("acs", form))).status == 303


def test_an_answer_to_a_request_is_never_an_unasked_one(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    at = stage(JIT_SAML_ALLOW_IDP_INITIATED="on")
    answer = at.answer(at.client.get("/"))
    del answer["RelayState"]
    assert at.post("acs", answer).status == 403
    assert reasons_logged(caplog) == ["unsolicited_answers_request"]


def test_a_reloaded_answer_goes_home_to_the_session_there_is(stage: Any) -> None:
    at = stage()
    answer = at.answer(at.client.get("/deep"))
    at.post("acs", answer)
    again = at.post("acs", answer)
    assert (again.status, again.location) == (303, "https://app.example/")
    assert at.is_in()


def test_a_second_login_in_flight_ends_the_session_of_the_first(stage: Any) -> None:
    at = stage()
    first, second = at.answer(at.client.get("/a")), at.answer(at.client.get("/b"), assertion_id="_assertion-2")
    at.post("acs", first)
    kept = at.client.prepare("GET", "/")
    at.post("acs", second)
    (old,) = at.client.together(kept)
    assert old.status == 302
    assert [event.reason for event in at.events("session.ended")] == ["replaced"]


def test_three_logins_whose_cookie_never_comes_back_end_on_a_page(stage: Any) -> None:
    at = stage()
    for number in range(3):
        assert at.sign_in(assertion_id=f"_assertion-{number}").status == 303
        at.client.jar.store("https://app.example/", ["__Host-jit=; Path=/; Max-Age=0; Secure"])
    looped = at.client.get("/")
    assert looped.status == 400
    assert "login_loop" in looped.text


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"RelayState": "x"}, 400, "bad_request"),
        ({"SAMLResponse": ""}, 403, "login_not_verified"),
        ({"SAMLResponse": "AAAA" * 200_000}, 413, "bad_request"),
    ],
)
def test_what_is_no_answer_is_refused_in_json_too(stage: Any, form: dict[str, str], status: int, code: str) -> None:
    at = stage(JIT_SAML_ALLOW_IDP_INITIATED="on")
    refused = at.client.xhr("/_jit/acs/saml", method="POST", form=form, initiator=IDP_SITE)
    assert (refused.status, refused.json()["error"]) == (status, code)


def test_a_parameter_that_comes_twice_is_refused(stage: Any) -> None:
    at = stage()
    pairs = [*unasked().items(), *unasked().items()]
    assert at.client.post("/_jit/acs/saml", pairs, initiator=IDP_SITE).status == 400


def test_by_post_the_page_has_a_button_and_only_our_script(stage: Any) -> None:
    at = stage(JIT_SAML_BINDING="post")
    page = at.client.get("/")
    assert set(fields_of(page)) == {"SAMLRequest", "RelayState"}
    assert 'action="https://idp.example/sso-post"' in page.text
    policy = page.header("content-security-policy") or ""
    assert "script-src 'self'" in policy
    assert "form-action 'self' https: https://idp.example" in policy
    assert re.findall(r"<script[^>]*>[^<]*", page.text) == ['<script src="/_jit/submit-form" defer>']
    script = at.client.get("/_jit/submit-form")
    assert (script.text, script.header("content-type")) == (
        "document.forms[0].submit();\n",
        "text/javascript; charset=utf-8",
    )
    assert "SameSite=None" in (page.header("set-cookie") or "")


# --- signing out ------------------------------------------------------------------------------------------------------


def test_the_provider_ends_the_session_it_names_and_gets_a_signed_answer(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    other = at.client.another()
    at.sign_in(other, session_index="two", assertion_id="_assertion-2")
    answered = at.logout(logout_request(), relay_state="theirs")
    assert answered.status == 303
    assert answered.location.startswith("https://idp.example/slo-answer?SAMLResponse=")
    assert "RelayState=theirs&SigAlg=" in answered.location
    assert not at.is_in()
    assert at.is_in(other)
    assert [event.reason for event in at.events("session.ended")] == ["slo"]


@pytest.mark.parametrize("subject", ["persistent", "attribute:uid"])
def test_without_a_session_index_all_sessions_of_the_person_end(stage: Any, subject: str) -> None:
    at = stage(**OURS, JIT_SAML_SUBJECT=subject)
    browsers = [at.client, at.client.another(), at.client.another()]
    for number, (browser, name) in enumerate(zip(browsers, ("alice", "alice", "bob"), strict=True)):
        at.sign_in(
            browser,
            name=name,
            assertion_id=f"_assertion-{number}",
            session_index=f"s{number}",
            attributes=attribute("uid", f"uid-{name}"),
        )
    at.logout(logout_request(inside=""))
    assert [at.is_in(browser) for browser in browsers] == [False, False, True]


def test_sessions_from_before_another_subject_was_configured_end_too(stage: Any) -> None:
    """What the provider names is the NameID, whatever a connection takes for the subject by then."""
    before, after = stage(**OURS, JIT_SAML_SUBJECT="attribute:uid"), stage(**OURS, JIT_SAML_SUBJECT="persistent")
    before.sign_in(attributes=attribute("uid", "uid-alice"))
    assert before.is_in()
    after.clock.advance(2)
    answered = after.logout(logout_request(inside=""))
    assert answered.location.startswith("https://idp.example/slo-answer?SAMLResponse="), "success is said"
    assert not before.is_in()
    assert [event.reason for event in before.events("session.ended")] == ["slo"]


def test_a_logout_of_somebody_else_leaves_this_browser_alone(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    answered = at.logout(logout_request(name="bob"))
    assert answered.status == 303
    assert not answered.all("set-cookie")
    assert at.is_in()


def test_a_logout_request_that_was_used_before_ends_nothing(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    at.logout(logout_request())
    at.clock.advance(1)
    at.sign_in(assertion_id="_assertion-2")
    refused = at.logout(logout_request())
    assert refused.status == 400
    assert "logout_not_verified" in refused.text
    assert at.is_in()


def test_a_logout_by_post_from_the_provider_ends_the_session_that_the_browser_does_not_show(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    form = {"SAMLRequest": b64encode(sign_enveloped(logout_request(), THEIRS)).decode()}
    answered = at.post("sls", form)
    assert answered.status == 303
    assert answered.all("set-cookie") == [], "whose browser carries this is not known: its cookie is left alone"
    assert not at.is_in()


def ours(at: Any) -> tuple[str, str]:
    """Sign out here; the state and the ID of the request that goes to the provider."""
    left = at.client.post("/_jit/logout")
    assert left.status == 303
    query = parse_qs(urlsplit(left.location).query)
    request = etree.fromstring(zlib.decompress(b64decode(query["SAMLRequest"][0]), -15))
    return query["RelayState"][0], request.get("ID") or ""


def test_a_logout_of_ours_ends_on_the_page_that_says_so(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    state, request_id = ours(at)
    done = at.logout(logout_response(request_id), kind="SAMLResponse", relay_state=state)
    assert done.status == 200
    assert not at.is_in()


def test_an_answer_by_post_goes_by_way_of_a_request_that_shows_the_cookie(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    state, request_id = ours(at)
    form = {
        "SAMLResponse": b64encode(sign_enveloped(logout_response(request_id), THEIRS)).decode(),
        "RelayState": state,
    }
    away = at.post("sls", form)
    assert (away.status, away.location) == (303, f"https://app.example/_jit/signed-out?state={state}")
    assert at.client.get(away.location, initiator=IDP_SITE).status == 200


def test_an_answer_to_somebody_elses_logout_is_refused(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    state, request_id = ours(at)
    at.client.jar = at.client.another().jar
    refused = at.logout(logout_response(request_id), kind="SAMLResponse", relay_state=state)
    assert refused.status == 400
    assert "logout_unconfirmed" in refused.text


def test_a_logout_that_the_provider_could_not_finish_is_said(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    state, request_id = ours(at)
    partial = '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"/>'
    said = at.logout(logout_response(request_id, status=partial), kind="SAMLResponse", relay_state=state)
    assert said.status == 400
    assert "logout_unconfirmed" in said.text
    assert not at.is_in()


def test_an_unsigned_logout_message_ends_nothing(stage: Any) -> None:
    at = stage(**OURS)
    at.sign_in()
    form = {"SAMLRequest": b64encode(logout_request()).decode()}
    assert at.post("sls", form).status == 400
    assert at.is_in()


# --- what is not there ------------------------------------------------------------------------------------------------


def test_metadata_is_served_as_such(stage: Any) -> None:
    served = stage().client.get("/_jit/metadata/saml")
    assert (served.status, served.header("content-type")) == (200, "application/samlmetadata+xml")
    assert etree.fromstring(served.body).get("entityID") == "https://app.example/_jit/metadata/saml"


def test_each_protocol_has_its_own_endpoints(stage: Any) -> None:
    at = stage(
        JIT_OIDC_ISSUER="https://op.example", JIT_OIDC_CLIENT_ID="app", JIT_OIDC_CLIENT_SECRET="a secret of the tests"
    )
    for path in ("callback/saml", "metadata/oidc", "metadata/none", "sls/oidc", "metadata"):
        assert at.client.get(f"/_jit/{path}").status == 404, path
    for path in ("acs/oidc", "acs/none"):
        assert at.client.post(f"/_jit/{path}", unasked(), initiator=IDP_SITE).status == 404, path
    assert at.client.get("/_jit/acs/saml").status == 405


def test_without_a_key_there_is_no_logout_endpoint(stage: Any) -> None:
    at = stage()
    at.sign_in()
    assert at.logout(logout_request()).status == 404
    left = at.client.post("/_jit/logout")
    assert (left.status, left.location) == (303, "https://app.example/_jit/signed-out")


def test_a_wrapped_application_is_tested_with_saml_attributes_too(tmp_path: Path) -> None:
    with ExitStack() as closing:
        at = Stage(
            "wsgi", tmp_path, closing, {"JIT_ROLE_RULES": '[{"when": "contains(groups, \'ops\')", "grant": ["a"]}]'}
        )
        cookie = login_as(at.client.middleware, "name-id-1", uid="alice", groups=["ops"])
        user = at.client.get("/", headers={"Cookie": cookie}).json()["user"]
    assert (user["username"], user["roles"]) == ("alice", ["a"])
