"""What is said between workers: any bytes may come in, and only what was meant comes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware_redis.hints import MOST, Hints, decode

KEY = "0123456789abcdef" * 4

keys = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)
used = st.lists(st.tuples(keys, st.integers(min_value=0, max_value=10**12 - 1)), max_size=5)


@given(st.booleans(), used)
def test_what_was_said_is_heard(access_changed: bool, used: list[tuple[str, int]]) -> None:
    hints = Hints(access_changed, tuple(used))
    assert decode([hints.encode()]) == hints


def test_several_messages_are_heard_as_one() -> None:
    first, second = Hints(used=((KEY, 5),)), Hints(access_changed=True)
    assert decode([first.encode(), b"", second.encode(), first.encode()]) == Hints(True, ((KEY, 5), (KEY, 5)))


def test_a_full_message_is_heard() -> None:
    hints = Hints(True, tuple((f"{number:064x}", 10**12 - 1) for number in range(MOST)))
    assert decode([hints.encode()]) == hints


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_noise_is_heard_as_nothing_and_never_raises(messages: list[bytes]) -> None:
    heard = decode(messages)
    assert not heard.used
    assert heard.access_changed is any(b"access" in message.split(b"\n") for message in messages)


@pytest.mark.parametrize(
    "line",
    [
        b"access ",
        b"ACCESS",
        b"access\r",
        b"check",
        f"used {KEY}".encode(),
        f"used {KEY} -1".encode(),
        f"used {KEY} 1234567890123".encode(),
        f"used {KEY[1:]} 1".encode(),
        f"used {KEY.upper()} 1".encode(),
        f"used {KEY} 1 more".encode(),
        f"used {KEY} ".encode() + "١".encode(),
        f"forget {KEY} 1".encode(),
        b"access" + b"\n" * 65_536,
    ],
)
def test_a_line_of_another_kind_is_skipped(line: bytes) -> None:
    assert decode([line]) == Hints()
    if len(line) < 1000:
        assert decode([line + b"\naccess"]) == Hints(access_changed=True)


def test_no_hint_names_a_session_a_user_or_a_key_in_clear() -> None:
    assert Hints(True, ((KEY, 7),)).encode() == f"access\nused {KEY} 7".encode()
