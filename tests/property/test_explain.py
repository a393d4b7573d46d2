"""What is explained is what happens: a rehearsal and a real login agree, on whatever claims and policies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from jit_middleware.audit import AuditTrail
from jit_middleware.bridge import step, users_face
from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, Profile, Status, User, VerifiedIdentity
from jit_middleware.ports import Transaction
from jit_middleware.provisioning import Arrival, CreationAlarm, Policy, Provisioner
from jit_middleware.provisioning.explain import Explanation, explain
from jit_middleware.settings import (
    ClaimMapping,
    FieldPolicy,
    OIDCConnection,
    ProvisioningSettings,
    Rate,
    RoleRule,
)
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from tests.conftest import FakeClock
from tests.databases import prepared
from tests.fakes import CountedTokens
from tests.scenarios.test_custom_stores import Members

ROLES: Final = ("viewer", "editor", "operator", "admin", "guest")
PEOPLE: Final = ("ada", "bob", "cy")
TABLES: Final = ("jit_users", "jit_identity_links", "jit_grants", "jit_audit", "jit_prelinks", "jit_once_keys")

roles = st.lists(st.sampled_from(ROLES[:3]), max_size=2, unique=True).map(tuple)
domains = st.sampled_from([(), ("example.org",), ("example.org", "other.example")])
policies = st.builds(
    ProvisioningSettings,
    mode=st.sampled_from(["create", "create", "match_only", "off"]),
    initial_status=st.sampled_from([Status.ACTIVE, Status.ACTIVE, Status.PENDING]),
    link_policy=st.sampled_from(["never", "confirm", "auto"]),
    sync=st.sampled_from(["every_login", "first_login", "never"]),
    default_roles=roles,
    role_rules=st.sampled_from(
        [
            (),
            (RoleRule("contains(groups, 'ops')", ("operator",), "ops"), RoleRule("boss", ("admin",), "boss")),
        ]
    ),
    group_roles=st.sampled_from([{}, {"ops": ("operator",), "g-1": ("editor",)}]),
    role_sync=st.sampled_from(["owned", "additive", "exclusive"]),
    role_catalogue=st.sampled_from([(), ROLES]),
    privileged_roles=st.sampled_from([(), ("admin",)]),
    allow_privileged_roles=st.booleans(),
    missing_groups=st.sampled_from(["keep_unprivileged", "keep", "strip", "deny"]),
    allowed_domains=domains,
    required_groups=st.sampled_from([(), (), ("ops", "g-1")]),
    claim_filter=st.sampled_from(["", "", "boss || `true`"]),
    creation_rate=st.sampled_from([None, None, Rate(2, 60)]),
    creation_alarm=st.none(),
    seat_limit=st.sampled_from([None, None, 1, 2]),
    seats_when_full=st.sampled_from(["deny", "pending", "minimal_role"]),
    minimal_role=st.just("guest"),
)
mappings = st.builds(
    ClaimMapping,
    roles=st.sampled_from(["", "app_roles"]),
    fields=st.just({"department": "org.department"}),
    policies=st.dictionaries(
        st.sampled_from(["email", "display_name", "fields.department"]),
        st.builds(
            FieldPolicy,
            required=st.booleans(),
            authority=st.sampled_from(["idp", "app", "first_write", "scim"]),
            on_missing=st.sampled_from(["keep", "clear"]),
        ),
        max_size=2,
    ),
)
claims = st.fixed_dictionaries(
    {"preferred_username": st.sampled_from([*PEOPLE, "ada@example.org", "", 7])},
    optional={
        "email": st.sampled_from(["ada@example.org", "bob@example.org", "x@other.example", "no address", None]),
        "email_verified": st.sampled_from([True, False, "true", None]),
        "name": st.sampled_from(["Ada", "", 5, None]),
        "groups": st.sampled_from([[], ["ops"], ["g-1", "ops"], "ops", ["x,ops"], None, 3]),
        "hasgroups": st.just(True),
        "app_roles": st.sampled_from([["editor"], ["admin", "nobody"], "viewer", []]),
        "boss": st.sampled_from([True, "true", False]),
        "org": st.sampled_from([{"department": "it"}, {"department": None}, "it", None]),
    },
)
logins = st.lists(st.tuples(st.sampled_from(["s-1", "s-2"]), claims), min_size=1, max_size=4)


@contextmanager
def house(policy: ProvisioningSettings, mapping: ClaimMapping, *, outside: bool) -> Iterator[House]:
    with tempfile.TemporaryDirectory() as place:
        clock, tokens = FakeClock(), CountedTokens()
        ledger = SQLAlchemyLedger(
            f"sqlite:///{prepared(Path(place) / 'jit.db')}", clock=clock, tokens=tokens, keep_users=not outside
        )
        step(ledger.prepare())
        try:
            yield House(policy, mapping, ledger, clock, tokens, Members(Path(place) / "club.db") if outside else None)
        finally:
            step(ledger.close())


class House:
    """One connection's provisioning, with the tools of a rehearsal beside it."""

    def __init__(
        self,
        policy: ProvisioningSettings,
        mapping: ClaimMapping,
        ledger: SQLAlchemyLedger,
        clock: FakeClock,
        tokens: CountedTokens,
        members: Members | None,
    ) -> None:
        connection = OIDCConnection(
            "oidc",
            "https://login.example.org",
            "app",
            verified_domains=("example.org",),
            claims=mapping,
            provisioning=policy,
        )
        self.policy = Policy.of(connection)
        self.ledger = ledger
        self.members = members
        audit = AuditTrail(clock=clock, tokens=tokens)
        self.provisioner = Provisioner(
            {"oidc": self.policy},
            ledger=ledger,
            users=None if members is None else users_face(members, "wsgi"),
            alarm=CreationAlarm(policy, ledger=ledger, audit=audit, clock=clock),
            audit=audit,
            clock=clock,
        )

    def explained(self, identity: VerifiedIdentity) -> Explanation:
        return step(explain(self.provisioner, self.policy, identity))

    def signed_in(self, identity: VerifiedIdentity) -> Arrival | NotProvisioned:
        async def finish(_tx: Transaction, arrival: Arrival) -> Arrival:
            return arrival

        try:
            return step(self.provisioner.provision(identity, finish, reference="r"))
        except NotProvisioned as refused:
            return refused

    def contents(self) -> object:
        """Everything that is written down anywhere."""
        database = self.ledger.database

        def rows(connection: object) -> object:
            execute = connection.exec_driver_sql  # type: ignore[attr-defined]
            return {table: sorted(map(repr, execute(f"SELECT * FROM {table}").all())) for table in TABLES}

        kept = step(database.use(rows))
        return kept, None if self.members is None else self.members.everybody()


