"""A sign-out that begins at the provider: back-channel with the real one, front-channel as its page's frame asks.

Frames need a browser: ``tests.browser_pages.test_provider_logout`` has a real one, before the page of a real provider.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, quote, urlencode

import pytest

from jit_middleware.bridge import step
from jit_middleware.ports import Transaction
from tests.client import Client
from tests.peers.agent import Agent
from tests.peers.oidc_provider import Provider
from tests.scenarios.conftest import Stage, StageBuilder
from tests.worlds import Answer

CSP = "content-security-policy"


class Door(HTTPServer):
    """The address at which the provider reaches the application: hands each request on to it, and its answer back."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/_jit/backchannel/oidc"
        self.app: Client | None = None
        self.tokens: list[str] = []
        self.statuses: list[int] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        door = self.server
        assert isinstance(door, Door)
        assert door.app is not None
        body = self.rfile.read(int(self.headers["content-length"]))
        door.tokens += parse_qs(body.decode()).get("logout_token", [])
        headers = {"Content-Type": self.headers["content-type"], "Cookie": None}
        sent = door.app.prepare("POST", self.path, headers=headers, body=body, initiator="http://127.0.0.1/")
        answer = door.app.world.exchange(sent)
        door.statuses.append(answer.status)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the console is the tests'."""


@pytest.fixture
def door() -> Iterator[Door]:
    with Door() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def staged(build: StageBuilder, door: Door) -> Callable[..., Stage]:
    def make(*, with_sid: bool = True, **env: str) -> Stage:
        registration = {"backchannel_logout_uri": door.url, "backchannel_logout_session_required": with_sid}
        stage = build(registration=registration, **env)
        door.app = stage.client
        return stage

    return make


def sign_out_at_the_provider(stage: Stage, agent: Agent) -> None:
    """The person signs out on the provider's own page, which then tells everybody, and sends them on to ``gone``."""
    client_id, gone = stage.env["JIT_OIDC_CLIENT_ID"], "http://localhost:8000/_jit/signed-out"
    asked = urlencode({"client_id": client_id, "post_logout_redirect_uri": gone})
    assert agent.visit(f"{stage.provider.issuer}/session/end?{asked}").url.startswith(gone)


def is_in(stage: Stage, client: Client) -> bool:
    stage.clock.advance(2)
    return client.get("/").status == 200


def backchannel(stage: Stage, form: Mapping[str, str], client: Client | None = None) -> Answer:
    headers = {"Cookie": None, "Accept": "application/json"}
    return (client or stage.client).post(
        "/_jit/backchannel/oidc", form, headers=headers, initiator="http://op.example/"
    )


# --- back-channel, with the real provider -----------------------------------------------------------------------------


def test_a_sign_out_at_the_provider_ends_the_session_that_began_there(
    staged: Callable[..., Stage], door: Door, provider: Provider
) -> None:
    stage = staged()
    alice = stage.person("alice")
    first, second = stage.agent(alice), stage.agent(alice)
    desk, phone, colleague = stage.client, stage.client.another(), stage.client.another()
    stage.sign_in(alice, agent=first)
    stage.sign_in(alice, agent=second, client=phone)
    stage.sign_in(stage.person("bob"), client=colleague)
    worker = stage.worker()
    worker.jar = desk.jar
    assert worker.get("/").status == 200
    provider.events()
    sign_out_at_the_provider(stage, first)
    assert door.statuses == [200]
    assert "backchannel.success" in [event.name for event in provider.events()]
    assert [is_in(stage, client) for client in (desk, worker, phone, colleague)] == [False, False, True, True]
    [ended] = stage.events("session.ended")
    assert ended.reason == "backchannel_logout"
    [received] = stage.events("signal.received")
    assert (received.data["kind"], received.data["sessions_ended"]) == ("backchannel_logout", 1)


def test_a_logout_token_without_a_session_ends_all_of_the_persons(staged: Callable[..., Stage], door: Door) -> None:
    stage = staged(with_sid=False)
    alice = stage.person("alice")
    agent = stage.agent(alice)
    desk, phone, colleague = stage.client, stage.client.another(), stage.client.another()
    stage.sign_in(alice, agent=agent)
    stage.sign_in(alice, client=phone)
    stage.sign_in(stage.person("bob"), client=colleague)
    sign_out_at_the_provider(stage, agent)
    assert door.statuses == [200]
    assert [is_in(stage, client) for client in (desk, phone, colleague)] == [False, False, True]


