"""Logout tokens with ``sid`` and ``sub`` from a provider that leaves ``sid`` out of its ID tokens.

Such a session has no name here. The token says whose it is, so it ends, and no session that has another name does.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.client import Client
from tests.scenarios.bent import BentStage
from tests.scenarios.test_overtaken_logins import SID, backchannel, refused, subject, while_redeeming

Make = Callable[..., BentStage]
SOMEBODY_ELSE = "subject-of-somebody-else"


def is_in(stage: BentStage, client: Client) -> bool:
    stage.clock.advance(2)
    return client.get("/").status == 200


def signed_in(stage: BentStage, sid: str | None, **person: str) -> Client:
    """One more browser, at a provider that calls its session so, or by no name at all."""
    stage.told.pop("sid", None)
    if sid is not None:
        stage.told["sid"] = sid
    before = dict(stage.provider.person)
    stage.provider.person |= person
    client = stage.client.another()
    assert stage.sign_in(client=client).status == 200
    stage.provider.person |= before
    stage.clock.advance(2)
    return client


def test_a_session_without_a_name_ends_with_any_session_of_its_person(bent: Make) -> None:
    stage = bent()
    unnamed, named, other = signed_in(stage, None), signed_in(stage, SID), signed_in(stage, "sid-8")
    colleague = signed_in(stage, None, sub=SOMEBODY_ELSE, preferred_username="bea", email="bea@people.example")
    assert backchannel(stage.worker(), stage, sid=SID, sub=subject(stage)).status == 200
    assert [is_in(stage, client) for client in (unnamed, named, other, colleague)] == [False, False, True, True]
    assert [event.reason for event in stage.events("session.ended")] == ["backchannel_logout"] * 2
    [received] = stage.events("signal.received")
    assert (received.outcome, received.data["sessions_ended"]) == ("success", 2)


def test_a_session_without_a_name_ends_though_no_session_has_the_one_that_is_told(bent: Make) -> None:
    stage = bent()
    unnamed = signed_in(stage, None)
    assert backchannel(stage.worker(), stage, sid="told-for-the-first-time", sub=subject(stage)).status == 200
    assert not is_in(stage, unnamed)


@pytest.mark.parametrize(
    "who", [{"sid": SID}, {"sid": SID, "sub": SOMEBODY_ELSE}], ids=["nobody-named", "another-person"]
)
def test_a_session_without_a_name_stays_where_its_person_is_not_named(bent: Make, who: dict[str, str]) -> None:
    stage = bent()
    unnamed = signed_in(stage, None)
    signed_in(stage, None, sub=SOMEBODY_ELSE, preferred_username="bea", email="bea@people.example")
    assert backchannel(stage.worker(), stage, **who).status == 200
    assert is_in(stage, unnamed)


def test_a_frame_reaches_no_session_without_a_name(bent: Make) -> None:
    """OIDC Front-Channel Logout has no ``sub``: nothing would say whose session is meant."""
    stage = bent()
    unnamed = signed_in(stage, None)
    url = f"/_jit/frontchannel/oidc?iss={quote(stage.provider.issuer, safe='')}&sid={SID}"
    assert stage.client.get(url, headers={"Cookie": None}, initiator="http://op/").status == 200
    assert is_in(stage, unnamed)


# --- while somebody signs in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
def test_a_login_without_a_name_is_overtaken_by_any_session_of_its_person(bent: Make, is_known: bool) -> None:
    stage = bent()
    if is_known:
        signed_in(stage, None)
    other, client = stage.worker(), stage.client.another()
    heard = while_redeeming(stage, lambda: backchannel(other, stage, sid=SID, sub=subject(stage)))
    again = stage.through(client.get("/"), client)
    assert heard == [200]
    assert stage.asked(again), "the provider is asked once more"
    assert stage.live() == []
    assert refused(stage) == [("login_overtaken", "revoked_meanwhile")]
    assert stage.through(again, client).status == 303
    assert is_in(stage, client)


@pytest.mark.parametrize(
    ("named", "who"),
    [
        ("sid-8", {"sid": SID}),
        ("sid-8", {"sid": SID, "sub": "subject-of-ada"}),
        (None, {"sid": SID}),
        (None, {"sid": SID, "sub": SOMEBODY_ELSE}),
    ],
    ids=["another-name", "another-name-of-the-person", "no-name-and-nobody-named", "no-name-and-another-person"],
)
def test_a_login_that_is_not_meant_goes_on(bent: Make, named: str | None, who: dict[str, str]) -> None:
    stage = bent()
    assert subject(stage) == "subject-of-ada"
    signed_in(stage, named)
    if named is not None:
        stage.told["sid"] = named
    other, client = stage.worker(), stage.client.another()
    heard = while_redeeming(stage, lambda: backchannel(other, stage, **who))
    assert stage.sign_in(client=client).status == 200
    assert heard == [200]
    assert is_in(stage, client)
