"""The lists that ``adopt`` reads: CSV with a head line, or a JSON list of objects."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from jit_middleware.cli.terminal import WrongUse
from jit_middleware.model import Status
from jit_middleware.provisioning.adoption import KnownUser, Person
from jit_middleware.provisioning.batches import Row

_TRUE: Final = frozenset({"true", "yes", "1"})
_LARGEST: Final = 200 * 1024 * 1024
# Providers' exports have columns of their own; these are the names that the common ones use, in lower case.
_SUBJECT_NAMES: Final = ("subject", "sub", "id", "object id", "objectid", "user id", "nameid")
_EMAIL_NAMES: Final = ("email", "mail", "e-mail", "email address", "primaryemail", "userprincipalname", "upn")


def read_people(path: str) -> list[Person]:
    """The provider's export. Raises ``WrongUse``."""
    people: list[Person] = []
    for line, entry in _entries(path):
        subject, email = _first(entry, _SUBJECT_NAMES), _first(entry, _EMAIL_NAMES)
        if subject is None and email is None:
            raise WrongUse(f"{path}, line {line}: neither a subject ({_names(_SUBJECT_NAMES)}) nor an e-mail address.")
        people.append(Person(line, subject, email))
    return people


def read_users(path: str) -> list[KnownUser]:
    """The app's own users, where the store cannot list them: ``id``, ``username``, ``email`` and, if known,
    ``email_verified``, ``status``, ``roles`` (separated by blanks), ``has_password``. Raises ``WrongUse``."""
    users: list[KnownUser] = []
    for line, entry in _entries(path):
        identifier, username = entry.get("id"), entry.get("username")
        if not identifier or not username:
            raise WrongUse(f"{path}, line {line}: id and username are needed.")
        users.append(
            KnownUser(
                id=identifier,
                username=username,
                email=entry.get("email") or None,
                email_verified=entry.get("email_verified", "").lower() in _TRUE,
                status=_status(path, line, entry.get("status") or Status.ACTIVE.value),
                roles=tuple(sorted(set((entry.get("roles") or "").split()))),
                has_password=entry["has_password"].lower() in _TRUE if entry.get("has_password") else None,
            )
        )
    return users


def read_rows(path: str) -> list[Row]:
    """Who is who: ``user`` and ``subject`` or ``email``, and ``issuer`` if need be. Raises ``WrongUse``."""
    rows: list[Row] = []
    for line, entry in _entries(path):
        unknown = set(entry) - {"user", "subject", "email", "issuer"}
        if unknown:
            raise WrongUse(
                f"{path}: the columns are user, subject or email, and issuer, not {_names(sorted(unknown))}."
            )
        if not entry.get("user"):
            raise WrongUse(f"{path}, line {line}: the user is missing.")
        kept = {name: entry.get(name) or None for name in ("subject", "email", "issuer")}
        rows.append(Row(line, entry["user"], **kept))
    if not rows:
        raise WrongUse(f"{path} has no rows.")
    return rows


def _entries(path: str) -> list[tuple[int, Mapping[str, str]]]:
    """Each entry with its line (of JSON: its number), names in lower case."""
    try:
        if Path(path).stat().st_size > _LARGEST:
            raise WrongUse(f"{path} is larger than {_LARGEST // 1024 // 1024} MB.")
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise WrongUse(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise WrongUse(f"{path} is not UTF-8.") from error
    return _json_entries(path, text) if text.lstrip().startswith("[") else _csv_entries(path, text)


def _csv_entries(path: str, text: str) -> list[tuple[int, Mapping[str, str]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
    entries: list[tuple[int, Mapping[str, str]]] = []
    try:
        head = [name.strip().lower() for name in reader.fieldnames or ()]
        if len(set(head)) != len(head) or not all(head):
            raise WrongUse(f"{path}: the head line names a column twice, or not at all.")
        for row in reader:
            if None in row:
                raise WrongUse(f"{path}, line {reader.line_num}: more values than columns.")
            entries.append((reader.line_num, {name.strip().lower(): value.strip() for name, value in row.items()}))
    except csv.Error as error:
        raise WrongUse(f"{path}, after line {reader.line_num}: {error}.") from error
    return entries


def _json_entries(path: str, text: str) -> list[tuple[int, Mapping[str, str]]]:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongUse(f"{path} is not JSON.") from error
    entries: list[tuple[int, Mapping[str, str]]] = []
    for number, entry in enumerate(cast("Sequence[object]", value), start=1):
        if not isinstance(entry, dict):
            raise WrongUse(f"{path}, entry {number}: it is no object.")
        named = cast("dict[str, object]", entry).items()
        entries.append((number, {name.lower(): _text(each) for name, each in named if each is not None}))
    return entries


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(each) for each in cast("list[object]", value))
    return str(value).strip()


def _first(entry: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((entry[name] for name in names if entry.get(name)), None)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _status(path: str, line: int, text: str) -> Status:
    try:
        return Status(text.lower())
    except ValueError:
        raise WrongUse(f"{path}, line {line}: {text!r} is no status.") from None
