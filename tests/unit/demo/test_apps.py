from __future__ import annotations

import asyncio
import io
import json
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from jit_middleware.demo import bare
from jit_middleware.demo.board import NotesBoard
from jit_middleware.injection import ScopeUser
from jit_middleware.model import Session, User

USER = User(id="7", username="alice", email="a@example.com", display_name="Alice <Å>", roles=("reader",))
SESSION = Session("s", "7", "oidc", datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, 12, tzinfo=UTC))
SIGNED_IN = {"REMOTE_USER": "alice", "AUTH_TYPE": "jit", "jit.user": USER, "jit.session": SESSION}


@pytest.fixture
def board(tmp_path: Path) -> NotesBoard:
    return NotesBoard(tmp_path / "notes.db")


def call(
    board: NotesBoard, method: str, path: str, body: bytes = b"", **environ: object
) -> tuple[int, dict[str, str], bytes]:
    request: dict[str, object] = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    if method == "POST":
        request |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/x-www-form-urlencoded"}
    request |= {"wsgi.input": io.BytesIO(body), **environ}
    setup_testing_defaults(request)
    seen: list[tuple[int, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> object:
        seen.append((int(status[:3]), dict(headers)))
        return lambda data: None

    chunks = validator(board)(request, start_response)
    answer = b"".join(chunks)
    chunks.close()
    return (*seen[0], answer)


def test_board_shows_what_arrived(board: NotesBoard) -> None:
    status, _, body = call(board, "GET", "/", **SIGNED_IN)
    assert status == 200
    assert all(text in body for text in (b"alice", "Alice &lt;Å&gt;".encode(), b"reader", b"2027-01-01T12:00:00+00:00"))
    assert json.loads(call(board, "GET", "/whoami", **SIGNED_IN)[2])["jit.user.roles"] == ["reader"]


def test_board_keeps_notes_by_remote_user_and_escapes_them(board: NotesBoard) -> None:
    status, headers, _ = call(board, "POST", "/notes", b"text=%3Cb%3Ehi%3C%2Fb%3E", **SIGNED_IN)
    assert (status, headers["Location"]) == (303, "/")
    status, _, body = call(board, "GET", "/notes/3", **SIGNED_IN)
    assert (status, b"&lt;b&gt;hi&lt;/b&gt;" in body, b"alice \xc2\xb7" in body) == (200, True, True)


@pytest.mark.parametrize("body", [b"", b"text=", b"text=+++", b"other=1", b"\xff\xfe"])
def test_board_puts_up_no_empty_note(board: NotesBoard, body: bytes) -> None:
    call(board, "POST", "/notes", body, **SIGNED_IN)
    assert call(board, "GET", "/notes/3", **SIGNED_IN)[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/notes/999", 404),
        ("GET", "/notes/x", 404),
        ("PUT", "/", 405),
        ("HEAD", "/", 200),
    ],
)
def test_board_answers_odd_requests(board: NotesBoard, method: str, path: str, status: int) -> None:
    assert call(board, method, path, **SIGNED_IN)[0] == status


def test_public_page_would_show_a_forged_name(board: NotesBoard) -> None:
    assert b"admin" in call(board, "GET", "/about", HTTP_X_REMOTE_USER="admin")[2]
    assert b"nobody" in call(board, "GET", "/about")[2]


def ask(path: str, scope: dict[str, object], method: str = "GET") -> tuple[int, bytes]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(bare.app({"type": "http", "path": path, "method": method, **scope}, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_bare_app_shows_what_arrived() -> None:
    scope: dict[str, object] = {"user": ScopeUser(USER), "jit.user": USER, "jit.session": SESSION}
    status, body = ask("/whoami", scope)
    seen = json.loads(body)
    assert status == 200
    assert (seen["is_authenticated"], seen["display_name"], seen["jit.user.username"]) == (True, "Alice <Å>", "alice")
    assert "Alice &lt;Å&gt;".encode() in ask("/", scope)[1]


def test_bare_app_serves_anonymous_and_unknown_paths() -> None:
    assert json.loads(ask("/whoami", {"user": ScopeUser(None)})[1])["is_authenticated"] is False
    assert json.loads(ask("/whoami", {})[1]) == {}
    assert ask("/nothing", {})[0] == 404
    assert ask("/", {}, "HEAD") == (200, b"")
