"""Bringing the people of an existing app under single sign-on: who would be matched, and what stands in the way.

Pure: what is there comes in, verdicts go out. A verdict is one word for each account, the first that applies, so that a
list of them is a list of work. Look-alikes are judged stricter here than at a login, which simply never matches them:
two accounts that people take for one are something to mend before the move.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from jit_middleware.letters import ascii_lower
from jit_middleware.model import Status
from jit_middleware.provisioning.text import domain_of, plain_email
from jit_middleware.records import dataclass

Finding: TypeAlias = Literal[
    "linked",
    "closed",
    "excluded",
    "no_address",
    "address_unusable",
    "same_address",
    "looks_alike",
    "several_at_provider",
    "foreign_domain",
    "not_at_provider",
    "unverified",
    "would_confirm",
    "would_match",
    "new",
]

#: What somebody has to mend before it is safe to go on.
COLLISIONS: Final[frozenset[Finding]] = frozenset({"same_address", "looks_alike", "several_at_provider"})

# What case folding leaves of the Turkish capital I with a dot.
_DOT_ABOVE: Final = "\u0307"
# Letters of other scripts that are drawn as Latin ones (Unicode TR 39), as far as addresses and names use them.
_DRAWN_ALIKE: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u03bf\u03b1\u03bd\u03b9"
    "\u03ba\u03c1\u03c4\u03c5\u0131\u0261\u0251",
    "aeopcxyijshdqwoavikptuiga",
)


@dataclass(frozen=True, slots=True)
class KnownUser:
    """An account as it is today. ``linked`` and ``linked_elsewhere`` say whether an identity of this connection, or of
    another one, is tied to it; ``has_password`` is ``None`` where nobody says."""

    id: str
    username: str
    email: str | None = None
    email_verified: bool = False
    status: Status = Status.ACTIVE
    roles: tuple[str, ...] = ()
    linked: bool = False
    linked_elsewhere: bool = False
    has_password: bool | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in the provider's export, from its line ``line``."""

    line: int
    subject: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What would become of an account, or of a person at the provider who has none (``user_id`` is ``None``).

    ``others`` are the ids of the accounts, or the lines of the export, that it has to do with.
    """

    user_id: str | None
    username: str
    finding: Finding
    others: tuple[str, ...] = ()
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What the connection asks of an account that is to be matched by its address."""

    verified_domains: tuple[str, ...]
    excluded_roles: Container[str] = ()


def report(users: Sequence[KnownUser], people: Sequence[Person] | None, terms: Terms) -> list[Verdict]:
    """One verdict for each account, in order, then one for each person at the provider who would be new.

    Without ``people`` an account that only the provider could speak against is one that would match.
    """
    places = _Places(users, people)
    verdicts = [_verdict(user, places, terms) for user in users]
    for person in people or ():
        address = None if person.email is None else plain_email(person.email)
        if address is None or ascii_lower(address) not in places.by_address:
            verdicts.append(Verdict(None, "", "new", line=person.line))
    return verdicts


def skeleton(text: str) -> str:
    """The form that look-alikes share: without case, width and invisible letters, and one script where shapes agree.

    Accents stay: they tell people apart.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(c for c in folded if c != _DOT_ABOVE and unicodedata.category(c) not in {"Cf", "Cc"})
    return kept.translate(_DRAWN_ALIKE).strip()


class _Places:
    """Who shares what with whom."""

    def __init__(self, users: Sequence[KnownUser], people: Sequence[Person] | None) -> None:
        self.by_address = _grouped((ascii_lower(user.email), user.id) for user in users if user.email)
        alike = [(skeleton(user.email), user.id) for user in users if user.email]
        self.by_look = _grouped((*alike, *((f"name {skeleton(user.username)}", user.id) for user in users)))
        self.at_provider: Mapping[str, Sequence[str]] | None = None
        if people is not None:
            self.at_provider = _grouped((ascii_lower(each.email), str(each.line)) for each in people if each.email)


def _grouped(pairs: Iterable[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for key, member in pairs:
        groups[key].append(member)
    return groups


def _verdict(user: KnownUser, places: _Places, terms: Terms) -> Verdict:
    finding, others = _finding(user, places, terms)
    return Verdict(user.id, user.username, finding, tuple(others))


def _finding(user: KnownUser, places: _Places, terms: Terms) -> tuple[Finding, Sequence[str]]:
    if user.linked:
        return "linked", ()
    if user.status is not Status.ACTIVE:
        return "closed", ()
    if not user.email:
        return "no_address", ()
    same = _without(places.by_address[ascii_lower(user.email)], user.id)
    if same:
        return "same_address", same
    alike = sorted(
        {
            *_without(places.by_look[skeleton(user.email)], user.id),
            *_without(places.by_look[f"name {skeleton(user.username)}"], user.id),
        }
    )
    if alike:
        return "looks_alike", alike
    if any(role in terms.excluded_roles for role in user.roles):
        return "excluded", ()
    address = plain_email(user.email)
    if address is None:
        return "address_unusable", ()
    lines = () if places.at_provider is None else places.at_provider.get(ascii_lower(address), ())
    if len(lines) > 1:
        return "several_at_provider", lines
    if domain_of(address) not in terms.verified_domains:
        return "foreign_domain", ()
    if places.at_provider is not None and not lines:
        return "not_at_provider", ()
    if not user.email_verified:
        return "unverified", lines
    return ("would_confirm" if user.has_password or user.linked_elsewhere else "would_match"), lines


def _without(members: Sequence[str], member: str) -> list[str]:
    return [each for each in members if each != member]
