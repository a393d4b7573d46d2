"""pysaml2's identity provider over waitress; bendable: POST /_test/next says what is to be odd in the next response.

Usage: python pysaml2_server.py CONFIG.json, with {"folder": …, "port": …}; key and certificate are idp.key and idp.crt.
"""

from __future__ import annotations

import html
import json
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import saml2.xmldsig as dsig
import waitress
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, samlp
from saml2.config import IdPConfig
from saml2.metadata import create_metadata_string
from saml2.saml import NAME_FORMAT_BASIC, NAME_FORMAT_URI, NAMEID_FORMAT_EMAILADDRESS, NAMEID_FORMAT_PERSISTENT, NameID
from saml2.server import Server

PASSWORD_CLASS = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
VARIANTS: dict[str, dict[str, Any]] = {
    "assertion": {"sign_response": False, "sign_assertion": True},
    "response": {"sign_response": True, "sign_assertion": False},
    "both": {"sign_response": True, "sign_assertion": True},
    "unsigned": {"sign_response": False, "sign_assertion": False},
    # 3DES-CBC with OAEP is all that its xmlsec1 call offers.
    "encrypted-both": {"sign_response": True, "sign_assertion": True, "encrypt_assertion": True},
    "sha512": {"sign_alg": dsig.SIG_RSA_SHA512, "digest_alg": dsig.DIGEST_SHA512},
    "persistent": {},
    # Attributes by their names of old, urn:mace:dir:attribute-def:…, beside the friendly ones.
    "mace": {},
}


