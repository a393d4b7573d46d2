"""What must hold after a login, whatever the provider did."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.adversarial.stage import LOGIN, ORIGIN, SESSION, TARGET, Ending, Stage
from tests.client import Answer, Client

#: The endpoints of our own.
OWN = (
    "login", "login/oidc", "callback/oidc", "logout", "signed-out", "backchannel/oidc", "frontchannel/oidc", "revoke/oidc",
    "signals/oidc", "session", "health", "ready",
)  # fmt: skip
NOBODY = {"users": 0, "links": 0, "sessions": 0}
LIMIT_SECONDS = 10.0
LIMIT_BYTES = 50_000_000
_REFERENCE = re.compile(r"\b[A-Za-z0-9]{12}\b")
_TRACE = re.compile(
    r"Traceback|File \"|\.py\b|Error\b.*line|jit_middleware\.|httpcore|joserfc|sqlalchemy", re.IGNORECASE
)

#: A step of the decision: a rule by name, its outcome in one word, and words of ours beside it.
STEP = re.compile(r"[a-z_]+(:[A-Za-z_.-]+)?: [a-z_]+( \([A-Za-z0-9_ ,.;:-]+\))?", re.ASCII)


def assert_signed_in(stage: Stage, ending: Ending, browser: Client | None = None) -> Answer:
    """The browser lands on the page it asked for, with a session, and the app sees the person."""
    browser = browser or stage.browser
    answer = ending.answer
    assert answer.status == 303, (answer.status, _words(answer), stage.log.own)
    assert answer.location == ORIGIN + TARGET
    assert stage.has_session(answer)
    assert ending.seconds < LIMIT_SECONDS
    assert not any(name.lower() == "location" and "evil" in value for name, value in answer.headers)
    page = browser.get(TARGET)
    assert page.status == 200
    assert page.json()["is_authenticated"] is True
    assert browser.jar.get(LOGIN) is None
    return page


def assert_refused(
    stage: Stage, ending: Ending, reasons: tuple[str, ...], code: str, status: int, before: dict[str, int] = NOBODY
) -> str:
    """Refused by name: to the operator in the log and the trail, to the browser no more than the class of it.

    The answer is the page as every refusal of its class shows it, with what is its own taken out.
    """
    answer = ending.answer
    assert (answer.status, code) == (status, code_of(answer)), (answer.status, _words(answer), stage.log.own)
    assert not stage.has_session(answer)
    assert stage.count() == before
    assert ending.seconds < LIMIT_SECONDS
    reference = reference_of(answer)
    [line] = [line for line in stage.log.own if reference in line]
    logged = re.search(r"reason=(\S+)", line)
    assert logged is not None
    assert logged[1] in reasons, line
    assert "Traceback" not in "\n".join(stage.log.own)
    if ending.where == "callback" and status in {403}:
        [event] = stage.audit("login.refused")
        assert (event.reason, event.reference, event.outcome) == (logged[1], reference, "failure")
        assert event.data["code"] == code
        assert set(event.data) <= {"code", "identity", "path"}
        path = event.data.get("path", ())
        assert isinstance(path, (list, tuple))
        assert all(isinstance(step, str) and STEP.fullmatch(step) for step in path), "no value of a claim"
    assert_says_little(answer, reasons)
    return anonymous(answer)


def assert_begun_anew(stage: Stage, answer: Answer) -> None:
    """Nobody is signed in; the browser is on its way to the provider once more."""
    assert answer.status == 302, (answer.status, stage.log.own)
    assert "/authorize?" in answer.location
    assert not stage.has_session(answer)
    assert_careful_headers(answer)


def assert_expired(stage: Stage, answer: Answer) -> None:
    """The page with a button, for an answer that belongs to no login of this browser."""
    assert (answer.status, code_of(answer)) == (400, "login_expired"), (answer.status, stage.log.own)
    assert not stage.has_session(answer)
    assert "Sign in again" in answer.text
    assert_says_little(answer, ("state_unknown", "state_replayed"))


def session_of(browser: Client) -> str:
    value = browser.jar.get(SESSION)
    assert value is not None
    return value


def assert_clean(stage: Stage, answer: Answer) -> None:
    """Not our failure, and nothing of our insides."""
    assert answer.status < 500, (answer.status, stage.log.own[-3:])
    if answer.header("content-type") != "application/json" and answer.header("x-frame-options"):
        assert_says_little(answer)
    assert not any("failed, reference" in line for line in stage.log.own), stage.log.own


def assert_says_little(answer: Answer, reasons: tuple[str, ...] = ()) -> None:
    """Nothing of how we are built, why we refused, or what was sent; and safe to show."""
    text = answer.text
    assert not _TRACE.search(_words(answer)), _words(answer)
    assert "<script" not in text
    for reason in reasons:
        assert reason not in _words(answer) or reason in {"login_required"}, reason
    assert_careful_headers(answer)


def assert_careful_headers(answer: Answer) -> None:
    """Not stored, not framed, not sniffed (attack catalogue 70)."""
    assert answer.header("cache-control") == "no-store"
    assert "cookie" in (answer.header("vary") or "").lower()
    policy = answer.header("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("x-frame-options") == "DENY"


def code_of(answer: Answer) -> str | None:
    """The public code on a page of ours, or in the JSON."""
    if (answer.header("content-type") or "").startswith("application/json"):
        code: str = answer.json()["error"]
        return code
    found = re.search(r"<code>([a-z_]+)</code>", answer.text)
    return None if found is None else found[1]


def reference_of(answer: Answer) -> str:
    if (answer.header("content-type") or "").startswith("application/json"):
        reference: str = answer.json()["reference"]
        return reference
    found = re.findall(r"<code>([A-Za-z0-9]{12})</code>", answer.text)
    assert len(found) == 1, _words(answer)
    return str(found[0])


def anonymous(answer: Answer) -> str:
    """The page without its reference."""
    return answer.text.replace(reference_of(answer), "REFERENCE")


def _words(answer: Answer) -> str:
    body = re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", body).split()))


@contextmanager
def small_appetite() -> Iterator[None]:
    """The block takes less than 50 MB of memory at any moment."""
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here
    yield
    grown = _memory("VmHWM") - before
    assert grown < LIMIT_BYTES, f"{grown / 1e6:.0f} MB"


def _memory(name: str) -> int:
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    found: Any = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found[1]) * 1024
