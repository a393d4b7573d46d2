"""The request to sign somebody in (SAML Core §3.4.1), and how a message of ours reaches the provider.

The request's ID follows from the login's nonce, so nothing but the sealed cookie has to be kept until the answer comes.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import urlencode

from lxml import etree

from jit_middleware.model import StepUp
from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.idp_metadata import POST, REDIRECT
from jit_middleware.sso.saml.keys import SPKey
from jit_middleware.sso.saml.names import ASSERTION, EMAIL_ADDRESS, PERSISTENT, PROTOCOL, TRANSIENT, UNSPECIFIED
from jit_middleware.sso.saml.names import assertion as saml
from jit_middleware.sso.saml.names import protocol as samlp
from jit_middleware.sso.saml.signature import sign_enveloped, sign_redirect
from jit_middleware.sso.saml.tree import Element
from jit_middleware.sso.strategy import LoginState, Onward, PostForm

FORMATS: Final[Mapping[str, str]] = {
    "persistent": PERSISTENT,
    "email": EMAIL_ADDRESS,
    "unspecified": UNSPECIFIED,
    "transient": TRANSIENT,
}
_NAMESPACES: Final = {"samlp": PROTOCOL, "saml": ASSERTION}


def derived_id(secret: str) -> str:
    """The ID of the message that belongs to this secret; whoever sees the ID cannot tell the secret."""
    return f"_{sha256(secret.encode()).hexdigest()}"


def instant(seconds: int) -> str:
    """A time as SAML writes it (Core §1.3.3): UTC, with a Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def authn_request(
    connection: SAMLConnection, login: LoginState, *, sp_entity_id: str, acs_url: str, destination: str, now: int
) -> bytes:
    """The request as XML, not yet signed. Somebody else can only sign in if the provider asks anew (ForceAuthn)."""
    root = message("AuthnRequest", derived_id(login.nonce), issuer=sp_entity_id, destination=destination, now=now)
    root.set("ProtocolBinding", POST)
    root.set("AssertionConsumerServiceURL", acs_url)
    step_up = login.step_up or StepUp()
    # SAML has no word for how recent an authentication has to be: only for a new one.
    anew = login.someone_else or step_up.insist or step_up.max_age is not None
    if connection.force_authn or anew:
        root.set("ForceAuthn", "true")
    if connection.is_passive and not anew and login.step_up is None:
        root.set("IsPassive", "true")
    if connection.name_id_format != "none":
        policy = etree.SubElement(root, samlp("NameIDPolicy"), Format=FORMATS[connection.name_id_format])
        policy.set("AllowCreate", "true")
    # A rule may name classes of other protocols too; those of SAML are URIs (Core §2.7.2.2).
    wanted = [name for name in step_up.acr if ":" in name] or step_up.acr or connection.authn_contexts
    if wanted:
        contexts = etree.SubElement(root, samlp("RequestedAuthnContext"), Comparison="exact")
        for name in wanted:
            etree.SubElement(contexts, saml("AuthnContextClassRef")).text = name
    return etree.tostring(root)


def message(name: str, message_id: str, *, issuer: str, destination: str, now: int) -> Element:
    """The beginning that all messages of ours have in common."""
    root = etree.Element(samlp(name), nsmap=_NAMESPACES)
    root.set("ID", message_id)
    root.set("Version", "2.0")
    root.set("IssueInstant", instant(now))
    root.set("Destination", destination)
    etree.SubElement(root, saml("Issuer")).text = issuer
    return root


def sent(
    xml: bytes,
    destination: str,
    *,
    binding: str,
    parameter: Literal["SAMLRequest", "SAMLResponse"],
    relay_state: str | None,
    key: SPKey | None,
) -> Onward:
    """The message on its way: a URL for the redirect binding, a form for the POST binding; signed when there is a
    ``key``."""
    if binding == REDIRECT:
        if key is not None:
            return sign_redirect(destination, parameter, xml, relay_state, key)
        return redirect_url(destination, parameter, xml, relay_state)
    signed = xml if key is None else sign_enveloped(xml, key)
    fields: list[tuple[str, str]] = [(parameter, b64encode(signed).decode("ascii"))]
    if relay_state is not None:
        fields.append(("RelayState", relay_state))
    return PostForm(destination, tuple(fields))


def redirect_url(destination: str, parameter: str, xml: bytes, relay_state: str | None) -> str:
    """The message in a query (SAML Bindings §3.4.4.1), not signed."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = b64encode(deflate.compress(xml) + deflate.flush()).decode("ascii")
    pairs: list[tuple[str, str]] = [(parameter, packed)]
    if relay_state is not None:
        pairs.append(("RelayState", relay_state))
    return f"{destination}{'&' if '?' in destination else '?'}{urlencode(pairs)}"