def test_a_logout_token_works_once_for_all_workers(staged: Callable[..., Stage], door: Door) -> None:
    stage = staged(with_sid=False)
    alice = stage.person("alice")
    agent = stage.agent(alice)
    stage.sign_in(alice, agent=agent)
    sign_out_at_the_provider(stage, agent)
    assert not is_in(stage, stage.client)
    stage.sign_in(alice)
    for client in (stage.client, stage.worker()):
        answer = backchannel(stage, {"logout_token": door.tokens[0]}, client)
        assert (answer.status, answer.body, answer.header("cache-control")) == (200, b"", "no-store")
    assert is_in(stage, stage.client)
    assert len(stage.events("signal.received")) == 1


def test_a_logout_of_a_session_that_is_not_known_is_success(staged: Callable[..., Stage], door: Door) -> None:
    stage = staged()
    alice = stage.person("alice")
    agent = stage.agent(alice)
    stage.sign_in(alice, agent=agent)
    assert stage.client.post("/_jit/logout").status == 303
    sign_out_at_the_provider(stage, agent)
    assert door.statuses == [200]
    assert [event.reason for event in stage.events("session.ended")] == ["logout"]


def test_a_logout_token_for_another_application_ends_nothing(staged: Callable[..., Stage], door: Door) -> None:
    stage, other = staged(), staged()
    door.app = other.client
    alice = stage.person("alice")
    agent = stage.agent(alice)
    stage.sign_in(alice, agent=agent)
    sign_out_at_the_provider(stage, agent)
    assert door.statuses == [400]
    assert is_in(stage, stage.client)


def test_what_is_no_logout_token_is_refused_by_the_book(
    staged: Callable[..., Stage], caplog: pytest.LogCaptureFixture
) -> None:
    """OIDC Back-Channel Logout §2.8: 400, and an OAuth error as JSON."""
    stage = staged()
    stage.sign_in(stage.person("alice"))
    for form, reason in (
        ({}, "logout_token_missing"),
        ({"logout_token": "x"}, "token_malformed"),
        ({"logout_token": "x" * 17_000}, "token_too_large"),
    ):
        caplog.clear()
        answer = backchannel(stage, form)
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
        assert answer.header("cache-control") == "no-store"
        assert reason not in answer.text
        assert f"logout_not_verified reason={reason} " in caplog.text
    assert backchannel(stage, {"logout_token": "x" * 25_000}).status == 413
    text = stage.client.request(
        "POST", "/_jit/backchannel/oidc", body=b"logout_token=x", headers={"Content-Type": "text/plain"}
    )
    assert (text.status, text.json()["error"]) == (415, "invalid_request")
    for method in ("GET", "HEAD", "PUT"):
        refused = stage.client.request(method, "/_jit/backchannel/oidc")
        assert (refused.status, refused.header("allow")) == (405, "POST")
    assert is_in(stage, stage.client)
    assert stage.events("signal.received") == []


def test_an_id_token_signs_nobody_out(staged: Callable[..., Stage]) -> None:
    """attack catalogue 32: what every relying party holds is no logout token."""
    stage = staged()
    alice = stage.person("alice")
    stage.sign_in(alice)
    sent = stage.client.get("/_jit/logout")
    left = stage.client.post("/_jit/logout", {}, headers={"Origin": "null", "Sec-Fetch-Site": "cross-site"})
    assert sent.status == left.status == 200
    hint = stage.client.post("/_jit/logout").location.partition("id_token_hint=")[2].partition("&")[0]
    assert hint.count(".") == 2
    stage.sign_in(alice)
    assert backchannel(stage, {"logout_token": hint}).status == 400
    assert is_in(stage, stage.client)


# --- front-channel ----------------------------------------------------------------------------------------------------


def provider_session(stage: Stage) -> str:
    """What the provider calls the newest session; it puts this name into the frame's URL."""

    async def work(tx: Transaction) -> str:
        [newest, *_] = await tx.list_sessions()
        assert newest.idp_session is not None
        return newest.idp_session

    return step(stage.ledger.transaction(work))


