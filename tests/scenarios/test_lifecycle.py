"""In and out of access, through both edges, by the hands that do it: the real command line beside a running app."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.cli import main
from jit_middleware.model import Account, Status, User
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.lifecycle import Trigger, move
from jit_middleware.settings import Settings
from tests.client import Client
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.test_custom_stores import Members
from tests.worlds import Answer

BOUND = 1.0


class Operator:
    """Somebody at a terminal, with the settings of the app."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def says(self, stage: Stage, *command: str, **env: str) -> int:
        """The exit code of ``jit-middleware users …``."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("JIT_")]:
                patch.delenv(name)
            for name, value in {**stage.env, **env}.items():
                patch.setenv(name, value)
            return main(["users", *command])

    def asks(self, stage: Stage, *command: str) -> object:
        """What the command prints as JSON."""
        self._capsys.readouterr()
        assert self.says(stage, *command, "--json") == 0
        answer: object = json.loads(self._capsys.readouterr().out)
        return answer


@pytest.fixture
def operator(capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(capsys)


def code_of(answer: Answer) -> str:
    """The code that the refusal page shows."""
    found = re.search(r"\b(account_\w+|not_provisioned|seats_full|creation_limited)\b", answer.text)
    assert found is not None, answer.text
    return found[0]


def turned_away(stage: Stage, who: str, client: Client | None = None) -> str:
    """The code with which this person is refused."""
    answer = stage.sign_in(who, client=client or stage.client.another())
    assert answer.status in {403, 429}
    return code_of(answer)


def roles(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.text
    seen: list[str] = answer.json()["user"]["roles"]
    return seen


# --- waiting --------------------------------------------------------------------------------------------------------


def test_new_person_waits_is_approved_and_comes_in(build: StageBuilder, operator: Operator) -> None:
    stage = build(JIT_INITIAL_STATUS="pending", JIT_DEFAULT_ROLES="member")
    ada = stage.person("ada")
    page = stage.sign_in(ada, client=stage.client.another())
    assert (page.status, code_of(page)) == (403, "account_pending")
    assert "waiting for approval" in page.text
    waiting = operator.asks(stage, "list", "--status", "pending")
    assert [account["username"] for account in waiting] == [ada]  # type: ignore[attr-defined]
    assert operator.says(stage, "approve", ada, "--role", "editor") == 0
    assert roles(stage.sign_in(ada)) == ["editor", "member"]
    assert operator.asks(stage, "list", "--status", "pending") == []
    [event] = stage.events("user.active")
    assert (event.data["from"], event.data["trigger"]) == ("pending", "approve")


# --- shut out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "code", "status", "back"),
    [
        ("suspend", "account_suspended", Status.SUSPENDED, "resume"),
        ("deactivate", "account_closed", Status.DEPROVISIONED, "reinstate"),
        ("delete", "account_closed", Status.DELETED, None),
    ],
)
def test_who_is_shut_out_is_out_within_the_bound_and_not_let_in_by_signing_in(
    build: StageBuilder, operator: Operator, out: str, code: str, status: Status, back: str | None
) -> None:
    """Attacks 61 and 65: the live cookie dies, and a login changes nothing."""
    stage = build()
    ada = stage.person("ada")
    assert stage.sign_in(ada).status == 200
    assert operator.says(stage, out, ada) == 0
    stage.clock.advance(BOUND)
    assert stage.client.get("/").status == 302
    assert stage.client.xhr("/").status == 401
    before = stage.accounts()
    assert [account.status for account in before] == [status]
    assert turned_away(stage, ada) == code
    assert stage.accounts() == before
    assert stage.events("login.refused")[-1].reason == f"account_{status.value}"
    if back is None:
        for verb in ("resume", "reinstate", "approve"):
            assert operator.says(stage, verb, ada) == 1
        return
    assert operator.says(stage, back, ada) == 0
    assert stage.client.get("/").status == 302, "the old session stays dead"
    assert stage.sign_in(ada, client=stage.client.another()).status == 200


def test_erased_person_is_nobody_and_stays_out(build: StageBuilder, operator: Operator) -> None:
    stage = build()
    ada = stage.person("ada")
    user = stage.sign_in(ada).json()["user"]
    assert operator.says(stage, "erase", ada) == 1, "not before they are deleted"
    assert operator.says(stage, "delete", ada) == 0
    assert operator.says(stage, "erase", "--id", user["id"]) == 0
    stage.clock.advance(BOUND)
    assert stage.client.get("/").status == 302
    assert turned_away(stage, ada) == "not_provisioned", "there is no account to speak of any more"
    assert stage.events("login.refused")[-1].reason == "identity_tombstoned"
    [account] = stage.accounts()
    assert (account.status, account.user) == (Status.ERASED, None)


def test_privileged_roles_do_not_come_back_with_the_person(build: StageBuilder, operator: Operator) -> None:
    stage = build(JIT_PRIVILEGED_ROLES="admin")
    ada = stage.person("ada")
    stage.sign_in(ada)
    for role in ("admin", "editor"):
        assert operator.says(stage, "grant", ada, role) == 0
    assert roles(stage.sign_in(ada, client=stage.client.another())) == ["admin", "editor"]
    assert operator.says(stage, "deactivate", ada) == 0
    assert operator.says(stage, "reinstate", ada) == 0
    assert roles(stage.sign_in(ada, client=stage.client.another())) == ["editor"]


def test_hold_outlives_being_let_go_and_taken_back(build: StageBuilder, operator: Operator) -> None:
    stage = build()
    ada = stage.person("ada")
    stage.sign_in(ada)
    for verb in ("suspend", "deactivate", "reinstate"):
        assert operator.says(stage, verb, ada) == 0
    assert turned_away(stage, ada) == "account_suspended"
    assert operator.says(stage, "resume", ada) == 0
    assert stage.sign_in(ada, client=stage.client.another()).status == 200


def test_dormant_person_wakes_by_signing_in(build: StageBuilder) -> None:
    stage = build()
    ada = stage.person("ada")
    user = stage.sign_in(ada).json()["user"]["id"]

    async def sleep(tx: Transaction) -> Account | None:
        account = await tx.find_account(user)
        assert account is not None
        policy, now = stage.settings.provisioning, stage.clock.now()
        return await move(tx, account, Trigger.IDLE, settings=policy, actor="clock", at=now, event_id="idle")

    assert step(stage.ledger.transaction(sleep)) is not None
    stage.clock.advance(BOUND)
    assert stage.client.get("/").status == 302
    assert [(account.status, account.seat) for account in stage.accounts()] == [(Status.DORMANT, False)]
    assert stage.sign_in(ada, client=stage.client.another()).json()["user"]["id"] == user
    assert [(account.status, account.seat) for account in stage.accounts()] == [(Status.ACTIVE, True)]
    [woken] = stage.events("user.active")
    assert (woken.data["actor"], woken.data["trigger"], woken.data["from"]) == ("login", "login", "dormant")
    [login] = stage.events("login.succeeded")[1:]
    assert woken.reference == login.reference


def test_nobody_learns_the_state_of_an_account_that_is_not_theirs(build: StageBuilder, operator: Operator) -> None:
    """Attack 68: whoever merely has the same name or address sees one and the same page, whatever became of her."""
    stage = build(JIT_LINK_POLICY="auto", JIT_OIDC_VERIFIED_DOMAINS="example.org")
    ada = stage.person("ada", preferred_username="ada", email="ada@example.org")
    eve = stage.person("eve", preferred_username="ada", email="ada@example.org")
    user = stage.sign_in(ada).json()["user"]["id"]

    def seen_by_eve() -> tuple[int, str]:
        answer = stage.sign_in(eve, client=stage.client.another())
        reference = stage.events("login.refused")[-1].reference
        assert reference is not None
        return answer.status, answer.text.replace(reference, "").replace(answer.url, "")

    views = [seen_by_eve()]
    for verb in ("suspend", "deactivate", "delete"):
        assert operator.says(stage, verb, "--id", user) == 0
        views.append(seen_by_eve())
    assert {status for status, _ in views} == {403}
    pages = {re.sub(r"[A-Za-z0-9_-]{12,}", "", text) for _, text in views}
    assert len(pages) == 1
    assert "account_" not in pages.pop()


# --- roles ----------------------------------------------------------------------------------------------------------


def test_lost_role_is_lost_to_the_live_session_within_the_bound(build: StageBuilder, operator: Operator) -> None:
    """Attack 69: nothing is cached longer than the bound."""
    stage = build()
    ada = stage.person("ada")
    stage.sign_in(ada)
    assert operator.says(stage, "grant", ada, "editor") == 0
    stage.clock.advance(BOUND)
    assert roles(stage.client.get("/")) == ["editor"]
    assert operator.says(stage, "revoke-role", ada, "editor") == 0
    stage.clock.advance(BOUND)
    assert roles(stage.client.get("/")) == []
    assert [event.type for event in stage.events("role.granted", "role.revoked")] == ["role.granted", "role.revoked"]


def test_rise_to_a_privileged_role_needs_a_new_login(build: StageBuilder, operator: Operator) -> None:
    stage = build(JIT_PRIVILEGED_ROLES="admin")
    ada = stage.person("ada")
    stage.sign_in(ada)
    assert operator.says(stage, "grant", ada, "admin") == 0
    stage.clock.advance(BOUND)
    assert stage.client.get("/").status == 302
    assert roles(stage.sign_in(ada, client=stage.client.another())) == ["admin"]
    assert [event.reason for event in stage.events("session.ended")] == ["role_granted"]


def test_role_by_hand_survives_the_next_login(build: StageBuilder, operator: Operator) -> None:
    """Attack 59: a login takes what the provider gave, and nothing else."""
    stage = build(
        JIT_ROLE_RULES=json.dumps([{"when": "contains(groups, 'ops')", "grant": ["operator"]}]),
        JIT_OIDC_SCOPES="openid email profile groups",
    )
    ada = stage.person("ada", groups=["ops"])
    assert roles(stage.sign_in(ada)) == ["operator"]
    assert operator.says(stage, "grant", ada, "editor") == 0
    stage.person("ada", groups=[])
    assert roles(stage.sign_in(ada, client=stage.client.another())) == ["editor"]


# --- seats ----------------------------------------------------------------------------------------------------------


def test_last_seat_is_taken_once_and_freed_by_letting_somebody_go(build: StageBuilder, operator: Operator) -> None:
    stage = build(JIT_SEAT_LIMIT="1")
    ada, bob = stage.person("ada"), stage.person("bob")
    assert stage.sign_in(ada).status == 200
    assert turned_away(stage, bob) == "seats_full"
    assert len(stage.accounts()) == 1
    assert operator.says(stage, "suspend", ada) == 0
    assert turned_away(stage, bob) == "seats_full", "a hold keeps the seat"
    assert operator.says(stage, "deactivate", ada) == 0
    assert stage.sign_in(bob, client=stage.client.another()).status == 200
    assert operator.says(stage, "reinstate", ada) == 1
    assert turned_away(stage, ada) == "account_closed"


def test_person_without_a_seat_waits_and_is_approved_when_one_is_free(build: StageBuilder, operator: Operator) -> None:
    stage = build(JIT_SEAT_LIMIT="1", JIT_SEATS_WHEN_FULL="pending")
    ada, bob = stage.person("ada"), stage.person("bob")
    assert stage.sign_in(ada).status == 200
    assert turned_away(stage, bob) == "account_pending"
    assert operator.says(stage, "approve", bob) == 1
    assert operator.says(stage, "deactivate", ada) == 0
    assert operator.says(stage, "approve", bob) == 0
    assert stage.sign_in(bob, client=stage.client.another()).status == 200


def test_person_without_a_seat_has_the_minimal_role_until_one_is_free(build: StageBuilder, operator: Operator) -> None:
    stage = build(
        JIT_SEAT_LIMIT="1", JIT_SEATS_WHEN_FULL="minimal_role", JIT_MINIMAL_ROLE="guest", JIT_DEFAULT_ROLES="member"
    )
    ada, bob = stage.person("ada"), stage.person("bob")
    assert roles(stage.sign_in(ada)) == ["member"]
    for _ in range(2):
        assert roles(stage.sign_in(bob, client=stage.client.another())) == ["guest"]
    assert operator.says(stage, "deactivate", ada) == 0
    assert roles(stage.sign_in(bob, client=stage.client.another())) == ["member"]
    assert sorted((account.status.value, account.seat) for account in stage.accounts()) == [
        ("active", True),
        ("deprovisioned", False),
    ]


def test_more_new_people_than_the_rate_allows_are_asked_to_come_back(build: StageBuilder) -> None:
    stage = build(JIT_CREATION_RATE="2/1m", JIT_CREATION_ALARM="2/1h")
    people = [stage.person(name) for name in ("ada", "bob", "cleo")]
    for who in people[:2]:
        assert stage.sign_in(who, client=stage.client.another()).status == 200
    answer = stage.sign_in(people[2], client=stage.client.another())
    assert (answer.status, code_of(answer), answer.header("retry-after")) == (429, "creation_limited", "60")
    assert stage.sign_in(people[0], client=stage.client.another()).status == 200, "who is known is not new"
    stage.clock.advance(61)
    assert stage.sign_in(people[2], client=stage.client.another()).status == 200
    [alarm] = stage.events("provisioning.alarm")
    assert alarm.data["rate"] == "2/3600s"


# --- with a store of the app ----------------------------------------------------------------------------------------


class Club(Members):
    """Members who also have keys to other doors, in a house whose register is closed now and then."""

    def set_active(self, user_id: str, active: bool) -> None:
        if self.file.with_suffix(".closed").exists():
            raise OSError("the register is closed")
        super().set_active(user_id, active)

    def revoke_credentials(self, user_id: str) -> None:
        with self._call("revoke_credentials"):
            self.note(f"revoked {user_id}")

    def delete(self, user_id: str) -> None:
        with self._call("delete"):
            self.expel(user_id)
            self.note(f"deleted {user_id}")

    def note(self, line: str) -> None:
        with self.file.with_suffix(".notes").open("a") as notes:
            notes.write(line + "\n")

    def notes(self) -> list[str]:
        file = self.file.with_suffix(".notes")
        return file.read_text().splitlines() if file.exists() else []


def club(_settings: Settings | None = None) -> Club:
    """The factory that ``JIT_USER_STORE`` names."""
    return Club(Path(os.environ["CLUB"]))


@pytest.fixture
def tell(operator: Operator, tmp_path: Path) -> Callable[..., int]:
    """The operator of an app whose users are the club's."""

    def tell(stage: Stage, *command: str) -> int:
        factory = f"{__name__}:club"
        return operator.says(stage, *command, JIT_USER_STORE=factory, CLUB=str(tmp_path / "club.db"))

    return tell


