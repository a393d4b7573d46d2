"""A sign-out that arrives while the same person is signing in ends that login too, however close they are.

The provider vouches for somebody, ends their session, and only then is the code redeemed or the session committed. The
answer signs nobody in: the provider is asked once more, and then it is said (``test_overtaken_again``).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Status
from jit_middleware.overtaking import connection_mark, email_mark, identity_mark, remembered_until, session_mark
from tests.adversarial import keys
from tests.adversarial.provider import CLIENT_ID, HostileProvider
from tests.adversarial.wire import Reply
from tests.client import Client
from tests.contract.conftest import new_url
from tests.peers.oidc_provider import Provider
from tests.peers.transmitter import Transmitter
from tests.scenarios.bent import ORIGIN, BentStage
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.test_custom_stores import Members
from tests.scenarios.test_linking_races import on_the_way
from tests.scenarios.test_outside_races import CONCURRENT, Interrupted, interrupted
from tests.worlds import Answer

BENT = Callable[..., BentStage]
SID = "sid-7"
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
DISABLED = "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
DOMAIN = {"JIT_OIDC_VERIFIED_DOMAINS": "people.example"}
MANY = 40


def signed(provider: HostileProvider, typ: str, at: int, **claims: object) -> str:
    """A token of the provider's, made now."""
    told = {"iss": provider.issuer, "iat": at, "jti": f"{typ}-{len(provider.made)}-{at}-{claims}", **claims}
    header = {"alg": "RS256", "kid": provider.signing_key.kid, "typ": typ}
    return keys.compact(header, json.dumps(told).encode(), provider.signing_key, "RS256")


def backchannel(client: Client, stage: BentStage, **who: str) -> Answer:
    at = stage.clock.now()
    token = signed(stage.provider, "logout+jwt", at, aud=CLIENT_ID, exp=at + 60, events={LOGOUT: {}}, **who)
    headers = {"Cookie": None, "Accept": "application/json"}
    return client.post("/_jit/backchannel/oidc", {"logout_token": token}, headers=headers, initiator="http://op/")


def pushed(client: Client, stage: BentStage, event: str, sub_id: object) -> Answer:
    url = f"{ORIGIN}/_jit/signals/oidc"
    token = signed(stage.provider, "secevent+jwt", stage.clock.now(), aud=url, events={event: {}}, sub_id=sub_id)
    headers = {"Cookie": None, "Content-Type": "application/secevent+jwt"}
    return client.request("POST", url, body=token.encode(), headers=headers, initiator="http://op/")


def globally(client: Client, stage: BentStage, sub_id: object) -> Answer:
    url, at = f"{ORIGIN}/_jit/revoke/oidc", stage.clock.now()
    token = signed(stage.provider, "global-token-revocation+jwt", at, aud=url, exp=at + 60)
    headers = {"Cookie": None, "Authorization": f"Bearer {token}"}
    return client.request("POST", url, json={"sub_id": sub_id}, headers=headers, initiator="http://op/")


def subject(stage: BentStage) -> str:
    return str(stage.provider.person["sub"])


def iss_sub(stage: BentStage) -> dict[str, str]:
    return {"format": "iss_sub", "iss": stage.provider.issuer, "sub": subject(stage)}


def address(stage: BentStage) -> dict[str, str]:
    return {"format": "email", "email": str(stage.provider.person["email"]).upper()}


def aliases(mine: dict[str, str]) -> dict[str, object]:
    return {"format": "aliases", "identifiers": [{"format": "opaque", "id": "nobody"}, mine]}


#: How the provider says it, and what it hears where nobody has been here before, and where somebody has.
WAYS: dict[str, tuple[Callable[[Client, BentStage], Answer], int, int]] = {
    "sid": (lambda client, stage: backchannel(client, stage, sid=SID), 200, 200),
    "sub": (lambda client, stage: backchannel(client, stage, sub=subject(stage)), 200, 200),
    "sid-and-sub": (lambda client, stage: backchannel(client, stage, sid=SID, sub=subject(stage)), 200, 200),
    "event": (lambda client, stage: pushed(client, stage, REVOKED, iss_sub(stage)), 202, 202),
    "event-by-aliases": (lambda client, stage: pushed(client, stage, REVOKED, aliases(iss_sub(stage))), 202, 202),
    "event-by-an-address-among-others": (
        lambda client, stage: pushed(client, stage, REVOKED, aliases(address(stage))),
        202,
        202,
    ),
    "event-of-a-session": (
        lambda client, stage: pushed(
            client, stage, REVOKED, {"format": "complex", "session": {"format": "opaque", "id": SID}}
        ),
        202,
        202,
    ),
    "event-by-address": (lambda client, stage: pushed(client, stage, REVOKED, address(stage)), 202, 202),
    "revocation": (lambda client, stage: globally(client, stage, iss_sub(stage)), 404, 204),
    "revocation-by-address": (lambda client, stage: globally(client, stage, address(stage)), 404, 204),
}


