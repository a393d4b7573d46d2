"""Readers: each turns one value, as an environment variable or a TOML file gives it, into the type the program uses.

A reader returns the narrow type or raises :class:`BadValue` with a problem and a fix, both whole sentences. The value
itself is shown only through :func:`shown`, never for a secret.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar, cast

E = TypeVar("E", bound=str)

SECRET_KEY_BYTES: Final = 32
_SECRET_KEY_BITS: Final = 72
_PUBLISHED_KEYS: Final = (
    "changeme", "change-me", "change_me", "django-insecure", "placeholder", "password", "secretkey", "secret-key",
    "secret_key", "example", "default",
)  # fmt: skip
_UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])", re.ASCII)
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+"
)
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|[0-9a-f:]{2,45}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class BadValue(ValueError):
    """A value that cannot be used: what is wrong, and what to write instead. Carries no secret."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem} {fix}")
        self.problem = problem
        self.fix = fix


def shown(value: object) -> str:
    """The value as a fault may quote it: one line, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- single values ------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """One line of text, without blanks around it."""
    if not isinstance(value, str):
        raise BadValue("it is not text.", "write it as text in quotes.")
    stripped = value.strip()
    if not stripped:
        raise BadValue("it is empty.", "give it a value, or remove it.")
    if _CONTROL.search(stripped):
        raise BadValue("it contains a line break or another control character.", "write it on one line.")
    return stripped


def secret_text(value: object) -> str:
    """A secret exactly as it was given, blanks and all; never quoted in a fault."""
    if not isinstance(value, str):
        raise BadValue("it is not text.", "write it as text in quotes.")
    if not value.strip():
        raise BadValue("it is empty.", "give it a value, or remove it.")
    return value


def private_key(value: object) -> str:
    """A private key in PEM or as a JSON Web Key; whether it is a good key is found out when it is first imported."""
    key = secret_text(value).strip()
    if key.startswith("-----BEGIN ") or key.startswith("{"):
        return key
    raise BadValue("it is neither a PEM block nor a JSON Web Key.", "give the whole file, beginning with -----BEGIN.")


def switch(value: object) -> bool:
    """On or off."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        match value.strip().lower():
            case "1" | "true" | "yes" | "on":
                return True
            case "0" | "false" | "no" | "off":
                return False
            case _:
                pass
    raise BadValue(f"{shown(value)} is neither on nor off.", "write true or false.")


