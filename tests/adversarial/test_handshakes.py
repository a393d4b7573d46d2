"""Websocket handshakes that another site causes in the signed-in person's name (cross-site websocket hijacking).

To a WSGI server a handshake is a GET with ``Upgrade: websocket``; to an ASGI server without websockets as well. The
cookie is ``SameSite=Lax``, and so a page of a sibling site has it sent.
"""

from __future__ import annotations

from itertools import product

import pytest

from tests.adversarial.judging import code_of
from tests.adversarial.stage import ORIGIN, Stage
from tests.client import Answer
from tests.worlds import Outgoing

EVIL = "https://evil.example.com"
SPELLINGS = (
    ("websocket",), ("WebSocket",), ("WEBSOCKET",), ("websocket, foo",), ("foo,WebSocket",), ("h2c", "websocket"),
    ("websocket", "h2c"), ("websocket/13",), ("\twebsocket ",), (",,websocket",), ('"websocket"',),
)  # fmt: skip
FOREIGN = ({"Origin": EVIL}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site"})


def shake(stage: Stage, *lines: tuple[str, str], method: str = "GET") -> Answer:
    """A handshake as it comes over the wire; twice, since the second might be answered from memory."""
    fixed = (
        ("Host", ORIGIN.removeprefix("https://")),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Cookie", stage.browser.jar.header(f"{ORIGIN}/")),
    )
    request = Outgoing(method, f"{ORIGIN}/reports", (*fixed, *lines))
    first, second = stage.browser.world.exchange(request), stage.browser.world.exchange(request)
    assert first.status == second.status
    return second


def test_handshake_of_another_site_is_refused_however_it_is_spelt(signed_in: Stage) -> None:
    signed_in.browser.get("/reports")
    for spelling, foreign in product(SPELLINGS, FOREIGN):
        upgrade = [("Upgrade", one) for one in spelling]
        answer = shake(signed_in, *upgrade, *foreign.items())
        assert (answer.status, code_of(answer)) == (403, "cross_site_request"), (spelling, foreign)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_handshake_by_any_safe_method_is_judged(method: str, signed_in: Stage) -> None:
    assert shake(signed_in, ("Upgrade", "websocket"), ("Origin", EVIL), method=method).status == 403


def test_contradictions_are_refused(signed_in: Stage) -> None:
    for lines in (
        (("Origin", ORIGIN), ("Sec-Fetch-Site", "cross-site")),
        (("Origin", EVIL), ("Sec-Fetch-Site", "same-origin")),
        (("Origin", ORIGIN), ("Origin", EVIL)),
        (("Origin", f"{ORIGIN}.evil.example"), ("Sec-Fetch-Site", "same-site")),
    ):
        assert shake(signed_in, ("Upgrade", "websocket"), *lines).status == 403, lines


def test_handshake_of_our_own_page_and_of_a_program_reach_the_app_as_the_person(signed_in: Stage) -> None:
    for lines in ((("Origin", ORIGIN), ("Sec-Fetch-Site", "same-origin")), (("Origin", ORIGIN),), ()):
        answer = shake(signed_in, ("Upgrade", "websocket"), *lines)
        assert answer.status == 200, lines
        assert answer.json()["user"]["username"] == signed_in.browser.get("/reports").json()["user"]["username"]


def test_what_only_looks_like_a_handshake_is_read_as_before(signed_in: Stage) -> None:
    for line in (("Upgrade", "h2c"), ("Upgrade", ""), ("Upgrade-Insecure-Requests", "1"), ("X-Upgrade", "websocket")):
        assert shake(signed_in, line, ("Sec-Fetch-Site", "cross-site")).status == 200, line


def test_handshake_without_a_session_is_refused_and_not_redirected(stage: Stage) -> None:
    stage.browser.jar.store(f"{ORIGIN}/", ["theirs=1; Path=/"])
    answer = shake(stage, ("Upgrade", "websocket"), ("Accept", "text/html"), ("Origin", ORIGIN))
    assert answer.status == 401
