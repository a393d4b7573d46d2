"""Tying an identity to an account that was there before, through both edges; each attack under its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Grant, Status, User
from jit_middleware.provisioning.prelinks import email_key, subject_key
from tests.client import Client
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.linking import (
    AUTO,
    CONFIRM,
    PASSWORD,
    accept,
    accounts_in,
    arrive,
    asked_for_password,
    give_password,
    go_through,
    invitation_for,
    kept_user,
    linked_users,
    live_sessions,
    nonce_of,
    passwords,
    prelinked,
    refusals,
    seen,
    ticketed,
    untie,
)
from tests.worlds import Answer


class Place:
    """A stage, the app's accounts, and one person with an account there from before."""

    def __init__(self, build: StageBuilder, directory: Path, **env: str) -> None:
        self.accounts = accounts_in(directory)
        self.stage: Stage = build(users=self.accounts, **{**CONFIRM, **env})
        self.alice = self.stage.person("alice")
        self.mail = f"{self.alice}@example.org"

    def register(self, login: str = "old-timer", *, mail: str | None = None, mail_confirmed: bool = True) -> User:
        user: User = self.accounts.register(login, mail or self.mail, PASSWORD, mail_confirmed=mail_confirmed)
        return user

    def set_password_and_mail(self, user: User) -> None:
        hashed = type(self.accounts).register.__globals__["hashed"](PASSWORD)
        statement = "UPDATE people SET password = ?, mail = ?, mail_confirmed = 1 WHERE id = ?"
        self.accounts._change(statement, hashed, self.mail, int(user.id))

    def confirm(self, *, client: Client | None = None) -> Answer:
        """The whole way by password; the answer to the second callback."""
        page = asked_for_password(self.stage, self.alice, client=client)
        return go_through(self.stage, give_password(self.stage, page, client=client), self.alice, client=client)


@pytest.fixture
def place(build: StageBuilder, tmp_path: Path) -> Place:
    return Place(build, tmp_path)


# --- by password --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mail_confirmed", [True, False])
def test_whoever_knows_the_password_keeps_the_account(place: Place, mail_confirmed: bool) -> None:
    old = place.register(mail_confirmed=mail_confirmed)
    landed = place.confirm()
    assert (landed.status, landed.location.endswith("/")) == (303, True), landed.text
    assert (seen(place.stage)["id"], seen(place.stage)["username"]) == (old.id, "old-timer")
    (event,) = place.stage.events("identity.linked")
    assert (event.user_id, event.data["proof"]) == (old.id, "password")
    assert refusals(place.stage) == ["link_required"]
    again = place.stage.client.another()
    assert arrive(place.stage, place.alice, client=again).status == 303, "a linked identity is not asked again"
    assert seen(place.stage, client=again)["id"] == old.id


def test_classic_federated_merge_needs_the_password(build: StageBuilder, tmp_path: Path) -> None:
    """attack catalogue 6: an account with a password is never linked by an address alone, whatever vouches for it."""
    place = Place(build, tmp_path, JIT_LINK_POLICY="auto")
    old = place.register()
    page = asked_for_password(place.stage, place.alice)
    assert linked_users(place.stage) == []
    assert passwords(place.accounts) != [None]
    go_through(place.stage, give_password(place.stage, page), place.alice)
    assert seen(place.stage)["id"] == old.id


def test_old_credentials_are_gone_after_the_link(place: Place) -> None:
    """attack catalogue 7, 8, 9: tokens, sessions, unconfirmed identifiers and waiting changes end with the link."""
    old = place.register()
    token = place.accounts.new_token(old.id)
    code = place.accounts.ask_to_change_mail(old.id, "mallory@evil.example")
    place.confirm()
    assert seen(place.stage)["id"] == old.id
    assert place.accounts.whose_token(token) is None
    assert place.accounts.change_mail(code) is False
    assert passwords(place.accounts) == [None]
    assert place.accounts.get(old.id).email == place.mail