def seen(user: User) -> User:
    """The user without the id that a store gives when it makes one."""
    return replace(user, id="")


def agree(said: Explanation, done: Arrival | NotProvisioned) -> None:
    if isinstance(done, NotProvisioned):
        assert said.refusal is not None, said
        assert (type(said.refusal), said.refusal.reason) == (type(done), done.reason)
        assert said.refusal.path == done.path == tuple(map(str, said.steps))
        return
    assert said.arrival is not None, said.refusal
    told = said.arrival
    assert seen(told.user) == seen(done.user)
    assert (told.created, told.first_login, told.proof) == (done.created, done.first_login, done.proof)
    assert told.plan == done.plan
    assert said.steps == told.steps
    assert list(map(str, told.steps)) == list(map(str, done.steps))


def both_agree(
    policy: ProvisioningSettings,
    mapping: ClaimMapping,
    people: list[tuple[str, Mapping[str, JSON]]],
    *,
    outside: bool,
) -> None:
    with house(policy, mapping, outside=outside) as place:
        if place.members is not None:
            place.members.create(Profile("by hand", "ada", email="ada@example.org", email_verified=True))
        for subject, given_claims in people:
            verified = given_claims.get("email_verified")
            email = given_claims.get("email")
            identity = VerifiedIdentity(
                "oidc",
                "https://login.example.org",
                subject,
                {"sub": subject, **given_claims},
                email=email if isinstance(email, str) else None,
                email_verified=verified is True if "email_verified" in given_claims else None,
            )
            before = place.contents()
            said = place.explained(identity)
            assert place.contents() == before, "an explanation changes nothing"
            agree(said, place.signed_in(identity))


@settings(max_examples=25, deadline=None)
@given(policies, mappings, logins)
def test_an_explanation_and_a_login_agree(
    policy: ProvisioningSettings, mapping: ClaimMapping, people: list[tuple[str, Mapping[str, JSON]]]
) -> None:
    both_agree(policy, mapping, people, outside=False)


@settings(max_examples=25, deadline=None)
@given(policies, mappings, logins)
def test_an_explanation_and_a_login_agree_with_users_in_a_store_of_the_app(
    policy: ProvisioningSettings, mapping: ClaimMapping, people: list[tuple[str, Mapping[str, JSON]]]
) -> None:
    both_agree(policy, mapping, people, outside=True)
