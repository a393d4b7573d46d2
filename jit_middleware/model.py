"""What crosses from one room to another: frozen, slotted data without behaviour.

Times are whole seconds since the epoch (UTC) inside the middleware, aware ``datetime`` where the app sees them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, TypedDict

from jit_middleware.records import dataclass, record

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Claims: TypeAlias = Mapping[str, JSON]

NO_CLAIMS: Final[Claims] = MappingProxyType({})
DEFAULT_TENANT: Final = "default"


class Status(enum.StrEnum):
    """Where an account stands in its lifecycle; only ``ACTIVE`` is served."""

    INVITED = "invited"
    PENDING = "pending"
    ACTIVE = "active"
    DORMANT = "dormant"
    SUSPENDED = "suspended"
    DEPROVISIONED = "deprovisioned"
    DELETED = "deleted"
    ERASED = "erased"


#: The states in which an account may hold one of the seats that a tenant has.
SEATED: Final = frozenset({Status.INVITED, Status.ACTIVE, Status.SUSPENDED})


@dataclass(frozen=True, slots=True)
class User:
    """The local user, as the app and the stores see it.

    ``id`` is the store's own key as text and never changes. ``username`` is what ``REMOTE_USER`` shows; ``roles`` are
    sorted and free of duplicates; ``attributes`` holds the further mapped fields, JSON values only. ``email_verified``
    says that somebody vouches for ``email``; without it, an address is a claim and no identity.
    """

    id: str
    username: str
    email: str | None = None
    display_name: str | None = None
    roles: tuple[str, ...] = ()
    attributes: Claims = field(default_factory=lambda: NO_CLAIMS)
    tenant: str = DEFAULT_TENANT
    status: Status = Status.ACTIVE
    email_verified: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """The login the current request belongs to. Times are aware UTC."""

    id: str
    user_id: str
    connection: str
    authenticated_at: datetime
    expires_at: datetime
    acr: str | None = None
    amr: tuple[str, ...] = ()


@record(frozen=True, slots=True)
class OnceKey:
    """Something that may be used once: the ledger remembers ``key`` under ``purpose`` at least until that time."""

    purpose: str
    key: str
    until: int


@record(frozen=True, slots=True)
class VerifiedIdentity:
    """Who the identity provider says this is, after every check. Built in ``sso`` only (a test holds this).

    ``email_verified`` is ``True`` only for the JSON value ``true``; ``None`` when the provider says nothing.
    ``session_ceiling`` is the provider's own upper bound for our session, seconds since the epoch.
    ``logout_hint`` is what the provider wants to see again at logout (OIDC: the ID token), never logged.
    ``refresh_token`` is there where the connection is to ask with it whether the person is still welcome; never logged.
    ``once`` is taken in the transaction that starts the session, so that no message starts a second one.
    ``begun_at`` is when the provider can have vouched for this at the earliest: a revocation that came then or later
    overtakes the login, and so does any where this is not known (0).
    """

    connection: str
    issuer: str
    subject: str
    claims: Claims
    tenant: str = DEFAULT_TENANT
    email: str | None = None
    email_verified: bool | None = None
    idp_session: str | None = None
    auth_time: int | None = None
    acr: str | None = None
    amr: tuple[str, ...] = ()
    session_ceiling: int | None = None
    logout_hint: str | None = field(default=None, repr=False)
    once: tuple[OnceKey, ...] = ()
    refresh_token: str | None = field(default=None, repr=False)
    begun_at: int = 0


@record(frozen=True, slots=True)
class Marks:
    """What a login answers to when somebody is revoked, made by :mod:`jit_middleware.overtaking`; ``None`` where it has
    no such name."""

    connection: str
    identity: str
    session: str | None = None
    own_session: str | None = None
    person: str | None = None
    email: str | None = None


@record(frozen=True, slots=True)
class StepUp:
    """What a session has to show for a path: an ``acr`` that is one of these (empty: whichever), and an authentication
    at the provider at most ``max_age`` seconds ago (``None``: whenever).

    ``insist``: the provider is told to authenticate the person anew, because asking for it alone did not help.
    """

    acr: tuple[str, ...] = ()
    max_age: int | None = None
    insist: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """A user about to be created.

    ``provisioning_key`` is stable for one identity (connection, issuer, subject): a store that has already made a user
    for it returns that user instead of making a second one. ``seat`` says whether the user counts among those that a
    tenant may have; it is the ledger's matter.
    """

    provisioning_key: str
    username: str
    email: str | None = None
    email_verified: bool = False
    display_name: str | None = None
    attributes: Claims = field(default_factory=lambda: NO_CLAIMS)
    roles: tuple[str, ...] = ()
    tenant: str = DEFAULT_TENANT
    status: Status = Status.ACTIVE
    seat: bool = True


class Unset(enum.Enum):
    """The value of a field that a change leaves alone (``None`` clears it)."""

    UNSET = enum.auto()


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class ProfileChanges:
    """What a later login changes; fields left ``UNSET`` stay as they are."""

    username: str | Unset = UNSET
    email: str | Unset | None = UNSET
    email_verified: bool | Unset = UNSET
    display_name: str | Unset | None = UNSET
    attributes: Claims | Unset = UNSET
    roles: tuple[str, ...] | Unset = UNSET

    def __bool__(self) -> bool:
        return not (
            self.username is UNSET
            and self.email is UNSET
            and self.email_verified is UNSET
            and self.display_name is UNSET
            and self.attributes is UNSET
            and self.roles is UNSET
        )


@record(frozen=True, slots=True)
class IdentityLink:
    """The tie between one identity at a provider and one local user.

    ``user_id`` is ``None`` while the user is being made in a store outside the ledger (a resumable intent).
    """

    connection: str
    issuer: str
    subject: str
    provisioning_key: str
    user_id: str | None
    tenant: str = DEFAULT_TENANT
    first_login_at: int | None = None


@dataclass(frozen=True, slots=True)
class LinkProof:
    """What shows that the person who signs in holds the account ``user_id``.

    ``identity_key`` is the one identity it counts for, ``None`` for whichever comes first (an invitation). ``once`` is
    taken in the transaction that links, so that the proof serves once.
    """

    user_id: str
    kind: Literal["password", "invitation"]
    identity_key: str | None
    once: OnceKey


@dataclass(frozen=True, slots=True)
class Prelink:
    """Whom an operator has tied to the account ``user_id`` before the first login, to be used once until ``until``.

    ``key`` is a digest of what has to be shown: a subject, an address that is vouched for, or an invitation.
    ``batch`` names those that were made together. Times are seconds since the epoch.
    """

    key: str
    kind: Literal["subject", "email", "invitation"]
    connection: str
    user_id: str
    batch: str
    created_at: int
    until: int
    tenant: str = DEFAULT_TENANT
    used_at: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """One role held for one reason. ``source``: ``birthright``, ``idp:<connection>``, ``scim:<connection>``, ``manual``
    or ``seatless``."""

    role: str
    source: str


@dataclass(frozen=True, slots=True)
class Account:
    """The ledger's own record of a user: lifecycle status and grants, wherever the profile itself is kept.

    ``user`` is present when the ledger also keeps the profile (the default store), so one read answers a login.
    ``seat`` says whether the account counts among those that a tenant may have; ``held_from`` is the status that it was
    suspended in, and so the one that it resumes.
    """

    user_id: str
    tenant: str
    status: Status
    grants: tuple[Grant, ...] = ()
    user: User | None = None
    seat: bool = True
    held_from: Status | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as the ledger keeps it. ``last_seen_at`` is coarse: written at most once per tenth of the idle
    limit.

    ``auth_time`` is when the person authenticated, as far as the provider said so. ``refresh_token`` is sealed; the
    provider is asked with it from ``probe_at`` on, and has not answered usefully since ``probe_failing_since``.
    ``begun_at`` is when the login was begun, and ``marks`` is what it answers to when somebody is revoked, which is
    written and not read back.
    """

    id: str
    user_id: str
    tenant: str
    connection: str
    issuer: str
    subject: str
    created_at: int
    expires_at: int
    last_seen_at: int
    authenticated_at: int
    idp_session: str | None = None
    acr: str | None = None
    amr: tuple[str, ...] = ()
    logout_hint: str | None = field(default=None, repr=False)
    ended_at: int | None = None
    auth_time: int | None = None
    refresh_token: str | None = field(default=None, repr=False)
    probe_at: int | None = None
    probe_failing_since: int | None = None
    begun_at: int | None = None
    marks: Marks | None = field(default=None, repr=False, compare=False)