def framed(stage: Stage, client: Client, **parameters: str) -> Answer:
    """As a frame on the provider's sign-out page asks: from another site, so without our cookie."""
    headers = {"Sec-Fetch-Dest": "iframe", "Cookie": None}
    query = urlencode(parameters, quote_via=quote)
    return client.get(f"/_jit/frontchannel/oidc?{query}", headers=headers, initiator=stage.provider.issuer)


def test_a_frame_on_the_providers_page_ends_the_session_it_names(staged: Callable[..., Stage]) -> None:
    stage = staged()
    alice = stage.person("alice")
    phone = stage.client.another()
    stage.sign_in(alice, client=phone)
    stage.clock.advance(2)
    stage.sign_in(alice)
    answer = framed(stage, stage.client, iss=stage.provider.issuer, sid=provider_session(stage))
    assert (answer.status, answer.header("cache-control")) == (200, "no-store")
    assert not answer.all("set-cookie")
    assert [is_in(stage, client) for client in (stage.client, phone)] == [False, True]
    assert [event.reason for event in stage.events("session.ended")] == ["frontchannel_logout"]
    again = framed(stage, stage.client, iss=stage.provider.issuer, sid="gone-already")
    assert again.status == 200, "a session that is not known has ended"


def test_a_frame_that_names_nobodys_session_waits_for_no_writer(staged: Callable[..., Stage]) -> None:
    """Anybody may ask, so asking takes nobody's turn to write."""
    stage = staged()
    stage.sign_in(stage.person("alice"))
    with contextlib.closing(sqlite3.connect(stage.database_url.removeprefix("sqlite:///"))) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert framed(stage, stage.client, iss=stage.provider.issuer, sid="nobodys").status == 200
        writer.rollback()


def test_only_the_provider_may_frame_that_answer(staged: Callable[..., Stage]) -> None:
    stage = staged()
    answer = framed(stage, stage.client, iss=stage.provider.issuer, sid="x")
    policy = answer.header(CSP) or ""
    assert f"frame-ancestors {stage.provider.issuer}" in policy
    assert "frame-ancestors 'none'" not in policy
    assert policy.startswith("default-src 'none'")
    assert answer.header("x-frame-options") is None
    for other in ("/_jit/logout", "/_jit/signed-out", "/_jit/frontchannel/oidc"):
        page = stage.client.get(other)
        assert "frame-ancestors 'none'" in (page.header(CSP) or "") or page.status == 303
        assert page.header("x-frame-options") == "DENY"


@pytest.mark.parametrize("missing", ["iss", "sid", "both"])
def test_without_issuer_and_session_a_frame_ends_nothing(staged: Callable[..., Stage], missing: str) -> None:
    """Anybody may send a browser there: what a person's own cookie says does not count (logout CSRF)."""
    stage = staged()
    stage.sign_in(stage.person("alice"))
    whole = {"iss": stage.provider.issuer, "sid": provider_session(stage)}
    given = {} if missing == "both" else {name: value for name, value in whole.items() if name != missing}
    cookie = stage.client.jar.header("http://localhost:8000/")
    for initiator in (stage.provider.issuer, "https://evil.example/"):
        url = f"/_jit/frontchannel/oidc?{urlencode(given)}"
        answer = stage.client.get(url, headers={"Cookie": cookie}, initiator=initiator)
        assert answer.status == 400
        assert not answer.all("set-cookie")
    assert is_in(stage, stage.client)


@pytest.mark.parametrize("bent", ["slash", "case", "another", "twice", "prefix", "long"])
def test_an_issuer_or_session_that_is_not_exactly_that_ends_nothing(staged: Callable[..., Stage], bent: str) -> None:
    stage = staged()
    stage.sign_in(stage.person("alice"))
    issuer, sid = stage.provider.issuer, provider_session(stage)
    pairs = {
        "slash": [("iss", f"{issuer}/"), ("sid", sid)],
        "case": [("iss", issuer.upper()), ("sid", sid)],
        "another": [("iss", "https://evil.example"), ("sid", sid)],
        "twice": [("iss", issuer), ("sid", "x"), ("sid", sid)],
        "prefix": [("iss", issuer), ("sid", sid[:-1])],
        "long": [("iss", issuer), ("sid", sid + "x" * 5000)],
    }[bent]
    answer = stage.client.get(f"/_jit/frontchannel/oidc?{urlencode(pairs)}", initiator=issuer)
    assert answer.status in {200, 400}
    assert is_in(stage, stage.client)
    assert stage.events("session.ended") == []


