"""The default user store: the table ``jit_users``.

Three faces of one set of verbs: inside a ledger transaction (:class:`TransactionUsers`), and outside of one, sync
(:class:`SQLAlchemyUserStore`) and async (:class:`AsyncSQLAlchemyUserStore`), where each verb is its own transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jit_middleware.errors import ConfigurationError, Conflict, Fault, NotProvisioned, StoreUnavailable
from jit_middleware.model import SEATED, UNSET, Account, AuditEvent, Profile, ProfileChanges, Status, User
from jit_middleware.ports import Transaction, Users
from jit_middleware_sqlalchemy import queries
from jit_middleware_sqlalchemy.engine import SETTING, step
from jit_middleware_sqlalchemy.rows import (
    ascii_lower,
    claims_text,
    is_plain,
    names_text,
    read_account,
    read_user,
    sorted_names,
    storable,
    username_key,
)
from jit_middleware_sqlalchemy.schema import DISPLAY_NAME, EMAIL, PROVISIONING_KEY, TENANT, USERNAME, grants, users

if TYPE_CHECKING:
    from jit_middleware_sqlalchemy.ledger import SQLAlchemyLedger
    from jit_middleware_sqlalchemy.transaction import Tx
    from jit_middleware_sqlalchemy.writes import Parameters


_TABLES = frozenset({users, grants})
_OPEN = frozenset({Status.ACTIVE, Status.INVITED, Status.PENDING, Status.DORMANT})


class TransactionUsers:
    """The users in one ledger transaction; writes are held back with all others."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    async def get(self, user_id: str) -> User | None:
        """The user with exactly this id, active or not."""
        account = await self._tx.find_account(user_id)
        return None if account is None else account.user

    async def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        """Users with this e-mail address or this username, equal but for ASCII case; look-alikes never match."""
        found: dict[str, User] = {}
        if email and is_plain(email, EMAIL):
            key = ascii_lower(email)
            for row in self._tx.unit.read(queries.FIND_BY_EMAIL, {"email": key}, _TABLES):
                user = read_user(row)
                if user is not None and user.email is not None and ascii_lower(user.email) == key:
                    found[user.id] = user
        if username and is_plain(username, USERNAME):
            for row in self._tx.unit.read(queries.FIND_BY_USERNAME, {"username": username_key(username)}, _TABLES):
                user = read_user(row)
                if user is not None and ascii_lower(user.username) == ascii_lower(username):
                    found[user.id] = user
        return [found[user_id] for user_id in sorted(found)]

    async def create(self, profile: Profile) -> User:
        """Make the user, or return the one made for this provisioning key before; raises ``Conflict("username")``, also
        from the commit.

        Raises ``NotProvisioned`` for a value that does not fit its column: nothing is ever cut to fit.
        """
        key = _username_key(profile.username)
        provisioning_key = storable("provisioning_key", profile.provisioning_key, PROVISIONING_KEY)
        tenant = storable("tenant", profile.tenant, TENANT)
        # Most who are new are: the unique keys say so by themselves, and if they do not, all is done again.
        if not self._tx.unit.is_hopeful:
            made = self._taken(provisioning_key, key, tenant)
            if made is not None:
                return made
        roles = sorted_names(profile.roles)
        email = _email(profile.email)
        display_name = _display_name(profile.display_name)
        user = User(
            id=self._tx.tokens(16),
            username=profile.username,
            email=email,
            display_name=display_name,
            roles=roles,
            attributes=profile.attributes,
            tenant=tenant,
            status=profile.status,
            email_verified=profile.email_verified,
        )
        seat = profile.seat and profile.status in SEATED
        now = self._tx.now()
        row: Parameters = {
            "id": user.id,
            "tenant_id": tenant,
            "status": profile.status.value,
            "held_from": None,
            "seat": seat,
            "username": profile.username,
            "username_key": key,
            "email": email,
            "email_key": None if email is None else ascii_lower(email),
            "email_verified": profile.email_verified,
            "display_name": display_name,
            "attributes": claims_text("attributes", profile.attributes),
            "roles": names_text(roles),
            "provisioning_key": provisioning_key,
            "created_at": now,
            "updated_at": now,
        }
        self._tx.remember(Account(user_id=user.id, tenant=tenant, status=profile.status, user=user, seat=seat), row)
        return user

    def _taken(self, provisioning_key: str, username: str, tenant: str) -> User | None:
        """The user made for this provisioning key before. Raises ``Conflict("username")`` when that is another's."""
        wanted = {"provisioning": provisioning_key, "username": username, "tenant": tenant}
        rows = self._tx.unit.read(queries.FIND_TAKEN, wanted, _TABLES)
        mine = [row for row in rows if row[0] == provisioning_key]
        account = read_account(mine, 1) if mine else None
        if account is not None and account.user is not None:
            return account.user
        if rows:
            raise Conflict("username")
        return None

    async def update(self, user_id: str, changes: ProfileChanges) -> User:
        """Change what is set in ``changes``; raises ``Conflict("username")``, ``NotProvisioned("user_unknown")``."""
        account, user = await self._known(user_id)
        values: Parameters = {}
        if changes.username is not UNSET and changes.username != user.username:
            values |= {"username": changes.username, "username_key": _username_key(changes.username)}
        if changes.email is not UNSET and changes.email != user.email:
            email = _email(changes.email)
            values |= {"email": email, "email_key": None if email is None else ascii_lower(email)}
        if changes.email_verified is not UNSET:
            values["email_verified"] = changes.email_verified
        if changes.display_name is not UNSET and changes.display_name != user.display_name:
            values["display_name"] = _display_name(changes.display_name)
        if changes.attributes is not UNSET and changes.attributes != user.attributes:
            values["attributes"] = claims_text("attributes", changes.attributes)
        if changes.roles is not UNSET and sorted_names(changes.roles) != user.roles:
            values["roles"] = names_text(sorted_names(changes.roles))
        if not values:
            return user
        changed = User(
            id=user.id,
            username=user.username if changes.username is UNSET else changes.username,
            email=user.email if changes.email is UNSET else changes.email,
            display_name=user.display_name if changes.display_name is UNSET else changes.display_name,
            roles=user.roles if changes.roles is UNSET else sorted_names(changes.roles),
            attributes=user.attributes if changes.attributes is UNSET else changes.attributes,
            tenant=user.tenant,
            status=user.status,
            email_verified=user.email_verified if changes.email_verified is UNSET else changes.email_verified,
        )
        self._tx.change_account(_with(account, changed), values)
        return changed

    async def set_active(self, user_id: str, active: bool) -> None:
        """``False`` is a hold on whoever is not shut out, ``True`` lifts it; both are recorded.

        Two steps of the lifecycle, and no others: who is let in again goes back to where they were held. Whoever waits
        for approval, was deactivated or deleted is not let in by this.
        """
        account, _ = await self._known(user_id)
        if active and account.status is Status.SUSPENDED:
            to = account.held_from or Status.ACTIVE
            await self._tx.set_lifecycle(user_id, to, seat=account.seat and to in SEATED, held_from=None)
            await self._tx.append_audit(self._moved(account, to, "resume"))
        elif not active and account.status in _OPEN:
            await self._tx.set_lifecycle(user_id, Status.SUSPENDED, seat=account.seat, held_from=account.status)
            ended = await self._tx.end_sessions(self._tx.now(), user_id=user_id)
            await self._tx.append_audit(self._moved(account, Status.SUSPENDED, "suspend", sessions_ended=len(ended)))

    def _moved(self, account: Account, to: Status, trigger: str, **more: int) -> AuditEvent:
        now = self._tx.now()
        return AuditEvent(
            id=f"{now * 1000:012x}-{self._tx.tokens(10)}",
            type=f"user.{to.value}",
            at=now,
            tenant=account.tenant,
            user_id=account.user_id,
            data={"actor": "user_store", "from": account.status.value, "trigger": trigger, **more},
        )

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """The roles the app sees."""
        await self.update(user_id, ProfileChanges(roles=roles))

    @property
    def checks_passwords(self) -> bool:
        """Nobody here has a password."""
        return False

    @property
    def lists_users(self) -> bool:
        """The ledger lists them (``Ledger.list_users``)."""
        return False

    async def has_password(self, user_id: str) -> bool:  # noqa: ARG002 - the port has it
        """Nobody has one."""
        return False

    async def check_password(self, user_id: str, password: str) -> bool:  # noqa: ARG002 - the port has it
        """Nobody has one."""
        return False

    async def revoke_credentials(self, user_id: str) -> None:
        """There is nothing but sessions and links, which the ledger ends itself."""

    async def delete(self, user_id: str) -> None:
        """The ledger forgets the person itself (``Transaction.erase_account``)."""

    async def list_users(
        self,
        *,
        after: str | None = None,  # noqa: ARG002 - the port has it
        limit: int = 1000,  # noqa: ARG002 - the port has it
    ) -> Sequence[User]:
        """Nobody: see ``Ledger.list_users``."""
        return ()

    async def _known(self, user_id: str) -> tuple[Account, User]:
        account = await self._tx.find_account(user_id)
        if account is None or account.user is None:
            raise NotProvisioned("user_unknown")
        return account, account.user


