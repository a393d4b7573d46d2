"""Users, sessions, audit and migrate, against a real database file."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar, cast

import pytest

from jit_middleware.cli import main
from jit_middleware.cli.conversation import converse
from jit_middleware.model import (
    AuditEvent,
    Grant,
    IdentityLink,
    Profile,
    SessionRecord,
    Status,
    VerifiedIdentity,
)
from jit_middleware.overtaking import marks_of
from jit_middleware.ports import Ledger, Transaction
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens
from jit_middleware_sqlalchemy import PATIENT, SQLAlchemyLedger
from tests.databases import prepared

pytestmark = pytest.mark.slow

T = TypeVar("T")
FIVE = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.invalid",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "hunter2",
}


class Place:
    """A database, and what the terminal says about it."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys

    def work(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async def conversation() -> T:
            ledger = SQLAlchemyLedger(self._url, clock=SystemClock(), tokens=SystemTokens(), keep_users=True)
            try:
                await ledger.prepare()
                return await ledger.transaction(work)
            finally:
                await ledger.close()

        return asyncio.run(conversation())

    def user(
        self,
        username: str,
        *,
        email: str | None = None,
        session: str | None = None,
        status: Status = Status.ACTIVE,
    ) -> str:
        """A user with one identity, and one live session if they are active; the user's id."""
        now = int(time.time())

        async def work(tx: Transaction) -> str:
            assert tx.users is not None
            user = await tx.users.create(Profile(f"key-{username}", username, email, status=status))
            link = IdentityLink("oidc", "https://login.invalid", f"sub-{username}", f"key-{username}", user.id)
            await tx.add_link(link)
            if status is not Status.ACTIVE:
                return user.id
            await tx.add_session(
                SessionRecord(
                    id=session or f"session-{username}",
                    user_id=user.id,
                    tenant="default",
                    connection="oidc",
                    issuer="https://login.invalid",
                    subject=f"sub-{username}",
                    created_at=now,
                    expires_at=now + 3600,
                    last_seen_at=now,
                    authenticated_at=now,
                    idp_session=f"sid-of-{session or f'session-{username}'}",
                )
            )
            return user.id

        return self.work(work)

    def status(self, user_id: str) -> Status:
        async def work(tx: Transaction) -> Status:
            account = await tx.find_account(user_id)
            assert account is not None
            return account.status

        return self.work(work)

    def roles(self, user_id: str) -> list[str]:
        async def work(tx: Transaction) -> list[str]:
            account = await tx.find_account(user_id)
            assert account is not None
            assert account.user is not None
            return list(account.user.roles)

        return self.work(work)

    def live(self) -> set[str]:
        async def work(tx: Transaction) -> set[str]:
            return {session.id for session in await tx.list_sessions()}

        return self.work(work)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._capsys.readouterr()
        code = main(arguments)
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *arguments: str) -> object:
        code, out, err = self.run(*arguments, "--json")
        assert (code, err) == (0, "")
        said: object = json.loads(out)
        return said

    def events(self) -> list[dict[str, object]]:
        code, out, _ = self.run("audit", "export")
        assert code == 0
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(params=["sqlite", pytest.param("sqlite+aiosqlite", marks=pytest.mark.slow)])
def bare_place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Place:
    """Where nothing is yet, not even a database."""
    url = f"{request.param}:///{tmp_path / 'jit.db'}"
    for name, value in {**FIVE, "JIT_DATABASE_URL": url}.items():
        monkeypatch.setenv(name, value)
    return Place(url, capsys)


@pytest.fixture
def place(bare_place: Place, tmp_path: Path) -> Place:
    """With the schema, which takes longer to make than many a test does."""
    prepared(tmp_path / "jit.db")
    return bare_place


def test_migrate_makes_the_schema_once(bare_place: Place) -> None:
    code, out, _ = bare_place.run("migrate")
    assert code == 0
    assert "applied 0001" in out
    assert bare_place.json("migrate") == {"database": bare_place.json("check")["settings"]["database"], "applied": []}  # type: ignore[index]


