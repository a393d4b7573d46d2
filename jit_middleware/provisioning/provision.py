"""A verified identity becomes a local user, in one transaction with its audit row and its session.

1. map the claims, check the gates
2. an identity that is linked already is that user: check the state, sync profile and grants
3. a tombstoned identity is refused
4. an existing account is adopted, where somebody proves that it is theirs and the policy allows it
5. else the user is created, where the policy allows it, the rate is kept and a seat is free

When the app keeps its users in a store outside the ledger, the ledger goes first: for a user to be made an open intent
with a stable provisioning key, then the store (idempotent on that key), then link, account, audit and session in one
transaction. A crash in between is resumed by the next login and never makes two users. No call to an outside store is
made inside a transaction: the store may be slow, or async where the ledger is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, TypeVar

from jit_middleware.audit import AuditTrail
from jit_middleware.errors import Conflict, LoginOvertaken, NotProvisioned
from jit_middleware.model import Account, IdentityLink, LinkProof, Prelink, User, VerifiedIdentity
from jit_middleware.overtaking import is_overtaken, marks_of
from jit_middleware.ports import Clock, Ledger, Transaction, Users
from jit_middleware.provisioning.arrival import Arrival, Arrivals, Creation, Entry, Login, write_user
from jit_middleware.provisioning.creation import CreationAlarm
from jit_middleware.provisioning.matching import Proposal
from jit_middleware.provisioning.plan import enterable, plan_returning
from jit_middleware.provisioning.policy import Policy
from jit_middleware.provisioning.rehearsal import CurtainFallen, OnPaper, check_name_is_free, curtain, on_paper
from jit_middleware.provisioning.steps import Steps

T = TypeVar("T")

_NEVER_OVERTAKEN: Final = 1 << 62  # seconds

Finish = Callable[[Transaction, Arrival], Awaitable[T]]


class Provisioner:
    """Maps and persists."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        *,
        ledger: Ledger,
        users: Users | None,
        alarm: CreationAlarm,
        audit: AuditTrail,
        clock: Clock,
    ) -> None:
        self._policies = policies
        self._ledger = ledger
        self._users = users
        self._alarm = alarm
        self._clock = clock
        self._arrivals = Arrivals(audit, clock)

    async def provision(
        self, identity: VerifiedIdentity, finish: Finish[T], *, reference: str, proof: LinkProof | None = None
    ) -> T:
        """Make or update the user of this identity, ``finish`` (session, login audit) in the same transaction, and
        return what it returns.

        ``proof`` shows that the person holds a certain account. Raises ``NotProvisioned`` (nothing is written; ``path``
        is what was asked), ``LoginOvertaken``, ``Conflict("once_key")`` from ``finish``, ``StoreUnavailable``.
        """
        steps = Steps()
        made: list[str] = []

        async def noting(tx: Transaction, arrival: Arrival) -> T:
            made[:] = [arrival.user.tenant] if arrival.created else []
            return await finish(tx, arrival)

        with _accounted_for(steps):
            login = self._login(identity, steps, reference=reference, proof=proof)
            if self._users is None:
                done = await self._ledger.transaction(lambda tx: self._in_ledger(tx, login, noting))
            else:
                done = await self._outside(self._users, login, noting)
        for tenant in made:
            await self._alarm.look(tenant)
        return done

    async def rehearse(self, identity: VerifiedIdentity, steps: Steps) -> Arrival:
        """What :meth:`provision` would come to, by the same steps, which ``steps`` keeps; nothing is written.

        Raises ``NotProvisioned``, ``StoreUnavailable``.
        """
        identity = replace(identity, begun_at=_NEVER_OVERTAKEN)  # it is no login on its way
        with _accounted_for(steps):
            login = self._login(identity, steps, reference="", proof=None)
            try:
                if self._users is None:
                    return await self._ledger.transaction(
                        lambda tx: self._in_ledger(tx, login, curtain), rehearsal=True
                    )
                return await self._rehearse_outside(self._users, login)
            except CurtainFallen as fallen:
                return fallen.arrival

    def _login(self, identity: VerifiedIdentity, steps: Steps, *, reference: str, proof: LinkProof | None) -> Login:
        """The login as it stands before anybody is looked up. Raises ``NotProvisioned``."""
        policy = self._policies[identity.connection]
        mapped = policy.mapper.map(identity, steps)
        policy.gates.check(identity, mapped, steps)
        marks = marks_of(identity, mapped.email)
        return Login(identity, policy, mapped, marks, steps, len(steps.taken), reference, proof)

    # --- users in the ledger's own database -----------------------------------------------------------------------

    async def _in_ledger(self, tx: Transaction, login: Login, finish: Finish[T]) -> T:
        login.begin()
        users = tx.users
        if users is None:
            raise TypeError("this ledger keeps no users: a user store is needed")
        found = await self._find_link(tx, login)
        if found is not None:
            link, known = found
            account, user = enterable(known, None if known is None else known.user)
            return await finish(tx, await self._arrivals.returning(tx, login, link, account, user, users))
        newcomer, matcher = login.newcomer(self._clock.now()), login.policy.matcher
        prelink = await matcher.find_prelink(tx, newcomer, login.steps)
        proposal = await matcher.propose(users, newcomer, prelink, login.steps)
        entry = await self._entry(tx, login, proposal)
        user = await _user_of(entry, users)
        link = login.link(user.id)
        await tx.add_link(link)
        return await finish(tx, await self._arrivals.arriving(tx, login, link, user, entry, users))

    # --- users in a store of the app ------------------------------------------------------------------------------

    async def _outside(self, users: Users, login: Login, finish: Finish[T]) -> T:
        known, proposal = await self._ask_outside(users, login)
        if known is not None:
            return await self._returning_outside(users, login, *known, finish)
        proposed = login.so_far()
        intent, entry = await self._ledger.transaction(lambda tx: self._open(tx, proposed, proposal))
        if entry is None:  # another login of the same person was quicker
            return await self._outside(users, login, finish)
        try:
            user = await _user_of(entry, users)
        except (Conflict, NotProvisioned):
            # It holds a seat, and nobody is going to be made. A store that fails may have made them all the same: then
            # the intent stays, for the next login to take up.
            if intent is not None:
                await self._ledger.transaction(lambda tx: _forget(tx, intent))
            raise
        entered = proposed.so_far() if isinstance(entry, Creation) else proposed

        async def settle(tx: Transaction) -> tuple[T, Arrival] | None:
            entered.begin()
            found = await self._find_link(tx, entered)
            if found is not None and found[0].user_id is not None:  # another login of this person was quicker
                return None
            # Of two identities that want one account, one gets it.
            final = entry
            if isinstance(entry, Creation):
                await self._arrivals.check_promise(tx, entered, entry)
            else:
                final = await self._entry(tx, entered, proposal, besides=entered.link(None))
            link = entered.link(user.id)
            if found is None:
                await tx.add_link(link)
            elif not await tx.settle_link(found[0], user.id):
                return None
            arrival = await self._arrivals.arriving(tx, entered, link, user, final, None)
            return await finish(tx, arrival), arrival

        try:
            settled = await self._ledger.transaction(settle)
        except NotProvisioned as refused:
            if intent is not None and refused.reason == "subject_changed":  # the store has made nobody for it
                await self._ledger.transaction(lambda tx: _forget(tx, intent))
            raise
        if settled is None:
            return await self._outside(users, login, finish)
        done, arrival = settled
        await write_user(users, user, arrival.plan)
        return done

    async def _ask_outside(
        self, users: Users, login: Login
    ) -> tuple[tuple[IdentityLink, Account | None] | None, Proposal | None]:
        """Who this is, as far as it is known: the link and account, or else what the user store proposes.

        Somebody who is just being made, or was when a worker crashed, may be in the store already: an account with
        their address is their own then, which the store gives back, and nothing to be linked.
        """
        newcomer, matcher = login.newcomer(self._clock.now()), login.policy.matcher

        async def ask(tx: Transaction) -> tuple[tuple[IdentityLink, Account | None] | None, Prelink | None]:
            login.begin()
            found = await self._find_link(tx, login)
            if found is not None and found[0].user_id is not None:
                return found, None
            return found, await matcher.find_prelink(tx, newcomer, login.steps)

        found, prelink = await self._ledger.transaction(ask)
        if found is not None and found[0].user_id is not None:
            return found, None
        if found is not None and prelink is None and login.proof is None:
            login.steps.note("creation", "resumed")
            return None, None
        return None, await matcher.propose(users, newcomer, prelink, login.steps)

    async def _rehearse_outside(self, users: Users, login: Login) -> Arrival:
        known, proposal = await self._ask_outside(users, login)
        if known is not None:
            return await self._returning_outside(OnPaper(users), login, *known, curtain)
        proposed = login.so_far()

        async def act(tx: Transaction) -> Arrival:
            proposed.begin()
            entry = await self._entry(tx, proposed, proposal)
            user = on_paper(entry.profile) if isinstance(entry, Creation) else entry.adoption.user
            link = proposed.link(user.id)
            return await curtain(tx, await self._arrivals.arriving(tx, proposed, link, user, entry, None))

        try:
            return await self._ledger.transaction(act)
        except CurtainFallen as fallen:
            if fallen.arrival.created:
                await check_name_is_free(users, fallen.arrival.user)
            raise

    async def _returning_outside(
        self, users: Users, login: Login, link: IdentityLink, known: Account | None, finish: Finish[T]
    ) -> T:
        account, user = enterable(known, await users.get(link.user_id or ""))
        foreseen = plan_returning(login.policy, login.identity, login.mapped, account, user, login.steps)
        user = replace(await write_user(users, user, foreseen), roles=foreseen.roles)

        async def work(tx: Transaction) -> tuple[T, Arrival]:
            login.begin()
            arrival = await self._again(tx, login, user, account)
            return await finish(tx, arrival), arrival

        done, arrival = await self._ledger.transaction(work)
        await write_user(users, user, arrival.plan)  # nothing, unless the account was changed meanwhile
        return done

    async def _again(self, tx: Transaction, login: Login, user: User, before: Account) -> Arrival:
        """The login of a linked identity, judged by what the ledger says in this very transaction.

        While the outside store was asked, the account may have been suspended, revived or deleted, the identity tied to
        another one, and roles taken away: those must not come back with what the store had said ``before``.
        """
        found = await self._find_link(tx, login)
        if found is None or found[0].user_id != user.id:
            raise NotProvisioned("account_missing", "the identity was unlinked while the user store was asked")
        account, user = enterable(found[1], user)
        lost = {grant.role for grant in before.grants} - {grant.role for grant in account.grants}
        user = replace(user, roles=tuple(role for role in user.roles if role not in lost))
        return await self._arrivals.returning(tx, login, found[0], account, user, None)

    async def _open(
        self, tx: Transaction, login: Login, proposal: Proposal | None
    ) -> tuple[IdentityLink | None, Entry | None]:
        """How somebody comes in, with an open intent for a user who is to be made; nothing when somebody else was
        quicker, and all is to be asked again."""
        login.begin()
        found = await self._find_link(tx, login)
        if found is not None and (found[0].user_id is not None or _is_by_address(proposal)):
            return None, None
        intent = login.link(None) if found is None else found[0]  # or one that a crash left open
        entry = await self._entry(tx, login, proposal, besides=intent)
        if not isinstance(entry, Creation):
            return None, entry
        if found is None:
            await tx.add_link(intent)
        return intent, entry

    # --- who it is ------------------------------------------------------------------------------------------------

    async def _find_link(self, tx: Transaction, login: Login) -> tuple[IdentityLink, Account | None] | None:
        identity = login.identity
        found, marked_at = await tx.find_login(identity.connection, identity.issuer, identity.subject, login.marks)
        if marked_at is not None and is_overtaken(identity.begun_at, marked_at):
            raise LoginOvertaken("revoked_meanwhile", "signed out after this login was begun", marked_at=marked_at)
        if found is not None:
            login.policy.matcher.check_known(found[0], login.proof, login.steps)
        return found

    async def _entry(
        self, tx: Transaction, login: Login, proposal: Proposal | None, *, besides: IdentityLink | None = None
    ) -> Entry:
        """How somebody comes in whose identity has no account. Raises ``NotProvisioned``."""
        identity, steps = login.identity, login.steps
        if await tx.is_tombstoned(identity.connection, identity.issuer, identity.subject):
            steps.note("tombstone", "refused")
            raise NotProvisioned("identity_tombstoned", "this identity was deleted here")
        if proposal is None:
            return await self._arrivals.creation(tx, login, besides=besides)
        newcomer = login.newcomer(self._clock.now())
        adoption = await login.policy.matcher.judge(tx, newcomer, proposal, steps)
        return await self._arrivals.adopted(tx, login, adoption, besides=besides)


@contextmanager
def _accounted_for(steps: Steps) -> Generator[None]:
    """Let a refusal tell what was asked; the store's refusal of a name is one."""
    try:
        yield
    except NotProvisioned as refusal:
        refusal.path = steps.lines()
        raise
    except Conflict as conflict:
        if conflict.reason != "username":
            raise
        # The name belongs to another identity: a label, never a reason to log in as that user.
        steps.note("username", "refused", "taken")
        taken = NotProvisioned("username_taken", "another user has this username")
        taken.path = steps.lines()
        raise taken from conflict


def _is_by_address(proposal: Proposal | None) -> bool:
    return proposal is not None and proposal.way in {"verified_email", "confirm"}


async def _forget(tx: Transaction, intent: IdentityLink) -> None:
    """Drop an intent that nobody has settled; taken first, so that nobody can settle it meanwhile."""
    if await tx.settle_link(intent, intent.provisioning_key):
        await tx.drop_link(intent)


async def _user_of(entry: Entry, users: Users) -> User:
    """The user to come in as, made if need be; whatever else opens the account is closed before it changes hands."""
    if isinstance(entry, Creation):
        return await users.create(entry.profile)
    await users.revoke_credentials(entry.adoption.user.id)
    return entry.adoption.user
