"""One test client for both edges: a story is told once and runs through WSGI and through ASGI.

The middleware stands between two linters (``wsgiref.validate``, :mod:`tests.asgi_lint`), so that each story also proves
the contract. Requests look like a browser's navigation unless told otherwise; cookies live in a strict :class:`Jar`. ::

    with Client(edge, lambda app: middleware_of(edge)(app, settings)) as client:
        answer = client.get("/")
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self
from urllib.parse import urlencode, urlsplit

from tests.jar import Jar, site_of
from tests.worlds import Answer, AsgiWorld, Handshake, Outgoing, WsgiWorld

__all__ = ["NAVIGATION", "XHR", "Answer", "Client", "Edge", "Handshake", "Outgoing", "middleware_of"]

Edge = Literal["wsgi", "asgi"]
Pairs = Sequence[tuple[str, str]]

NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}
XHR = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


def middleware_of(edge: Edge) -> Any:
    """The middleware class of that edge."""
    if edge == "wsgi":
        from jit_middleware.wsgi import JITMiddleware

        return JITMiddleware
    from jit_middleware.asgi import JITMiddleware as AsgiJITMiddleware

    return AsgiJITMiddleware


class Client:
    """A browser's view of one wrapped app, in this process.

    ``wrap`` puts the middleware of this edge around the app; ``app`` defaults to one that answers with what it sees, as
    JSON (``tests.echo.echo_wsgi``, ``echo_asgi``). ``mount`` is a prefix the app hangs under (``SCRIPT_NAME``,
    ``root_path``). ``now`` is the clock of the cookies. Use it as a context manager: ASGI apps get their lifespan.
    """

    def __init__(
        self,
        edge: Edge,
        wrap: Callable[[Any], Any],
        *,
        app: Any = None,
        origin: str = "http://localhost:8000",
        mount: str = "",
        now: Callable[[], float] | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> None:
        self.edge = edge
        self.origin = origin
        self.mount = mount
        self.defaults = {**NAVIGATION, **(headers or {})}
        self.jar = Jar(now) if now is not None else Jar()
        self._now = now
        self.world: AsgiWorld | WsgiWorld = (WsgiWorld if edge == "wsgi" else AsgiWorld)(wrap, app, mount)

    @property
    def middleware(self) -> Any:
        """The middleware itself, without the linters around it."""
        return self.world.middleware

    def __enter__(self) -> Self:
        self.world.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.world.stop()

    def another(self) -> Client:
        """Another browser in front of the same middleware: an empty jar. Closed with the first."""
        twin = Client.__new__(Client)
        twin.edge, twin.origin, twin.mount, twin.defaults = self.edge, self.origin, self.mount, dict(self.defaults)
        twin.jar = Jar(self._now) if self._now is not None else Jar()
        twin._now, twin.world = self._now, self.world
        return twin

    # --- requests ---------------------------------------------------------------------------------------------

    def get(self, target: str, **options: Any) -> Answer:
        return self.request("GET", target, **options)

    def post(self, target: str, form: Mapping[str, str] | Pairs = (), **options: Any) -> Answer:
        """Submit a form."""
        return self.request("POST", target, form=form, **options)

    def xhr(
        self, target: str, *, method: str = "GET", headers: Mapping[str, str | None] | None = None, **options: Any
    ) -> Answer:
        """Ask as a script in the page does."""
        return self.request(method, target, headers={**XHR, **(headers or {})}, **options)

    def request(self, method: str, target: str, *, follow: bool | int = False, **options: Any) -> Answer:
        """Send a request and keep the cookies of its answer.

        ``headers`` replace the defaults, ``None`` removes one; ``form``, ``json`` or ``body`` is what is sent; ``initiator``
        is the URL of the page that caused the request (default: a page of this origin for anything but GET, else nobody).
        ``follow`` follows redirects within this origin, at most 10 or that many.
        """
        answer = self._send(self.prepare(method, target, **options))
        hops = 10 if follow is True else int(follow)
        while hops and answer.status in {301, 302, 303, 307, 308} and answer.location.startswith(f"{self.origin}/"):
            again = answer.status in {307, 308}
            hops -= 1
            answer = self._send(
                self.prepare(method, answer.location, **options) if again else self.prepare("GET", answer.location)
            )
        return answer

    def together(self, *requests: Outgoing) -> list[Answer]:
        """Send prepared requests all at once: in threads under WSGI, in tasks under ASGI. The jar is left alone."""
        return self.world.together(requests)

    def handshake(self, target: str, *, headers: Mapping[str, str | None] | None = None, **options: Any) -> Handshake:
        """Open a websocket (ASGI only), hear what the app says first, and leave."""
        assert isinstance(self.world, AsgiWorld), "websockets are ASGI's"
        headers = {"Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "empty", "Origin": self.origin, **(headers or {})}
        return self.world.handshake(self.prepare("GET", target, headers=headers, initiator=self.origin), **options)

    def prepare(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str | None] | Pairs | None = None,
        form: Mapping[str, str] | Pairs | None = None,
        json: object = None,
        body: bytes = b"",
        initiator: str | None = None,
    ) -> Outgoing:
        """The request as it would be sent, with the cookies of this moment."""
        url = target if "://" in target else self.origin + self.mount + target
        lines: dict[str, str | None] = dict(self.defaults)
        if form is not None:
            body = urlencode(form if isinstance(form, Mapping) else list(form)).encode()
            lines["Content-Type"] = "application/x-www-form-urlencoded"
        elif json is not None:
            body = jsonlib.dumps(json).encode()
            lines["Content-Type"] = "application/json"
        if initiator is None and method not in {"GET", "HEAD", "OPTIONS"}:
            initiator = f"{self.origin}/"
        if initiator is not None and method not in {"GET", "HEAD"}:
            lines["Origin"] = "{0.scheme}://{0.netloc}".format(urlsplit(initiator))
        lines["Sec-Fetch-Site"] = _fetch_site(initiator, url)
        repeated: Iterable[tuple[str, str]] = ()
        if isinstance(headers, Mapping):
            lines.update(headers)
        elif headers is not None:
            repeated = headers
        if "Cookie" not in lines:
            navigation = lines.get("Sec-Fetch-Mode") == "navigate"
            lines["Cookie"] = self.jar.header(url, method=method, initiator=initiator, navigation=navigation) or None
        kept = [(name, value) for name, value in lines.items() if value is not None]
        return Outgoing(method, url, (*kept, *repeated), body)

    def _send(self, request: Outgoing) -> Answer:
        answer = self.world.exchange(request)
        self.jar.store(answer.url, answer.all("set-cookie"))
        return answer


def _fetch_site(initiator: str | None, url: str) -> str:
    if initiator is None:
        return "none"
    if urlsplit(initiator)[:2] == urlsplit(url)[:2]:
        return "same-origin"
    return "same-site" if site_of(initiator) == site_of(url) else "cross-site"