def test_unexpired_session_of_before_ends_with_the_link(build: StageBuilder, tmp_path: Path) -> None:
    """attack catalogue 7, 53: whoever was signed in at the account before need not be the one who proved it."""
    place = Place(build, tmp_path, JIT_REVOCATION_MAX_STALENESS="0s")
    old = place.register()
    before = place.stage.client.another()
    mallory = place.stage.person("mallory")
    sent = accept(place.stage, invitation_for(place.stage, old), client=before)
    go_through(place.stage, sent, mallory, client=before)
    assert seen(place.stage, client=before)["id"] == old.id
    step(place.stage.ledger.transaction(lambda tx: untie(tx, old.id)))
    place.set_password_and_mail(old)
    sessions = {session.id for session in live_sessions(place.stage)}
    assert place.confirm().status == 303
    assert before.get("/").status == 302, "the session of before still lives"
    assert sessions.isdisjoint(session.id for session in live_sessions(place.stage))
    assert seen(place.stage)["id"] == old.id
    assert [event.reason for event in place.stage.events("session.ended")] == ["linked"]
    assert len(place.stage.events("user.first_login")) == 1


def test_wrong_passwords_are_counted_for_the_account_across_workers(place: Place) -> None:
    old = place.register()
    elsewhere = place.stage.worker()
    for number in range(5):
        client = (place.stage.client, elsewhere)[number % 2]
        page = ticketed(place.stage, old, client=client)
        wrong = give_password(place.stage, page, "guess", client=client)
        assert wrong.status == 403
        assert "not the password" in wrong.text
        assert "guess" not in wrong.text
    stopped = give_password(place.stage, ticketed(place.stage, old, client=elsewhere), client=elsewhere)
    assert (stopped.status, "link_limited" in stopped.text) == (429, True), "the right one comes too late as well"
    assert stopped.header("retry-after") == "1200"
    assert refusals(place.stage) == [*["link_password_wrong"] * 5, "link_attempts"]
    assert {event.user_id for event in place.stage.events("login.refused")} == {old.id}
    place.stage.clock.advance(1200)
    assert give_password(place.stage, ticketed(place.stage, old)).status == 303


@pytest.mark.parametrize("begin", [0, 595, 895])
def test_no_quarter_of_an_hour_sees_more_passwords_than_five(place: Place, begin: int) -> None:
    """Wherever it begins: what is counted does not begin anew with the clock's own quarters."""
    old = place.register()
    clock = place.stage.clock
    clock.advance(900 - clock.now() % 900 + begin)
    tried: list[int] = []
    for _ in range(20):
        answer = give_password(place.stage, ticketed(place.stage, old), "guess")
        assert answer.status in {403, 429}
        if answer.status == 403:
            tried.append(clock.now())
        clock.advance(100)
    assert len(tried) > 5, "it is counted for a while, not for ever"
    for first, sixth in zip(tried, tried[5:], strict=False):
        assert sixth - first > 890, "the requests take a moment themselves"