def staged(bent: BENT, **env: str) -> BentStage:
    stage = bent(**{**DOMAIN, **env})
    stage.told["sid"] = SID
    return stage


def with_events(bent: BENT) -> BentStage:
    """The provider itself is the transmitter; its name is known once it is there."""
    stage = staged(bent)
    stage.env["JIT_OIDC_SIGNALS_ISSUER"] = stage.provider.issuer
    stage.client = stage.worker()
    return stage


def while_redeeming(stage: BentStage, act: Callable[[], Answer]) -> list[int]:
    """Have this happen in the second in which the provider answers our token request; its statuses, when it has."""
    heard: list[int] = []

    def meanwhile(reply: Reply) -> Reply:
        stage.provider.on_reply["token"] = []
        heard.append(act().status)
        stage.clock.advance(1)
        return reply

    stage.provider.on_reply["token"] = [meanwhile]
    return heard


def refused(stage: BentStage) -> list[tuple[Any, str | None]]:
    return [(event.data["code"], event.reason) for event in stage.events("login.refused")]


# --- while the code is redeemed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
@pytest.mark.parametrize("way", WAYS)
def test_a_login_that_a_revocation_overtakes_is_refused(bent: BENT, way: str, is_known: bool) -> None:
    stage = with_events(bent)
    tell, unknown, known = WAYS[way]
    if is_known:
        stage.sign_in()
        stage.clock.advance(30)
    other, client = stage.worker(), stage.client.another()
    sent = client.get("/")
    before = len(stage.live())
    heard = while_redeeming(stage, lambda: tell(other, stage))
    again = stage.through(sent, client)
    assert heard == [known if is_known else unknown]
    assert stage.asked(again)["state"] != stage.asked(sent)["state"], "the provider is asked once more"
    assert client.jar.get("jit") is None
    assert client.get("/").status == 302
    assert stage.live() == []
    assert refused(stage) == [("login_overtaken", "revoked_meanwhile")]
    assert len(stage.events("session.ended")) == before
    assert stage.through(again, client).status == 303, "what begins later is the provider's later word"
    stage.clock.advance(5)
    assert client.get("/").status == 200
    assert len(stage.live()) == 1


def test_an_account_that_is_disabled_during_the_first_login_is_not_made(bent: BENT) -> None:
    stage = with_events(bent)
    other, client = stage.worker(), stage.client.another()
    heard = while_redeeming(stage, lambda: pushed(other, stage, DISABLED, iss_sub(stage)))
    stage.asked(stage.through(client.get("/"), client))
    assert heard == [202]
    assert step(stage.ledger.list_users()) == []


@pytest.mark.parametrize(
    "who",
    [{"sid": "sid-8"}, {"sub": "somebody-else"}, {"sid": "sid-8", "sub": "somebody-else"}],
    ids=["another-session", "another-person", "another-session-of-another-person"],
)
def test_a_login_that_is_not_meant_goes_on(bent: BENT, who: dict[str, str]) -> None:
    stage = staged(bent)
    other, client = stage.worker(), stage.client.another()
    heard = while_redeeming(stage, lambda: backchannel(other, stage, **who))
    assert stage.sign_in(client=client).status == 200
    assert heard == [200]
    stage.clock.advance(5)
    assert client.get("/").status == 200


def test_a_message_that_does_not_verify_overtakes_nobody(bent: BENT) -> None:
    stage = staged(bent)
    stage.sign_in()
    other, client = stage.worker(), stage.client.another()
    forged = keys.compact({"alg": "none", "typ": "logout+jwt"}, b"{}", stage.provider.signing_key, "RS256")

    def anybody() -> Answer:
        other.get(
            f"/_jit/frontchannel/oidc?iss={quote(stage.provider.issuer, safe='')}&sid=nobody", initiator="http://op/"
        )
        return other.post("/_jit/backchannel/oidc", {"logout_token": forged}, headers={"Cookie": None})

    heard = while_redeeming(stage, anybody)
    assert stage.sign_in(client=client).status == 200
    assert heard == [400]
    assert marks(stage) == 0


def test_a_message_that_comes_again_says_nothing_about_logins_since(bent: BENT) -> None:
    stage = staged(bent)
    stage.sign_in()
    at = stage.clock.now()
    token = signed(stage.provider, "logout+jwt", at, aud=CLIENT_ID, exp=at + 200, events={LOGOUT: {}}, sid=SID)
    other = stage.worker()

    def send() -> Answer:
        return other.post("/_jit/backchannel/oidc", {"logout_token": token}, headers={"Cookie": None})

    assert send().status == 200
    stage.clock.advance(10)
    heard = while_redeeming(stage, send)
    assert stage.sign_in(client=stage.client.another()).status == 200
    assert heard == [200]
    assert marks(stage) == 1


