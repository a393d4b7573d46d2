"""What may be done to the text of a claim before it becomes a field, in the order the operator names.

Whatever is done once is done: to normalise what is normal changes nothing. Case is that of ASCII, because Unicode's
own mappings make one text of two (``K``, the Kelvin sign, lower-cased is ``k``), and with them one person of two.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from jit_middleware.letters import ascii_lower
from jit_middleware.model import JSON
from jit_middleware.provisioning.text import domain_of, plain_email
from jit_middleware.settings.policy import Normaliser

_DOMAIN: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+"
)


def normalised(value: JSON, normalisers: Sequence[Normaliser]) -> JSON:
    """The value after these normalisers: a text, or each text of a list; anything else is left as it is.

    ``None`` when a text has no such form (``domain`` of what is neither an address nor a domain); a list with such a
    text has none either, because to sift it would be to say something that the provider did not say.
    """
    if not normalisers:
        return value
    if isinstance(value, str):
        return _text(value, normalisers)
    if not isinstance(value, (list, tuple)):
        return value
    texts = [_text(each, normalisers) if isinstance(each, str) else each for each in value]
    lost = any(text is None and each is not None for text, each in zip(texts, value, strict=True))
    return None if lost else texts


def _text(value: str, normalisers: Sequence[Normaliser]) -> str | None:
    """Until nothing changes any more: ``lower`` and then ``nfc`` leave a capital K of a Kelvin sign, which ``lower``
    then changes. Each round but the last makes the text shorter, smaller or canonical, so there are few."""
    text: str | None = value
    before = None
    while text is not None and text != before:
        before = text
        for name in normalisers:
            text = None if text is None else _NORMALISERS[name](text)
    return text


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _domain(text: str) -> str | None:
    """What follows the ``@`` of a plain address; a domain stays itself."""
    address = plain_email(text)
    if address is not None:
        return domain_of(address)
    domain = ascii_lower(text)
    return domain if _DOMAIN.fullmatch(domain) else None


_NORMALISERS: Final[Mapping[Normaliser, Callable[[str], str | None]]] = MappingProxyType(
    {"trim": str.strip, "lower": ascii_lower, "nfc": _nfc, "domain": _domain}
)