def test_the_password_is_nowhere_in_log_or_trail(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.register()
    page = asked_for_password(place.stage, place.alice)
    give_password(place.stage, page, "swordfish-7f3a")
    give_password(place.stage, page, PASSWORD)
    said = caplog.text + repr(place.stage.events())
    assert "swordfish-7f3a" not in said
    assert PASSWORD not in said


def test_link_proof_counts_only_for_the_identity_that_was_confirmed(place: Place) -> None:
    """attack catalogue 13: the proof is bound to connection, issuer and subject; another one who comes back is refused."""
    place.register()
    mallory = place.stage.person("mallory")
    page = asked_for_password(place.stage, place.alice)
    refused = go_through(place.stage, give_password(place.stage, page), mallory)
    assert refused.status == 403
    assert refusals(place.stage)[-1] == "link_other_identity"
    assert linked_users(place.stage) == []
    assert len(place.stage.accounts()) == 0


def test_link_form_of_one_browser_is_worth_nothing_in_another(place: Place) -> None:
    """attack catalogue 14: the account is linked only from the flow of the same browser."""
    place.register()
    page = asked_for_password(place.stage, place.alice)
    elsewhere = place.stage.client.another()
    answer = give_password(place.stage, page, client=elsewhere)
    assert (answer.status, "login_expired" in answer.text) == (400, True)
    sent = give_password(place.stage, page)
    stolen = go_through(place.stage, sent, place.alice, client=elsewhere)
    assert stolen.status in {302, 400}, "the answer to one browser's login begins nothing in another"
    assert linked_users(place.stage) == []


def test_link_answer_serves_once(place: Place) -> None:
    """attack catalogue 13, 37: the same answer a second time links and signs in nobody."""
    place.register()
    page = asked_for_password(place.stage, place.alice)
    sent = give_password(place.stage, page)
    departure = place.stage.agent(place.alice).visit(sent.location)
    jar = place.stage.client.prepare("GET", departure.url, initiator=place.stage.provider.issuer)
    assert place.stage.come_back(place.stage.client, departure).status == 303
    (again,) = place.stage.worker().together(jar)
    assert again.status in {302, 303, 400, 403}
    assert len(linked_users(place.stage)) == 1


@pytest.mark.parametrize("field", [{}, {"jit_link": "x"}, {"jit_link": ""}])
def test_link_form_of_another_site_is_refused(place: Place, field: dict[str, str]) -> None:
    place.register()
    asked_for_password(place.stage, place.alice)
    answer = place.stage.client.post(
        "/_jit/link/oidc", {**field, "password": PASSWORD}, initiator="https://evil.example/"
    )
    assert answer.status == 400
    assert passwords(place.accounts) != [None]


def test_link_page_without_a_login_before_is_no_oracle(place: Place) -> None:
    place.register()
    for path in ("/_jit/link/oidc", "/_jit/link/nowhere", "/_jit/link"):
        answer = place.stage.client.get(path)
        assert answer.status in {400, 403, 404}
        assert "old-timer" not in answer.text


def test_link_page_tells_nothing_of_the_account(place: Place) -> None:
    old = place.register()
    page = asked_for_password(place.stage, place.alice)
    assert "old-timer" not in page.text
    assert place.mail not in page.text
    assert f'"{old.id}"' not in page.text


def test_ticket_is_over_after_ten_minutes(place: Place) -> None:
    place.register()
    page = asked_for_password(place.stage, place.alice)
    place.stage.clock.advance(601)
    assert give_password(place.stage, page).status == 400


def test_account_without_a_password_is_an_administrators_matter(place: Place) -> None:
    old = place.register()
    place.accounts.revoke_credentials(old.id)
    refused = arrive(place.stage, place.alice)
    assert (refused.status, "link_required" in refused.text) == (403, True)
    assert "reference" in refused.text.lower()
    assert linked_users(place.stage) == []
    assert len(place.accounts.list_users()) == 1, "no account beside it"


@pytest.mark.parametrize(
    ("setting", "roles"),
    [("JIT_PRIVILEGED_ROLES", "admin"), ("JIT_PRIVILEGED_ROLES", "*"), ("JIT_LINK_EXCLUDED_ROLES", "admin")],
)
def test_administrator_is_not_adopted_even_by_password(
    build: StageBuilder, tmp_path: Path, setting: str, roles: str
) -> None:
    place = Place(build, tmp_path, **{setting: roles})
    old = place.register()
    place.accounts.set_roles(old.id, ("admin",))
    refused = arrive(place.stage, place.alice)
    assert refused.status == 403
    assert refusals(place.stage) == ["link_excluded"]
    assert len(place.accounts.list_users()) == 1


def test_blocked_account_keeps_its_person_out(place: Place) -> None:
    old = place.register()
    place.accounts.set_active(old.id, False)
    refused = arrive(place.stage, place.alice)
    assert refused.status == 403
    assert refusals(place.stage) == ["account_suspended"]
    assert "suspended" not in refused.text, "who merely has the address is told nothing of the account"
    assert len(place.accounts.list_users()) == 1


def test_window_that_is_over_links_nobody(build: StageBuilder, tmp_path: Path) -> None:
    place = Place(build, tmp_path, JIT_LINK_UNTIL="2020-01-01")
    old = place.register()
    assert arrive(place.stage, place.alice).status == 303
    assert seen(place.stage)["id"] != old.id


# --- by address ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verified", [False, "true", "false", 1, None, [], "1"], ids=repr)
def test_email_that_is_not_verified_for_true_links_nothing(build: StageBuilder, verified: object) -> None:
    """attack catalogue 3, 10: only the JSON value true is a yes; a provider that does not say it cannot link."""
    stage = build(**AUTO)
    alice = stage.person("alice", email_verified=verified)
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    arrive(stage, alice)
    assert old.id not in linked_users(stage)


def test_provider_that_says_nothing_of_verification_links_nothing(build: StageBuilder) -> None:
    """attack catalogue 10: the operator's own word for the domain is none for taking an account over unasked."""
    stage = build(**AUTO)
    alice = stage.person("alice", email_verified=None)
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    arrive(stage, alice)
    assert old.id not in linked_users(stage)


def test_email_of_an_account_with_another_subject_is_refused(build: StageBuilder) -> None:
    """attack catalogue 4: no fallback to the address for an account that is tied to another subject."""
    stage = build(**AUTO)
    alice = stage.person("alice")
    arrive(stage, alice)
    before = seen(stage)
    eve = stage.person("eve", email=f"{alice}@example.org")
    refused = arrive(stage, eve, client=stage.client.another())
    assert refused.status == 403
    assert refusals(stage) == ["subject_changed"]
    assert [account.user_id for account in stage.accounts()] == [before["id"]]


def test_email_links_nothing_where_it_is_not_enabled(build: StageBuilder) -> None:
    """attack catalogue 5: by default an address is never a reason to sign in as whoever has it."""
    stage = build(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    assert arrive(stage, alice).status == 303
    assert seen(stage)["id"] != old.id
    same_name = stage.person("bob", preferred_username="old-timer")
    assert arrive(stage, same_name, client=stage.client.another()).status == 403
    assert refusals(stage) == ["username_taken"]
    assert linked_users(stage) == []


def test_unverified_address_of_a_local_account_draws_nobody_in(build: StageBuilder) -> None:
    """attack catalogue 11: somebody typed the victim's address into an account of their own."""
    stage = build(**AUTO)
    alice = stage.person("alice")
    squatter = kept_user(stage, "squatter", f"{alice}@example.org", email_verified=False)
    assert arrive(stage, alice).status == 303
    assert seen(stage)["id"] != squatter.id


def test_squatter_does_not_stand_between_a_person_and_their_account(build: StageBuilder) -> None:
    stage = build(**AUTO)
    alice = stage.person("alice")
    kept_user(stage, "squatter", f"{alice}@example.org", email_verified=False)
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    arrive(stage, alice)
    assert seen(stage)["id"] == old.id


def test_address_of_a_foreign_domain_matches_nobody(build: StageBuilder) -> None:
    """attack catalogue 12: a provider speaks for its own domains only."""
    stage = build(JIT_LINK_POLICY="auto", JIT_OIDC_VERIFIED_DOMAINS="other.example")
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    assert arrive(stage, alice).status == 303
    assert seen(stage)["id"] != old.id


def test_account_of_another_tenant_is_out_of_reach(build: StageBuilder) -> None:
    """attack catalogue 12: who has the address in another tenant is somebody else."""
    stage = build(**AUTO)
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", f"{alice}@example.org", tenant="other")
    assert arrive(stage, alice).status == 303
    assert seen(stage)["id"] != old.id


def test_same_address_at_a_new_subject_is_a_new_account(build: StageBuilder) -> None:
    """attack catalogue 16: a recycled address leads to no old data."""
    stage = build()
    alice = stage.person("alice")
    arrive(stage, alice)
    before = seen(stage)
    recycled = stage.person("recycled", email=f"{alice}@example.org")
    other = stage.client.another()
    assert arrive(stage, recycled, client=other).status == 303
    assert seen(stage, client=other)["id"] != before["id"]


def test_subjects_that_a_collation_makes_one_are_two(build: StageBuilder) -> None:
    """attack catalogue 17: the second spelling is another identity, and the account is not its own."""
    stage = build(**AUTO)
    alice = stage.person("Alice")
    old = kept_user(stage, "old-timer", None)
    prelinked(stage, subject_key("default", "oidc", stage.provider.issuer, alice.lower()), "subject", old)
    arrive(stage, alice)
    assert seen(stage)["id"] != old.id


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("mı{}", "mi{}"), ("m\u212a{}", "mk{}"), ("ſ{}", "s{}"), ("ß{}", "ss{}"), ("ａ{}", "a{}")],
    ids=ascii,
)  # fmt: skip
def test_unicode_case_mapping_of_an_address_matches_nobody(build: StageBuilder, theirs: str, ours: str) -> None:
    """attack catalogue 18: an address that is not ASCII is a candidate for nothing, before anything is made of it."""
    stage = build(**AUTO)
    tail = "@example.org"
    alice = stage.person("alice", email=theirs.format(tail))
    old = kept_user(stage, "old-timer", ours.format(tail))
    arrive(stage, alice)
    assert old.id not in linked_users(stage)


