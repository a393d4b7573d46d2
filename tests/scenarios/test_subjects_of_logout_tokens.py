"""Logout tokens with ``sid`` and a ``sub`` that the ID tokens do not have.

A provider that tells each application another ``sub`` may forget to in its logout tokens. What is left is ``sid``, which
names one session at the provider, and one that it has just ended.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.bent import BentStage
from tests.scenarios.test_overtaken_logins import SID, backchannel, refused, while_redeeming
from tests.scenarios.test_unnamed_sessions import SOMEBODY_ELSE, is_in, signed_in

Make = Callable[..., BentStage]
NOBODY = "a-subject-that-nobody-here-has"


def colleague_of(stage: BentStage, sid: str | None) -> None:
    signed_in(stage, sid, sub=SOMEBODY_ELSE, preferred_username="bea", email="bea@people.example")


def test_a_subject_that_nobody_has_spares_no_session(bent: Make) -> None:
    stage = bent()
    named, other, unnamed = signed_in(stage, SID), signed_in(stage, "sid-8"), signed_in(stage, None)
    assert backchannel(stage.worker(), stage, sid=SID, sub=NOBODY).status == 200
    assert [is_in(stage, client) for client in (named, other, unnamed)] == [False, True, True]
    assert [event.reason for event in stage.events("session.ended")] == ["backchannel_logout"]
    [received] = stage.events("signal.received")
    assert (received.outcome, received.data["sessions_ended"]) == ("success", 1)


def test_a_subject_and_a_session_that_are_not_here_reach_nobody(bent: Make) -> None:
    stage = bent()
    client = signed_in(stage, SID)
    assert backchannel(stage.worker(), stage, sid="sid-9", sub=NOBODY).status == 200
    assert is_in(stage, client)
    [received] = stage.events("signal.received")
    assert (received.outcome, received.reason) == ("failure", "subject_unknown")


def test_a_session_stays_where_somebody_else_who_is_here_is_named(bent: Make) -> None:
    stage = bent()
    client = signed_in(stage, SID)
    colleague_of(stage, "sid-8")
    assert backchannel(stage.worker(), stage, sid=SID, sub=SOMEBODY_ELSE).status == 200
    assert is_in(stage, client)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
def test_a_login_is_overtaken_though_nobody_has_the_subject(bent: Make, is_known: bool) -> None:
    stage = bent()
    if is_known:
        signed_in(stage, "sid-8")
    before = len(stage.live())
    stage.told["sid"] = SID
    other, client = stage.worker(), stage.client.another()
    heard = while_redeeming(stage, lambda: backchannel(other, stage, sid=SID, sub=NOBODY))
    again = stage.through(client.get("/"), client)
    assert heard == [200]
    assert stage.asked(again), "the provider is asked once more"
    assert len(stage.live()) == before
    assert refused(stage) == [("login_overtaken", "revoked_meanwhile")]


def test_a_login_goes_on_where_somebody_else_who_is_here_is_named(bent: Make) -> None:
    stage = bent()
    colleague_of(stage, "sid-8")
    stage.told["sid"] = SID
    other, client = stage.worker(), stage.client.another()
    heard = while_redeeming(stage, lambda: backchannel(other, stage, sid=SID, sub=SOMEBODY_ELSE))
    assert stage.sign_in(client=client).status == 200
    assert heard == [200]
    assert is_in(stage, client)
