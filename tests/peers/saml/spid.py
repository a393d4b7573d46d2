"""The responses of ``spid-sp-test``, the conformance suite of Italy's SPID, made for a login of ours.

Its templates, its values and its wrapping attacks are used as they are; instead of its own client, which knows SPID's
metadata and calls xmlsec1, they are filled in from our AuthnRequest and signed by libxmlsec here. Two adaptations: the
Audience is our entityID (SPID puts it into a NameQualifier of its own), and the NameID loses the template's indentation,
which SAML counts as part of the name.
"""

from __future__ import annotations

import base64
import datetime
import importlib
import re
import sys
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import xmlsec
from lxml import etree

from tests.peers import MissingPart
from tests.peers.saml.keys import KeyPair

PLACE = Path(__file__).parent / ".cache" / "spid"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
REQUESTED = ("spidCode", "name", "email")  # the suite answers with what the metadata request
DSIG = "http://www.w3.org/2000/09/xmldsig#"
XS = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
_PROTOCOL = {"Response", "Status", "StatusCode", "StatusMessage", "Extensions"}
_SIGNATURE = {
    "Signature", "SignedInfo", "CanonicalizationMethod", "SignatureMethod", "Reference", "Transforms", "Transform",
    "DigestMethod", "DigestValue", "SignatureValue", "KeyInfo", "X509Data", "X509Certificate", "Object",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuthnRequest:
    """What a response needs to know of the request it answers."""

    id: str
    issuer: str
    issue_instant: str
    acs_url: str

    @classmethod
    def of(cls, url: str) -> AuthnRequest:
        encoded = parse_qs(urlsplit(url).query)["SAMLRequest"][0]
        root = etree.fromstring(zlib.decompress(base64.b64decode(encoded), -15))
        issuer = root.findtext(f"{{{SAML}}}Issuer")
        assert issuer
        acs = root.get("AssertionConsumerServiceURL")
        assert acs
        return cls(str(root.get("ID")), issuer, str(root.get("IssueInstant")), acs)


class Suite:
    """The suite's cases by name, as it numbers them."""

    def __init__(self, idp_entity_id: str, key: KeyPair) -> None:
        self._settings = _module("responses.settings")
        self._response = _module("response")
        self._signature = importlib.import_module("jinja2").Template(self._settings.SIGNATURE_TMPL)
        self._idp_entity_id = idp_entity_id
        self._key = key
        self.cases: dict[str, dict[str, Any]] = self._settings.RESPONSE_TESTS

    def accepts(self, name: str) -> bool:
        """Whether SPID wants this response to be accepted."""
        return bool(self.cases[name]["status_codes"][0] == 200)

    def response(self, name: str, request: AuthnRequest, *, now: int) -> bytes:
        """This case's answer to the request, signed as the case has it."""
        case = self.cases[name]
        values = self._values(request, now) | case.get("response", {})
        made = self._response.SpidSpResponse(
            name, response_attrs=values, template_path=str(PLACE / "spid_sp_test" / "responses" / "templates")
        )
        given = values.get("Attributes")
        asked = {attribute: self._settings.ATTRIBUTES[attribute] for attribute in REQUESTED}
        attributes = given if isinstance(given, dict) else asked
        text = made.render(user_attrs=attributes, data=values)
        text = re.sub(r"(<saml:NameID[^>]*>)\s*([^<]*?)\s*(</saml:NameID>)", r"\1\2\3", text).strip()
        credentials = case.get("sign_credentials")
        key = Path(credentials["privateKey"]).read_text() if credentials else self._key.private_key
        certificate = Path(credentials["certificate"]).read_text() if credentials else self._key.certificate
        text = self._signed(text, "Assertion", values.get("AssertionID"), key, certificate)
        text = self._signed(text, "Response", values.get("ResponseID"), key, certificate)
        for wrapper in case.get("response_wrappers", []):
            module, _, function = wrapper.rpartition(".")
            wrapped = getattr(_module(module.removeprefix("spid_sp_test.")), function)(text, case)
            text = _with_namespaces(wrapped) if function.startswith("xsw") else wrapped
        return str(text).encode()

    def _values(self, request: AuthnRequest, now: int) -> dict[str, Any]:
        return {
            "ResponseID": self._response.saml_rnd_id(),
            "AuthnRequestID": request.id,
            "IssueInstant": request.issue_instant,
            "NotOnOrAfter": _instant(now + 300),
            "AssertionConsumerURL": request.acs_url,
            "NameIDNameQualifier": self._idp_entity_id,
            "NameID": "that-transient-opaque-value",
            "AssertionID": self._response.saml_rnd_id(),
            "AuthnIstant": _instant(now),
            "SessionIndex": self._response.saml_rnd_id(),
            "Issuer": self._idp_entity_id,
            "Audience": request.issuer,
            "AuthnContextClassRef": self._settings.DEFAULT_RESPONSE["AuthnContextClassRef"],
            "IssueInstantMillis": _instant(now)[:-1] + ".123Z",
            "sign_response": True,
            "sign_assertion": True,
        }

    def _signed(self, text: str, element: str, identifier: str | None, key: str, certificate: str) -> str:
        place = f"<!-- {element} Signature here -->"
        if place not in text:
            return text
        uri = {"ReferenceURI": f"#{identifier}"} if identifier else {}
        text = text.replace(place, self._signature.render(**uri))
        try:
            root = etree.fromstring(text.encode())
        except etree.XMLSyntaxError:
            return text
        owner = root if element == "Response" else root.find(f"{{{SAML}}}Assertion")
        signature = None if owner is None else owner.find(f"{{{DSIG}}}Signature")
        if signature is None:
            return text
        xmlsec.tree.add_ids(root, ["ID"])
        context = xmlsec.SignatureContext()
        context.key = _key(key, certificate)
        try:
            context.sign(signature)
        except xmlsec.Error:
            return text
        return etree.tostring(root).decode()


def _with_namespaces(text: str) -> str:
    """The message with the namespaces that the suite's wrapping attacks drop, so that they reach a verifier at all.

    The prefixes are those of the templates, so the signatures over untouched parts are still good ones.
    """
    bare = etree.fromstring(text)
    prefixes = {"samlp": SAMLP, "saml": SAML, "ds": DSIG, "xs": XS, "xsi": XSI}

    def copy(element: Any, parent: Any) -> Any:
        tag = etree.QName(element).localname
        space = SAMLP if tag in _PROTOCOL else DSIG if tag in _SIGNATURE else SAML
        made = etree.Element(f"{{{space}}}{tag}", nsmap=prefixes) if parent is None else None
        made = etree.SubElement(parent, f"{{{space}}}{tag}") if made is None else made
        for name, value in element.attrib.items():
            made.set(name, value)
        made.text = element.text
        made.tail = element.tail if parent is not None else None
        for child in element:
            copy(child, made)
        return made

    return str(etree.tostring(copy(bare, None)).decode())


@lru_cache
def _key(private_key: str, certificate: str) -> Any:
    key = xmlsec.Key.from_memory(private_key, xmlsec.constants.KeyDataFormatPem)
    key.load_cert_from_memory(certificate, xmlsec.constants.KeyDataFormatPem)
    return key


def _instant(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _module(name: str) -> ModuleType:
    if not (PLACE / "spid_sp_test").is_dir():
        raise MissingPart("PyPI spid-sp-test")
    if str(PLACE) not in sys.path:
        sys.path.append(str(PLACE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports for its own client
        return importlib.import_module(f"spid_sp_test.{name}")