def test_users_are_listed(place: Place) -> None:
    place.run("migrate")
    assert place.json("users", "list") == []
    ids = {place.user("ada"), place.user("eve")}
    said = place.json("users", "list")
    assert isinstance(said, list)
    assert {each["id"] for each in said} == ids
    assert {each["username"] for each in said} == {"ada", "eve"}
    first = place.json("users", "list", "--limit", "1")
    assert isinstance(first, list)
    rest = place.json("users", "list", "--after", first[0]["id"])
    assert [*first, *rest] == said  # type: ignore[misc]
    code, out, _ = place.run("users", "list")
    assert code == 0
    assert out.splitlines()[0].split() == ["id", "username", "status", "roles", "tenant"]
    assert "ada" in out


def test_user_is_shown_by_id_name_or_address(place: Place) -> None:
    user_id = place.user("ada", email="ada@example.org")
    for wanted in (user_id, "ada", "ADA@example.org"):
        said = place.json("users", "show", wanted)
        assert isinstance(said, dict)
        assert (said["id"], said["email"], said["status"]) == (user_id, "ada@example.org", "active")
        assert said["identities"] == [{"connection": "oidc", "issuer": "https://login.invalid", "subject": "sub-ada"}]
        assert [session["id"] for session in said["sessions"]] == ["session-ada"]
    code, out, _ = place.run("users", "show", "ada")
    assert code == 0
    assert "sub-ada" in out


def test_unknown_user_is_answered_no(place: Place) -> None:
    place.user("ada")
    for arguments in (["show", "nobody"], ["suspend", "nobody"], ["show", "--id", "ada"]):
        code, out, err = place.run("users", *arguments)
        assert (code, out) == (1, "")
        assert "There is no user" in err


def test_name_that_several_users_answer_to_changes_nobody(place: Place) -> None:
    one = place.user("ada", email="shared@example.org")
    two = place.user("eve", email="shared@example.org")
    code, _, err = place.run("users", "suspend", "shared@example.org")
    assert code == 1
    assert one in err
    assert two in err
    assert place.status(one) is place.status(two) is Status.ACTIVE


def test_suspending_ends_sessions_and_leaves_an_event(place: Place) -> None:
    user_id = place.user("ada")
    place.user("eve")
    assert place.json("users", "suspend", "ada") == {
        "user": user_id,
        "was": "active",
        "status": "suspended",
        "done": True,
    }
    assert place.status(user_id) is Status.SUSPENDED
    assert place.live() == {"session-eve"}
    (event,) = [event for event in place.events() if event["type"] == "user.suspended"]
    assert event["user"] == user_id
    assert str(event["data"]["actor"]).startswith("cli")  # type: ignore[index]
    assert place.run("users", "suspend", "ada")[0] == 0
    assert len([event for event in place.events() if event["type"] == "user.suspended"]) == 1


def test_resumed_user_is_active_again(place: Place) -> None:
    user_id = place.user("ada")
    for verb, status in (
        ("suspend", "suspended"),
        ("resume", "active"),
        ("deactivate", "deprovisioned"),
        ("reinstate", "active"),
    ):
        code, out, _ = place.run("users", verb, "ada")
        assert code == 0
        assert f"is {status} now" in out
        assert place.status(user_id).value == status


def test_step_that_the_lifecycle_has_not_is_answered_no(place: Place) -> None:
    user_id = place.user("ada")
    assert place.run("users", "deactivate", "ada")[0] == 0
    code, out, err = place.run("users", "suspend", "ada")
    assert (code, out) == (1, "")
    assert "cannot become suspended" in err
    assert place.status(user_id) is Status.DEPROVISIONED


