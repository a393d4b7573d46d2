"""The second opinion: python3-saml with libxmlsec, in strict mode, told our URL and the time by us.

It is asked last, about messages that our guard, verifier and checks already accept, and must accept them too. It runs
on a copy of its own of python3-saml's module, in which five things differ: the schema is loaded once instead of at
each message, XPath expressions are compiled once, keys are those already read from the configured certificates, what
was decrypted is handed in, and the clock is the one we are given. Nothing of the installed package is changed for
others.
"""

from __future__ import annotations

import importlib
import importlib.util
from base64 import b64encode
from collections.abc import Callable
from contextvars import ContextVar
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import xmlsec
from lxml import etree

from jit_middleware.errors import ConfigurationError, Fault, VerificationError
from jit_middleware.records import dataclass
from jit_middleware.sso.saml.expectations import Expectations
from jit_middleware.sso.saml.keys import TrustedKey
from jit_middleware.sso.saml.names import ASSERTION, DSIG, METADATA, PROTOCOL, XENC, XENC11, assertion
from jit_middleware.sso.saml.native import is_signed, register_ids
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.tree import Element

_NAMES: Final = {"samlp": PROTOCOL, "saml": ASSERTION, "ds": DSIG, "xenc": XENC, "md": METADATA}
_SCHEMA: Final = "saml-schema-protocol-2.0.xsd"
_DRIFT: Final = 600  # our checks are exact; the toolkit's own fixed drift must only not be narrower
_MASK: Final = f"{{{XENC11}}}MGF"
_KEPT: Final = 128


@dataclass(frozen=True, slots=True)
class Opened:
    """What was encrypted in a message, in the clear, with its signatures still in place."""

    assertion: Element | None = None
    name_id: Element | None = None


@dataclass(slots=True)
class _Asked:
    """One question to the toolkit: what it must not find out by itself, and whether the schema was its reason."""

    now: int
    keys: tuple[TrustedKey, ...]
    opened: Opened
    schema_refused: bool = False


class _Settings(Protocol):
    """A ``OneLogin_Saml2_Settings``."""


class _Response(Protocol):
    """The part of ``OneLogin_Saml2_Response`` that is used here."""

    def is_valid(self, request_data: dict[str, object], request_id: str | None) -> bool: ...
    def get_assertion_id(self) -> str | None: ...
    def get_nameid(self) -> str | None: ...


class Toolkit:
    """python3-saml, loaded once for all messages and all connections."""

    def __init__(self) -> None:
        self._asked: ContextVar[_Asked] = ContextVar("jit_middleware.saml.asked")
        self._schema = _schema()
        self._compiled = lru_cache(maxsize=_KEPT)(_compiled)
        self._settings = lru_cache(maxsize=_KEPT)(_settings)
        module = _private_copy("onelogin.saml2.response")
        self._families = _families()
        self._substitute(module)
        self._response = cast("Callable[[_Settings, str], _Response]", module.OneLogin_Saml2_Response)

    def confirm(
        self, xml: bytes, expected: Expectations, seen: tuple[str, str], keys: tuple[TrustedKey, ...], opened: Opened
    ) -> None:
        """Raise ``VerificationError`` unless the toolkit accepts the message too, and sees in it the same assertion
        and the same name (``seen``: assertion id, NameID)."""
        key = expected.decryption_keys[0].private_key_pem if expected.decryption_keys else ""
        settings = self._settings(
            expected.idp_entity_id, expected.idp_certificates, expected.sp_entity_id, expected.acs_url, key
        )
        asked = _Asked(expected.now - expected.clock_skew, keys, opened)
        token = self._asked.set(asked)
        try:
            response = self._response(settings, b64encode(xml).decode("ascii"))
            agreed = (
                response.is_valid(_request_data(expected.acs_url), expected.request_id)
                and (response.get_assertion_id(), response.get_nameid()) == seen
            )
        except self._families as problem:
            raise VerificationError(Reason.VERIFIERS_DISAGREE, type(problem).__name__) from None
        finally:
            self._asked.reset(token)
        if not agreed:
            raise VerificationError(Reason.SCHEMA_INVALID if asked.schema_refused else Reason.VERIFIERS_DISAGREE)

    # --- what differs in the copy -------------------------------------------------------------------------------------

    def _substitute(self, module: ModuleType) -> None:
        differing: dict[str, dict[str, object]] = {
            "OneLogin_Saml2_XML": {
                "validate_xml": staticmethod(self._validate_xml),
                "query": staticmethod(self._query),
            },
            "OneLogin_Saml2_Utils": {
                "now": staticmethod(self._now),
                "validate_sign": staticmethod(self._validate_sign),
                "decrypt_element": staticmethod(self._decrypt_element),
            },
            "OneLogin_Saml2_Constants": {"ALLOWED_CLOCK_DRIFT": _DRIFT},
        }
        for name, differences in differing.items():
            setattr(module, name, type(name, (cast("type", getattr(module, name)),), differences))

    def _now(self) -> int:
        return self._asked.get().now

    def _validate_xml(self, xml: Element, schema: str, debug: bool = False) -> Element | str:
        del debug
        if schema == _SCHEMA and self._schema.validate(_as_the_schema_knows_it(xml)):
            return xml
        self._asked.get().schema_refused = True
        return "invalid_xml"

    def _query(
        self, dom: Element, query: str, context: Element | None = None, tagid: str | None = None
    ) -> list[Element]:
        compiled = self._compiled(query)
        source = dom if context is None else context
        return cast("list[Element]", compiled(source) if tagid is None else compiled(source, tagid=tagid))

    def _validate_sign(self, xml: Element, *given: object, xpath: str, **named: object) -> bool:
        del given, named  # certificates and fingerprints: the keys are those of the configured certificates
        register_ids(xml)
        signatures = self._query(xml, xpath)
        return len(signatures) == 1 and is_signed(signatures[0], self._asked.get().keys)

    def _decrypt_element(self, encrypted: Element, key: str, debug: bool = False, inplace: bool = False) -> Element:
        del key, debug, inplace
        parent = encrypted.getparent()
        opened = self._asked.get().opened
        is_assertion = parent is not None and parent.tag == assertion("EncryptedAssertion")
        inside = opened.assertion if is_assertion else opened.name_id
        if inside is None:
            raise ValueError("nothing was opened")
        return deepcopy(inside)