def test_another_connections_word_does_not_touch_the_person(bent: BENT, tmp_path: Path) -> None:
    """Two connections at one issuer, with the same subjects and sessions: each speaks for its own logins."""
    stage = staged(bent)
    config = tmp_path / "both.toml"
    config.write_text(
        f'[connections.other]\nprotocol = "oidc"\nissuer = "{stage.provider.issuer}"\nclient_id = "{CLIENT_ID}"\n'
        f'client_secret = "{stage.provider.client_secret}"\n'
    )
    both, client = stage.worker(JIT_CONFIG=str(config)), stage.client.another()
    at = stage.clock.now()
    claims = {"aud": CLIENT_ID, "exp": at + 60, "events": {LOGOUT: {}}}

    def tell() -> Answer:
        for who in ({"sid": SID}, {"sub": subject(stage)}):
            token = signed(stage.provider, "logout+jwt", at, **claims, **who)
            answer = both.post("/_jit/backchannel/other", {"logout_token": token}, headers={"Cookie": None})
        return answer

    heard = while_redeeming(stage, tell)
    assert stage.sign_in(client=client).status == 200
    assert heard == [200]


def test_signing_out_everywhere_overtakes_the_logins_of_all_devices(bent: BENT) -> None:
    stage = staged(bent)
    stage.sign_in()
    stage.clock.advance(30)
    phone, desk = stage.client.another(), stage.worker()
    desk.jar = stage.client.jar
    heard = while_redeeming(stage, lambda: desk.post("/_jit/logout", {"everywhere": "yes"}))
    stage.asked(stage.through(phone.get("/"), phone))
    assert heard[0] in {302, 303}
    assert stage.live() == []


def test_signing_out_on_one_device_leaves_the_logins_of_others(bent: BENT) -> None:
    stage = staged(bent)
    stage.sign_in()
    phone, desk = stage.client.another(), stage.worker()
    desk.jar = stage.client.jar
    while_redeeming(stage, lambda: desk.post("/_jit/logout"))
    assert stage.sign_in(client=phone).status == 200


def test_nobody_who_was_overtaken_is_made_in_a_store_of_the_application(build: StageBuilder, tmp_path: Path) -> None:
    members = Members(tmp_path / "club.db")
    stage = build(users=members)
    alice, client = stage.person("alice"), stage.client
    departure = stage.depart(client, stage.agent(alice))
    leave(stage, identity_mark("oidc", stage.provider.issuer, alice))
    stage.clock.advance(1)
    assert stage.come_back(client, departure).location.startswith(stage.provider.issuer)
    assert members.everybody() == []
    assert stage.sign_in(alice).status == 200


def test_marks_are_forgotten_when_nobody_can_answer_to_them(bent: BENT) -> None:
    stage = staged(bent)
    at = stage.clock.now()
    backchannel(stage.client, stage, sid=SID)
    backchannel(stage.client, stage, sub=subject(stage))
    assert marks(stage) == 2
    until = remembered_until(at, idle=3600)
    assert until >= at + 600 + 3600, "a login in flight, and the longest that its session waits for a first request"
    step(stage.ledger.prune(until))
    assert marks(stage) == 2
    step(stage.ledger.prune(until + 1))
    assert marks(stage) == 0


def test_a_session_answers_to_the_address_that_the_user_has(bent: BENT) -> None:
    """The provider may have another one meanwhile, which the user is not given."""
    stage = staged(bent, JIT_SYNC="first_login")
    known = str(stage.provider.person["email"])
    stage.sign_in()
    stage.provider.person["email"] = f"new-{known}"
    stage.sign_in(client=stage.client.another())
    ledger: Any = stage.ledger
    with ledger.database.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT email_mark FROM jit_sessions").scalars().all()
    assert found == [email_mark("oidc", known)] * 2


def marks(stage: BentStage) -> int:
    ledger: Any = stage.ledger
    with ledger.database.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM jit_marks").scalar_one())


def leave(stage: Stage, *names: str) -> None:
    now = stage.clock.now()
    step(stage.ledger.transaction(lambda tx: tx.leave_marks(names, at=now, until=now + 9999)))


# --- between the look-up and the commit -----------------------------------------------------------------------------