class SQLAlchemyUserStore:
    """The default users by themselves, for a ledger with a sync driver.

    ::

        store = SQLAlchemyUserStore(SQLAlchemyLedger("sqlite:///jit.db", clock=clock, tokens=tokens))
        store.find(email="ann@example.org")
    """

    def __init__(self, ledger: SQLAlchemyLedger) -> None:
        if ledger.answers != "at once":
            raise ConfigurationError(
                [Fault(SETTING, "its driver is async.", "use AsyncSQLAlchemyUserStore, or a sync driver.")]
            )
        self._ledger = ledger

    def get(self, user_id: str) -> User | None:
        """The user with exactly this id."""
        return step(self._ledger.reading(lambda tx: _users(tx).get(user_id)))

    def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        """Users with this e-mail address or username, equal but for ASCII case."""
        return step(self._ledger.reading(lambda tx: _users(tx).find(email=email, username=username)))

    def create(self, profile: Profile) -> User:
        """Make the user, or return the one already made for the provisioning key."""
        return step(self._ledger.transaction(lambda tx: _users(tx).create(profile)))

    def update(self, user_id: str, changes: ProfileChanges) -> User:
        """Change what is set in ``changes``."""
        return step(self._ledger.transaction(lambda tx: _users(tx).update(user_id, changes)))

    def set_active(self, user_id: str, active: bool) -> None:
        """Let the user in, or keep them out."""
        step(self._ledger.transaction(lambda tx: _users(tx).set_active(user_id, active)))

    def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """The roles the app sees."""
        step(self._ledger.transaction(lambda tx: _users(tx).set_roles(user_id, roles)))