def test_sessions_are_listed(place: Place) -> None:
    ada = place.user("ada")
    place.user("eve")
    said = place.json("sessions", "list", "--user", ada)
    assert isinstance(said, list)
    assert [(each["id"], each["user"]) for each in said] == [("session-ada", ada)]
    code, out, _ = place.run("sessions", "list")
    assert code == 0
    assert "session-ada" in out
    assert "session-eve" in out


@pytest.mark.parametrize("selector", ["--user", "--session"])
def test_revoking_ends_just_what_matches(place: Place, selector: str) -> None:
    ada = place.user("ada")
    place.user("eve")
    value = ada if selector == "--user" else "session-ada"
    assert place.json("sessions", "revoke", selector, value) == {"ended": 1}
    assert place.live() == {"session-eve"}
    (event,) = [event for event in place.events() if event["type"] == "session.ended"]
    assert (event["session"], event["reason"]) == ("session-ada", "revoked")
    assert event["data"]["actor"].startswith("cli")  # type: ignore[index]
    code, out, err = place.run("sessions", "revoke", selector, value)
    assert (code, out, err) == (1, "", "No live session matches.\n")


@pytest.mark.parametrize(
    ("selectors", "left"),
    [
        (["--connection", "oidc"], set()),
        (["--connection", "other"], {"session-ada", "session-eve"}),
        (["--connection", "oidc", "--idp-session", "sid-of-session-ada"], {"session-eve"}),
        (["--connection", "other", "--idp-session", "sid-of-session-ada"], {"session-ada", "session-eve"}),
        (["--session", "session-ada", "--connection", "oidc"], {"session-eve"}),
        (["--session", "session-ada", "--user", "nobody"], {"session-ada", "session-eve"}),
    ],
    ids=lambda value: "-".join(sorted(value)),
)
def test_revoking_ends_what_matches_everything_named(place: Place, selectors: list[str], left: set[str]) -> None:
    place.user("ada")
    place.user("eve")
    assert place.run("sessions", "revoke", *selectors)[0] == (1 if len(left) == 2 else 0)
    assert place.live() == left
    ended = [event for event in place.events() if event["type"] == "session.ended"]
    assert {event["session"] for event in ended} == {"session-ada", "session-eve"} - left
    assert all(str(event["data"]["actor"]).startswith("cli") for event in ended)  # type: ignore[index]


def test_the_list_shows_when_sessions_began_were_seen_and_expire(place: Place) -> None:
    place.user("ada")
    head, line = place.run("sessions", "list", "--connection", "oidc")[1].splitlines()
    assert [word for word in re.split(r"\s{2,}", head) if word] == [
        "id", "user", "connection", "created", "last seen", "expires",
    ]  # fmt: skip
    assert "session-ada" in line
    [said] = place.json("sessions", "list", "--connection", "oidc")  # type: ignore[misc]
    assert said["idp_session"] == "sid-of-session-ada"
    assert {"created_at", "last_seen_at", "expires_at"} <= set(said)
    assert "token" not in json.dumps(said)
    assert place.json("sessions", "list", "--connection", "other") == []


@pytest.mark.parametrize(
    ("selectors", "listed"),
    [
        (["--session", "session-ada"], ["session-ada"]),
        (["--session", "session-adda"], []),
        (["--session", "session-ada", "--user", "eve"], []),
        (["--connection", "oidc", "--idp-session", "sid-of-session-ada"], ["session-ada"]),
        (["--connection", "other", "--idp-session", "sid-of-session-ada"], []),
        (["--connection", "oidc", "--idp-session", "sid-of-session-ada", "--user", "eve"], []),
    ],
    ids=lambda value: "-".join(value) or "none",
)
def test_the_list_takes_the_selectors_of_revoke(place: Place, selectors: list[str], listed: list[str]) -> None:
    """What one verb shows is what the other would end."""
    place.user("ada")
    place.user("eve")
    said = place.json("sessions", "list", *selectors, "--limit", "1")
    assert isinstance(said, list)
    assert [each["id"] for each in said] == listed
    assert place.live() == {"session-ada", "session-eve"}
    assert place.run("sessions", "revoke", *selectors)[0] == (0 if listed else 1)
    assert place.live() == {"session-ada", "session-eve"} - set(listed)


