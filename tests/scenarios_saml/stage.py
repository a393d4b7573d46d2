"""The stage of the SAML stories: the same one the OpenID Connect stories have, with a SAML identity provider behind it.

A story of ``tests.scenarios`` runs here unchanged: people get SAML attributes where they had claims, and settings that
only an OpenID provider has are left out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jit_middleware.ports import UserStore
from tests.browser import Form, _Page
from tests.client import Client, Edge
from tests.contract.conftest import ready_url
from tests.peers.agent import Agent, Departure
from tests.peers.oidc_provider import PASSWORD
from tests.peers.saml.keys import KeyPair
from tests.peers.saml.person import Person
from tests.peers.saml.simplesamlphp import SimpleSAMLphp
from tests.peers.saml.sp import ServiceProvider, SloBinding
from tests.scenarios.conftest import SECRET, Stage, StageClock
from tests.worlds import Answer, Outgoing

ATTRIBUTE_OF = {"preferred_username": "eduPersonPrincipalName", "name": "displayName", "email": "mail"}
NO_ATTRIBUTE = {"email_verified"}
ONLY_OIDC = ("JIT_OIDC_SCOPES",)
RENAMED = {"JIT_OIDC_VERIFIED_DOMAINS": "JIT_SAML_VERIFIED_DOMAINS"}
_numbers = itertools.count(1)


class SAMLProvider:
    """A SAML identity provider with the face of the OpenID provider's fixture, as far as stories look at it."""

    def __init__(self, idp: Any) -> None:
        self.idp = idp

    @property
    def issuer(self) -> str:
        return f"{self.idp.site}/"

    def add_user(self, name: str, claims: Mapping[str, object], *, password: str = PASSWORD) -> None:
        attributes = {ATTRIBUTE_OF.get(key, key): value for key, value in claims.items() if key not in NO_ATTRIBUTE}
        self.idp.add_user(name, attributes, password=password)

    @contextmanager
    def agent(self, who: str) -> Iterator[Person]:
        with self.idp.person(who) as person:
            yield person

    def stop(self) -> None:
        self.idp.stop()

    def start(self) -> None:
        self.idp.start()

    def requests(self) -> list[str]:
        return []


def outward(answer: Answer) -> Departure:
    """Where our answer sends the browser: by its Location, or by the form on its page (SAML Bindings §3.5)."""
    if answer.status in {302, 303}:
        return Departure(answer.location)
    form = posted_form(answer)
    return Departure(form.action, dict(form.fields))


def posted_form(answer: Answer) -> Form:
    """The form of a page of ours that carries a SAML message, or asks for a confirmation."""
    assert answer.status == 200, (answer.status, answer.text[:600])
    page = _Page(answer.url)
    page.feed(answer.text)
    page.close()
    assert page.forms, answer.text[:600]
    return page.forms[0]


@dataclass
class SAMLStage(Stage):
    """One application behind the middleware with a SAML connection named ``saml``; ``sp`` is how the provider knows it."""

    sp: ServiceProvider = field(kw_only=True)
    idp: Any = field(kw_only=True)

    def person(self, subject: str, **claims: object) -> str:
        name = f"{subject}-{self.sp.entity_id.rpartition('/')[2]}"
        email = claims.pop("email", f"{name}@example.org")
        told = {"preferred_username": name, "name": subject.title(), "email": email, **claims}
        self.provider.add_user(name, told)
        return name

    def sign_in(
        self, who: str, target: str = "/", *, client: Client | None = None, agent: Agent | None = None
    ) -> Answer:
        client = client or self.client
        landed = self.come_back(client, self.depart(client, agent or self.agent(who), target))
        return client.get(landed.location) if landed.status == 303 else landed

    def agent(self, who: str) -> Agent:
        return self.closing.enter_context(self.provider.agent(who))

    def depart(self, client: Client, agent: Agent, target: str = "/") -> Departure:
        assert isinstance(agent, Person)
        return agent.carry(outward(client.get(target)))

    def callback_request(self, client: Client, departure: Departure) -> Outgoing:
        assert departure.fields is not None
        return client.prepare("POST", departure.url, form=departure.fields, initiator=self.provider.issuer)

    def refusal(self) -> str:
        """The reason of the last login that was refused."""
        return self.events("login.refused")[-1].reason or ""


class SAMLStageBuilder:
    """Builds stages; each is an entity of its own at the provider and has its own database."""

    def __init__(
        self,
        world: tuple[Edge, str],
        idp: SimpleSAMLphp,
        keys: KeyPair,
        request: Any,
        directory: Path,
        closing: ExitStack,
    ) -> None:
        self.edge, self._driver = world
        self.idp = idp
        self.keys = keys
        self._request = request
        self._directory = directory
        self._closing = closing

    def __call__(
        self,
        *,
        mount: str = "",
        users: UserStore | None = None,
        database_url: str | None = None,
        ports: Mapping[str, object] | None = None,
        variant: str = "both",
        idp: Any = None,
        entity_id: str | None = None,
        with_key: bool = True,
        slo_binding: SloBinding = "redirect",
        at_provider: Mapping[str, object] | None = None,
        **env: str,
    ) -> SAMLStage:
        """``variant`` is how the provider answers; the subject is the ``uid`` attribute unless ``env`` says otherwise."""
        idp = idp or self.idp
        base = f"http://localhost:8000{mount}"
        name = entity_id or f"http://localhost:8000/sp/{next(_numbers)}-{time.monotonic_ns() % 10**9}"
        sp = ServiceProvider.of(base, self.keys.bare_certificate, entity_id=name, slo_binding=slo_binding)
        if hasattr(idp, "register"):
            idp.register(sp, variant, **(at_provider or {}))
        url = database_url or ready_url(self._driver, self._request, self._directory)
        ours = {"JIT_SAML_SP_KEY": self.keys.private_key, "JIT_SAML_SP_CERT": self.keys.certificate}
        settings = {
            "JIT_PUBLIC_URL": base,
            "JIT_SECRET_KEY": SECRET,
            "JIT_SAML_IDP_METADATA": idp.metadata_url,
            "JIT_SAML_SP_ENTITY_ID": name,
            "JIT_SAML_SUBJECT": "attribute:uid",
            # SAML has no word for a checked address: the operator vouches for the provider's own domain.
            "JIT_SAML_VERIFIED_DOMAINS": "example.org",
            **(ours if with_key else {}),
            "JIT_DATABASE_URL": url,
            "JIT_SAML_MISSING_GROUPS": "strip",  # SimpleSAMLphp leaves an attribute without values out
            **{RENAMED.get(key, key): value for key, value in env.items() if key not in ONLY_OIDC},
        }
        provider: Any = SAMLProvider(idp)
        return SAMLStage(
            self.edge, provider, settings, StageClock(), users, url, self._closing, ports or {}, sp=sp, idp=idp
        )
