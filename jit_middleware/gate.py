"""The flow of every request, top to bottom.

1. an endpoint of our own answers for itself; what is meant for one and comes to another path is refused
2. a live session goes on to the app as its user, unless another site is writing in that user's name, or the path asks
   for a stronger or more recent login: then back to the provider, or a 401
3. a public path goes on as nobody
4. what cannot follow a redirect gets a 401
5. a browser is sent to sign in

The edges scrub forged identity headers and hide our cookies on every path, whatever is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from urllib.parse import quote

from jit_middleware.endpoints import House, answer
from jit_middleware.endpoints.login import challenge, step_up
from jit_middleware.endpoints.misplaced import misplaced
from jit_middleware.endpoints.refusal import refuse, unauthenticated
from jit_middleware.endpoints.step_up import lacking, step_up_required
from jit_middleware.errors import AdapterError, JITError, RequestError, StoreUnavailable
from jit_middleware.http.headers import Scrubber
from jit_middleware.http.messages import Decision, PassThrough, Request, Respond, Response
from jit_middleware.http.navigation import follows_redirects, forged_write
from jit_middleware.http.paths import Access, is_own
from jit_middleware.model import StepUp
from jit_middleware.pages import DEAD_END, Ways
from jit_middleware.ports import Transport
from jit_middleware.sessions import CachedSession
from jit_middleware.settings.database import database_fault


class ForgedWrite(RequestError):
    """Another site is writing in the signed-in person's name."""

    code = "cross_site_request"
    status = 403
    public = "This request came from another website and was not carried out."


class Gate:
    """Decides what happens to a request. One for each wrapped app and process."""

    def __init__(
        self, house: House, *, scrubber: Scrubber, transport: Transport, let_go: Callable[[], None] = lambda: None
    ) -> None:
        self.scrubber = scrubber
        self.house = house
        self._transport = transport
        self._let_go = let_go
        self._prefix = house.settings.endpoint_prefix
        self._policy = house.settings.paths
        self._origin = house.settings.public_url.origin
        self._refuse_forged = "JIT_INSECURE_CROSS_SITE_WRITES" not in house.settings.insecure
        self._sessions = house.sessions
        #: The hot path, ``admit(path, cookie)``: a session this process knows and that is fresh; ``None``: ask
        #: ``decide``. For safe methods (RFC 9110 §9.2.1) only: a write is looked at more closely.
        self.admit = house.sessions.admitter(self._prefix)
        #: Judges what stays open: websockets, and responses that go on being sent.
        self.watch = house.sessions.watch

    async def decide(self, request: Request) -> Decision:
        """Whatever ``admit`` does not answer. Never raises a ``JITError``: a refusal is an answer."""
        house = self.house
        try:
            own = is_own(request.path, self._prefix)
            if own is not None:
                return Respond(await answer(house, request, own))
            if (wrong := misplaced(house, request)) is not None:
                raise wrong
            return await self._judge(request)
        except JITError as error:
            again = isinstance(error, AdapterError) and follows_redirects(request)
            ways = Ways(retry=_landing(request, house)) if again else DEAD_END
            return Respond(refuse(house, request, error, reference=house.reference(), ways=ways))

    async def _judge(self, request: Request) -> Decision:
        house, classify = self.house, self._policy.classify
        try:
            live = await self._sessions.find(request.cookie) if request.cookie else None
        except StoreUnavailable:
            if classify(request.path) is not Access.PUBLIC:
                raise
            live = None  # a public page stays up without the database
        if live is not None:
            if self._refuse_forged and forged_write(request, self._origin):
                raise ForgedWrite("cross_site_write", status=403)
            demand = lacking(house, live, request.path)
            if demand is not None:
                return Respond(await self._ask_for_more(request, live, demand, classify(request.path)))
            return live.pass_with(self._sessions.rest_of(request.cookie))
        access = classify(request.path)
        if access in (Access.PUBLIC, Access.OPTIONAL):
            return PassThrough(None, self._sessions.rest_of(request.cookie))
        if _cannot_go(request, access):
            return Respond(unauthenticated(house, request, _landing(request, house)))
        return Respond(await challenge(house, request, _landing(request, house)))

    async def _ask_for_more(self, request: Request, live: CachedSession, demand: StepUp, access: Access) -> Response:
        target = _landing(request, self.house)
        if _cannot_go(request, access):
            return step_up_required(self.house, request, live, target, demand)
        return await step_up(self.house, request, live, target, demand)

    async def start(self) -> None:
        """Make sure the ledger's schema is there. Raises ``StoreUnavailable``, which names the setting and the fix, or
        ``ConfigurationError`` for an old one."""
        try:
            await self.house.ledger.prepare()
        except StoreUnavailable as error:
            raise StoreUnavailable(error.reason, str(database_fault(self.house.settings, error))) from error

    async def close(self) -> None:
        """Let go of connections to the database and the providers, and of threads; the next request takes new ones.

        All of it also when one part fails, or whoever waits for it is cancelled.
        """
        async with AsyncExitStack() as leaving:
            leaving.callback(self._let_go)
            leaving.push_async_callback(self._transport.close)
            leaving.push_async_callback(self.house.ledger.close)
            await self._sessions.finish()


def _cannot_go(request: Request, access: Access) -> bool:
    """Whether it is no use to send this request to the provider."""
    return request.kind == "websocket" or access is Access.API or not follows_redirects(request)


def _landing(request: Request, house: House) -> str:
    """Where to land after a login, as a checked target: on what was asked for. A write cannot be repeated, and its
    address need not be a page: back to the page that it came from."""
    if request.kind == "http" and request.method not in ("GET", "HEAD"):
        return house.page_before(request)
    path = house.settings.public_url.mount + quote(
        request.path.encode("utf-8", "surrogateescape"), safe="/:@!$&'()*+,;=~-._"
    )
    return house.target(f"{path}?{request.query}" if request.query else path)
