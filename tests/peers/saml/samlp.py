"""npm ``samlp`` (Auth0's), which encrypts with AES-256-GCM and speaks ADFS's attribute names."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx2

from tests.peers import MissingPart
from tests.peers.oidc_provider import PASSWORD, START_LIMIT, _first_line, end_group, node
from tests.peers.saml.keys import fresh_key_pair
from tests.peers.saml.person import Person
from tests.peers.saml.sp import ServiceProvider

Variant = Literal["assertion", "response", "both", "encrypted-both", "encrypted-assertion"]
SOURCES = Path(__file__).parent / "node"


class Samlp:
    """The running provider."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="samlp-"))
        self.keys = [fresh_key_pair("samlp")]
        self._process: subprocess.Popen[str] | None = None
        self.site = ""

    def start(self) -> None:
        if not (SOURCES / "node_modules" / "samlp").is_dir():
            raise MissingPart("npm samlp")
        config = self._folder / "config.json"
        config.write_text(json.dumps({"key": self.keys[0].private_key, "certificate": self.keys[0].certificate}))
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                # Its crypto library still says new Buffer().
                [node(), "--no-deprecation", str(SOURCES / "idp.mjs"), str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._process = process
        line = _first_line(process.stdout, START_LIMIT)
        if not line.startswith("READY "):
            raise RuntimeError(f"samlp does not start: {line}")
        self.site = line.split()[1]

    def close(self) -> None:
        if self._process is not None:
            end_group(self._process)
            if self._process.stdout is not None:
                self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def entity_id(self) -> str:
        return f"{self.site}/samlp"

    @property
    def metadata_url(self) -> str:
        return f"{self.site}/metadata"

    def metadata(self) -> str:
        return httpx2.get(self.metadata_url, trust_env=False).text

    def register(self, sp: ServiceProvider, variant: Variant = "both") -> None:
        self._tell(
            "sp",
            {
                "entity_id": sp.entity_id,
                "acs": sp.acs,
                "sls": sp.sls,
                "certificate": sp.certificate,
                "variant": variant,
            },
        )

    def add_user(self, name: str, attributes: Mapping[str, object], *, password: str = PASSWORD) -> None:
        """A person: ``mail`` is the NameID, ``displayName`` and ``groups`` are told as well."""
        self._tell(
            "user",
            {
                "name": name,
                "password": password,
                "email": attributes.get("mail", f"{name}@example.org"),
                "display_name": attributes.get("displayName", name),
                "groups": attributes.get("groups", []),
            },
        )

    def person(self, name: str, password: str = PASSWORD) -> Person:
        return Person(self.site, {"username": name, "password": password})

    def _tell(self, what: str, body: dict[str, object]) -> None:
        response = httpx2.post(f"{self.site}/_test/{what}", json=body, trust_env=False)
        if response.status_code != 200:
            raise ValueError(f"samlp refuses this {what}: {response.text}")


@contextmanager
def samlp() -> Iterator[Samlp]:
    """A provider of one's own, for as long as the block lasts."""
    provider = Samlp()
    try:
        provider.start()
        yield provider
    finally:
        provider.close()
