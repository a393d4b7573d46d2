"""SimpleSAMLphp 1.19 under PHP's own web server, with service providers and people registered while it runs.

One entity of ours for each variant of response, so that one server shows them all. The provider is on 127.0.0.1: the
application belongs on ``http://localhost:<port>``, so that the two are different sites, as in life.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode

import httpx2

from tests.peers import MissingPart
from tests.peers.oidc_provider import PASSWORD
from tests.peers.saml.keys import KeyPair, fresh_key_pair
from tests.peers.saml.person import Person
from tests.peers.saml.process import Server, program, serve
from tests.peers.saml.sp import BINDINGS, EMAIL, PERSISTENT, POST_BINDING, TRANSIENT, ServiceProvider

Variant = Literal[
    "assertion",
    "response",
    "both",
    "unsigned",
    "sha1",
    "encrypted-both",
    "encrypted-response",
    "encrypted-assertion",
    "encrypted-nameid",
    "persistent",
    "transient",
    "urn",
    "signed-requests",
    "token",
]

HERE: Final = Path(__file__).parent
ROOT: Final = HERE / ".cache" / "simplesamlphp"
_SIGN_RESPONSE, _SIGN_ASSERTION = "saml20.sign.response", "saml20.sign.assertion"
_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
_TOKEN = "urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken"

_MAIL: dict[str, object] = {"3": {"class": "saml:AttributeNameID", "attribute": "mail", "Format": EMAIL}}
_BY_MAIL: dict[str, object] = {"authproc": _MAIL, "NameIDFormat": EMAIL}
_PERSISTENT: dict[str, object] = {"3": {"class": "saml:PersistentNameID", "attribute": "uid"}}
_BY_ID: dict[str, object] = {"authproc": _PERSISTENT, "NameIDFormat": PERSISTENT}


def _signed(response: bool, assertion: bool) -> dict[str, object]:
    return {_SIGN_RESPONSE: response, _SIGN_ASSERTION: assertion}


def _encrypted(response: bool, assertion: bool) -> dict[str, object]:
    return {**_signed(response, assertion), "assertion.encryption": True, **_BY_ID}


VARIANTS: Mapping[Variant, Mapping[str, object]] = {
    "assertion": {**_signed(False, True), **_BY_MAIL},
    "response": {**_signed(True, False), **_BY_MAIL},
    "both": {**_signed(True, True), **_BY_MAIL},
    "unsigned": {**_signed(False, False), **_BY_MAIL},
    "sha1": {"signature.algorithm": _SHA1, **_BY_MAIL},
    # AES-128-CBC with OAEP, which is the provider's default.
    "encrypted-both": _encrypted(True, True),
    "encrypted-response": _encrypted(True, False),
    "encrypted-assertion": _encrypted(False, True),
    "encrypted-nameid": {**_signed(True, True), "nameid.encryption": True, **_BY_ID},
    "persistent": {**_signed(False, True), **_BY_ID},
    "transient": {**_signed(False, True), "NameIDFormat": TRANSIENT},
    "urn": {
        **_signed(False, True),
        "NameIDFormat": PERSISTENT,
        "attributes.NameFormat": "urn:oasis:names:tc:SAML:2.0:attrname-format:uri",
        "authproc": {**_PERSISTENT, "50": {"class": "core:AttributeMap", "0": "name2oid"}},
    },
    "signed-requests": {"validate.authnrequest": True, "redirect.validate": True, "validate.logout": True, **_BY_ID},
    "token": {
        "NameIDFormat": PERSISTENT,
        "authproc": {**_PERSISTENT, "4": {"class": "saml:AuthnContextClassRef", "AuthnContextClassRef": _TOKEN}},
    },
}


class SimpleSAMLphp:
    """The running provider; ``metadata_url`` is what a connection is configured with."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="simplesamlphp-"))
        for name in ("cert", "log", "data", "tmp", "sessions"):
            (self._folder / name).mkdir()
        self.keys: list[KeyPair] = [fresh_key_pair("SimpleSAMLphp")]
        self._users: dict[str, dict[str, list[str]]] = {}
        self._service_providers: dict[str, Mapping[str, object]] = {}
        self._state: dict[str, str] = {}
        self._server: Server | None = None
        self._port = 0
        self.site = ""
        self.use_keys(*self.keys)

    # --- running ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run it; on the same port as before when it ran before."""
        installed = ROOT / "usr" / "share" / "simplesamlphp"
        if not (installed / "www").is_dir():
            raise MissingPart("SimpleSAMLphp")
        php = program("php", "PHP (php-cli, php-xml, php-mbstring, php-curl)")

        def run(port: int) -> Server:
            command = [php, "-d", f"session.save_path={self._folder / 'sessions'}", "-d", "display_errors=0"]
            command += ["-d", "error_reporting=E_ALL & ~E_DEPRECATED", "-d", "log_errors=1"]
            command += ["-d", "opcache.enable_cli=1", "-S", f"127.0.0.1:{port}", "-t", str(installed / "www")]
            environment = {
                "SIMPLESAMLPHP_CONFIG_DIR": str(HERE / "php"),
                "SSP_PORT": str(port),
                "SSP_FOLDER": str(self._folder),
                "SSP_STATE": str(self._folder / "state.json"),
                "SSP_ATTRIBUTE_MAPS": str(ROOT / "etc" / "simplesamlphp" / "attributemap"),
                # More than one, because a browser opens connections ahead of need.
                "PHP_CLI_SERVER_WORKERS": "2",
            }
            return Server(command, folder=self._folder, port=port, environment=environment)

        if self.site:
            again = run(self._port)
            if not again.is_up():
                again.stop()
                raise RuntimeError(f"SimpleSAMLphp does not start again: {again.log.read_text()[-2000:]}")
            self._server = again
            return
        self._server = serve(run, "SimpleSAMLphp")
        self._port = self._server.port
        self.site = f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """End it: from now on its address refuses connections. Keys, people and their sessions stay."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- who and what it knows --------------------------------------------------------------------------------------

    @property
    def entity_id(self) -> str:
        return f"{self.site}/idp"

    @property
    def metadata_url(self) -> str:
        return f"{self.site}/saml2/idp/metadata.php"

    def metadata(self) -> str:
        """The provider's own metadata, as it serves them now."""
        return httpx2.get(self.metadata_url, trust_env=False).text

    def register(self, sp: ServiceProvider, variant: Variant = "both", **options: object) -> None:
        """Add an entity of ours, or replace it; ``options`` in the words of SimpleSAMLphp's saml20-sp-remote."""
        self._service_providers[sp.entity_id] = {
            "AssertionConsumerService": [{"Binding": POST_BINDING, "Location": sp.acs, "index": 0}],
            "SingleLogoutService": [{"Binding": BINDINGS[sp.slo_binding], "Location": sp.sls}],
            "certData": sp.certificate,
            **VARIANTS[variant],
            **options,
        }
        self._write("service_providers", self._service_providers)

    def add_user(self, name: str, attributes: Mapping[str, object], *, password: str = PASSWORD) -> None:
        """Add a person, or change their attributes; their ``uid`` is the name unless it is given."""
        given = {"uid": name, **attributes}
        self._users[f"{name}:{password}"] = {
            key: [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
            for key, value in given.items()
            if value not in (None, [], ())
        }
        self._write("users", self._users)

    def use_keys(self, signing: KeyPair, announced: KeyPair | None = None) -> None:
        """Sign with this key from now on; ``announced`` is in the metadata beside it."""
        pairs = {"": signing, "new_": announced}
        settings: dict[str, str] = {}
        for prefix, pair in pairs.items():
            if pair is not None:
                name = f"{pair.bare_certificate[-24:]}".replace("/", "_")
                pair.write(self._folder / "cert", name)
                settings |= {f"{prefix}privatekey": f"{name}.key", f"{prefix}certificate": f"{name}.crt"}
        self.keys = [pair for pair in pairs.values() if pair is not None]
        self._write("keys", settings)

    def person(self, name: str, password: str = PASSWORD) -> Person:
        """A person with a browser of their own (use it as a context manager)."""
        return Person(self.site, {"username": name, "password": password})

    def unsolicited_url(self, sp: ServiceProvider, relay_state: str | None = None) -> str:
        """Where a person clicks at the provider to arrive at the application without having been there."""
        query = {"spentityid": sp.entity_id, **({} if relay_state is None else {"RelayState": relay_state})}
        return f"{self.site}/saml2/idp/SSOService.php?{urlencode(query)}"

    def logout_url(self, back: str = "http://localhost:8000/") -> str:
        """Where a person clicks at the provider to leave every application."""
        return f"{self.site}/saml2/idp/SingleLogoutService.php?{urlencode({'ReturnTo': back})}"

    def _write(self, key: str, value: object) -> None:
        self._state[key] = json.dumps(value)
        whole = {"users": "{}", "service_providers": "{}", "keys": "{}", **self._state}
        text = "{" + ",".join(f"{json.dumps(name)}:{part}" for name, part in whole.items()) + "}"
        fresh = self._folder / "state.json.new"
        fresh.write_text(text)
        os.replace(fresh, self._folder / "state.json")


@contextmanager
def simplesamlphp() -> Iterator[SimpleSAMLphp]:
    """A provider of one's own, for as long as the block lasts."""
    provider = SimpleSAMLphp()
    try:
        provider.start()
        yield provider
    finally:
        provider.close()
