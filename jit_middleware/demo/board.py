"""The legacy application of the demo: a notes board that knows nothing of sign-on but ``REMOTE_USER``.

It is written as such applications were: one callable, its own little database, markup by hand. It would run unchanged
behind any web server that sets ``REMOTE_USER``; only the page that shows what arrived looks at the further keys.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from jit_middleware.demo import chrome
from jit_middleware.model import Session, User

if TYPE_CHECKING:
    from wsgiref.types import InputStream, StartResponse, WSGIEnvironment

_LARGEST_FORM: Final = 16_384
_LONGEST_NOTE: Final = 500
_NOTE: Final = re.compile(r"/notes/([0-9]{1,9})")
_FIRST_NOTES: Final = (
    ("the caretaker", "The lift is out of order until Thursday."),
    ("the caretaker", "This note has an address of its own: after signing in you land here, not at the front page."),
)

Answer = tuple[int, str, bytes]


class NotesBoard:
    """A notes board as a WSGI application, with its notes in the SQLite file ``database``."""

    def __init__(self, database: Path) -> None:
        self._database = database
        with closing(self._connect()) as connection, connection:
            connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, author TEXT NOT NULL, text TEXT NOT NULL)")
            connection.executemany("INSERT INTO notes (author, text) VALUES (?, ?)", _FIRST_NOTES)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = str(environ.get("PATH_INFO", "")) or "/", str(environ["REQUEST_METHOD"])
        if path == "/notes" and method == "POST":
            return self._add(environ, start_response)
        status, kind, body = (
            self._read(path, environ) if method in ("GET", "HEAD") else _no("That cannot be done here.", 405)
        )
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [] if method == "HEAD" else [body]

    def _read(self, path: str, environ: WSGIEnvironment) -> Answer:
        note = _NOTE.fullmatch(path)
        if note is not None:
            return self._note(int(note[1]), environ)
        match path:
            case "/":
                return self._board(environ)
            case "/whoami":
                return 200, "application/json", json.dumps(arrived(environ), indent=2).encode()
            case "/about":
                return _about(environ)
            case _:
                return _no("There is no such page.", 404)

    def _board(self, environ: WSGIEnvironment) -> Answer:
        with closing(self._connect()) as connection:
            notes = connection.execute("SELECT id, author, text FROM notes ORDER BY id DESC LIMIT 50").fetchall()
        main = f"""<h1>Notes</h1>
<form method="post" action="/notes"><label for="text">A new note</label>
<textarea id="text" name="text" rows="2" maxlength="{_LONGEST_NOTE}" required></textarea>
<button>Put it up</button></form>
{"".join(_shown(*note) for note in notes)}
{chrome.facts("What the application was told", arrived(environ))}"""
        return _page("Notes", main, environ)

    def _note(self, number: int, environ: WSGIEnvironment) -> Answer:
        with closing(self._connect()) as connection:
            note = connection.execute("SELECT id, author, text FROM notes WHERE id = ?", (number,)).fetchone()
        if note is None:
            return _no("There is no such note.", 404)
        return _page(
            f"Note {number}", f'<h1>Note {number}</h1>{_shown(*note)}<p><a href="/">All notes</a></p>', environ
        )

    def _add(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = str(environ.get("CONTENT_LENGTH") or "0")
        stream: InputStream = environ["wsgi.input"]
        size = min(int(length), _LARGEST_FORM) if length.isdecimal() else 0
        form = parse_qs(stream.read(size).decode("utf-8", "replace"))
        text = form.get("text", [""])[0].strip()[:_LONGEST_NOTE]
        if text:
            with closing(self._connect()) as connection, connection:
                connection.execute("INSERT INTO notes (author, text) VALUES (?, ?)", (environ["REMOTE_USER"], text))
        start_response("303 See Other", [("Location", "/"), ("Content-Type", "text/plain"), ("Content-Length", "0")])
        return []

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=10)


def arrived(environ: WSGIEnvironment) -> dict[str, object]:
    """What the middleware put into the environ, as plain values."""
    seen: dict[str, object] = {name: environ[name] for name in ("REMOTE_USER", "AUTH_TYPE") if name in environ}
    user, session = environ.get("jit.user"), environ.get("jit.session")
    if isinstance(user, User) and isinstance(session, Session):
        seen.update(chrome.told(user, session))
    return seen


def _about(environ: WSGIEnvironment) -> Answer:
    """A public page; it tells every key that names a user, so that one sent by the client would show."""
    named = {key: value for key, value in environ.items() if "REMOTE_USER" in key}
    main = "<h1>About</h1><p>This page is public: nobody had to sign in to see it.</p>"
    return _page("About", main + chrome.facts("Who the request says it is from", named or {"nobody": ""}), environ)


def _shown(number: int, author: str, text: str) -> str:
    by = f'<small>{escape(author)} · <a href="/notes/{number}">note {number}</a></small>'
    return f'<article class="note"><p>{escape(text)}</p>{by}</article>'


def _page(title: str, main: str, environ: WSGIEnvironment) -> Answer:
    user = environ.get("REMOTE_USER")
    return (
        200,
        "text/html; charset=utf-8",
        chrome.page("Notes board", title, main, user if isinstance(user, str) else None),
    )


def _no(sentence: str, status: int) -> Answer:
    main = f'<h1>{escape(sentence)}</h1><p><a href="/">All notes</a></p>'
    return status, "text/html; charset=utf-8", chrome.page("Notes board", "No", main, None)
