"""Sessions are chosen by the database, however many others there are: what ends, what is read, and what is told."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.model import SessionChoice, SessionRecord
from jit_middleware.ports import Transaction
from jit_middleware_sqlalchemy.queries import after_all
from jit_middleware_sqlalchemy.unit import Unit
from tests.contract.conftest import Rig
from tests.contract.test_ledger_contract import AT, ISSUER, do, feed_after, session

pytestmark = pytest.mark.real

ORDERS = ("before", "after", "around", "shuffled")
LAST = "\U0010ffff"


def start(rig: Rig, *records: SessionRecord) -> None:
    async def work(tx: Transaction) -> None:
        for record in records:
            await tx.add_session(record)

    do(rig, work)


def end(rig: Rig, **which: Any) -> list[str]:
    ended = rig.run(rig.ledger.transaction(lambda tx: tx.end_sessions(AT + 1, **which)))
    assert all(record.ended_at == AT + 1 for record in ended)
    return sorted(record.id for record in ended)


def live(rig: Rig, **which: Any) -> set[str]:
    listed = rig.run(rig.ledger.transaction(lambda tx: tx.list_sessions(limit=10_000, **which)))
    return {record.id for record in listed}


def named(number: int, name: str | None, **more: object) -> SessionRecord:
    return replace(session(f"s{number:05d}", f"u{number}", idp_session=name, created_at=AT + number), **more)  # type: ignore[arg-type]


def in_order(order: str, meant: Sequence[SessionRecord], others: Sequence[SessionRecord]) -> list[SessionRecord]:
    half = len(others) // 2
    match order:
        case "before":
            rows = [*meant, *others]
        case "after":
            rows = [*others, *meant]
        case "around":
            rows = [meant[0], *others[:half], *meant[1:-1], *others[half:], meant[-1]]
        case _:
            rows = [*meant, *others]
            random.Random(7).shuffle(rows)
    return [replace(record, created_at=AT + place) for place, record in enumerate(rows)]


@pytest.mark.parametrize("order", ORDERS)
def test_what_begins_so_ends_however_many_others_there_are_and_nothing_else_is_read(
    rig: Rig, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = [named(number, f"abc.{number}") for number in range(5)]
    others = [named(100 + number, f"{number:03x}.0") for number in range(400)]
    start(rig, *in_order(order, meant, others))
    read, asked = list[int](), Unit.read

    def counted(unit: Unit, *statement: Any) -> Sequence[Sequence[object]]:
        rows = asked(unit, *statement)
        read.append(len(rows))
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(Unit, "read", counted)
        ended = end(rig, connection="oidc", idp_session_prefix="abc.")
    assert ended == [record.id for record in meant]
    assert read == [len(meant)], "not those of the connection"
    assert live(rig) == {record.id for record in others}
    assert [(entry.kind, entry.key) for entry in feed_after(rig, 0).entries] == [("session", name) for name in ended]


@pytest.mark.parametrize(
    ("prefix", "beginning", "besides"),
    [
        ("abc.", ["abc.", "abc.-", "abc.\x01", "abc. ", "abc.é", f"abc.{LAST}", "abc.ABC"], ["abc", "abc/", "abc-"]),
        ("abc.", ["abc.1"], ["ABC.1", "Abc.1", "abç.1", "aЬc.1", "abc 1", "ab.1", "abc\u200b.1", "ａbc.1"]),
        ("a_%", ["a_%", "a_%1"], ["ab", "a_", "abc", "aXX1", "a\\_%"]),
        ("a\\", ["a\\", "a\\b"], ["a", "a]", "a["]),
        ("a'--", ["a'--", "a'--x"], ["a'-", "a''--"]),
        ("é", ["é", "é.1"], ["e.1", "e\u0301.1", "É.1", "ê"]),
        ("a\ud7ff", ["a\ud7ff", "a\ud7ffz"], ["a\ue000", "a"]),
        (f"a{LAST}", [f"a{LAST}", f"a{LAST}z"], ["a", "az", "b", "b."]),
        (LAST, [LAST, f"{LAST}z"], ["a", "\ufffd"]),
        ("a ", ["a ", "a  ", "a b"], ["a", "a!"]),
    ],
    ids=[
        "what-follows", "other-letters", "wildcards", "backslash", "quote", "accent", "before-surrogates", "carry",
        "last", "space",
    ],
)  # fmt: skip
def test_a_prefix_is_taken_letter_by_letter(rig: Rig, prefix: str, beginning: list[str], besides: list[str]) -> None:
    texts = [*beginning, *besides, None]
    start(rig, *(named(number, text) for number, text in enumerate(texts)))
    meant = [f"s{number:05d}" for number in range(len(beginning))]
    assert sorted(live(rig, idp_session_prefix=prefix)) == meant
    assert end(rig, connection="oidc", idp_session_prefix=prefix) == meant
    assert live(rig) == {f"s{number:05d}" for number in range(len(beginning), len(texts))}


def test_a_prefix_reaches_no_other_connection_no_other_user_and_nobody_when_it_is_empty(rig: Rig) -> None:
    start(rig, named(1, "abc.1"), named(2, "abc.2"), named(3, "abc.3", connection="other"))
    for odd in ("", "\x00", "abc.\ud800", "abc.\x00", "a" * 600):
        assert end(rig, connection="oidc", idp_session_prefix=odd) == []
    assert end(rig, connection="nowhere", idp_session_prefix="abc.") == []
    assert end(rig, connection="oidc", idp_session_prefix="abc.", user_id="u2") == ["s00002"]
    assert end(rig, connection="oidc", idp_session_prefix="abc.", user_id="u3") == []
    assert live(rig) == {"s00001", "s00003"}


def test_an_identity_is_chosen_exactly(rig: Rig) -> None:
    start(
        rig,
        named(1, "a", user_id="u"),
        named(2, "b", user_id="u", subject="ALICE"),
        named(3, "c", user_id="u", issuer=f"{ISSUER}/"),
        named(4, "d", user_id="u", connection="other"),
        named(5, "e", user_id="v"),
        named(6, None, user_id="u"),
        named(7, "", user_id="u"),
    )
    identity = SessionChoice(connection="oidc", user_id="u", issuer=ISSUER, subject="alice")
    assert end(rig, **identity, nameless=True) == ["s00006"]
    assert end(rig, **identity, nameless=False) == ["s00001", "s00007"]
    assert live(rig) == {"s00002", "s00003", "s00004", "s00005"}
    assert end(rig, connection="oidc", subject="\ud800") == []


@pytest.mark.parametrize("count", [1, 3, 1_200])
def test_a_connection_that_ends_is_told_in_one_word_however_many_sessions_it_had(rig: Rig, count: int) -> None:
    start(rig, *(named(number, f"{number}") for number in range(count)))
    start(rig, named(9_000, "x", connection="other"))
    assert len(end(rig, connection="oidc")) == count
    assert [(entry.kind, entry.key) for entry in feed_after(rig, 0).entries] == [("connection", "oidc")]
    assert live(rig) == {"s09000"}
    assert end(rig, connection="oidc") == []
    assert len(feed_after(rig, 0).entries) == 1, "nothing ended, nothing to tell"


@pytest.mark.parametrize(
    "more", [{"except_session": "s00002"}, {"idp_session_prefix": "n"}, {"subject": "alice"}, {"user_id": "u1"}]
)
def test_a_part_of_a_connection_is_told_one_by_one(rig: Rig, more: dict[str, str]) -> None:
    start(rig, named(1, "n1"), named(2, "m2", subject="bob"))
    assert end(rig, connection="oidc", **more) == ["s00001"]
    assert [(entry.kind, entry.key) for entry in feed_after(rig, 0).entries] == [("session", "s00001")]


def test_of_many_sessions_one_question_tells_which_nobody_has_ended(rig: Rig) -> None:
    start(rig, *(named(number, f"{number}") for number in range(1_100)))
    ids = [f"s{number:05d}" for number in range(1_100)]
    end(rig, session_id=ids[3])
    end(rig, user_id="u1099")
    asked = [*ids, "S00001", "s00001 ", "nobody's", "\x00", "\ud800", "x" * 200]
    assert sorted(rig.run(rig.ledger.live_among(asked))) == sorted({*ids} - {ids[3], ids[1099]})
    assert list(rig.run(rig.ledger.live_among([]))) == []


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(_TEXTS.filter(bool), _TEXTS, _TEXTS)
def test_between_a_prefix_and_what_comes_after_all_is_exactly_what_begins_so(
    prefix: str, rest: str, other: str
) -> None:
    end = after_all(prefix)
    assert end is None or not any(0xD800 <= ord(letter) < 0xE000 for letter in end)
    for text in (prefix + rest, other, prefix[:-1] + other, prefix + LAST * 3):
        assert (prefix <= text and (end is None or text < end)) == text.startswith(prefix)