@pytest.mark.parametrize("verb", ["list", "revoke"])
def test_a_session_at_a_provider_is_named_with_the_provider(place: Place, verb: str) -> None:
    place.user("ada")
    code, out, err = place.run("sessions", verb, "--idp-session", "sid-of-session-ada")
    assert (code, out) == (2, "")
    assert "argument --idp-session: names a session of one provider; add --connection" in err
    assert place.live() == {"session-ada"}


def test_revoking_all_ends_every_session(place: Place) -> None:
    place.user("ada")
    place.user("eve")
    code, out, err = place.run("sessions", "revoke", "--all")
    assert (code, out) == (2, "")
    assert "--yes" in err
    assert place.live() == {"session-ada", "session-eve"}
    assert place.json("sessions", "revoke", "--all", "--yes") == {"ended": 2}
    assert place.live() == set()
    assert place.json("sessions", "revoke", "--all", "--yes") == {"ended": 0}


@pytest.mark.parametrize(
    ("selectors", "overtaken"),
    [
        (["--user", "ada"], {"ada", "ada-again"}),
        (["--connection", "oidc"], {"ada", "ada-again", "eve"}),
        (["--connection", "oidc", "--user", "ada"], {"ada", "ada-again"}),
        (["--connection", "other", "--user", "ada"], set()),
        (["--connection", "oidc", "--idp-session", "sid-of-ada"], {"ada"}),
        (["--connection", "oidc", "--idp-session", "sid-of-ada", "--user", "ada"], {"ada"}),
        (["--connection", "oidc", "--idp-session", "sid-of-ada", "--user", "eve"], set()),
        (["--session", "session-ada"], set()),
        (["--all", "--yes"], {"ada", "ada-again", "eve"}),
    ],
    ids=lambda value: "-".join(sorted(value)),
)
def test_whoever_is_signing_in_while_sessions_are_revoked_is_meant_too(
    place: Place, selectors: list[str], overtaken: set[str]
) -> None:
    place.user("ada")
    place.user("eve")
    place.run("sessions", "revoke", *selectors)

    async def look(tx: Transaction, subject: str, idp_session: str) -> int | None:
        identity = VerifiedIdentity(
            "oidc", "https://login.invalid", f"sub-{subject}", {}, idp_session=f"sid-of-{idp_session}"
        )
        marks = marks_of(identity, None)
        return (await tx.find_login(identity.connection, identity.issuer, identity.subject, marks))[1]

    logins = {"ada": ("ada", "ada"), "ada-again": ("ada", "phone"), "eve": ("eve", "eve")}
    seen = {name: place.work(lambda tx, who=who: look(tx, *who)) for name, who in logins.items()}  # type: ignore[misc]
    assert {name for name, at in seen.items() if at is not None} == overtaken
    assert all(abs(at - time.time()) < 60 for at in seen.values() if at is not None)


def events(place: Place, count: int) -> None:
    async def work(tx: Transaction) -> None:
        for number in range(count):
            kind = "login.refused" if number % 2 else "login.succeeded"
            await tx.append_audit(AuditEvent(f"event-{number:05}", kind, at=number, user_id=f"u{number % 3}"))

    place.work(work)


def test_export_writes_every_event_in_order_page_by_page(place: Place, tmp_path: Path) -> None:
    events(place, 2001)
    file = tmp_path / "audit.jsonl"
    assert place.run("audit", "export", "--output", str(file)) == (0, "", "")
    lines = file.read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"event-{number:05}" for number in range(2001)]
    assert place.run("audit", "export", "--output", str(file), "--after", "event-01999")[0] == 0
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()][2001:] == ["event-02000"]
    assert place.run("audit", "export", "--output", str(file), "--after", "event-02000") == (0, "", "")


