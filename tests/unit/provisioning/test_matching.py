"""Which proposals are made: the conditions of ``auto`` and ``confirm``, one by one, with nothing around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from jit_middleware.audit import identity_key
from jit_middleware.bridge import step
from jit_middleware.errors import NotProvisioned
from jit_middleware.model import IdentityLink, LinkProof, OnceKey, User, VerifiedIdentity
from jit_middleware.ports import Users
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.matching import Matcher, Newcomer, Proposal
from jit_middleware.provisioning.prelinks import email_key, keys_of, named_address, subject_key
from jit_middleware.provisioning.steps import Steps
from jit_middleware.settings import ProvisioningSettings

AT = 1_800_000_000
MAIL = "ann@example.org"
IDENTITY: VerifiedIdentity = cast("Any", VerifiedIdentity)(
    connection="oidc", issuer="https://idp.example", subject="s", claims={}, email=MAIL, email_verified=True
)
MAPPED = MappedClaims("ann", MAIL, True, None, None)
OLD = User("1", "old-timer", email=MAIL, email_verified=True)


class Store:
    """Users as a store knows them; whoever is in ``passwords`` has one."""

    def __init__(self, *users: User, passwords: Sequence[str] = (), checks: bool = True) -> None:
        self._users = {user.id: user for user in users}
        self._passwords = passwords
        self.checks_passwords = checks

    async def get(self, user_id: str) -> User | None:
        return self._users.get(user_id)

    async def find(self, *, email: str) -> Sequence[User]:
        return list(self._users.values())  # whatever a store makes of an address: the matcher compares by itself

    async def has_password(self, user_id: str) -> bool:
        return user_id in self._passwords


def proposed(
    store: Store,
    *,
    identity: VerifiedIdentity = IDENTITY,
    mapped: MappedClaims = MAPPED,
    proof: LinkProof | None = None,
    **settings: Any,
) -> Proposal | None:
    matcher = Matcher(ProvisioningSettings(**{"link_policy": "auto", **settings}), verified_domains=("example.org",))
    newcomer = Newcomer(identity, mapped, proof, AT)
    return step(matcher.propose(cast("Users", store), newcomer, None, Steps()))


def way(store: Store, **how: Any) -> str | None:
    proposal = proposed(store, **how)
    return None if proposal is None else proposal.way


def test_auto_needs_nothing_more_than_all_of_it() -> None:
    assert proposed(Store(OLD)) == Proposal((OLD,), "verified_email")


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_auto_needs_the_providers_own_true(verified: Any) -> None:
    assert way(Store(OLD), identity=replace(IDENTITY, email_verified=verified)) is None


@pytest.mark.parametrize(
    "mapped",
    [
        replace(MAPPED, email=None),
        replace(MAPPED, email_verified=False),
        replace(MAPPED, email="bob@example.org"),
        replace(MAPPED, email="ann@sub.example.org"),
    ],
)
def test_address_must_be_the_providers_and_vouched_for(mapped: MappedClaims) -> None:
    assert way(Store(OLD), mapped=mapped) is None
    assert way(Store(OLD, passwords=["1"]), mapped=mapped, link_policy="confirm") is None


@pytest.mark.parametrize(
    ("claim", "mapped"), [("\u212aim@example.org", "Kim@example.org"), ("\uff41nn@example.org", MAIL)], ids=ascii
)
def test_address_is_ascii_before_it_was_normalised(claim: str, mapped: str) -> None:
    identity = replace(IDENTITY, email=claim)
    for policy in ("auto", "confirm"):
        kept = replace(OLD, email=mapped)
        store = Store(kept, passwords=["1"])
        assert way(store, identity=identity, mapped=replace(MAPPED, email=mapped), link_policy=policy) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(OLD, email_verified=False),
        replace(OLD, email=None),
        replace(OLD, email="\u0430nn@example.org"),
        replace(OLD, email="ann@example.org "),
        replace(OLD, tenant="other"),
    ],
    ids=ascii,
)
def test_account_that_is_not_exactly_that_address_is_ignored(other: User) -> None:
    assert way(Store(other)) is None
    assert proposed(Store(other, replace(OLD, id="2"))) == Proposal((replace(OLD, id="2"),), "verified_email")


def test_account_with_a_password_is_to_be_confirmed() -> None:
    assert proposed(Store(OLD, passwords=["1"])) == Proposal((OLD,), "confirm", has_password=True)
    assert proposed(Store(OLD, passwords=["1"], checks=False)) == Proposal((OLD,), "confirm")


def test_confirm_takes_an_unverified_address_where_a_password_proves_it() -> None:
    unverified = replace(OLD, email_verified=False)
    assert way(Store(unverified, passwords=["1"]), link_policy="confirm") == "confirm"
    assert way(Store(unverified), link_policy="confirm") is None
    assert way(Store(unverified, passwords=["1"])) is None, "auto ignores it, password or not"


def test_several_accounts_are_all_proposed() -> None:
    proposal = proposed(Store(OLD, replace(OLD, id="2")))
    assert proposal is not None
    assert len(proposal.candidates) == 2


@pytest.mark.parametrize(("until", "wanted"), [(AT + 1, "verified_email"), (AT, None), (AT - 1, None)])
def test_window_ends_to_the_second(until: int, wanted: str | None) -> None:
    assert way(Store(OLD), link_until=until) == wanted


@pytest.mark.parametrize("settings", [{"link_policy": "never"}, {"mode": "off"}])
def test_policy_never_and_mode_off_look_nobody_up(settings: dict[str, Any]) -> None:
    assert way(Store(OLD), **settings) is None


def proof(**fields: Any) -> LinkProof:
    given = {"user_id": "1", "kind": "password", "identity_key": identity_key(IDENTITY), "once": OnceKey("p", "k", AT)}
    return LinkProof(**{**given, **fields})


@pytest.mark.parametrize(
    ("given", "settings", "reason"),
    [
        ({"identity_key": "0" * 64}, {}, "link_other_identity"),
        ({}, {"link_policy": "never"}, "link_policy_never"),
        ({}, {"link_until": AT}, "link_policy_never"),
        ({"user_id": "2"}, {}, "account_missing"),
    ],
)
def test_password_proof_that_no_longer_counts_is_refused(given: Any, settings: Any, reason: str) -> None:
    with pytest.raises(NotProvisioned) as refused:
        proposed(Store(OLD), proof=proof(**given), **settings)
    assert refused.value.reason == reason


def test_proofs_name_their_account_whatever_its_address() -> None:
    elsewhere = replace(OLD, email=None)
    assert way(Store(elsewhere), proof=proof(), link_policy="confirm") == "password"
    invitation = proof(kind="invitation", identity_key=None)
    assert way(Store(elsewhere), proof=invitation, link_policy="never") == "invitation"


def test_known_identity_brings_no_proof_for_another_account() -> None:
    matcher = Matcher(ProvisioningSettings(), verified_domains=())
    link = IdentityLink("oidc", "i", "s", "k", "1")
    matcher.check_known(link, None, Steps())
    matcher.check_known(link, proof(), Steps())
    with pytest.raises(NotProvisioned, match="linked_elsewhere"):
        matcher.check_known(link, proof(user_id="2"), Steps())


# --- what prelinks are found by -----------------------------------------------------------------------------------


def test_address_is_a_key_only_where_it_is_vouched_for_and_ours() -> None:
    wanted = email_key("default", "oidc", MAIL)
    assert wanted in keys_of(IDENTITY, MAPPED, ("example.org",))
    assert wanted not in keys_of(IDENTITY, MAPPED, ())
    assert wanted not in keys_of(IDENTITY, replace(MAPPED, email_verified=False), ("example.org",))
    assert wanted not in keys_of(replace(IDENTITY, email="eve@example.org"), MAPPED, ("example.org",))
    assert email_key("default", "oidc", MAIL.upper()) == wanted


def test_keys_never_run_into_each_other() -> None:
    keys = [
        subject_key("t", "c", "i", "s"),
        subject_key("t", "ci", "", "s"),
        subject_key("t", "c", None, "is"),
        subject_key("tc", "", "i", "s"),
        email_key("t", "c", "s"),
        subject_key("t", "c", "i", "S"),
    ]
    assert len(set(keys)) == len(keys)


def test_mapped_address_counts_only_as_the_provider_wrote_it() -> None:
    assert named_address(replace(IDENTITY, email=" Ann@Example.ORG "), MAPPED) == MAIL
    assert named_address(replace(IDENTITY, email=None), MAPPED) is None
