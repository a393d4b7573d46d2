"""pysaml2's identity provider, in a process of its own: the one whose next response the tests can bend."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import httpx2

from tests.peers import MissingPart
from tests.peers.oidc_provider import PASSWORD
from tests.peers.saml.keys import fresh_key_pair
from tests.peers.saml.person import Person
from tests.peers.saml.process import Server, program, serve
from tests.peers.saml.sp import ServiceProvider

Variant = Literal["assertion", "response", "both", "unsigned", "encrypted-both", "sha512", "persistent", "mace"]


class PySAML2:
    """The running provider."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pysaml2-"))
        self.keys = [fresh_key_pair("pysaml2")]
        self._server: Server | None = None
        self.site = ""

    def start(self) -> None:
        if find_spec("saml2") is None:
            raise MissingPart("PyPI pysaml2")
        program("xmlsec1", "Debian xmlsec1")
        self.keys[0].write(self._folder, "idp")

        def run(port: int) -> Server:
            config = self._folder / "config.json"
            config.write_text(json.dumps({"port": port, "folder": str(self._folder)}))
            script = Path(__file__).with_name("pysaml2_server.py")
            return Server([sys.executable, str(script), str(config)], folder=self._folder, port=port)

        self._server = serve(run, "pysaml2")
        self.site = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def entity_id(self) -> str:
        return f"{self.site}/idp"

    @property
    def metadata_url(self) -> str:
        return f"{self.site}/metadata"

    def metadata(self) -> str:
        return httpx2.get(self.metadata_url, trust_env=False).text

    def register(self, sp: ServiceProvider, variant: Variant = "both", *, metadata: str | None = None) -> None:
        """Add an entity of ours, by its own metadata when they are given."""
        body = {"entity_id": sp.entity_id, "variant": variant, "metadata": metadata or sp.metadata()}
        self._tell("sp", body)

    def add_user(self, name: str, attributes: Mapping[str, object], *, password: str = PASSWORD) -> None:
        given = {"uid": name, "mail": f"{name}@example.org", **attributes}
        listed = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
        self._tell("user", {"name": name, "password": password, "attributes": listed})

    def bend(self, **oddities: object) -> None:
        """What is to be odd in the next response, in the words of ``create_authn_response``."""
        self._tell("next", oddities)

    def person(self, name: str, password: str = PASSWORD) -> Person:
        return Person(self.site, {"username": name, "password": password})

    def unsolicited_url(self, sp: ServiceProvider, relay_state: str = "") -> str:
        return f"{self.site}/unsolicited?{urlencode({'sp': sp.entity_id, 'RelayState': relay_state})}"

    def _tell(self, what: str, body: Mapping[str, object]) -> None:
        response = httpx2.post(f"{self.site}/_test/{what}", json=dict(body), trust_env=False)
        if response.status_code != 200:
            raise ValueError(f"pysaml2 refuses this {what}: {response.text}")


@contextmanager
def pysaml2() -> Iterator[PySAML2]:
    """A provider of one's own, for as long as the block lasts."""
    provider = PySAML2()
    try:
        provider.start()
        yield provider
    finally:
        provider.close()