@pytest.mark.parametrize("verb", ["list", "export"])
def test_an_event_that_is_not_there_is_named_as_a_wrong_after(place: Place, verb: str) -> None:
    """An empty answer would look like a trail without news."""
    events(place, 2)
    code, out, error = place.run("audit", verb, "--after", "event-99999")
    assert (code, out) == (2, "")
    assert "--after: there is no event 'event-99999'." in error


def test_commands_give_the_database_the_time_it_takes(place: Place) -> None:
    """An export, a prune or an adoption may take longer than a request may wait."""
    place.run("migrate")

    async def waits(ledger: Ledger) -> object:
        return cast("SQLAlchemyLedger", ledger).database.waits

    assert converse(Settings.load(), waits) == PATIENT


def test_events_are_selected(place: Place) -> None:
    events(place, 12)
    code, out, _ = place.run("audit", "list", "--type", "login.refused", "--user", "u0", "--json")
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["event-00003", "event-00009"]
    assert len(place.run("audit", "list", "--limit", "5", "--json")[1].splitlines()) == 5
    assert len(place.run("audit", "list")[1].splitlines()) == 13


def listed(out: str) -> list[str]:
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_the_newest_events_are_listed_in_the_order_they_were_recorded(place: Place) -> None:
    events(place, 2005)
    code, out, err = place.run("audit", "list", "--last", "3", "--json")
    assert (code, listed(out)) == (0, ["event-02002", "event-02003", "event-02004"])
    assert err == "There are older events: raise --last.\n"
    _, out, _ = place.run("audit", "list", "--last", "2", "--type", "login.refused", "--user", "u0", "--json")
    assert listed(out) == ["event-01995", "event-02001"]
    _, out, err = place.run("audit", "list", "--last", "9", "--after", "event-02002", "--json")
    assert (listed(out), err) == (["event-02003", "event-02004"], "")


def test_a_list_that_is_not_whole_says_how_it_goes_on(place: Place) -> None:
    events(place, 12)
    code, out, err = place.run("audit", "list", "--limit", "5", "--json")
    assert (code, listed(out)[-1]) == (0, "event-00004")
    assert err == "There are more events: --after event-00004 goes on, --last 5 shows the newest.\n"
    assert place.run("audit", "list", "--limit", "7", "--after", "event-00004")[2] == ""
    assert place.run("audit", "list", "--limit", "6", "--after", "event-00004")[2] != ""
    _, _, err = place.run("audit", "list", "--type", "login.refused", "--limit", "6")
    assert err == "", "others than those that were asked for are not more"
    assert place.run("audit", "list")[2] == ""
    assert place.run("audit", "list", "--last", "12")[2] == ""
    assert place.run("audit", "list", "--last", "5", "--limit", "5")[0] == 2


def test_events_are_selected_by_the_name_of_their_user_too(place: Place) -> None:
    ada, eve = place.user("ada", email="ada@example.org"), place.user("eve")

    async def work(tx: Transaction) -> None:
        for number, user in enumerate((ada, eve, "gone")):
            await tx.append_audit(AuditEvent(f"event-{number}", "login.refused", at=number, user_id=user))

    place.work(work)
    for name in ("ada", "ada@example.org", ada):
        code, out, _ = place.run("audit", "list", "--type", "login.refused", "--user", name, "--json")
        assert (code, listed(out)) == (0, ["event-0"])
    assert listed(place.run("audit", "export", "--user", "eve", "--type", "login.refused")[1]) == ["event-1"]
    _, out, _ = place.run("audit", "list", "--user", "gone", "--json")
    assert listed(out) == ["event-2"], "the trail knows ids of users who are no more"


