"""A browser just good enough to sign in: cookies, forms, the headers browsers send about their own requests."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import field
from html.parser import HTMLParser
from typing import Final, cast
from urllib.parse import urlencode, urljoin, urlsplit

from jit_middleware.records import dataclass

_PATIENCE: Final = 15.0


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a page: where it goes, and its fields as they stand."""

    action: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Visit:
    """What one request brought."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def location(self) -> str | None:
        """Where a redirect leads, as an absolute URL."""
        target = next((value for name, value in self.headers if name == "location"), None)
        return None if target is None or self.status not in (301, 302, 303, 307, 308) else urljoin(self.url, target)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def cookies(self) -> tuple[str, ...]:
        """The Set-Cookie headers."""
        return tuple(value for name, value in self.headers if name == "set-cookie")

    def forms(self) -> list[Form]:
        """The forms of the page, whose actions are absolute URLs."""
        reader = _FormReader()
        reader.feed(self.text)
        return [Form(urljoin(self.url, action), fields) for action, fields in reader.forms]

    def document(self) -> dict[str, object]:
        """The JSON object of the answer, empty when it is none."""
        try:
            found: object = json.loads(self.body)
        except ValueError:
            return {}
        return cast("dict[str, object]", found) if isinstance(found, dict) else {}


@dataclass(slots=True)
class Browser:
    """Keeps cookies by host (ports do not count, RFC 6265 §8.5) and path; follows no redirect by itself."""

    jar: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])

    def get(
        self,
        url: str,
        *,
        accept: str = "text/html",
        came_from: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Visit:
        """Open a URL: as a page, or with another ``accept`` as a script would."""
        headers = {"Accept": accept, **(headers or {})}
        if accept == "text/html":
            headers |= {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        return self._send("GET", url, headers, None, came_from)

    def submit(self, form: Form, page: Visit, **changes: str) -> Visit:
        """Send a form of the page, by POST."""
        headers = {
            "Accept": "text/html",
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": _origin(page.url),
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        }
        return self._send("POST", form.action, headers, urlencode({**form.fields, **changes}), page.url)

    def _send(self, method: str, url: str, headers: dict[str, str], body: str | None, came_from: str | None) -> Visit:
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path or "/"
        headers |= {"User-Agent": "Mozilla/5.0 (jit-middleware demo)", "Sec-Fetch-Site": _site(came_from, url)}
        cookie = "; ".join(
            f"{name}={value}" for (at, under, name), value in self.jar.items() if at == host and _below(path, under)
        )
        if cookie:
            headers["Cookie"] = cookie
        connection = http.client.HTTPConnection(host, parts.port or 80, timeout=_PATIENCE)
        try:
            target = f"{path}?{parts.query}" if parts.query else path
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            got = tuple((name.lower(), value) for name, value in answer.getheaders())
            visit = Visit(url, answer.status, got, answer.read())
        finally:
            connection.close()
        for line in visit.cookies:
            self._keep(host, line)
        return visit

    def _keep(self, host: str, line: str) -> None:
        pair, *attributes = (part.strip() for part in line.split(";"))
        name, _, value = pair.partition("=")
        found = {key.lower(): text for key, _, text in (attribute.partition("=") for attribute in attributes)}
        place = (host, found.get("path") or "/", name)
        if found.get("max-age") == "0" or "1970" in found.get("expires", ""):
            self.jar.pop(place, None)
        else:
            self.jar[place] = value


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((found.get("action", ""), {}))
        elif tag in ("input", "textarea") and self.forms and "name" in found:
            self.forms[-1][1][found["name"]] = found.get("value", "")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _site(came_from: str | None, url: str) -> str:
    if came_from is None:
        return "none"
    if _origin(came_from) == _origin(url):
        return "same-origin"
    return "same-site" if urlsplit(came_from).hostname == urlsplit(url).hostname else "cross-site"


def _below(path: str, under: str) -> bool:
    """Path matching, RFC 6265 §5.1.4."""
    return path == under or (path.startswith(under) and (under.endswith("/") or path[len(under)] == "/"))
