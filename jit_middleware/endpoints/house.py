"""What every endpoint has at hand: the rooms of one application, put together by the assembly."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from jit_middleware.audit import AuditTrail
from jit_middleware.endpoints.hops import Hops
from jit_middleware.http.cookies import CookieSpec
from jit_middleware.http.messages import Request
from jit_middleware.http.paths import Access
from jit_middleware.http.targets import checked_target
from jit_middleware.keyring import Signature
from jit_middleware.pages import Pages
from jit_middleware.ports import Clock, Ledger, TokenSource, Users
from jit_middleware.provisioning import Provisioner
from jit_middleware.provisioning.invitations import Invitations
from jit_middleware.records import dataclass
from jit_middleware.sessions import Housekeeping, Pause, Sessions
from jit_middleware.settings import Settings
from jit_middleware.sso.signals import Receiver
from jit_middleware.sso.state import LoginStates
from jit_middleware.sso.strategy import Federated, Strategy
from jit_middleware.sso.tickets import LinkTickets


@dataclass(frozen=True, slots=True)
class House:
    """The rooms, and the few answers about our own URLs that several endpoints need."""

    settings: Settings
    strategies: Mapping[str, Strategy]
    federated: Mapping[str, Federated]
    receivers: Mapping[str, Receiver]
    states: LoginStates
    sessions: Sessions
    provisioner: Provisioner
    ledger: Ledger
    users: Users | None
    audit: AuditTrail
    pages: Pages
    hops: Hops
    housekeeping: Housekeeping
    logout_tokens: Signature
    logout_state: CookieSpec
    confirmations: Signature
    confirmation: CookieSpec
    tickets: LinkTickets
    invitations: Invitations
    app_cookies: tuple[CookieSpec, ...]
    clock: Clock
    tokens: TokenSource
    pause: Pause

    @property
    def home(self) -> str:
        """The path to land on when nothing better is known."""
        return self.settings.public_url.mount + "/"

    @property
    def is_open(self) -> bool:
        """Whether the front page can be seen by people who are not signed in."""
        return self.settings.paths.classify("/") in (Access.PUBLIC, Access.OPTIONAL)

    def own(self, endpoint: str) -> str:
        """The path of one of our endpoints, as browsers see it."""
        return f"{self.settings.public_url.mount}{self.settings.endpoint_prefix}/{endpoint}"

    def login_path(self, target: str, connection: str | None = None, *, someone_else: bool = False) -> str:
        """The path that begins a login which lands on ``target``; at a connection, or at the choice of one."""
        endpoint = self.own("login" if connection is None else f"login/{connection}")
        return f"{endpoint}?next={quote(target, safe='/')}{'&someone=else' if someone_else else ''}"

    def own_url(self, endpoint: str) -> str:
        """The whole URL of one of our endpoints."""
        return self.settings.public_url.join(f"{self.settings.endpoint_prefix}/{endpoint}")

    def target(self, wanted: str | None) -> str:
        """The checked path to land on after a login."""
        url = self.settings.public_url
        return checked_target(wanted, origin=url.origin, own_prefix=self.settings.endpoint_prefix, mount=url.mount)

    def page_before(self, request: Request) -> str:
        """The checked path of the page that the request came from, as the browser says; else the front page.

        Any client can send any ``Referer`` (RFC 9110 §10.1.3), so it counts no more than ``next`` does.
        """
        referers = [value for name, value in request.headers if name == "referer"]
        return self.target(referers[0] if len(referers) == 1 else None)

    def client_of(self, request: Request) -> str:
        """The address of the client, as far as the trusted proxies vouch for it; ``-`` when it is not known."""
        forwarded = [value for name, value in request.headers if name == "x-forwarded-for"]
        return self.settings.trusted_proxies.client(request.client, forwarded) or "-"

    def reference(self) -> str:
        """A fresh id that ties a page to its log line and audit event; easy to read out on the telephone."""
        return self.tokens(9).replace("-", "x").replace("_", "z")