def seconds(value: object) -> float:
    """A length of time such as ``30s``, ``15m``, ``12h``, ``90d`` or ``0.5s``, in seconds."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise BadValue(
            f"{shown(value)} is not a length of time.", "write a number and a unit, as 30s, 15m, 12h or 90d."
        )
    return float(match[1]) * _UNITS[match[2]]


def as_written(length: float) -> str:
    """Seconds as one writes them in a setting: the largest unit of which it is a whole number, days only from two."""
    for unit, size, least in (("d", 86_400, 2), ("h", 3_600, 1), ("m", 60, 1)):
        if length % size == 0 and length >= least * size:
            return f"{length // size:.0f}{unit}"
    return f"{length:g}s"


def whole_seconds(value: object) -> int:
    """A length of time that is a whole number of seconds."""
    length = seconds(value)
    if length != int(length):
        raise BadValue(f"{shown(value)} is not a whole number of seconds.", "write it without a fraction.")
    return int(length)


def positive_seconds(value: object) -> int:
    """A length of time of at least one second."""
    length = whole_seconds(value)
    if length < 1:
        raise BadValue(f"{shown(value)} leaves no time at all.", "write at least 1s.")
    return length


def choice(*words: E) -> Callable[[object], E]:
    """A reader of one of these words."""

    def read(value: object) -> E:
        for word in words:
            if isinstance(value, str) and value.strip() == word:
                return word
        raise BadValue(f"{shown(value)} is not one of its values.", f"write {one_of(words)}.")

    return read


def one_of(words: Sequence[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def directory(value: object) -> str:
    """A directory that exists."""
    path = text(value)
    if not Path(path).is_dir():
        raise BadValue(f"{shown(path)} is not a directory.", "name an existing directory, or remove the setting.")
    return path


def database_url(value: object) -> str:
    """An SQLAlchemy URL of a database that all workers share. Not quoted in faults: it may hold a password."""
    url = text(value)
    found = re.match(r"([a-z][a-z0-9]*)(\+[a-z0-9_]+)?://([^/?#]*)(/?[^?#]*)(.*)", url, re.DOTALL)
    if not found:
        raise BadValue(
            "it is not a database URL.", "write it as sqlite:///jit.db or postgresql+psycopg://user@host/name."
        )
    kind, file, query = found[1], found[4], found[5]
    if kind not in _DATABASES:
        raise BadValue(f"the database {kind!r} is not supported.", "use PostgreSQL, MariaDB or SQLite.")
    if kind == "sqlite" and (file in {"", "/", "/:memory:"} or file == "/file::memory:" or "mode=memory" in query):
        raise BadValue(
            "a database in memory is that of one process, gone with it: the next worker knows nobody who signed in.",
            "name a file, as in sqlite:///jit.db.",
        )
    return url


_DATABASES: Final = frozenset({"sqlite", "postgresql", "postgres", "mariadb", "mysql"})


def redis_url(value: object) -> str:
    """A URL of Redis or Valkey. Not quoted in faults: it may hold a password."""
    url = text(value)
    if not re.match(r"(rediss?://[^/?#]|unix:///)", url):
        raise BadValue(
            "it is not a Redis URL.", "write it as redis://host:6379/0, rediss://user:password@host or unix:///path."
        )
    return url


def store_name(value: object) -> str:
    """``default``, another store's name, or ``package.module:factory``."""
    name = text(value)
    if not re.fullmatch(r"[A-Za-z_][\w.-]*(:[A-Za-z_][\w.]*)?", name, re.ASCII):
        raise BadValue(f"{shown(name)} names no user store.", "write default, or package.module:factory.")
    return name


def endpoint_prefix(value: object) -> str:
    """A path of plain segments, beginning with ``/`` and not ending with it."""
    prefix = text(value)
    segments = prefix.split("/")
    if segments[0] or not all(re.fullmatch(r"(?!\.\.?\Z)[A-Za-z0-9._~-]+", part) for part in segments[1:]):
        raise BadValue(
            f"{shown(prefix)} is not a plain path.",
            "begin with / and use letters, digits and -._~ only, without a / at the end, as in /_jit.",
        )
    return prefix


# --- several values -----------------------------------------------------------------------------------------------


def comma_list(value: object) -> tuple[str, ...]:
    """Comma separated text, or a TOML array; order kept, repeats dropped."""
    return _parts(value, re.compile(","))


def word_list(value: object) -> tuple[str, ...]:
    """Words separated by blanks or commas, or a TOML array."""
    return _parts(value, re.compile(r"[\s,]"))


def blank_list(value: object) -> tuple[str, ...]:
    """Words separated by blanks, or a TOML array; a comma is part of a word (RFC 6749 §3.3 leaves it one)."""
    return _parts(value, re.compile(r"\s"))


def domains(value: object) -> tuple[str, ...]:
    """Exact domain names, lower case."""
    found = tuple(part.lower() for part in comma_list(value))
    for domain in found:
        if not _DOMAIN.fullmatch(domain):
            raise BadValue(
                f"{shown(domain)} is not a domain name.", "write whole names, as example.org, without @ or *."
            )
    return found


def hosts(value: object) -> tuple[str, ...]:
    """Host names or addresses without scheme and port, lower case."""
    found = tuple(part.lower().strip("[]") for part in comma_list(value))
    for host in found:
        if not _HOST.fullmatch(host):
            raise BadValue(
                f"{shown(host)} is not a host.", "write host names or addresses only, without https:// and port."
            )
    return found


