"""Which existing account, if any, a first-time identity is tied to, and by what proof.

Theory of operation. Four things tie an identity to an account that was there before: an invitation, a prelink of the
operator's, the account's own password, and, where the policy is ``auto``, an address that everybody vouches for.
Everything else gets an account of its own, or none: e-mail is an attribute and no key.

Three steps, since an app's own user store must not be asked inside a transaction of the ledger:
:meth:`Matcher.find_prelink` asks the ledger, :meth:`Matcher.propose` asks the user store and nothing else,
:meth:`Matcher.judge` asks the ledger and nothing else. Whoever writes the link judges in that very transaction, which
holds the tenant, so that of two identities that want one account one gets it; :meth:`Matcher.consume` then uses up what
serves once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NoReturn, TypeAlias

from jit_middleware.audit import identity_key
from jit_middleware.errors import LinkRequired, NotProvisioned
from jit_middleware.letters import ascii_lower
from jit_middleware.model import (
    Account,
    IdentityLink,
    LinkProof,
    OnceKey,
    Prelink,
    Status,
    User,
    VerifiedIdentity,
)
from jit_middleware.ports import Transaction, Users
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.prelinks import invitation_key, keys_of, named_address
from jit_middleware.provisioning.steps import Steps
from jit_middleware.provisioning.text import domain_of
from jit_middleware.records import dataclass
from jit_middleware.settings import ProvisioningSettings
from jit_middleware.settings.policy import LinkPolicy

#: What ties an identity to an account that was there; ``confirm`` ties nothing yet.
LinkedBy: TypeAlias = Literal["invitation", "prelink", "password", "verified_email"]
Way: TypeAlias = Literal["invitation", "prelink", "password", "verified_email", "confirm"]

#: An operator who names an account knows what it is; whoever merely has its address gets one in use.
_NAMED: Final = frozenset({Status.ACTIVE, Status.INVITED})
_IN_USE: Final = frozenset({Status.ACTIVE})
_BY_OPERATOR: Final = frozenset({"invitation", "prelink"})


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An identity that is linked to nobody yet: who it is, what it has in hand (``proof``), and when (seconds)."""

    identity: VerifiedIdentity
    mapped: MappedClaims
    proof: LinkProof | None
    at: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """Accounts that the identity may be tied to, as the user store knows them, and the way it would come about.

    ``has_password`` says that the account's holder can prove themselves by a password.
    """

    candidates: tuple[User, ...]
    way: Way
    prelink: Prelink | None = None
    once: OnceKey | None = None
    has_password: bool = False


@dataclass(frozen=True, slots=True)
class Adoption:
    """The account to tie the identity to. ``account`` is the ledger's record, ``None`` for a user of the app's own
    store whom the ledger has not met."""

    user: User
    account: Account | None
    proof: LinkedBy
    prelink: Prelink | None = None
    once: OnceKey | None = None


