"""A browser in miniature: follows redirects and fills in forms at one site, and stops where that site sends it away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx2

MOST_HOPS = 20


class Stuck(AssertionError):
    """The site shows a page on which nothing is left to do; the message is what the page says."""


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the site sends the browser: by GET with the query in ``url``, or by POST with the ``fields`` of a form."""

    url: str
    fields: Mapping[str, str] | None = None

    @property
    def parameters(self) -> Mapping[str, str]:
        """The parameters of the message, from the form or from the query."""
        if self.fields is not None:
            return self.fields
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))


@dataclass(slots=True)
class Form:
    """A form on a page: where it goes, what it holds before a person types, and its buttons in order (name, value)."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def filled_in(self, typed: Mapping[str, str], press: str | None) -> dict[str, str]:
        """What is sent when the typed values are in and a button is pressed: the named one, else the first."""
        fields = {name: typed.get(name, value) for name, value in self.fields.items()}
        pressed = [button for button in self.buttons if button[0] == press] or self.buttons[:1]
        return fields | {name: value for name, value in pressed if name}


class Agent:
    """Keeps the site's cookies from one errand to the next, as the browser of one person does."""

    def __init__(self, site: str, typed: Mapping[str, str], *, press: str | None = None) -> None:
        self._site = site.rstrip("/")
        self._typed = dict(typed)
        self._press = press
        self._http = httpx2.Client(trust_env=False, verify=False, follow_redirects=False, timeout=10)
        self.forms_filled = 0

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the browser; its cookies are gone."""
        self._http.close()

    def visit(self, url: str) -> Departure:
        """Go there, fill in every form on the way, and say where the site sends us in the end.

        Raises :class:`Stuck` when it sends us nowhere: a refusal, or a form that is shown again.
        """
        response = self._http.get(url)
        filled: set[str] = set()
        for _ in range(MOST_HOPS):
            here = str(response.url)
            if response.is_redirect:
                there = urljoin(here, response.headers["location"])
                if not self._is_ours(there):
                    return Departure(there)
                response = self._http.get(there)
                continue
            form = _first_form(response.text)
            if form is None or here in filled:
                raise Stuck(f"{response.status_code} at {urlsplit(here).path}: {_words(response.text)}")
            there = urljoin(here, form.action)
            fields = form.filled_in(self._typed, self._press)
            if not self._is_ours(there):
                return Departure(there, fields)
            filled.add(here)
            self.forms_filled += bool(fields.keys() & self._typed.keys())
            response = self._http.request(form.method, there, data=fields)
        raise Stuck(f"still on the way after {MOST_HOPS} hops")

    def _is_ours(self, url: str) -> bool:
        return url == self._site or url.startswith(f"{self._site}/")


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form" and self.form is None:
            self.form = Form(attributes.get("action", ""), attributes.get("method", "get").upper())
        elif self.form is None:
            return
        elif tag == "button":
            self.form.buttons.append((attributes.get("name", ""), attributes.get("value", "")))
        elif tag == "input" and attributes.get("name"):
            self.form.fields[attributes["name"]] = attributes.get("value", "")


class _WordReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.extend(data.split())


def _first_form(html: str) -> Form | None:
    reader = _FormReader()
    reader.feed(html)
    return reader.form


def _words(html: str) -> str:
    reader = _WordReader()
    reader.feed(html)
    return " ".join(reader.words)[:300]
