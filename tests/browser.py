"""A small browser for logins across two origins: the app in this process, the identity provider over real HTTP.

It follows redirects over both, keeps one strict jar, and submits forms as a person would; no scripts run. ::

    browser = Browser(client)
    browser.open("/reports")                       # ends on the provider's login page
    browser.submit({"login": "alice", "password": "pw"})
    assert browser.page.json()["user"]["username"] == "alice"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.client import HTTPConnection
from urllib.parse import urlencode, urljoin, urlsplit

from tests.client import Answer, Client
from tests.jar import site_of
from tests.worlds import Outgoing

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(slots=True)
class Form:
    """A form as the page has it: where it goes, and its fields with what is filled in already."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def filled(self, values: Mapping[str, str], button: str | None = None) -> list[tuple[str, str]]:
        """The fields to send, with these values in the place of what was there; ``button`` is the pressed one's name."""
        names = {name for name, _ in self.fields}
        missing = values.keys() - names
        assert not missing, f"the form has no field {sorted(missing)}, only {sorted(names)}"
        filled = [(name, values.get(name, value)) for name, value in self.fields]
        if button is not None:
            filled.append(next(pair for pair in self.buttons if pair[0] == button))
        return filled


class Browser:
    """One person's browser. ``page`` is where it ended; ``trail`` all answers on the way there, oldest first."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.jar = client.jar
        self.page: Answer | None = None
        self.trail: list[Answer] = []

    @property
    def here(self) -> Answer:
        """The current page."""
        assert self.page is not None, "no page is open"
        return self.page

    def open(self, target: str, *, follow: bool = True) -> Answer:
        """Type an address: nobody's page causes the request, so cookies of every ``SameSite`` go along."""
        url = target if "://" in target else self.client.origin + self.client.mount + target
        return self._navigate("GET", url, (), None, follow)

    def click(self, words: str, *, follow: bool = True) -> Answer:
        """Follow the first link that shows these words, or has them as its address."""
        links = self._read().links
        target = next((href for href, shown in links if words in shown or words == href), None)
        assert target is not None, f"no link {words!r} among {links}"
        return self._navigate("GET", urljoin(self.here.url, target), (), self.here.url, follow)

    def submit(
        self, values: Mapping[str, str] | None = None, *, form: int = 0, button: str | None = None, follow: bool = True
    ) -> Answer:
        """Fill in and send a form of the page."""
        forms = self.forms()
        assert len(forms) > form, f"the page has {len(forms)} forms: {self.here.text[:500]}"
        chosen = forms[form]
        filled = chosen.filled(values or {}, button)
        if chosen.method == "GET":
            bare = urlsplit(chosen.action)._replace(query=urlencode(filled)).geturl()
            return self._navigate("GET", bare, (), self.here.url, follow)
        return self._navigate("POST", chosen.action, filled, self.here.url, follow)

    def follow_one(self) -> Answer:
        """Take one redirect that ``follow=False`` left standing."""
        assert self.here.status in _REDIRECTS, self.here.status
        return self._navigate("GET", self.here.location, (), self.here.url, follow=False)

    def forms(self) -> list[Form]:
        """The forms of the page."""
        return self._read().forms

    def _read(self) -> _Page:
        page = _Page(self.here.url)
        page.feed(self.here.text)
        page.close()
        return page

    def _navigate(
        self, method: str, url: str, form: Sequence[tuple[str, str]], initiator: str | None, follow: bool
    ) -> Answer:
        self.trail = []
        crossed = False
        for _ in range(20):
            crossed = crossed or (initiator is not None and site_of(initiator) != site_of(url))
            answer = self._fetch(method, url, form, initiator, crossed)
            self.trail.append(answer)
            self.page = answer
            if not follow or answer.status not in _REDIRECTS:
                return answer
            url = answer.location
            if answer.status not in {307, 308} and method != "HEAD":
                method, form = "GET", ()
        steps = " -> ".join(answer.url for answer in self.trail)
        raise AssertionError(f"redirected without end: {steps}")

    def _fetch(
        self, method: str, url: str, form: Sequence[tuple[str, str]], initiator: str | None, crossed: bool
    ) -> Answer:
        request = self.client.prepare(
            method,
            url,
            form=form if method == "POST" else None,
            initiator=initiator,
            # A navigation that another site had a hand in stays cross-site through all redirects (Fetch Metadata §3.5).
            headers={"Sec-Fetch-Site": "cross-site"} if crossed else {},
        )
        ours = url == self.client.origin or url.startswith(f"{self.client.origin}/")
        answer = self.client.world.exchange(request) if ours else over_http(request)
        self.jar.store(url, answer.all("set-cookie"))
        return answer


def over_http(request: Outgoing, timeout: float = 20.0) -> Answer:
    """Send a request to a real server on this machine."""
    place = urlsplit(request.url)
    assert place.scheme == "http", request.url
    assert place.hostname in _LOOPBACK, f"{request.url} is not on this machine"
    connection = HTTPConnection(place.hostname, place.port, timeout=timeout)
    try:
        connection.putrequest(
            request.method, place._replace(scheme="", netloc="").geturl() or "/", skip_accept_encoding=True
        )
        for name, value in request.headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read(), request.url)
    finally:
        connection.close()


class _Page(HTMLParser):
    """Finds forms and links; the values are what a browser would send if nobody touched them."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self._url = url
        self._form: Form | None = None
        self._link: tuple[str, list[str]] | None = None
        self._select: tuple[str, list[tuple[bool, str]]] | None = None
        self._area: tuple[str, list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name, value = given.get("name", ""), given.get("value", "")
        match tag:
            case "a" if "href" in given:
                self._link = (given["href"], [])
            case "form":
                action = urljoin(self._url, given.get("action") or self._url)
                self._form = Form(action, given.get("method", "get").upper())
                self.forms.append(self._form)
            case "input" | "button" if self._form is not None and name and "disabled" not in given:
                kind = given.get("type", "text" if tag == "input" else "submit").lower()
                if kind in {"submit", "image"}:
                    self._form.buttons.append((name, value))
                elif kind not in {"button", "reset", "file"} and (
                    kind not in {"checkbox", "radio"} or "checked" in given
                ):
                    self._form.fields.append((name, value or ("on" if kind == "checkbox" else "")))
            case "select" if name:
                self._select = (name, [])
            case "option" if self._select is not None:
                self._select[1].append(("selected" in given, value))
            case "textarea" if name:
                self._area = (name, [])
            case _:
                pass

    def handle_data(self, data: str) -> None:
        if self._link is not None:
            self._link[1].append(data)
        if self._area is not None:
            self._area[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        match tag:
            case "a" if self._link is not None:
                self.links.append((self._link[0], " ".join("".join(self._link[1]).split())))
                self._link = None
            case "form":
                self._form = None
            case "select" if self._select is not None:
                name, options = self._select
                if self._form is not None and options:
                    chosen = next((value for selected, value in options if selected), options[0][1])
                    self._form.fields.append((name, chosen))
                self._select = None
            case "textarea" if self._area is not None:
                if self._form is not None:
                    self._form.fields.append((self._area[0], "".join(self._area[1])))
                self._area = None
            case _:
                pass
