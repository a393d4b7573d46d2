"""Text from outside, made safe to show, to compare and to store.

Canonical forms are idempotent: the form of a form is itself.
"""

from __future__ import annotations

import unicodedata

NAME_LIMIT = 255
EMAIL_LIMIT = 254
# Cf characters that real names and emoji need: zero width (non-)joiner.
_JOINERS = frozenset("\u200c\u200d")
_CONFUSABLE_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE"})
_UNSHOWABLE = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
# Of other categories, and still not to be seen: Default_Ignorable_Code_Point (UAX 44) and the Braille blank. Names that
# people see may hold variation selectors; a username with one is another text that looks the same.
_UNSEEN = frozenset(
    map(
        chr,
        (
            0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, *range(0xFE00, 0xFE10),
            0xFFA0, *range(0xE0100, 0xE01F0),
        ),
    )
)  # fmt: skip


def shown_text(value: str, limit: int = NAME_LIMIT) -> str | None:
    """``value`` without control, bidi, unassigned and invisible characters, trimmed and cut.

    ``None`` if nothing is left. For names that people see: a newline could forge a log line, a right-to-left override
    another name.
    """
    if value.isascii() and value.isprintable():
        return value.strip()[:limit].strip() or None
    kept = "".join(c for c in value if c in _JOINERS or unicodedata.category(c) not in _UNSHOWABLE)
    kept = kept.strip()[:limit].strip()
    return kept if any(c not in _JOINERS and c not in _UNSEEN and not c.isspace() for c in kept) else None


def plain_username(value: str) -> str | None:
    """``value`` if it can be a username as it stands, else ``None``: never repaired into somebody else's name.

    Refused: blank, over 255 characters, space at either end, characters that cannot be seen, and look-alikes of another
    spelling (RFC 8265 §3.3 maps full-width forms and ligatures, and mapping is how two people become one). Letters and
    their accents are composed, as every keyboard may do; a composed form may also be the longer one.
    """
    if not value or len(value) > NAME_LIMIT or value != value.strip():
        return None
    if value.isascii():
        return value if value.isprintable() else None
    if any(unicodedata.category(c) in _UNSHOWABLE or c in _UNSEEN or _is_another(c) for c in value):
        return None
    if not is_unambiguous(value):
        return None
    composed = unicodedata.normalize("NFC", value)
    return composed if len(composed) <= NAME_LIMIT else None


def is_unambiguous(value: str) -> bool:
    """Whether no other spelling looks like this one: nothing that NFKC folds, and no Latin beside Cyrillic or Greek."""
    if value.isascii():
        return True
    if unicodedata.normalize("NFKC", value) != unicodedata.normalize("NFC", value):
        return False
    scripts = {unicodedata.name(c, "?").partition(" ")[0] for c in value if c.isalpha()}
    return len(scripts & _CONFUSABLE_SCRIPTS) < 2


def _is_another(character: str) -> bool:
    """Whether Unicode takes this for another character altogether: the Kelvin sign for ``K``, U+037E for ``;``."""
    return len(unicodedata.decomposition(character).split()) == 1


def plain_email(value: str) -> str | None:
    """``value`` if it is one plain address, else ``None``; the domain lower-cased, the local part as it is.

    Exactly one ``@``, printable ASCII without space, quotes, comments, lists or address literals: anything more
    ambiguous has been read as somebody else's address by some system or other.
    """
    if not value.isascii() or len(value) > EMAIL_LIMIT or value.count("@") != 1:
        return None
    local, domain = value.split("@")
    if not 0 < len(local) <= 64 or not all(c.isalnum() or c in "!#$%&'*+-/=?^_`{|}~." for c in local):
        return None
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return None
    labels = domain.split(".")
    if len(labels) < 2 or not all(_is_label(label) for label in labels):
        return None
    return f"{local}@{domain.lower()}"


def domain_of(email: str) -> str:
    """The domain of an address that :func:`plain_email` returned."""
    return email.rpartition("@")[2]


def _is_label(label: str) -> bool:
    # RFC 1035 §2.3.1, RFC 1123 §2.1
    inner = label.replace("-", "")
    return 0 < len(label) <= 63 and label[0] != "-" and label[-1] != "-" and inner.isascii() and inner.isalnum()