def test_case_of_ascii_letters_is_one_address(build: StageBuilder) -> None:
    stage = build(**AUTO)
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", f"{alice}@example.org".upper().replace("EXAMPLE.ORG", "Example.org"))
    arrive(stage, alice)
    assert seen(stage)["id"] == old.id


def test_several_accounts_with_one_address_are_nobodys(build: StageBuilder) -> None:
    stage = build(**AUTO)
    alice = stage.person("alice")
    for name in ("one", "two"):
        kept_user(stage, name, f"{alice}@example.org")
    assert arrive(stage, alice).status == 403
    assert refusals(stage) == ["ambiguous_match"]
    assert len(stage.accounts()) == 2


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.DEPROVISIONED, Status.PENDING, Status.DELETED])
def test_account_that_is_shut_gets_no_fresh_one_beside_it(build: StageBuilder, status: Status) -> None:
    stage = build(**AUTO)
    alice = stage.person("alice")
    kept_user(stage, "old-timer", f"{alice}@example.org", status=status)
    assert arrive(stage, alice).status == 403
    assert refusals(stage) == [f"account_{status.value}"]
    assert len(stage.accounts()) == 1


def test_granted_privilege_keeps_an_account_from_being_adopted(build: StageBuilder) -> None:
    stage = build(**AUTO, JIT_PRIVILEGED_ROLES="admin")
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", f"{alice}@example.org")
    grant = Grant("admin", "manual")
    step(stage.ledger.transaction(lambda tx: tx.change_grants(old.id, add=[grant], remove=[])))
    assert arrive(stage, alice).status == 403
    assert refusals(stage) == ["link_excluded"]