class SessionChoice(TypedDict, total=False):
    """Which sessions are meant: those that match everything given; ``None`` is as good as not given.

    ``idp_session_prefix`` is how their names at the provider begin; the empty one means nobody. ``nameless``: those
    alone for which the provider has told no name.
    """

    session_id: str | None
    user_id: str | None
    connection: str | None
    issuer: str | None
    subject: str | None
    idp_session: str | None
    idp_session_prefix: str | None
    nameless: bool


@dataclass(frozen=True, slots=True)
class SessionView:
    """What one read answers about a session: the record, the account, and the user when the ledger keeps the
    profile; and when a revocation last left a mark that it answers to."""

    session: SessionRecord
    account: Account
    marked_at: int | None = None


@record(frozen=True, slots=True)
class AuditEvent:
    """One line of the audit trail. ``data`` holds names, codes and ids: never tokens, raw claims or e-mail addresses.

    ``once`` makes the event exactly-once: a second event with the same ``once`` key is a ``Conflict``.
    """

    id: str
    type: str
    at: int
    tenant: str = DEFAULT_TENANT
    user_id: str | None = None
    connection: str | None = None
    outcome: str = "success"
    reason: str | None = None
    reference: str | None = None
    session: str | None = None
    data: Claims = field(default_factory=lambda: NO_CLAIMS)
    once: str | None = None


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One change that ends or alters access. ``kind`` is ``session``, ``user``, ``connection`` or ``all``; ``key``
    the id."""

    position: int
    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class FeedPage:
    """What the feed says after a position: where it stands now, and what changed; ``complete`` false when entries the
    reader missed are already pruned, so that everything cached must go."""

    position: int
    entries: tuple[FeedEntry, ...]
    complete: bool = True