def test_store_of_the_app_is_told_what_became_of_its_user(
    build: StageBuilder, tell: Callable[..., int], tmp_path: Path
) -> None:
    members = Club(tmp_path / "club.db")
    stage = build(users=members, JIT_PRIVILEGED_ROLES="admin")
    ada = stage.person("ada")
    user = stage.sign_in(ada).json()["user"]["id"]

    def member() -> User:
        [found] = members.everybody()
        return found

    assert tell(stage, "grant", user, "admin") == 0
    assert member().roles == ("admin",)
    before = len(members.notes())
    assert tell(stage, "deactivate", user) == 0
    assert member().status is Status.SUSPENDED
    assert members.notes()[before:] == [f"revoked {user}"]
    assert tell(stage, "reinstate", user) == 0
    assert (member().status, member().roles) == (Status.ACTIVE, ())
    assert roles(stage.sign_in(ada, client=stage.client.another())) == []
    assert tell(stage, "grant", user, "editor") == 0
    assert member().roles == ("editor",)
    assert tell(stage, "revoke-role", user, "editor") == 0
    assert member().roles == ()
    assert tell(stage, "delete", user) == 0
    assert (member().status, members.notes()[-1]) == (Status.SUSPENDED, f"revoked {user}")
    assert tell(stage, "erase", user) == 0
    assert (members.everybody(), members.notes()[-1]) == ([], f"deleted {user}")
    assert turned_away(stage, ada) == "not_provisioned"