class Matcher:
    """The matching of one connection."""

    def __init__(self, settings: ProvisioningSettings, *, verified_domains: Sequence[str]) -> None:
        self._settings = settings
        self._verified_domains = frozenset(verified_domains)
        self._excluded = settings.never_taken_over

    def policy(self, at: int) -> LinkPolicy:
        """The link policy at this time: ``never`` after the end of its window."""
        until = self._settings.link_until
        return self._settings.link_policy if until is None or at < until else "never"

    def check_known(self, link: IdentityLink, proof: LinkProof | None, steps: Steps) -> None:
        """Raises ``NotProvisioned("linked_elsewhere")`` when a linked identity brings a proof for another account."""
        if proof is not None and link.user_id is not None and link.user_id != proof.user_id:
            _refuse(steps, "linked_elsewhere", "this identity is tied to another account already")

    async def find_prelink(self, tx: Transaction, newcomer: Newcomer, steps: Steps) -> Prelink | None:
        """What an operator has prepared for this identity, unused and in time; asks the ledger.

        Raises ``NotProvisioned("invitation_used")`` when the invitation in hand is not that.
        """
        identity, proof = newcomer.identity, newcomer.proof
        if self._settings.mode == "off" or (proof is not None and proof.kind != "invitation"):
            return None
        if proof is None:
            keys = keys_of(identity, newcomer.mapped, tuple(self._verified_domains))
        else:
            keys = (invitation_key(identity.tenant, identity.connection, proof.once.key),)
        for prelink in await tx.find_prelinks(keys):
            here = (prelink.tenant, prelink.connection) == (identity.tenant, identity.connection)
            named = proof is None or prelink.user_id == proof.user_id
            if here and named and prelink.used_at is None and newcomer.at < prelink.until:
                return prelink
        if proof is not None:
            _refuse(steps, "invitation_used", "the invitation was used, revoked or is too old")
        return None

    async def propose(self, users: Users, newcomer: Newcomer, prelink: Prelink | None, steps: Steps) -> Proposal | None:
        """The accounts to consider, ``None`` when there are none; asks the user store.

        Raises ``NotProvisioned``: ``link_other_identity`` for a proof that another identity has earned,
        ``link_policy_never`` for a password given when no more linking is allowed, ``account_missing``.
        """
        if self._settings.mode == "off":
            return None
        proof = newcomer.proof
        if proof is not None:
            if proof.identity_key is not None and proof.identity_key != identity_key(newcomer.identity):
                _refuse(steps, "link_other_identity", "another identity came back than the one that was confirmed")
            if proof.kind == "password" and self.policy(newcomer.at) == "never":
                _refuse(steps, "link_policy_never", "JIT_LINK_POLICY is never, or JIT_LINK_UNTIL is over")
            user = await self._named(users, newcomer, proof.user_id, steps)
            return Proposal((user,), proof.kind, prelink, proof.once)
        if prelink is not None:
            return Proposal((await self._named(users, newcomer, prelink.user_id, steps),), "prelink", prelink)
        return await self._by_address(users, newcomer, steps)

    async def judge(self, tx: Transaction, newcomer: Newcomer, proposal: Proposal, steps: Steps) -> Adoption:
        """The account to tie the identity to; asks the ledger, and holds the tenant until the transaction ends.

        Raises ``NotProvisioned``: ``ambiguous_match``, ``subject_changed`` for an account that is tied to another
        identity of this connection, ``account_<status>`` for one that is not open, ``link_excluded`` for one with a
        role that is not to be had by an address or a password; and ``LinkRequired``.
        """
        if len(proposal.candidates) != 1:
            _refuse(steps, "ambiguous_match", "several accounts have the address")
        (user,) = proposal.candidates
        identity = newcomer.identity
        await tx.hold_tenant(identity.tenant)
        account = await tx.find_account(user.id)
        if account is not None and account.tenant != identity.tenant:
            _refuse(steps, "account_missing", "the account is another tenant's")
        others = [link for link in await tx.list_links(user.id) if not _same(link, identity)]
        if any(link.connection == identity.connection for link in others):
            _refuse(steps, "subject_changed", "the account is tied to another identity of this connection")
        open_to = _NAMED if proposal.way in _BY_OPERATOR else _IN_USE
        for status in (user.status, *(() if account is None else (account.status,))):
            if status not in open_to:
                steps.note("link", "refused", f"account_{status.value}")
                raise NotProvisioned(f"account_{status.value}", "the account that would be linked is not open")
        if proposal.way not in _BY_OPERATOR and any(role in self._excluded for role in _roles(user, account)):
            _refuse(steps, "link_excluded", "the account has a role of JIT_PRIVILEGED_ROLES or JIT_LINK_EXCLUDED_ROLES")
        # An account that has an identity already is somebody's who signs in some other way: they can say so.
        if proposal.way == "confirm" or (proposal.way == "verified_email" and others):
            steps.note("link", "confirm", f"account {user.id}")
            raise LinkRequired(
                "link_required",
                "an account with this address is to be confirmed",
                user_id=user.id,
                has_password=proposal.has_password,
            )
        steps.note("link", proposal.way, f"account {user.id}")
        return Adoption(user, account, proposal.way, proposal.prelink, proposal.once)

    async def consume(self, tx: Transaction, adoption: Adoption, at: int) -> None:
        """Use up what serves once, in the transaction that writes the link.

        Raises ``NotProvisioned("invitation_used")`` when somebody was quicker; ``Conflict("once_key")``.
        """
        if adoption.prelink is not None and not await tx.use_prelink(adoption.prelink.key, at):
            raise NotProvisioned("invitation_used", "somebody was quicker")
        if adoption.once is not None:
            await tx.claim_once(adoption.once.purpose, adoption.once.key, adoption.once.until)

    # --- by what ----------------------------------------------------------------------------------------------------

    async def _named(self, users: Users, newcomer: Newcomer, user_id: str, steps: Steps) -> User:
        user = await users.get(user_id)
        if user is None or user.tenant != newcomer.identity.tenant:
            _refuse(steps, "account_missing", "the account that was to be linked does not exist any more")
        return user

    async def _by_address(self, users: Users, newcomer: Newcomer, steps: Steps) -> Proposal | None:
        policy = self.policy(newcomer.at)
        if policy == "never":
            return None
        identity, mapped = newcomer.identity, newcomer.mapped
        address = named_address(identity, mapped)
        if address is None or not mapped.email_verified:
            steps.note("link", "address_not_vouched")
            return None
        vouched = identity.email_verified is True and domain_of(address) in self._verified_domains
        if policy == "auto" and not vouched:
            steps.note("link", "address_not_vouched", "auto")
            return None
        wanted = ascii_lower(address)
        found = [
            user
            for user in await users.find(email=address)
            if user.tenant == identity.tenant
            and user.email is not None
            and user.email.isascii()
            and ascii_lower(user.email) == wanted
        ]
        # An address that somebody merely typed into their account is not theirs: it must draw nobody in there.
        confirmed = tuple(user for user in found if user.email_verified)
        if not confirmed and policy == "auto":
            steps.note("link", "nobody", "unverified" if found else "")
            return None
        return await self._with_passwords(users, confirmed, tuple(found), policy, steps)

    async def _with_passwords(
        self, users: Users, confirmed: tuple[User, ...], found: tuple[User, ...], policy: LinkPolicy, steps: Steps
    ) -> Proposal | None:
        """The proposal for these candidates; who knows the password of an account needs no confirmed address."""
        candidates = confirmed or found
        if len(candidates) != 1:
            steps.note("link", "several" if candidates else "nobody")
            return Proposal(candidates, "confirm") if candidates else None
        has_password = await users.has_password(candidates[0].id)
        provable = has_password and users.checks_passwords
        if not confirmed and not provable:
            steps.note("link", "nobody", "unverified")
            return None
        way: Way = "verified_email" if policy == "auto" and not has_password else "confirm"
        return Proposal(candidates, way, has_password=provable)


def _refuse(steps: Steps, reason: str, detail: str) -> NoReturn:
    steps.note("link", "refused", reason)
    raise NotProvisioned(reason, detail)


def _same(link: IdentityLink, identity: VerifiedIdentity) -> bool:
    return (link.connection, link.issuer, link.subject) == (identity.connection, identity.issuer, identity.subject)


def _roles(user: User, account: Account | None) -> Iterable[str]:
    return {*user.roles, *(() if account is None else (grant.role for grant in account.grants))}
