"""``adopt`` and ``users link``, against a real database file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from jit_middleware.keyring import Keyring
from jit_middleware.model import IdentityLink, Prelink, Profile, Status
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.invitations import PURPOSE, Invitations
from tests.unit.cli.test_ledger_commands import FIVE, Place, bare_place, place

__all__ = ["bare_place", "place"]

pytestmark = [pytest.mark.usefixtures("domains"), pytest.mark.slow]
OTHER_STORE = """
from jit_middleware import User
class Store:
    users = [User(str(n), f"user{n}", email=f"user{n}@example.org", email_verified=True) for n in range(1, 4)]
    def get(self, user_id): return next((u for u in self.users if u.id == user_id), None)
    def find(self, *, email=None, username=None): return [u for u in self.users if email == u.email or username == u.username]
    def create(self, profile): raise NotImplementedError
    def update(self, user_id, changes): raise NotImplementedError
    def set_active(self, user_id, active): raise NotImplementedError
class Listing(Store):
    def list_users(self, *, after=None, limit=1000):
        return [u for u in self.users if u.id > (after or "")][:1]
"""


@pytest.fixture
def domains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIT_OIDC_VERIFIED_DOMAINS", "example.org")


def user(
    place: Place, name: str, email: str | None = None, *, linked: bool = False, status: Status = Status.ACTIVE
) -> str:
    async def work(tx: Transaction) -> str:
        assert tx.users is not None
        made = await tx.users.create(Profile(f"key-{name}", name, email, email_verified=True, status=status))
        if linked:
            await tx.add_link(IdentityLink("oidc", "https://login.invalid", f"sub-{name}", f"key-{name}", made.id))
        return made.id

    return place.work(work)


def prelinks(place: Place) -> Sequence[Prelink]:
    return place.work(lambda tx: tx.list_prelinks())


def write(directory: Path, text: str, name: str = "list.csv") -> str:
    (directory / name).write_text(text, "utf-8")
    return str(directory / name)


# --- report ---------------------------------------------------------------------------------------------------------


def test_report_tells_who_would_be_matched_and_writes_nothing(place: Place, tmp_path: Path) -> None:
    ann, _ = user(place, "ann", "ann@example.org"), user(place, "bob", "bob@example.org", linked=True)
    export = write(tmp_path, "ID,Mail\ns-1,ann@example.org\ns-9,new@example.org\n")
    code, out, _ = place.run("adopt", "report", "--idp", export)
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines() if ann in line] == [[ann, "ann", "would_match"]]
    assert "1 linked: has an identity of this connection already" in out
    said = place.json("adopt", "report", "--idp", export)
    assert isinstance(said, dict)
    assert said["counts"] == {"linked": 1, "would_match": 1, "new": 1}
    assert prelinks(place) == []


def test_report_of_collisions_is_a_no(place: Place) -> None:
    user(place, "ann", "ann@example.org")
    user(place, "bob", "ANN@example.org")
    code, out, _ = place.run("adopt", "report")
    assert code == 1
    assert "2 same_address" in out


def test_report_reads_every_page_of_a_store_that_lists_its_users(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, OTHER_STORE, "other_store.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("JIT_USER_STORE", "other_store:Listing")
    place.run("migrate")
    said = place.json("adopt", "report")
    assert isinstance(said, dict)
    assert [verdict["user"] for verdict in said["verdicts"]] == ["1", "2", "3"]
    monkeypatch.setenv("JIT_USER_STORE", "other_store:Store")
    code, _, err = place.run("adopt", "report")
    assert (code, "--users FILE" in err) == (2, True)
    users = write(tmp_path, json.dumps([{"id": 7, "username": "x", "email": "x@example.org", "email_verified": True}]))
    said = place.json("adopt", "report", "--users", users)
    assert isinstance(said, dict)
    assert said["counts"] == {"would_match": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a,a\n1,2\n", "names a column twice"),
        ("sub,email\n1,2,3\n", "line 2: more values than columns"),
        ('sub\n"x', "unexpected end of data"),
        ("name\nann\n", "neither a subject"),
        ("[1]", "entry 1: it is no object"),
        ("[{]", "is not JSON"),
    ],
)
def test_export_that_cannot_be_read_is_wrong_use(place: Place, tmp_path: Path, text: str, complaint: str) -> None:
    code, _, err = place.run("adopt", "report", "--idp", write(tmp_path, text))
    assert (code, complaint in err) == (2, True), err


# --- prelink and undo -----------------------------------------------------------------------------------------------


def test_prelink_writes_only_when_told_to(place: Place, tmp_path: Path) -> None:
    ann, bob = user(place, "ann"), user(place, "bob")
    rows = write(tmp_path, f"user,subject,email\n{ann},s-1,\nbob,,Bob@example.org\n")
    code, out, _ = place.run("adopt", "prelink", rows, "--batch", "spring")
    assert (code, "--apply" in out) == (0, True)
    assert prelinks(place) == []
    code, out, _ = place.run("adopt", "prelink", rows, "--batch", "spring", "--apply", "--valid", "2d")
    assert (code, "2 users wait" in out) == (0, True)
    made = {prelink.user_id: prelink for prelink in prelinks(place)}
    assert {user_id: prelink.kind for user_id, prelink in made.items()} == {ann: "subject", bob: "email"}
    assert {prelink.until - prelink.created_at for prelink in made.values()} == {2 * 86_400}
    (event,) = [event for event in place.events() if event["type"] == "adoption.prelinked"]
    assert event["connection"] == "oidc"
    assert "example.org" not in json.dumps(event)
    listed = place.json("adopt", "list")
    assert isinstance(listed, list)
    assert [(each["batch"], each["waiting"], each["used"]) for each in listed] == [("spring", 2, 0)]


def test_a_list_of_one_is_spoken_of_as_one(place: Place, tmp_path: Path) -> None:
    rows = write(tmp_path, f"user,subject\n{user(place, 'ann')},s-1\n")
    assert place.run("adopt", "prelink", rows)[1] == "The row is good. Say --apply to write it.\n"
    assert "1 user waits for their first sign-in" in place.run("adopt", "prelink", rows, "--apply")[1]
    assert "1 of 1 row is refused" in place.run("adopt", "prelink", write(tmp_path, "user,subject\nnobody,s-1\n"))[2]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("nobody,s-1,", "user_unknown"),
        ("ann,,", "subject_or_email"),
        ("ann,s-1,ann@example.org", "subject_or_email"),
        ("ann,,ann@elsewhere.example", "foreign_domain"),
        ("ann,,no address", "email_unusable"),
        (f"ann,{'x' * 256},", "subject_unusable"),
        ("ann,a\u200eb,", "subject_unusable"),
        ("good,s-2,", "repeated_user"),
        ("ann,s-good,", "repeated_identity"),
        ("linked,s-1,", "already_linked"),
        ("ann,sub-linked,", "identity_linked"),
        ("shut,s-1,", "account_suspended"),
        ("waiting,s-1,", "prelink_exists"),
        ("ann,s-waiting,", "prelink_exists"),
        ("twin@example.org,s-1,", "user_ambiguous"),
    ],
)
def test_one_bad_row_keeps_the_whole_list_out(place: Place, tmp_path: Path, row: str, reason: str) -> None:
    for name in ("ann", "good", "waiting"):
        user(place, name)
    for name in ("one", "two"):
        user(place, name, "twin@example.org")
    user(place, "linked", linked=True)
    user(place, "shut", status=Status.SUSPENDED)
    assert place.run("adopt", "prelink", write(tmp_path, "user,subject\nwaiting,s-waiting\n"), "--apply")[0] == 0
    rows = write(tmp_path, f"user,subject,email\ngood,s-good,\n{row}\n")
    code, _, err = place.run("adopt", "prelink", rows, "--apply")
    assert (code, f"line 3: {reason}" in err) == (1, True), err
    assert len(prelinks(place)) == 1


def test_batch_of_a_known_name_is_refused(place: Place, tmp_path: Path) -> None:
    user(place, "ann"), user(place, "bob")
    assert place.run("adopt", "prelink", write(tmp_path, "user,subject\nann,1\n"), "--batch", "b", "--apply")[0] == 0
    code, _, err = place.run("adopt", "prelink", write(tmp_path, "user,subject\nbob,2\n"), "--batch", "b", "--apply")
    assert (code, "already" in err) == (2, True)


def test_undo_drops_what_nobody_has_used_and_unlinks_the_rest_only_when_told(place: Place, tmp_path: Path) -> None:
    ann, bob = user(place, "ann"), place.user("bob", session="bobs")
    rows = write(tmp_path, "user,subject\nann,1\n")
    assert place.run("adopt", "prelink", rows, "--batch", "b", "--apply")[0] == 0
    used = Prelink("f" * 64, "subject", "oidc", bob, "b", 1, 2, used_at=1)
    place.work(lambda tx: tx.add_prelinks([used]))
    said = place.json("adopt", "undo", "b")
    assert said == {"batch": "b", "unused": [ann], "used": [bob], "unlinked": [], "done": False}
    assert len(prelinks(place)) == 2
    place.json("adopt", "undo", "b", "--apply")
    assert prelinks(place) == [used]
    assert place.live() == {"bobs"}
    said = place.json("adopt", "undo", "b", "--unlink", "--apply")
    assert isinstance(said, dict)
    assert said["unlinked"] == [bob]
    assert place.live() == set()
    assert prelinks(place) == []
    assert place.work(lambda tx: tx.list_links(bob)) == []
    types = [event["type"] for event in place.events()]
    assert types.count("adoption.undone") == 2
    assert types.count("identity.unlinked") == types.count("session.ended") == 1
    assert place.run("adopt", "undo", "b")[0] == 1


# --- users link -----------------------------------------------------------------------------------------------------


def test_link_prints_a_url_that_reads_back_and_can_be_taken_back(place: Place) -> None:
    ann = user(place, "ann")
    said = place.json("users", "link", "ann", "--connection", "oidc", "--valid", "2h")
    assert isinstance(said, dict)
    url = urlsplit(said["url"])
    assert (url.netloc, url.path) == ("app.example.org", "/_jit/link")
    token = parse_qs(url.query)["invitation"][0]
    invitation = Invitations(Keyring([FIVE["JIT_SECRET_KEY"].encode()]).signature(PURPOSE)).read(token, 0)
    assert invitation is not None
    assert ann not in token
    (prelink,) = prelinks(place)
    assert (prelink.kind, prelink.user_id, prelink.until) == ("invitation", ann, invitation.until)
    assert place.json("users", "link", ann, "--id", "--revoke") == {"user": ann, "revoked": 1}
    assert prelinks(place) == []
    assert [event["type"] for event in place.events()] == ["invitation.issued", "invitation.revoked"]


@pytest.mark.parametrize(
    ("who", "said"), [("nobody", "no such user"), ("linked", "already"), ("shut", "account_suspended")]
)
def test_link_for_who_cannot_be_linked_is_a_no(place: Place, who: str, said: str) -> None:
    user(place, "linked", linked=True)
    user(place, "shut", status=Status.SUSPENDED)
    code, out, err = place.run("users", "link", who)
    assert (code, out) == (1, "")
    assert said in err


def test_link_finds_the_user_of_an_outside_store(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, OTHER_STORE.replace("other", "third"), "third_store.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("JIT_USER_STORE", "third_store:Store")
    place.run("migrate")
    said = place.json("users", "link", "user2@example.org")
    assert isinstance(said, dict)
    assert said["user"] == "2"
    assert [prelink.user_id for prelink in prelinks(place)] == ["2"]


@pytest.mark.parametrize(
    "arguments", [["--connection", "nope"], ["--valid", "0s"], ["--valid", "9999d"], ["--valid", "x"]]
)
def test_link_with_what_cannot_be_meant_is_wrong_use(place: Place, arguments: list[str]) -> None:
    user(place, "ann")
    assert place.run("users", "link", "ann", *arguments)[0] == 2
