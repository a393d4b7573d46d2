"""What one worker says to the others: lines of plain text, without an id of anybody.

``access`` says that the feed has grown; ``used <digest> <until>`` that a one-use key was taken. A line of another kind
is skipped, so that versions may be mixed while an application is rolled out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

#: Used keys in one message; about forty kilobytes.
MOST: Final = 500
_LONGEST: Final = 65_536
_ACCESS: Final = b"access"
_USED: Final = re.compile(rb"used ([0-9a-f]{64}) ([0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class Hints:
    """Whether access changed, and which one-use keys (their digests) were taken, each with the time it is kept to."""

    access_changed: bool = False
    used: tuple[tuple[str, int], ...] = ()

    def encode(self) -> bytes:
        """The message."""
        lines = [_ACCESS] if self.access_changed else []
        lines += [b"used %b %d" % (key.encode("ascii"), until) for key, until in self.used]
        return b"\n".join(lines)


def decode(messages: Iterable[bytes]) -> Hints:
    """What these messages say together. Never raises: what is not understood says nothing."""
    access_changed = False
    used: list[tuple[str, int]] = []
    for message in messages:
        if len(message) > _LONGEST:
            continue
        for line in message.split(b"\n"):
            access_changed = access_changed or line == _ACCESS
            found = _USED.fullmatch(line)
            if found is not None:
                used.append((found[1].decode("ascii"), int(found[2])))
    return Hints(access_changed, tuple(used))
