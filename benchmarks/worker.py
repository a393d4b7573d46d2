"""One contestant of the login benchmark in a process of its own, with the browser that signs people in.

``python -m benchmarks.worker NAME ISSUER DATABASE`` reads one JSON command per line and answers with one. The browser's
work and the provider's are not measured: CPU time is taken around the call of the application alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from benchmarks import peers
from benchmarks.contestants import MAKERS, ORIGIN, Made
from benchmarks.measure import unit_now
from benchmarks.stub import code_for
from benchmarks.traffic import environ

_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "START TRANSACTION")


@dataclass(frozen=True, slots=True)
class Pending:
    """A login that came back from the provider: what the browser sends to the callback."""

    query: str
    cookies: dict[str, str]


class Browser:
    """Signs people in; every login is made by a new browser without cookies."""

    def __init__(self, made: Made) -> None:
        self._made = made
        self.spent = 0  # CPU nanoseconds of the application, in all

    def begin(self, subject: str) -> Pending:
        """Ask for the login, and be the provider that lets ``subject`` in at once."""
        cookies: dict[str, str] = {}
        location, _ = self._get(self._made.login, "", cookies)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        query = urlencode({"code": code_for(subject, asked.get("nonce", "")), "state": asked["state"]})
        return Pending(query, cookies)

    def finish(self, pending: Pending) -> int:
        """The callback; CPU nanoseconds. Raises ``RuntimeError`` when it does not end in a session."""
        before = pending.cookies.get(self._made.cookie)
        location, spent = self._get(self._made.callback, pending.query, pending.cookies)
        if pending.cookies.get(self._made.cookie, "") in ("", before):
            raise RuntimeError(f"{self._made.callback} ended at {location} without a session")
        return spent

    def _get(self, path: str, query: str, cookies: dict[str, str]) -> tuple[str, int]:
        given = environ("; ".join(f"{name}={value}" for name, value in cookies.items()))
        given |= {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": urlsplit(ORIGIN).netloc}
        given |= {"wsgi.url_scheme": "http", "HTTP_X_FORWARDED_PROTO": "http", "HTTP_SEC_FETCH_SITE": "cross-site"}
        answered: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
            answered[:] = (status, headers)

        began = time.process_time_ns()
        answer = self._made.app(given, start_response)
        body = b"".join(answer)
        close = getattr(answer, "close", None)
        if close is not None:
            close()
        spent = time.process_time_ns() - began
        self.spent += spent
        status, headers = answered
        if status[:2] != "30":
            raise RuntimeError(f"{path} answered {status}: {body[:2000]!r}")
        for name, value in headers:
            if name.lower() == "set-cookie":
                cookie, _, content = value.partition(";")[0].partition("=")
                cookies[cookie.strip()] = content
        return next(value for name, value in headers if name.lower() == "location"), spent


def _cpu(browser: Browser, subjects: Sequence[str]) -> dict[str, object]:
    h = [unit_now()]
    pending = [browser.begin(subject) for subject in subjects]
    spent = [browser.finish(one) for one in pending]
    h.append(unit_now())
    return {"cpu_ns": spent, "h_ns": sum(h) / 2}


def _count(browser: Browser, subjects: Sequence[str]) -> dict[str, object]:
    pending = [browser.begin(subject) for subject in subjects]
    with _statements() as sent:
        for one in pending:
            browser.finish(one)
    control = sum(statement.lstrip().upper().startswith(_CONTROL) for statement in sent)
    return {"statements": len(sent) - control, "control": control}


@contextmanager
def _statements() -> Generator[list[str]]:
    """Every statement that the driver is given meanwhile, whoever gives it (psycopg's own BEGIN and COMMIT apart)."""
    import psycopg

    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def noted(cursor: Any, query: Any, *more: Any, **options: Any) -> Any:
        sent.append(query.decode() if isinstance(query, bytes) else str(query))
        return execute(cursor, query, *more, **options)

    psycopg.Cursor.execute = noted  # type: ignore[method-assign,assignment]
    try:
        yield sent
    finally:
        psycopg.Cursor.execute = execute  # type: ignore[method-assign]


def _rate(browser: Browser, subjects: Sequence[str], seconds: float) -> dict[str, object]:
    began, done, before = time.monotonic(), 0, browser.spent
    while time.monotonic() - began < seconds:
        browser.finish(browser.begin(subjects[done % len(subjects)]))
        done += 1
    return {"logins": done, "seconds": time.monotonic() - began, "cpu_ns": browser.spent - before}


def main() -> None:
    name, issuer, database = sys.argv[1:]
    peers.make_available()
    browser = Browser(MAKERS[name](issuer, database))
    print(json.dumps({"ready": name}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "cpu":
            answer = _cpu(browser, asked["subjects"])
        elif asked["do"] == "count":
            answer = _count(browser, asked["subjects"])
        else:
            answer = _rate(browser, asked["subjects"], asked["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
