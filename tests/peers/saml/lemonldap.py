"""LemonLDAP::NG, which speaks SAML through Lasso, under ``plackup``: its portal with the demonstration's people."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.peers import MissingPart
from tests.peers.saml.keys import fresh_key_pair
from tests.peers.saml.person import Person
from tests.peers.saml.process import Server, program, serve
from tests.peers.saml.sp import ServiceProvider

PORTAL = Path("/usr/share/lemonldap-ng/portal")
PEOPLE = ("dwho", "rtyler", "msmith")
_APP = (
    "builder {{ enable 'Static', path => qr{{^/static/}}, root => '{root}';"
    " mount '/' => Plack::Util::load_psgi('{root}/index.psgi') }}"
)


class LemonLDAP:
    """The running portal. Its people are ``PEOPLE``, each with the name as password."""

    def __init__(self, service_providers: Sequence[ServiceProvider]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lemonldap-"))
        self._service_providers = service_providers
        self.keys = [fresh_key_pair("LemonLDAP::NG")]
        self._server: Server | None = None
        self.site = ""

    def start(self) -> None:
        if not (PORTAL / "htdocs" / "index.psgi").is_file():
            raise MissingPart("Debian lemonldap-ng")
        plackup = program("plackup", "Debian lemonldap-ng")
        for name in ("conf", "sessions/lock", "psessions/lock", "cache", "saml/lock"):
            (self._folder / name).mkdir(parents=True)

        def run(port: int) -> Server:
            self._configure(port)
            command = [plackup, "-E", "deployment", "-s", "HTTP::Server::PSGI", "--host", "127.0.0.1"]
            command += ["--port", str(port), "-MPlack::Builder", "-MPlack::Util"]
            environment = {
                "PERL5LIB": str(Path(__file__).parent / "perl"),
                "LLNG_DEFAULTCONFFILE": str(self._folder / "lemonldap-ng.ini"),
            }
            command += ["-e", _APP.format(root=PORTAL / "htdocs")]
            return Server(command, folder=self._folder, port=port, environment=environment)

        self._server = serve(run, "LemonLDAP::NG")
        self.site = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def metadata_url(self) -> str:
        return f"{self.site}/saml/metadata"

    def metadata(self) -> str:
        return httpx2.get(self.metadata_url, trust_env=False).text

    def person(self, name: str = "dwho") -> Person:
        return Person(self.site, {"user": name, "password": name})

    def _configure(self, port: int) -> None:
        folder, (pair,) = self._folder, self.keys

        def files(name: str) -> dict[str, str]:
            generate = "Lemonldap::NG::Common::Apache::Session::Generate::SHA256"
            place = folder / name
            return {"Directory": str(place), "LockDirectory": str(place / "lock"), "generateModule": generate}

        sign = {"samlSPMetaDataOptionsSignSSOMessage": 1, "samlSPMetaDataOptionsSignSLOMessage": 1}
        check = {
            "samlSPMetaDataOptionsCheckSSOMessageSignature": 1,
            "samlSPMetaDataOptionsCheckSLOMessageSignature": 1,
        }
        options = {
            "samlSPMetaDataOptionsNameIDFormat": "persistent",
            "samlSPMetaDataOptionsEncryptionMode": "none",
            "samlSPMetaDataOptionsEnableIDPInitiatedURL": 1,
            "samlSPMetaDataOptionsNotOnOrAfterTimeout": 300,
            "samlSPMetaDataOptionsSessionNotOnOrAfterTimeout": 72000,
            **sign,
            **check,
        }
        names = {f"sp{number}": sp for number, sp in enumerate(self._service_providers)}
        config = {
            "cfgNum": 1,
            "cfgDate": 1_700_000_000,
            "portal": f"http://127.0.0.1:{port}/",
            "domain": "127.0.0.1",
            "cookieName": "lemonldap",
            "key": pair.bare_certificate[-32:],
            "securedCookie": 0,
            "globalStorage": "Apache::Session::File",
            "globalStorageOptions": files("sessions"),
            "persistentStorage": "Apache::Session::File",
            "persistentStorageOptions": files("psessions"),
            "localSessionStorage": "Cache::FileCache",
            "localSessionStorageOptions": {
                "cache_root": str(folder / "cache"),
                "namespace": "s",
                "default_expires_in": 600,
                "cache_depth": 3,
                "directory_umask": "007",
            },
            "authentication": "Demo",
            "userDB": "Same",
            "registerDB": "Null",
            "passwordDB": "Null",
            "demoExportedVars": {"cn": "cn", "mail": "mail", "uid": "uid"},
            "exportedVars": {},
            "macros": {},
            "locationRules": {},
            "exportedHeaders": {},
            "portalCheckLogins": 0,
            "loginHistoryEnabled": 0,
            "notification": 0,
            "requireToken": 0,
            "portalForceAuthn": 0,
            "useSafeJail": 0,
            "cspFormAction": "*",
            "trustedDomains": "*",
            "portalDisplayResetPassword": 0,
            "portalDisplayRegister": 0,
            "portalDisplayChangePassword": 0,
            "sameSite": "Lax",
            "issuerDBSAMLActivation": 1,
            "issuerDBSAMLRule": 1,
            "samlEntityID": "#PORTAL#/saml/metadata",
            "samlServicePrivateKeySig": pair.private_key,
            "samlServicePublicKeySig": pair.certificate,
            "samlServiceUseCertificateInResponse": 1,
            "samlServiceSignatureMethod": "RSA_SHA256",
            "samlIDPSSODescriptorWantAuthnRequestsSigned": 1,
            "samlSPMetaDataXML": {name: {"samlSPMetaDataXML": sp.metadata()} for name, sp in names.items()},
            "samlSPMetaDataOptions": dict.fromkeys(names, options),
            "samlSPMetaDataExportedAttributes": {
                name: {"uid": "1;uid;;", "mail": "1;mail;;", "cn": "0;cn;;"} for name in names
            },
        }
        (folder / "conf" / "lmConf-1.json").write_text(json.dumps(config))
        storage = {
            "namespace": "c",
            "default_expires_in": 600,
            "directory_umask": "007",
            "cache_root": str(folder / "cache"),
            "cache_depth": 3,
        }
        cache = ", ".join(f"'{name}' => '{value}'" for name, value in storage.items())
        (folder / "lemonldap-ng.ini").write_text(
            f"[all]\nlogLevel = warn\n[configuration]\ntype = File\ndirName = {folder / 'conf'}\n"
            f"localStorage = Cache::FileCache\nlocalStorageOptions = {{ {cache} }}\n"
            f"[portal]\nstaticPrefix = /static\ntemplateDir = {PORTAL / 'templates'}\nlanguages = en\n"
        )


@contextmanager
def lemonldap(service_providers: Sequence[ServiceProvider]) -> Iterator[LemonLDAP]:
    """A portal of one's own that knows these entities, for as long as the block lasts."""
    provider = LemonLDAP(service_providers)
    try:
        provider.start()
        yield provider
    finally:
        provider.close()