# --- invitations and prelinks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.INVITED])
def test_invitation_ties_whoever_accepts_it_first(build: StageBuilder, status: Status) -> None:
    stage = build()
    old = kept_user(stage, "old-timer", None, status=status)
    path = invitation_for(stage, old)
    alice = stage.person("alice")
    assert go_through(stage, accept(stage, path), alice).status == 303
    assert seen(stage)["id"] == old.id
    (event,) = stage.events("identity.linked")
    assert (event.user_id, event.data["proof"]) == (old.id, "invitation")
    second = stage.client.another()
    used = second.get(path)
    assert (used.status, "invitation_unusable" in used.text) == (403, True)


def test_opening_an_invitation_changes_nothing(build: StageBuilder) -> None:
    stage = build()
    old = kept_user(stage, "old-timer", None)
    path = invitation_for(stage, old)
    for _ in range(3):
        assert stage.client.another().get(path).status == 200
        assert stage.client.another().request("HEAD", path).status == 200
    assert go_through(stage, accept(stage, path), stage.person("alice")).status == 303
    assert seen(stage)["id"] == old.id


def test_one_invitation_accepted_by_two_is_the_firsts(build: StageBuilder) -> None:
    stage = build()
    old = kept_user(stage, "old-timer", None)
    path = invitation_for(stage, old)
    alice, bob = stage.person("alice"), stage.person("bob")
    second = stage.client.another()
    sent, other_sent = accept(stage, path), accept(stage, path, client=second)
    assert go_through(stage, sent, alice).status == 303
    assert go_through(stage, other_sent, bob, client=second).status == 403
    assert refusals(stage) == ["invitation_used"]
    assert linked_users(stage) == [old.id]
    assert len(stage.accounts()) == 1


def test_invitation_revoked_or_too_old_is_worth_nothing(build: StageBuilder) -> None:
    stage = build()
    old = kept_user(stage, "old-timer", None)
    path = invitation_for(stage, old, valid=3600)
    sent = accept(stage, path)
    keys = [prelink.key for prelink in step(stage.ledger.transaction(lambda tx: tx.list_prelinks()))]
    step(stage.ledger.transaction(lambda tx: tx.drop_prelinks(keys)))
    assert go_through(stage, sent, stage.person("alice")).status == 403
    assert refusals(stage) == ["invitation_used"]
    late = invitation_for(stage, old, valid=3600)
    stage.clock.advance(3601)
    assert stage.client.get(late).status == 403


@pytest.mark.parametrize(
    "bend", [lambda path: path + "x", lambda path: path[:-4], lambda path: path.split("=")[0] + "="]
)
def test_invitation_that_was_not_written_here_is_refused(build: StageBuilder, bend: Any) -> None:
    stage = build()
    path = bend(invitation_for(stage, kept_user(stage, "old-timer", None)))
    assert stage.client.get(path).status == 403