def table(value: object) -> Mapping[str, object]:
    """A TOML table, or a JSON object as text."""
    decoded = _decoded(value)
    if not isinstance(decoded, Mapping):
        raise BadValue("it is not a table.", "write a TOML table, or a JSON object.")
    return cast("Mapping[str, object]", decoded)


def rows(value: object) -> tuple[Mapping[str, object], ...]:
    """A TOML array of tables, or a JSON list of objects as text."""
    decoded = _decoded(value)
    if not isinstance(decoded, list):
        raise BadValue(
            "it is not a list.", 'write [[role_rules]] tables, or JSON as [{"when": "...", "grant": ["..."]}].'
        )
    return tuple(table(row) for row in cast("list[object]", decoded))


def secret_keys(value: object) -> tuple[bytes, ...]:
    """Signing keys, newest first, each long and random enough to be one. No key is quoted in a fault."""
    keys = tuple(part.strip() for part in (value.split(",") if isinstance(value, str) else _texts(value)))
    present = tuple(key for key in keys if key)
    if not present:
        raise BadValue("it is empty.", _KEYGEN)
    for position, key in enumerate(present, start=1):
        which = "it" if len(present) == 1 else f"key number {position}"
        _refuse_guessable(key, which)
    return tuple(key.encode("utf-8", "surrogateescape") for key in present)


_KEYGEN: Final = "make one with `jit-middleware keygen`."


def _refuse_guessable(key: str, which: str) -> None:
    if len(key.encode("utf-8", "surrogateescape")) < SECRET_KEY_BYTES:
        raise BadValue(f"{which} is shorter than {SECRET_KEY_BYTES} bytes.", _KEYGEN)
    if any(word in key.lower() for word in _PUBLISHED_KEYS):
        raise BadValue(f"{which} contains a word that published sample keys contain.", _KEYGEN)
    repeats = any(key[period:] == key[:-period] for period in range(1, len(key) // 2 + 1))
    steps = tuple(ord(after) - ord(before) for before, after in pairwise(key))
    if repeats or min(_bits(key), _bits(steps)) < _SECRET_KEY_BITS:
        raise BadValue(f"{which} is not random: characters repeat or follow in order.", _KEYGEN)


def _bits(symbols: Sequence[object]) -> float:
    """The bits in these symbols if each were drawn by the frequencies seen: never too few, and few for a bad key."""
    total = len(symbols)
    return sum(count * math.log2(total / count) for count in Counter(symbols).values())


def _parts(value: object, separator: re.Pattern[str]) -> tuple[str, ...]:
    parts = separator.split(value) if isinstance(value, str) else _texts(value)
    found = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if any(_CONTROL.search(part) for part in found):
        raise BadValue("it contains a control character.", "remove it.")
    return found


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise BadValue("it is neither text nor a list.", "write comma separated text, or a list of texts.")
    entries = cast("Sequence[object]", value)
    texts = tuple(entry for entry in entries if isinstance(entry, str))
    if len(texts) != len(entries):
        raise BadValue("its list holds something that is not text.", "put every entry in quotes.")
    return texts


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return list(cast("Sequence[object]", value)) if isinstance(value, tuple) else value
    try:
        return cast("object", json.loads(value))
    except json.JSONDecodeError as broken:
        place = f"line {broken.lineno}, column {broken.colno}"
        problem = f"it is not JSON ({place}: {broken.msg})."
        raise BadValue(problem, "check its quotes, brackets and commas there.") from broken
    except ValueError as broken:  # a number of more digits than Python reads
        raise BadValue("it is not JSON.", "check its quotes, brackets and commas.") from broken
    except RecursionError as deep:
        raise BadValue("its JSON is nested too deeply.", "write it flat.") from deep