class IdentityProvider:
    """The pages of the provider; one thread serves them."""

    def __init__(self, base: str, folder: Path) -> None:
        self.base = base
        xmlsec = shutil.which("xmlsec1") or "/usr/bin/xmlsec1"
        keys = {"key_file": str(folder / "idp.key"), "cert_file": str(folder / "idp.crt")}
        sso = [(f"{base}/sso/redirect", BINDING_HTTP_REDIRECT), (f"{base}/sso/post", BINDING_HTTP_POST)]
        slo = [(f"{base}/slo/redirect", BINDING_HTTP_REDIRECT), (f"{base}/slo/post", BINDING_HTTP_POST)]
        self.policy: dict[str, Any] = {
            "lifetime": {"minutes": 5},
            "attribute_restrictions": None,
            "name_form": NAME_FORMAT_URI,
        }
        config = {
            "entityid": f"{base}/idp",
            "valid_for": 24,
            "xmlsec_binary": xmlsec,
            **keys,
            "allow_unknown_attributes": True,
            "service": {
                "idp": {
                    "endpoints": {"single_sign_on_service": sso, "single_logout_service": slo},
                    "policy": {"default": self.policy},
                    "subject_data": str(folder / "subjects"),
                    "name_id_format": [NAMEID_FORMAT_EMAILADDRESS, NAMEID_FORMAT_PERSISTENT],
                    "want_authn_requests_signed": True,
                }
            },
            "metadata": {"inline": []},
        }
        self.idp = Server(config=IdPConfig().load(config))
        self.metadata = create_metadata_string(None, config=self.idp.config, valid="24")
        self.variants: dict[str, str] = {}
        self.people: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, str] = {}
        self.pending: dict[str, dict[str, Any]] = {}
        self.next: dict[str, Any] = {}

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
        path = environ["PATH_INFO"]
        cookies = dict(part.strip().partition("=")[::2] for part in environ.get("HTTP_COOKIE", "").split(";"))
        who = self.sessions.get(cookies.get("idp", ""))
        try:
            if path.startswith("/_test/"):
                return self._told(path.removeprefix("/_test/"), json.loads(body), start)
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            message = form if path.endswith("/post") else query
            match path:
                case "/metadata":
                    return _reply(start, "200 OK", self.metadata)
                case "/sso/redirect" | "/sso/post":
                    return self._asked(start, message, path, who)
                case "/unsolicited":
                    (acs, *_) = self.idp.metadata.assertion_consumer_service(query["sp"], BINDING_HTTP_POST)
                    job = {"sp": query["sp"], "request_id": None, "acs": acs["location"], "context": None}
                    return self._answer(start, who, {**job, "relay": query.get("RelayState", "")})
                case "/login":
                    return self._login(start, form)
                case "/slo/redirect" | "/slo/post":
                    self.sessions.pop(cookies.get("idp", ""), None)
                    return self._logout(start, message, path)
                case _:
                    return _reply(start, "404 Not Found", "")
        except Exception as refused:  # noqa: BLE001 (whatever the library raises is its refusal)
            return _reply(start, "400 Bad Request", f"{type(refused).__name__}: {html.escape(str(refused))}")

    def _told(self, what: str, body: Any, start: Any) -> list[bytes]:
        if what == "next":
            self.next = body
        elif what == "user":
            self.people[body["name"]] = body
        else:
            self.variants[body["entity_id"]] = body["variant"]
            self.idp.metadata.load("inline", body["metadata"])
            if body["variant"] == "mace":
                restrictions = self.idp.config.getattr("policy", "idp")._restrictions
                restrictions[body["entity_id"]] = {**restrictions["default"], "name_form": NAME_FORMAT_BASIC}
        return _reply(start, "200 OK", "")

    def _asked(self, start: Any, message: dict[str, str], path: str, who: str | None) -> list[bytes]:
        binding = BINDING_HTTP_REDIRECT if path.endswith("redirect") else BINDING_HTTP_POST
        parsed = self.idp.parse_authn_request(
            message["SAMLRequest"], binding, message.get("RelayState"), message.get("SigAlg"), message.get("Signature")
        )
        request = parsed.message
        arguments = self.idp.response_args(request, [BINDING_HTTP_POST])
        context = request.requested_authn_context
        relay = message.get("RelayState", "")
        if who is None and request.is_passive == "true":
            refusal = self.idp.create_error_response(
                request.id, arguments["destination"], (samlp.STATUS_NO_PASSIVE, "nobody is signed in"), sign=True
            )
            return self._send(start, BINDING_HTTP_POST, refusal, arguments["destination"], relay)
        job = {
            "sp": request.issuer.text,
            "request_id": request.id,
            "acs": arguments["destination"],
            "context": context.authn_context_class_ref[0].text if context else None,
            "relay": relay,
        }
        return self._answer(start, None if request.force_authn == "true" else who, job)

    def _answer(self, start: Any, who: str | None, job: dict[str, Any]) -> list[bytes]:
        if who is None:
            number = secrets.token_hex(8)
            self.pending[number] = job
            page = f'<form method="post" action="/login"><input type="hidden" name="job" value="{number}">'
            page += '<input name="username"><input name="password" type="password"><button>Sign in</button></form>'
            return _reply(start, "200 OK", page)
        return self._respond(start, who, job)

    def _login(self, start: Any, form: dict[str, str]) -> list[bytes]:
        person = self.people.get(form["username"])
        if person is None or form["password"] != person["password"]:
            return _reply(start, "401 Unauthorized", "wrong name or password")
        cookie = secrets.token_hex(16)
        self.sessions[cookie] = form["username"]

        def with_cookie(status: str, headers: list[tuple[str, str]]) -> None:
            start(status, [*headers, ("Set-Cookie", f"idp={cookie}; Path=/; HttpOnly")])

        return self._respond(with_cookie, form["username"], self.pending.pop(form["job"]))

    def _respond(self, start: Any, who: str, job: dict[str, Any]) -> list[bytes]:
        variant = self.variants[job["sp"]]
        attributes = self.people[who]["attributes"]
        if variant == "persistent":
            name_id = self.idp.ident.persistent_nameid(who, job["sp"])
        else:
            name_id = NameID(format=NAMEID_FORMAT_EMAILADDRESS, text=attributes["mail"][0])
            self.idp.ident.store(who, name_id)
        signing = {
            "sign_response": True,
            "sign_assertion": True,
            "sign_alg": dsig.SIG_RSA_SHA256,
            "digest_alg": dsig.DIGEST_SHA256,
            # Otherwise the namespaces moved in for encryption break the inner signature.
            "encrypt_assertion_self_contained": False,
        }
        bent, self.next = self.next, {}
        context = {"class_ref": bent.pop("context", None) or job["context"] or PASSWORD_CLASS, "authn_authority": None}
        arguments = {
            "identity": attributes,
            "in_response_to": job["request_id"],
            "destination": job["acs"],
            "sp_entity_id": job["sp"],
            "name_id": name_id,
            "userid": who,
            "authn": context,
            **signing,
            **VARIANTS[variant],
            **bent,
        }
        response = self.idp.create_authn_response(**arguments)
        return self._send(start, BINDING_HTTP_POST, response, job["acs"], job["relay"])

    def _logout(self, start: Any, message: dict[str, str], path: str) -> list[bytes]:
        relay = message.get("RelayState", "")
        if path.endswith("redirect"):
            parsed = self.idp.parse_logout_request(
                message["SAMLRequest"],
                BINDING_HTTP_REDIRECT,
                relay_state=message.get("RelayState"),
                sigalg=message.get("SigAlg"),
                signature=message.get("Signature"),
            )
        else:
            parsed = self.idp.parse_logout_request(message["SAMLRequest"], BINDING_HTTP_POST)
        bindings = [BINDING_HTTP_REDIRECT, BINDING_HTTP_POST]
        arguments = self.idp.response_args(parsed.message, bindings)
        response = self.idp.create_logout_response(
            parsed.message,
            bindings,
            sign=arguments["binding"] == BINDING_HTTP_POST,
            sign_alg=dsig.SIG_RSA_SHA256,
            digest_alg=dsig.DIGEST_SHA256,
        )
        return self._send(start, arguments["binding"], response, arguments["destination"], relay, sign=True)

    def _send(
        self, start: Any, binding: str, message: object, to: str, relay: str, *, sign: bool = False
    ) -> list[bytes]:
        signature = {"sign": True, "sigalg": dsig.SIG_RSA_SHA256} if sign and binding == BINDING_HTTP_REDIRECT else {}
        sent = self.idp.apply_binding(binding, str(message), to, relay, response=True, **signature)
        if sent["method"] == "GET":
            (location,) = [value for name, value in sent["headers"] if name.lower() == "location"]
            start("302 Found", [("Location", location)])
            return [b""]
        page = sent["data"] if isinstance(sent["data"], str) else "".join(sent["data"])
        return _reply(start, "200 OK", page)


def _reply(start: Any, status: str, body: object) -> list[bytes]:
    start(status, [("Content-Type", "text/html; charset=utf-8")])
    return [body if isinstance(body, bytes) else str(body).encode()]


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    base = f"http://127.0.0.1:{config['port']}"
    application = IdentityProvider(base, Path(config["folder"]))
    waitress.serve(application, listen=f"127.0.0.1:{config['port']}", threads=1)


if __name__ == "__main__":
    main()