def test_store_that_fails_keeps_nobody_in_and_is_told_when_the_command_is_repeated(
    build: StageBuilder, tell: Callable[..., int], tmp_path: Path
) -> None:
    members = Club(tmp_path / "club.db")
    stage = build(users=members)
    ada = stage.person("ada")
    user = stage.sign_in(ada).json()["user"]["id"]
    (tmp_path / "club.closed").touch()
    assert tell(stage, "deactivate", user) == 1, "it says that the store could not be told"
    (tmp_path / "club.closed").unlink()
    stage.clock.advance(BOUND)
    assert stage.client.get("/").status == 302, "and yet they are out"
    assert members.everybody()[0].status is Status.ACTIVE
    assert tell(stage, "deactivate", user) == 0
    assert members.everybody()[0].status is Status.SUSPENDED


def test_seats_hold_with_a_store_of_the_app(build: StageBuilder, tell: Callable[..., int], tmp_path: Path) -> None:
    members = Club(tmp_path / "club.db")
    stage = build(users=members, JIT_SEAT_LIMIT="1")
    ada, bob = stage.person("ada"), stage.person("bob")
    user = stage.sign_in(ada).json()["user"]["id"]
    assert turned_away(stage, bob) == "seats_full"
    assert len(members.everybody()) == 1, "nobody is made whom there is no seat for"
    assert stage.sign_in(ada, client=stage.client.another()).status == 200
    assert tell(stage, "deactivate", user) == 0
    assert stage.sign_in(bob, client=stage.client.another()).status == 200