@pytest.mark.parametrize("verb", ["list", "export"])
def test_events_of_nobody_are_not_taken_for_no_events(place: Place, verb: str) -> None:
    place.user("ada")
    code, out, err = place.run("audit", verb, "--user", "nobody")
    assert (code, out) == (1, "")
    assert "There is no user 'nobody'" in err


@pytest.mark.parametrize("verb", ["list", "export"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("user.create", "did you mean user.created?"),
        ("login.failed", "did you mean login.refused"),
        ("groups.gone", "groups.unavailable"),
        ("nonsense", "There are: adoption.prelinked"),
    ],
)
def test_a_type_that_no_event_has_is_wrong_use_and_answered_with_what_was_meant(
    place: Place, verb: str, given: str, said: str
) -> None:
    code, out, err = place.run("audit", verb, "--type", given)
    assert (code, out) == (2, "")
    assert f"no events of the type {given!r}" in err
    assert said in err


def test_export_to_a_file_that_cannot_be_written_is_wrong_use(place: Place, tmp_path: Path) -> None:
    code, _, err = place.run("audit", "export", "--output", str(tmp_path))
    assert code == 2
    assert "cannot be written" in err


@pytest.mark.parametrize("name", ["-tR-Ro", "--json", "-h", "---"])
def test_session_whose_id_looks_like_an_option_is_revoked(place: Place, name: str) -> None:
    place.user("ada", session=name)
    assert place.json("sessions", "revoke", "--session", name) == {"ended": 1}


def test_a_step_that_was_taken_before_is_not_told_as_news(place: Place) -> None:
    place.user("ada")
    assert place.run("users", "suspend", "ada")[1] == "ada was active and is suspended now.\n"
    assert place.run("users", "suspend", "ada")[:2] == (0, "ada is suspended already.\n")
    assert place.run("users", "deactivate", "ada")[1] == "ada was suspended and is deprovisioned now.\n"


def test_each_way_out_names_the_way_in(place: Place) -> None:
    user_id = place.user("ada")
    for verb, wrong, right in (("suspend", "reinstate", "resume"), ("deactivate", "resume", "reinstate")):
        assert place.run("users", verb, "ada")[0] == 0
        code, out, err = place.run("users", wrong, "ada")
        assert (code, out) == (1, "")
        assert f"use `users {right}`" in err
        assert place.run("users", right, "ada")[0] == 0
    assert place.status(user_id) is Status.ACTIVE


def test_waiting_user_is_found_and_approved_with_a_role(place: Place) -> None:
    place.user("eve")
    user_id = place.user("ada", status=Status.PENDING)
    assert [each["id"] for each in place.json("users", "list", "--status", "pending")] == [user_id]  # type: ignore[attr-defined]
    code, _, err = place.run("users", "resume", "ada")
    assert code == 1
    assert "use `users approve`" in err
    said = place.json("users", "approve", "ada", "--role", "editor", "--role", "-odd")
    assert said == {"user": user_id, "was": "pending", "status": "active", "done": True}
    assert place.json("users", "list", "--status", "pending") == []
    assert place.roles(user_id) == ["-odd", "editor"]
    types = [event["type"] for event in place.events()]
    assert types == ["user.active", "role.granted", "role.granted"]


def test_list_of_an_unknown_status_is_wrong_use(place: Place) -> None:
    code, out, err = place.run("users", "list", "--status", "gone")
    assert (code, out) == (2, "")
    assert "invalid choice" in err


def test_deleted_user_is_forgotten_only_then(place: Place) -> None:
    user_id = place.user("ada")
    code, _, err = place.run("users", "erase", "ada")
    assert code == 1
    assert "delete them first" in err
    assert place.json("users", "delete", "ada") == {
        "user": user_id,
        "was": "active",
        "status": "deleted",
        "done": True,
    }
    assert place.live() == set()
    code, out, _ = place.run("users", "erase", "ada")
    assert code == 0
    assert "was deleted and is erased now" in out
    assert place.run("users", "show", "ada")[0] == 1, "nobody has this name any more"
    said = place.json("users", "show", "--id", user_id)
    assert isinstance(said, dict)
    assert (said["username"], said["identities"], said["status"]) == (None, [], "erased")
    for verb in ("resume", "reinstate", "approve", "suspend", "delete"):
        assert place.run("users", verb, "--id", user_id)[0] == 1
    assert place.status(user_id) is Status.ERASED