@pytest.fixture(params=CONCURRENT, ids="-".join)
def between(
    request: pytest.FixtureRequest, provider: Provider, tmp_path: Path, closing: contextlib.ExitStack
) -> tuple[Stage, Interrupted]:
    """A stage, and a ledger in which something can happen right after a login has looked itself up."""
    builder = StageBuilder(request.param, provider, request, tmp_path, closing)
    return interrupted(builder, new_url(request.param[1], request, tmp_path))


def live(stage: Stage) -> int:
    async def count(tx: Any) -> int:
        return len(await tx.list_sessions())

    return int(step(stage.ledger.transaction(count)))


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
def test_a_session_that_is_committed_after_the_search_serves_nobody(
    between: tuple[Stage, Interrupted], is_known: bool
) -> None:
    stage, ledger = between
    alice = stage.person("alice")
    mark = identity_mark("oidc", stage.provider.issuer, alice)
    if is_known:
        stage.sign_in(alice)
    client = stage.client.another()
    departure = stage.depart(client, stage.agent(alice))
    before = live(stage)
    ledger.then = lambda: leave(stage, mark)  # and whoever looks for sessions now finds none of this login
    landed = stage.come_back(client, departure)
    assert landed.status == 303, "the login has looked before"
    assert live(stage) == before + 1
    assert [client.get("/").status for _ in range(2)] == [302, 302]
    assert live(stage) == before
    assert [event.reason for event in stage.events("session.ended")] == ["revoked_meanwhile"]
    stage.clock.advance(1)
    assert stage.sign_in(alice, client=client).status == 200


@pytest.mark.parametrize("how", ["session", "connection"])
def test_whatever_the_mark_is_for_the_session_answers_to_it(between: tuple[Stage, Interrupted], how: str) -> None:
    stage, ledger = between
    alice, client = stage.person("alice"), stage.client
    departure = stage.depart(client, stage.agent(alice))

    def revoke() -> None:
        leave(stage, connection_mark("oidc") if how == "connection" else session_mark("oidc", "no such session"))

    ledger.then = revoke
    assert stage.come_back(client, departure).status == 303
    assert client.get("/").status == (302 if how == "connection" else 200)


def test_an_account_that_is_suspended_between_look_up_and_commit_gets_no_session(
    between: tuple[Stage, Interrupted],
) -> None:
    stage, ledger = between
    alice = stage.person("alice")
    stage.sign_in(alice)
    [account] = stage.accounts()

    def suspend() -> None:
        async def work(tx: Any) -> None:
            await tx.set_status(account.user_id, Status.SUSPENDED)
            await tx.end_sessions(stage.clock.now(), user_id=account.user_id)

        step(stage.ledger.transaction(work))

    client = stage.client.another()
    departure = stage.depart(client, stage.agent(alice))
    ledger.then = suspend
    assert stage.come_back(client, departure).status == 403
    assert live(stage) == 0


# --- all at once ----------------------------------------------------------------------------------------------------


def test_of_forty_logins_and_their_revocations_at_once_no_session_is_left(racing_world: StageBuilder) -> None:
    with Transmitter(lambda: 0) as transmitter:
        stage = racing_world(JIT_OIDC_SIGNALS_ISSUER=transmitter.issuer, JIT_OIDC_SIGNALS_JWKS_URI=transmitter.jwks_uri)
        transmitter.now = stage.clock.now
        people = [stage.person(f"person{number}") for number in range(MANY)]
        for known in people[: MANY // 2]:
            assert stage.sign_in(known, client=stage.client.another()).status == 200
        ready = on_the_way(stage, people)
        url = f"{ORIGIN}/_jit/signals/oidc"
        headers = {"Content-Type": "application/secevent+jwt", "Cookie": None}
        events = []
        for who in people:
            sub_id = {"format": "iss_sub", "iss": stage.provider.issuer, "sub": who}
            token = transmitter.event(url, REVOKED, sub_id)
            events.append(stage.client.prepare("POST", url, body=token.encode(), headers=headers))
        logins = [request for _, request in ready]
        # Both orders: of one half the event is sent first, of the other the login.
        half = MANY // 4
        first = [*logins[:half], *events[half : 3 * half], *logins[3 * half :]]
        last = [*events[:half], *logins[half : 3 * half], *events[3 * half :]]
        both = [request for pair in zip(first, last, strict=True) for request in pair]
        answers = dict(zip(map(id, both), stage.client.together(*both), strict=True))
        assert {answers[id(event)].status for event in events} == {202}
        assert {answers[id(login)].status for login in logins} <= {302, 303}
        for client, login in ready:
            client.jar.store(login.url, answers[id(login)].all("set-cookie"))
        assert [client.get("/").status for client, _ in ready] == [302] * MANY
        assert live(stage) == 0
        stage.clock.advance(1)
        assert stage.sign_in(people[0], client=ready[0][0]).status == 200
