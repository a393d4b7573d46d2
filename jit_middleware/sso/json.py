"""JSON as a protocol message: an object, nothing twice, nothing that other readers would read differently.

Parsers disagree about repeated members, ``NaN``, byte order marks and lone surrogates; a message that uses any of them
can mean one thing to the party that checks and another to the party that acts (RFC 8259 §4, RFC 8725 §2.4).
"""

from __future__ import annotations

import json
import math
import re
from typing import Final, cast

from jit_middleware.model import JSON

MAX_DEPTH: Final = 32
_DIGITS: Final = 40
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)


class NotStrictJSON(ValueError):
    """The text is not one strict JSON object. The message says why and quotes nothing of it."""


def parse_object(data: bytes | str) -> dict[str, JSON]:
    """The JSON object that this text is; raises :class:`NotStrictJSON` for anything else, whatever the bytes are."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        _check_depth(text)
        value: object = _DECODER.decode(text)
        if "\\u" in text and "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate cannot be stored
    except NotStrictJSON:
        raise
    except UnicodeError:
        raise NotStrictJSON("text that is not Unicode") from None
    except (ValueError, RecursionError):
        raise NotStrictJSON("not JSON") from None
    if not isinstance(value, dict):
        raise NotStrictJSON("not an object")
    return cast("dict[str, JSON]", value)


def _check_depth(text: str) -> None:
    """Bound the nesting before the parser, which recurses, sees it."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _TOKEN.finditer(text):
        piece = match.group()
        if piece in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise NotStrictJSON("nested too deeply")
        elif piece in "]}":
            depth -= 1


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrictJSON("a member appears twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise NotStrictJSON("a number too long")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotStrictJSON("a number too large")
    return value


def _constant(name: str) -> object:
    raise NotStrictJSON(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_number, parse_constant=_constant
)
