"""The verbs of ``ports.Transaction``: what the core asks of one unit of work on the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Unpack

from sqlalchemy import delete, select, update

from jit_middleware.errors import Conflict, NotProvisioned
from jit_middleware.model import (
    SEATED,
    Account,
    AuditEvent,
    Grant,
    IdentityLink,
    Marks,
    SessionChoice,
    SessionRecord,
    Status,
)
from jit_middleware.ports import Clock, Neighbours, TokenSource, Users
from jit_middleware_sqlalchemy import queries
from jit_middleware_sqlalchemy.marks import MarkVerbs, asked, latest
from jit_middleware_sqlalchemy.prelinks import PrelinkVerbs
from jit_middleware_sqlalchemy.rows import (
    account_row,
    digest,
    event_row,
    is_plain,
    names_text,
    read_account,
    read_link,
    read_session,
    session_row,
    sorted_names,
    storable,
)
from jit_middleware_sqlalchemy.schema import (
    CONNECTION,
    ISSUER,
    PROVISIONING_KEY,
    ROLE,
    SOURCE,
    SUBJECT,
    TENANT,
    USER_ID,
    grants,
    identity_links,
    prelinks,
    sessions,
    tombstones,
    users,
)
from jit_middleware_sqlalchemy.seats import SeatVerbs
from jit_middleware_sqlalchemy.unit import Unit
from jit_middleware_sqlalchemy.users import TransactionUsers
from jit_middleware_sqlalchemy.writes import Parameters, UserChange

_ACCOUNTS: Final = frozenset({users, grants})
_LINKS: Final = frozenset({identity_links, users, grants, tombstones})
_SESSIONS: Final = frozenset({sessions})


class Tx(SeatVerbs, PrelinkVerbs, MarkVerbs):
    """What ``work`` gets; lives as long as one try. Every verb finishes in one step."""

    def __init__(
        self, unit: Unit, *, clock: Clock, tokens: TokenSource, keeps_users: bool, neighbours: Neighbours | None = None
    ) -> None:
        super().__init__(unit)
        self._neighbours = neighbours
        self.tokens = tokens
        self.now: Callable[[], int] = clock.now
        self._keeps_users = keeps_users
        self._accounts: dict[str, Account] = {}
        self._tombstones: dict[str, bool] = {}

    @property
    def users(self) -> Users | None:
        """The users in this same transaction, when the ledger keeps them."""
        # Made when asked for: were it kept, each transaction and all it holds would wait for the garbage collector.
        return TransactionUsers(self) if self._keeps_users else None

    # --- identities -------------------------------------------------------------------------------------------------

    async def find_link(self, connection: str, issuer: str, subject: str) -> tuple[IdentityLink, Account | None] | None:
        """The link of exactly this identity, with its account; one read, which answers the tombstone as well, and
        whether there are prelinks."""
        return (await self.find_login(connection, issuer, subject))[0]

    async def find_login(
        self, connection: str, issuer: str, subject: str, marks: Marks | None = None
    ) -> tuple[tuple[IdentityLink, Account | None] | None, int | None]:
        """The same, and when one of the marks was last left; one read."""
        identity, now = digest(connection, issuer, subject), self.now()
        rows = self.unit.read(queries.FIND_LINK, {"identity": identity, **asked(marks, now)}, _LINKS)
        self._tombstones[identity] = rows[0][0] is not None
        self.has_prelinks, marked_at = bool(rows[0][-2]), latest(rows[0][-1:], now)
        # The digest found it; the full text decides.
        link = None if rows[0][1] is None else read_link(rows[0][1:8])
        if link is None or (link.connection, link.issuer, link.subject) != (connection, issuer, subject):
            return None, marked_at
        return (link, self._seen(read_account(rows, 8))), marked_at

    async def list_links(self, user_id: str) -> Sequence[IdentityLink]:
        """All identities of this user, oldest first."""
        if not is_plain(user_id, USER_ID):
            return []
        return [read_link(row) for row in self.unit.read(queries.LIST_LINKS, {"user": user_id}, _LINKS)]

    async def add_link(self, link: IdentityLink) -> None:
        """Raises ``Conflict("identity_link")``, also from the commit."""
        identity = digest(link.connection, link.issuer, link.subject)
        if identity in self.unit.queue.links:
            raise Conflict("identity_link")
        self.unit.queue.links[identity] = {
            "identity_key": identity,
            "tenant_id": storable("tenant", link.tenant, TENANT),
            "connection": storable("connection", link.connection, CONNECTION),
            "issuer": storable("issuer", link.issuer, ISSUER),
            "subject": storable("subject", link.subject, SUBJECT),
            "provisioning_key": storable("provisioning_key", link.provisioning_key, PROVISIONING_KEY),
            "user_id": None if link.user_id is None else storable("user_id", link.user_id, USER_ID),
            "first_login_at": link.first_login_at,
            "created_at": self.now(),
        }

    async def settle_link(self, link: IdentityLink, user_id: str) -> bool:
        """Give an open intent its user; true for the one caller that did it."""
        storable("user_id", user_id, USER_ID)
        identity = digest(link.connection, link.issuer, link.subject)
        pending = self.unit.queue.links.get(identity)
        if pending is not None:
            if pending["user_id"] is not None:
                return False
            pending["user_id"] = user_id
            return True
        return self.unit.write_now(queries.SETTLE_LINK, {"identity": identity, "user": user_id}) == 1

    async def mark_first_login(self, link: IdentityLink, at: int) -> None:
        """Record when this identity was first used."""
        identity = digest(link.connection, link.issuer, link.subject)
        pending = self.unit.queue.links.get(identity)
        if pending is not None:
            pending["first_login_at"] = at
        else:
            self.unit.queue.link_changes[identity] = {"first_login_at": at}

    async def is_tombstoned(self, connection: str, issuer: str, subject: str) -> bool:
        """Whether this identity was erased and may not come back."""
        identity = digest(connection, issuer, subject)
        known = self._tombstones.get(identity)
        if known is None:
            known = bool(self.unit.read(queries.FIND_TOMBSTONE, {"identity": identity}, frozenset({tombstones})))
            self._tombstones[identity] = known
        return known

    async def add_tombstone(self, connection: str, issuer: str, subject: str, at: int) -> None:
        """Keep this identity out for good; only a digest of it stays. A repeat is no error."""
        identity = digest(connection, issuer, subject)
        self._tombstones[identity] = True
        self.unit.queue.tombstones[identity] = {
            "identity_key": identity,
            "connection": storable("connection", connection, CONNECTION),
            "created_at": at,
        }

    # --- accounts ---------------------------------------------------------------------------------------------------

    async def find_account(self, user_id: str) -> Account | None:
        """The account with its grants, and the profile when it is kept here."""
        return self._accounts.get(user_id) or self._read_account(user_id)

    async def add_account(self, account: Account) -> None:
        """Record a user kept by an outside store; a repeat is no error and changes nothing but the grants.

        A user that this unit of work has just made has its account already, in the same row.
        """
        if account.user_id not in self.unit.queue.users:
            self.unit.queue.accounts.setdefault(account.user_id, account_row(account, self.now()))
        for grant in account.grants:
            self._add_grant(account.user_id, account.tenant, grant)

    async def set_status(self, user_id: str, status: Status) -> None:
        """Move the account; raises ``NotProvisioned("user_unknown")`` when there is none."""
        account = await self._known(user_id)
        if account.status is status:
            return
        before = account.held_from or Status.ACTIVE if account.status is Status.SUSPENDED else account.status
        # A hold takes no seat: whoever had none, because nobody has approved them, has none while they are held.
        gains = status is not Status.SUSPENDED and before not in SEATED
        seat = status in SEATED and (account.seat or gains)
        held_from = account.status if status is Status.SUSPENDED else None
        await self.set_lifecycle(user_id, status, seat=seat, held_from=held_from)

    async def set_lifecycle(self, user_id: str, status: Status, *, seat: bool, held_from: Status | None) -> None:
        """Move the account with what belongs to its status; raises ``NotProvisioned("user_unknown")``."""
        account = await self._known(user_id)
        user = None if account.user is None else replace(account.user, status=status)
        values: Parameters = {
            "status": status.value,
            "seat": seat,
            "held_from": None if held_from is None else held_from.value,
        }
        self.change_account(replace(account, status=status, user=user, seat=seat, held_from=held_from), values)

    async def set_seat(self, user_id: str, seat: bool) -> None:
        """Give or take the seat; raises ``NotProvisioned("user_unknown")``."""
        account = await self._known(user_id)
        if account.seat is not seat:
            self.change_account(replace(account, seat=seat), {"seat": seat})

    async def erase_account(self, user_id: str) -> None:
        """Forget who it was; raises ``NotProvisioned("user_unknown")``."""
        account = await self._known(user_id)
        values: Parameters = {"email_verified": False, "attributes": "{}", "roles": "[]"}
        for name in ("username", "username_key", "email", "email_key", "display_name", "provisioning_key"):
            values[name] = None
        self.change_account(replace(account, user=None, grants=()), values)
        for table in (identity_links, prelinks, grants):
            self.unit.write_now(delete(table).where(table.c.user_id == user_id), {})
        forgotten = {"logout_hint": None, "refresh_token": None}
        self.unit.write_now(update(sessions).where(sessions.c.user_id == user_id).values(forgotten), {})

    # --- grants -----------------------------------------------------------------------------------------------------

    async def change_grants(self, user_id: str, *, add: Sequence[Grant], remove: Sequence[Grant]) -> None:
        """Add and remove grants; adding one that is there or removing one that is not changes nothing."""
        pending = self.unit.queue.accounts.get(user_id)
        if pending is not None:
            for grant in remove:
                self.unit.queue.grants[user_id, grant.role, grant.source] = None
            for grant in add:
                self._add_grant(user_id, str(pending["tenant_id"]), grant)
            self._accounts.pop(user_id, None)
            return
        account = await self._known(user_id)
        if _granted(account, add, remove) == set(account.grants):
            return
        if account.user is not None and user_id not in self.unit.queue.users:
            # The role list is made from all grants: take the row, so that no other change of them runs beside this.
            self.unit.begin()
            self.unit.read(queries.LOCK_ACCOUNT, {"user": user_id}, _ACCOUNTS)
            account = self._read_account(user_id) or account
        held = _granted(account, add, remove)
        for grant in set(account.grants) - held:
            self.unit.queue.grants[user_id, grant.role, grant.source] = None
        for grant in held - set(account.grants):
            self._add_grant(user_id, account.tenant, grant)
        changed = replace(account, grants=tuple(sorted(held, key=lambda grant: (grant.role, grant.source))))
        if account.user is None:
            self._accounts[user_id] = changed
            self._tell_if_old(user_id)
            return
        lost = {grant.role for grant in remove}
        kept = [role for role in account.user.roles if role not in lost]
        roles = sorted_names([*kept, *(grant.role for grant in held)])
        self.change_account(replace(changed, user=replace(account.user, roles=roles)), {"roles": names_text(roles)})

    def remember(self, account: Account, row: Parameters) -> None:
        """A new user of the default store, to be written with everything else."""
        self.unit.queue.users[account.user_id] = row
        self._accounts[account.user_id] = account

    def change_account(self, account: Account, values: Parameters) -> None:
        """Write changed columns of a known account, and tell every worker that access may have changed."""
        before = self._accounts.get(account.user_id, account)
        self._accounts[account.user_id] = account
        pending = self.unit.queue.users.get(account.user_id)
        if pending is not None:
            pending.update(values)
            return
        held = "" if before.held_from is None else before.held_from.value
        seen = UserChange(before.status.value, held, {})
        change = self.unit.queue.user_changes.setdefault(account.user_id, seen)
        change.values.update(values)
        change.values["updated_at"] = self.now()
        self._tell_if_old(account.user_id)

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def add_session(self, session: SessionRecord) -> None:
        """Start a session for an account that is still in the status this transaction saw."""
        account = None if session.user_id in self.unit.queue.users else self._accounts.get(session.user_id)
        self.unit.queue.sessions.append((session_row(session), None if account is None else account.status.value))

    async def end_sessions(
        self, at: int, *, except_session: str | None = None, **which: Unpack[SessionChoice]
    ) -> Sequence[SessionRecord]:
        """End the live sessions that match everything given, and return them.

        The feed gets one entry per session, or one for the user or the connection when that is the only selector.
        """
        given = queries.given(which)
        if not given:
            raise ValueError("end_sessions needs at least one selector")
        where = queries.chosen(given)
        if where is None:
            return []
        where += [sessions.c.ended_at.is_(None), sessions.c.expires_at > at]
        if except_session is not None:
            where.append(sessions.c.id != except_session)
        self.unit.flush()
        self.unit.begin()
        live = select(*queries.ENDED_SESSION).where(*where).order_by(sessions.c.id).with_for_update()
        ended = [read_session(row) for row in self.unit.read(live, {"ended_at": at}, _SESSIONS)]
        for start in range(0, len(ended), 500):
            part = [session.id for session in ended[start : start + 500]]
            over = update(sessions).where(sessions.c.id.in_(part)).values(ended_at=at, refresh_token=None)
            self.unit.write_now(over, {})
        self._tell_ended(ended, None if except_session is not None or len(given) > 1 else next(iter(given)))
        return ended

    def _tell_ended(self, ended: Sequence[SessionRecord], alone: str | None) -> None:
        """``alone`` is the one selector that was given, if it was one."""
        match alone:
            case "user_id":
                self.unit.feed.update({("user", session.user_id): None for session in ended[:1]})
            case "connection":
                # However many: the workers look up once whom of its people they meet again.
                self.unit.feed.update({("connection", session.connection): None for session in ended[:1]})
            case _:
                self.unit.feed.update({("session", session.id): None for session in ended})

    async def list_sessions(self, *, limit: int = 1000, **which: Unpack[SessionChoice]) -> Sequence[SessionRecord]:
        """Live sessions that match everything given, newest first."""
        where = queries.chosen(queries.given(which))
        if where is None:
            return []
        where += [sessions.c.ended_at.is_(None), sessions.c.expires_at > self.now()]
        statement = select(*queries.SESSION).where(*where)
        statement = statement.order_by(sessions.c.created_at.desc(), sessions.c.id).limit(limit)
        return [read_session(row) for row in self.unit.read(statement, {}, _SESSIONS)]

    # --- once, feed, audit ------------------------------------------------------------------------------------------

    async def claim_once(self, purpose: str, key: str, until: int) -> None:
        """Take a one-use key; ``Conflict("once_key")`` may come from the commit."""
        once_key = digest(purpose, key)
        once: Parameters = {
            "once_key": once_key,
            "purpose": storable("purpose", purpose, 64),
            "until": until,
        }
        if any(row["once_key"] == once_key for row in self.unit.queue.once):
            raise Conflict("once_key")
        if self._neighbours is not None and self._neighbours.have_used(once_key):
            raise Conflict("once_key")
        self.unit.queue.once.append(once)
        self.unit.used.append((once_key, until))

    async def append_feed(self, kind: str, key: str) -> None:
        """Tell every worker; the position is taken at the commit, so that its lock is held shortest."""
        self.unit.feed[storable("feed_kind", kind, 32), storable("feed_key", key, USER_ID)] = None

    async def append_audit(self, event: AuditEvent) -> None:
        """Add one line to the trail; a second event with the same ``once`` is ``Conflict("audit_once")``."""
        self.unit.queue.audit.append(event_row(event))

    # --- what it knows -------------------------------------------------------------------------------------------

    def _read_account(self, user_id: str) -> Account | None:
        if not is_plain(user_id, USER_ID):
            return None
        rows = self.unit.read(queries.FIND_ACCOUNT, {"user": user_id}, _ACCOUNTS)
        return self._seen(read_account(rows, 0)) if rows else None

    def _seen(self, account: Account | None) -> Account | None:
        if account is not None:
            self._accounts[account.user_id] = account
        return account

    async def _known(self, user_id: str) -> Account:
        account = await self.find_account(user_id)
        if account is None:
            raise NotProvisioned("user_unknown")
        return account

    def _add_grant(self, user_id: str, tenant: str, grant: Grant) -> None:
        self.unit.queue.grants[user_id, grant.role, grant.source] = {
            "user_id": user_id,
            "role": storable("role", grant.role, ROLE),
            "source": storable("grant_source", grant.source, SOURCE),
            "tenant_id": tenant,
            "created_at": self.now(),
        }

    def _tell_if_old(self, user_id: str) -> None:
        if user_id not in self.unit.queue.users and user_id not in self.unit.queue.accounts:
            self.unit.feed["user", user_id] = None


def _granted(account: Account, add: Sequence[Grant], remove: Sequence[Grant]) -> set[Grant]:
    return (set(account.grants) - set(remove)) | set(add)