def test_accepting_for_somebody_else_by_a_forged_form_is_refused(build: StageBuilder) -> None:
    """The invited account may be the attacker's own: nobody's identity is tied to it by another site's form."""
    stage = build()
    path = invitation_for(stage, kept_user(stage, "attacker", None))
    nonce = nonce_of(stage.client.another().get(path))
    answer = stage.client.post("/_jit/link", {"jit_link": nonce}, initiator="https://evil.example/")
    assert answer.status == 403
    assert answer.header("location") is None


def test_linked_identity_does_not_change_accounts_by_an_invitation(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    arrive(stage, alice)
    mine = seen(stage)["id"]
    path = invitation_for(stage, kept_user(stage, "old-timer", None))
    other = stage.client.another()
    assert go_through(stage, accept(stage, path, client=other), alice, client=other).status == 403
    assert refusals(stage) == ["linked_elsewhere"]
    assert seen(stage)["id"] == mine


def test_privileged_account_may_be_invited(build: StageBuilder) -> None:
    stage = build(JIT_PRIVILEGED_ROLES="admin")
    old = kept_user(stage, "old-timer", None, roles=("admin",))
    step(stage.ledger.transaction(lambda tx: tx.change_grants(old.id, add=[Grant("admin", "manual")], remove=[])))
    assert go_through(stage, accept(stage, invitation_for(stage, old)), stage.person("alice")).status == 303
    assert (seen(stage)["id"], seen(stage)["roles"]) == (old.id, ["admin"])


@pytest.mark.parametrize("with_issuer", [True, False])
def test_prelinked_subject_is_that_user_at_the_first_login(build: StageBuilder, with_issuer: bool) -> None:
    stage = build()
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", None)
    issuer = stage.provider.issuer if with_issuer else None
    prelinked(stage, subject_key("default", "oidc", issuer, alice), "subject", old)
    assert arrive(stage, alice).status == 303
    assert seen(stage)["id"] == old.id
    assert [event.data["proof"] for event in stage.events("identity.linked")] == ["prelink"]
    (prelink,) = step(stage.ledger.transaction(lambda tx: tx.list_prelinks()))
    assert prelink.used_at is not None


@pytest.mark.parametrize(
    ("domains", "verified", "is_linked"),
    [("example.org", True, True), ("example.org", None, True), ("example.org", False, False), ("other.example", True, False)],
)  # fmt: skip
def test_prelinked_address_counts_where_it_is_vouched_for(
    build: StageBuilder, domains: str, verified: bool | None, is_linked: bool
) -> None:
    stage = build(JIT_OIDC_VERIFIED_DOMAINS=domains)
    claims = {} if verified is None else {"email_verified": verified}
    alice = stage.person("alice", **claims)
    if verified is None:
        stage.provider.add_user(alice, {"preferred_username": alice, "email": f"{alice}@example.org"})
    old = kept_user(stage, "old-timer", None)
    prelinked(stage, email_key("default", "oidc", f"{alice}@example.org".upper()), "email", old)
    assert arrive(stage, alice).status == 303
    assert (seen(stage)["id"] == old.id) is is_linked


def test_prelink_serves_once_and_in_time(build: StageBuilder) -> None:
    stage = build(JIT_OIDC_VERIFIED_DOMAINS="example.org")
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", None)
    prelinked(stage, email_key("default", "oidc", f"{alice}@example.org"), "email", old, valid=60)
    stage.clock.advance(61)
    arrive(stage, alice)
    assert seen(stage)["id"] != old.id


def test_prelink_of_a_shut_account_makes_no_fresh_one(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    old = kept_user(stage, "old-timer", None, status=Status.SUSPENDED)
    prelinked(stage, subject_key("default", "oidc", None, alice), "subject", old)
    assert arrive(stage, alice).status == 403
    assert refusals(stage) == ["account_suspended"]
    assert len(stage.accounts()) == 1


@pytest.mark.parametrize("mode", ["off", "match_only"])
def test_switch_off_keeps_newcomers_out_and_match_only_lets_the_invited_in(build: StageBuilder, mode: str) -> None:
    stage = build(JIT_PROVISIONING=mode)
    old = kept_user(stage, "old-timer", None)
    landed = go_through(stage, accept(stage, invitation_for(stage, old)), stage.person("alice"))
    assert landed.status == (303 if mode == "match_only" else 403)
    assert linked_users(stage) == ([old.id] if mode == "match_only" else [])