def _as_the_schema_knows_it(xml: Element) -> Element:
    """Without the mask functions of XML Encryption 1.1, which the schemas of SAML 2.0 are too old to know."""
    if next(xml.iter(_MASK), None) is None:
        return xml
    without = deepcopy(xml)
    etree.strip_elements(without, _MASK, with_tail=False)
    return without


def _request_data(acs_url: str) -> dict[str, object]:
    """The request as configured: what the browser says about host, scheme and path never comes here."""
    url = urlsplit(acs_url)
    return {
        "https": "on" if url.scheme == "https" else "off",
        "http_host": url.netloc,
        "script_name": url.path,
        "get_data": {},
        "post_data": {},
    }


def _settings(idp: str, certificates: tuple[str, ...], sp: str, acs_url: str, key: str) -> _Settings:
    """Strict mode, as narrow as it gets; the narrower rest is ours."""
    toolkit = importlib.import_module("onelogin.saml2.settings")
    errors = importlib.import_module("onelogin.saml2.errors")
    try:
        return cast(
            "_Settings",
            toolkit.OneLogin_Saml2_Settings(
                {
                    "strict": True,
                    "debug": False,
                    "sp": {"entityId": sp, "assertionConsumerService": {"url": acs_url}, "privateKey": key},
                    "idp": {
                        "entityId": idp,
                        "x509cert": certificates[0],
                        "x509certMulti": {"signing": list(certificates)},
                    },
                    "security": {
                        "rejectDeprecatedAlgorithm": True,
                        "requestedAuthnContext": False,
                        "wantAttributeStatement": False,
                        "allowSingleLabelDomains": True,
                    },
                },
                sp_validation_only=True,
            ),
        )
    except errors.OneLogin_Saml2_Error as problem:
        fix = "Give absolute http(s) URLs and non-empty entity IDs."
        raise ConfigurationError([Fault("saml", f"python3-saml does not take it: {problem}.", fix)]) from None


def _families() -> tuple[type[Exception], ...]:
    """Everything python3-saml is known to raise, by family."""
    errors = importlib.import_module("onelogin.saml2.errors")
    own = (errors.OneLogin_Saml2_Error, errors.OneLogin_Saml2_ValidationError)
    return (*own, etree.LxmlError, xmlsec.Error, ValueError, TypeError, LookupError, AttributeError)


def _private_copy(name: str) -> ModuleType:
    """The module anew, under no name: its globals are ours to set, and nobody else sees them."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _schema() -> etree.XMLSchema:
    """The protocol schema with the schemas it imports, from python3-saml's files."""
    package = importlib.util.find_spec("onelogin.saml2")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(next(iter(package.submodule_search_locations))) / "schemas" / _SCHEMA
    return etree.XMLSchema(etree.parse(str(path), etree.XMLParser(no_network=True, resolve_entities=False)))


def _compiled(query: str) -> etree.XPath:
    return etree.XPath(query, namespaces=_NAMES)
