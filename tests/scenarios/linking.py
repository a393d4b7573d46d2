"""What the stories of linking have in common: an app with passwords, invitations, and the pages between."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jit_middleware.audit import event_id
from jit_middleware.bridge import step
from jit_middleware.keyring import Keyring
from jit_middleware.model import Prelink, Profile, SessionRecord, Status, User
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.invitations import PURPOSE, Invitation, Invitations, invite
from jit_middleware.system import SystemTokens
from tests.client import Client
from tests.scenarios.conftest import Stage
from tests.worlds import Answer

EXAMPLE = Path(__file__).parents[2] / "examples" / "password_user_store.py"
PASSWORD = "correct horse battery staple"
CONFIRM = {"JIT_LINK_POLICY": "confirm", "JIT_OIDC_VERIFIED_DOMAINS": "example.org"}
AUTO = {"JIT_LINK_POLICY": "auto", "JIT_OIDC_VERIFIED_DOMAINS": "example.org"}


def accounts_in(directory: Path) -> Any:
    """The store of the example with passwords, empty. Its hash is quick here: how slow it is, no story is about."""
    text = EXAMPLE.read_text("utf-8").replace("\napplication = JITMiddleware(app, users=Accounts())\n", "")
    spec = importlib.util.spec_from_loader("password_user_store", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(text, str(EXAMPLE), "exec"), module.__dict__)
    module.__dict__["_scrypt"] = lambda password, salt: hashlib.scrypt(password.encode(), salt=salt, n=2, r=1, p=1)
    return module.Accounts(str(directory / "people.db"))


def passwords(accounts: Any) -> list[str | None]:
    with sqlite3.connect(accounts._path) as db:
        return [row[0] for row in db.execute("SELECT password FROM people ORDER BY id")]


def arrive(stage: Stage, who: str, *, client: Client | None = None) -> Answer:
    """Sign in at the provider and carry the answer back: the middleware's own answer to that."""
    client = client or stage.client
    return stage.come_back(client, stage.depart(client, stage.agent(who)))


def asked_for_password(stage: Stage, who: str, *, client: Client | None = None) -> Answer:
    """The page that asks for the password of the account."""
    landed = arrive(stage, who, client=client)
    assert (landed.status, landed.location.endswith("/_jit/link/oidc")) == (303, True), (landed.status, landed.text)
    page = (client or stage.client).get(landed.location)
    assert page.status == 200
    return page


def ticketed(stage: Stage, user: User, *, client: Client | None = None) -> Answer:
    """The page of a browser that was sent to confirm this account a moment ago."""
    client = client or stage.client
    tickets = client.middleware.gate.house.tickets
    ticket = tickets.confirm(connection="oidc", user_id=user.id, target="/", identity="0" * 64)
    client.jar.store(f"{client.origin}/", [tickets.keep(ticket)[1]])
    return client.get("/_jit/link/oidc")


def nonce_of(page: Answer) -> str:
    found = re.search(r'name="jit_link" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def give_password(stage: Stage, page: Answer, password: str = PASSWORD, *, client: Client | None = None) -> Answer:
    return (client or stage.client).post("/_jit/link/oidc", {"jit_link": nonce_of(page), "password": password})


def go_through(stage: Stage, sent: Answer, who: str, *, client: Client | None = None) -> Answer:
    """From our redirect to the provider and back; the answer to the callback."""
    assert sent.status == 303, (sent.status, sent.text)
    return stage.come_back(client or stage.client, stage.agent(who).visit(sent.location))


def seen(stage: Stage, *, client: Client | None = None) -> Any:
    """The user that the app sees."""
    answer = (client or stage.client).get("/")
    assert answer.status == 200, (answer.status, answer.text)
    return answer.json()["user"]


def kept_user(stage: Stage, username: str, email: str | None, **fields: Any) -> User:
    """An account of the default store, from before."""

    async def make(tx: Transaction) -> User:
        assert tx.users is not None
        profile = Profile(f"key of {username}", username, email=email, **{"email_verified": True, **fields})
        return await tx.users.create(profile)

    step(stage.ledger.prepare())
    return step(stage.ledger.transaction(make))


def invitation_for(stage: Stage, user: User, *, valid: int = 86_400, connection: str = "oidc") -> str:
    """The path of an invitation."""
    now = stage.clock.now()
    tokens = SystemTokens()
    invitation = Invitation(tokens(24), connection, now + valid)
    event = event_id(stage.clock, tokens)

    async def work(tx: Transaction) -> str:
        return await invite(tx, user, invitation, tenant="default", actor="test", at=now, event_id=event)

    step(stage.ledger.prepare())
    assert step(stage.ledger.transaction(work)) == ""
    token = Invitations(Keyring(stage.settings.secret_keys).signature(PURPOSE)).token(invitation)
    return f"/_jit/link?invitation={token}"


def accept(stage: Stage, path: str, *, client: Client | None = None) -> Answer:
    """Open the invitation and press the button; our answer to that."""
    client = client or stage.client
    page = client.get(path)
    assert page.status == 200, (page.status, page.text)
    return client.post("/_jit/link", {"jit_link": nonce_of(page)})


def prelinked(stage: Stage, key: str, kind: Any, user: User, *, valid: int = 86_400) -> None:
    """Tie whoever shows that to the user."""
    now = stage.clock.now()
    prelink = Prelink(key, kind, "oidc", user.id, "batch", now, now + valid)
    step(stage.ledger.prepare())
    step(stage.ledger.transaction(lambda tx: tx.add_prelinks([prelink])))


def statuses(stage: Stage) -> list[Status]:
    return [account.status for account in stage.accounts()]


def refusals(stage: Stage) -> list[str | None]:
    return [event.reason for event in stage.events("login.refused")]


def linked_users(stage: Stage) -> list[str | None]:
    return [event.user_id for event in stage.events("identity.linked")]


def live_sessions(stage: Stage) -> Sequence[SessionRecord]:
    return step(stage.ledger.transaction(lambda tx: tx.list_sessions()))


async def untie(tx: Transaction, user_id: str) -> None:
    """Take the account's identities away."""
    for link in await tx.list_links(user_id):
        await tx.drop_link(link)