class AsyncSQLAlchemyUserStore:
    """The same users for a ledger with an async driver (a sync one works too, on the calling thread)."""

    def __init__(self, ledger: SQLAlchemyLedger) -> None:
        self._ledger = ledger

    async def get(self, user_id: str) -> User | None:
        """The user with exactly this id."""
        return await self._ledger.reading(lambda tx: _users(tx).get(user_id))

    async def find(self, *, email: str | None = None, username: str | None = None) -> Sequence[User]:
        """Users with this e-mail address or username, equal but for ASCII case."""
        return await self._ledger.reading(lambda tx: _users(tx).find(email=email, username=username))

    async def create(self, profile: Profile) -> User:
        """Make the user, or return the one already made for the provisioning key."""
        return await self._ledger.transaction(lambda tx: _users(tx).create(profile))

    async def update(self, user_id: str, changes: ProfileChanges) -> User:
        """Change what is set in ``changes``."""
        return await self._ledger.transaction(lambda tx: _users(tx).update(user_id, changes))

    async def set_active(self, user_id: str, active: bool) -> None:
        """Let the user in, or keep them out."""
        await self._ledger.transaction(lambda tx: _users(tx).set_active(user_id, active))

    async def set_roles(self, user_id: str, roles: tuple[str, ...]) -> None:
        """The roles the app sees."""
        await self._ledger.transaction(lambda tx: _users(tx).set_roles(user_id, roles))


def _users(tx: Transaction) -> Users:
    found = tx.users
    if found is None:
        raise StoreUnavailable("no_users", "this ledger keeps no users")
    return found


def _with(account: Account, user: User) -> Account:
    return replace(account, user=user)


def _username_key(username: str) -> str:
    key = username_key(storable("username", username, USERNAME))
    if not key:
        raise NotProvisioned("username_blank")
    return storable("username", key, USERNAME)


def _email(email: str | None) -> str | None:
    return None if email is None else storable("email", email, EMAIL)


def _display_name(name: str | None) -> str | None:
    return None if name is None else storable("display_name", name, DISPLAY_NAME)