def test_no_seat_is_answered_no(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack 60: approving and reinstating do not overrun the seats."""
    monkeypatch.setenv("JIT_SEAT_LIMIT", "1")
    waiting = place.user("ada", status=Status.PENDING)
    place.user("eve")
    code, out, err = place.run("users", "approve", "ada")
    assert (code, out) == (1, "")
    assert "JIT_SEAT_LIMIT" in err
    assert place.status(waiting) is Status.PENDING
    assert place.run("users", "deactivate", "eve")[0] == 0
    assert place.run("users", "approve", "ada")[0] == 0
    assert place.run("users", "reinstate", "eve")[0] == 1


def test_role_is_given_and_taken_by_hand(place: Place) -> None:
    user_id = place.user("ada")
    assert place.json("users", "grant", "ada", "editor") == {
        "user": user_id,
        "role": "editor",
        "roles": ["editor"],
        "done": True,
    }
    assert place.live() == {"session-ada"}
    code, out, _ = place.run("users", "revoke-role", "ada", "editor")
    assert (code, out) == (0, "ada holds no role now.\n")
    code, out, err = place.run("users", "revoke-role", "ada", "editor")
    assert (code, out) == (1, "")
    assert "by hand" in err
    assert place.run("users", "grant", "nobody", "editor")[0] == 1
    assert [event["type"] for event in place.events()] == ["role.granted", "role.revoked"]


def test_privileged_role_by_hand_ends_the_sessions(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_PRIVILEGED_ROLES", "admin")
    place.user("ada")
    place.user("eve")
    assert place.run("users", "grant", "ada", "admin")[0] == 0
    assert place.live() == {"session-eve"}


def test_any_role_by_hand_ends_the_sessions_where_all_are_privileged(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIT_PRIVILEGED_ROLES", "*")
    place.user("ada")
    place.user("eve")
    assert place.run("users", "grant", "ada", "anything")[0] == 0
    assert place.live() == {"session-eve"}


def test_only_roles_of_the_catalogue_are_given_by_hand(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_ROLE_CATALOGUE", "editor,viewer")
    user_id = place.user("ada", status=Status.PENDING)
    for arguments in (["grant", "ada", "admin"], ["approve", "ada", "--role", "admin"], ["grant", "ada", " "]):
        code, out, err = place.run("users", *arguments)
        assert (code, out) == (2, "")
        assert err
    assert place.status(user_id) is Status.PENDING
    assert place.roles(user_id) == []


def test_role_that_is_held_for_another_reason_as_well_is_named(place: Place) -> None:
    user_id = place.user("ada")
    place.work(lambda tx: tx.change_grants(user_id, add=[Grant("editor", "idp:oidc")], remove=[]))
    assert place.run("users", "grant", "ada", "editor")[0] == 0
    code, out, err = place.run("users", "revoke-role", "ada", "editor")
    assert code == 0
    assert "ada holds editor now" in out
    assert "from idp:oidc" in err


@pytest.mark.parametrize("name", ["-tR-Ro", "--all", "-"])
def test_user_and_role_that_look_like_options_are_taken_as_they_are(place: Place, name: str) -> None:
    user_id = place.user(name)
    assert place.run("users", "grant", name, "-x")[0] == 0
    assert place.roles(user_id) == ["-x"]
    assert place.run("users", "revoke-role", "--", name, "-x")[0] == 0


@pytest.mark.parametrize("name", ["-tR-Ro", "--all", "-"])
def test_user_whose_name_looks_like_an_option_is_shown(place: Place, name: str) -> None:
    user_id = place.user(name)
    for arguments in ([name], ["--", name]):
        said = place.json("users", "show", *arguments)
        assert isinstance(said, dict)
        assert said["id"] == user_id


def test_unreachable_database_is_answered_no(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "directory.db").mkdir()
    monkeypatch.setenv("JIT_DATABASE_URL", f"sqlite:///{tmp_path}/directory.db")
    code, out, err = place.run("users", "list")
    assert (code, out) == (1, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command",
    [
        ["users", "list"],
        ["users", "show", "ada"],
        ["users", "suspend", "ada"],
        ["sessions", "list"],
        ["sessions", "revoke", "--all", "--yes"],
        ["audit", "list"],
        ["audit", "export"],
        ["adopt", "list"],
        ["explain", "--reference", "x"],
    ],
    ids=" ".join,
)
def test_a_database_that_is_not_there_is_named_and_not_made(
    bare_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("JIT_DATABASE_URL", "sqlite:///jit.db")
    code, out, err = bare_place.run(*command)
    assert (code, out) == (2, "")
    assert f"JIT_DATABASE_URL: there is no database {elsewhere / 'jit.db'}." in err
    assert "jit-middleware migrate" in err
    assert list(elsewhere.iterdir()) == []


def test_migrate_makes_the_database_that_is_not_there(bare_place: Place) -> None:
    assert bare_place.run("users", "list")[0] == 2
    assert bare_place.run("migrate")[0] == 0
    assert bare_place.run("users", "list")[0] == 0


def test_check_tells_where_the_database_is_and_makes_none(
    bare_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"database_file: {tmp_path / 'jit.db'}" in bare_place.run("check")[1]
    assert "relative" not in bare_place.run("check")[2]
    monkeypatch.setenv("JIT_DATABASE_URL", "sqlite:///jit.db")
    code, out, err = bare_place.run("check")
    assert (code, f"database_file: {tmp_path / 'jit.db'}" in out) == (0, True)
    assert f"note: JIT_DATABASE_URL is relative: from this directory it is {tmp_path / 'jit.db'}" in err
    out = bare_place.run("check", "--live")[1]
    assert f"ok    database: {tmp_path / 'jit.db'} is not there yet; the first start will make it" in out
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("JIT_DATABASE_URL", "sqlite:///absent/jit.db")
    assert f"there is no directory {tmp_path / 'absent'}" in bare_place.run("check", "--live")[1]
    monkeypatch.setenv("JIT_DATABASE_URL", "postgresql://u:hunter2@db.example/jit")
    assert "database_file: -" in bare_place.run("check")[1]


def test_live_check_reports_provider_and_database(place: Place) -> None:
    code, out, _ = place.run("check", "--live", "--json")
    said = json.loads(out)
    assert code == 1
    assert said["ok"] is False
    found = {step["name"]: step["ok"] for step in said["steps"]}
    assert found == {"oidc discovery": False, "database": True}
    place.run("migrate")
    _, out, _ = place.run("check", "--live")
    assert "its schema 0002 is the current one" in out
    assert "FAIL  oidc discovery" in out


def test_sessions_are_chosen_by_the_name_of_their_user_too(place: Place) -> None:
    ada = place.user("ada")
    place.user("eve")
    said = place.json("sessions", "list", "--user", "ada")
    assert isinstance(said, list)
    assert [each["user"] for each in said] == [ada]
    assert place.json("sessions", "revoke", "--user", "ada") == {"ended": 1}
    assert place.live() == {"session-eve"}


@pytest.mark.parametrize("verb", ["list", "revoke"])
def test_sessions_of_nobody_are_not_taken_for_no_sessions(place: Place, verb: str) -> None:
    place.user("ada")
    assert place.run("sessions", verb, "--user", "adda") == (1, "", "There is no user 'adda'.\n")
    assert place.live() == {"session-ada"}
