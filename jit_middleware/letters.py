"""Case as this house has it: that of ASCII alone."""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase
from typing import Final

_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


def ascii_lower(text: str) -> str:
    """``text`` without ASCII case; every other character stays, so that no two letters become one."""
    return text.lower() if text.isascii() else text.translate(_LOWER)