# --- sign out everywhere ----------------------------------------------------------------------------------------------


def test_signing_out_everywhere_ends_every_session_of_the_person(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    agent = stage.agent(alice)
    desk, phone, colleague = stage.client, stage.client.another(), stage.client.another()
    stage.sign_in(alice, agent=agent)
    stage.sign_in(alice, client=phone)
    stage.sign_in(stage.person("bob"), client=colleague)
    page = desk.get("/_jit/logout")
    assert 'name="everywhere"' in page.text
    token = page.text.partition('name="token" value="')[2].partition('"')[0]
    bare = {"Origin": None, "Sec-Fetch-Site": None}
    left = desk.post("/_jit/logout", {"token": token, "everywhere": "yes"}, headers=bare)
    assert left.status == 303
    assert agent.visit(left.location).url.startswith("http://localhost:8000/_jit/signed-out")
    assert [is_in(stage, client) for client in (desk, phone, colleague)] == [False, False, True]
    assert [event.reason for event in stage.events("session.ended")] == ["logout_everywhere"] * 2


def test_another_site_signs_nobody_out_everywhere(build: StageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    cookie = stage.client.jar.header("http://localhost:8000/")
    foreign = {"Cookie": cookie, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for form in ({"everywhere": "yes"}, {"everywhere": "yes", "token": "guess"}):
        assert stage.client.post("/_jit/logout", form, headers=foreign).status == 200
    assert stage.client.get("/_jit/logout?everywhere=yes").status == 200
    assert is_in(stage, stage.client)


def test_an_ordinary_sign_out_leaves_the_other_devices_alone(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    phone = stage.client.another()
    stage.sign_in(alice, client=phone)
    stage.sign_in(alice)
    assert stage.client.post("/_jit/logout", {"everywhere": ""}).status == 303
    assert [is_in(stage, client) for client in (stage.client, phone)] == [False, True]


@pytest.mark.parametrize("query", ["", "?state=made-up"], ids=["bare", "with-state"])
def test_nobody_is_told_that_a_session_has_ended_which_goes_on(build: StageBuilder, query: str) -> None:
    """Any page can send a browser here. At a shared computer somebody would believe it and leave."""
    stage = build()
    stage.sign_in(stage.person("alice"))
    answer = stage.client.get(f"/_jit/signed-out{query}", initiator="https://evil.example/")
    assert (answer.status, answer.location) == (303, "http://localhost:8000/_jit/logout")
    asking = stage.client.get(answer.location, initiator="https://evil.example/")
    assert (asking.status, "You are signed out" in asking.text) == (200, False)
    assert is_in(stage, stage.client)
    step(stage.ledger.transaction(lambda tx: tx.end_sessions(stage.clock.now(), connection="oidc")))
    page = stage.client.get(f"/_jit/signed-out{query}")
    assert (page.status, "You are signed out" in page.text) == (200, True), "whatever this worker remembers"


def test_the_request_to_the_provider_is_that_of_rp_initiated_logout(build: StageBuilder) -> None:
    """OIDC RP-Initiated Logout §2: the ID token as hint, our client id, a registered way back, and a state."""
    stage = build()
    stage.sign_in(stage.person("alice"))
    left = stage.client.post("/_jit/logout")
    asked = parse_qs(left.location.partition("?")[2], strict_parsing=True)
    assert set(asked) == {"id_token_hint", "client_id", "post_logout_redirect_uri", "state"}
    assert all(len(values) == 1 for values in asked.values())
    assert asked["client_id"] == [stage.env["JIT_OIDC_CLIENT_ID"]]
    assert asked["post_logout_redirect_uri"] == ["http://localhost:8000/_jit/signed-out"]
    assert len(asked["state"][0]) >= 22
