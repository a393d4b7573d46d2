"""A person's browser at a SAML identity provider: arrives by redirect or by a posted form, and leaves the same ways."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import httpx2

from tests.browser import Form, _Page
from tests.peers.agent import MOST_HOPS, Agent, Departure, Stuck, _words


class Person(Agent):
    """An agent that also carries posted messages (SAML bindings §3.5) and tells login forms from the other forms."""

    def __init__(self, site: str, typed: Mapping[str, str], *, press: str | None = None) -> None:
        super().__init__(site, typed, press=press)
        self.pages: list[str] = []

    def visit(self, url: str) -> Departure:
        return self._walk(self._http.get(url))

    def carry(self, departure: Departure) -> Departure:
        """Bring a message to the provider the way it was sent: by its URL, or by its form."""
        if departure.fields is None:
            return self.visit(departure.url)
        return self._walk(self._http.post(departure.url, data=dict(departure.fields)))

    def _walk(self, response: httpx2.Response) -> Departure:
        filled: set[str] = set()
        self.pages = []
        for _ in range(MOST_HOPS):
            here = str(response.url)
            self.pages.append(here)
            if response.is_redirect:
                there = urljoin(here, response.headers["location"])
                if not self._is_ours(there):
                    return Departure(there)
                response = self._http.get(there)
                continue
            form = self._form(response)
            fields = self._filled_in(form)
            asked_again = here in filled and bool(fields.keys() & self._typed.keys())
            if form is None or asked_again:
                raise Stuck(f"{response.status_code} at {urlsplit(here).path}: {_words(response.text)}")
            if not self._is_ours(form.action):
                return Departure(form.action, {name: value for name, value in fields.items() if name.startswith(_SAML)})
            if fields.keys() & self._typed.keys():
                filled.add(here)
                self.forms_filled += 1
            if form.method == "POST":
                response = self._http.post(form.action, data=fields)
            else:
                response = self._http.get(form.action, params=fields)
        raise Stuck(f"still on the way after {MOST_HOPS} hops")

    def _filled_in(self, form: Form | None) -> dict[str, str]:
        if form is None:
            return {}
        return {name: self._typed.get(name, value) for name, value in form.fields} | dict(form.buttons[:1])

    def _form(self, response: httpx2.Response) -> Form | None:
        """The form of the page that carries a message, or wants what this person types."""
        if response.status_code >= 400:
            return None
        page = _Page(str(response.url))
        page.feed(response.text)
        page.close()
        wanted = {"SAMLResponse", "SAMLRequest", *self._typed}
        fitting = [form for form in page.forms if wanted & {name for name, _ in form.fields}]
        return next(iter(fitting or [form for form in page.forms if form.method == "POST"]), None)


_SAML = ("SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature")
