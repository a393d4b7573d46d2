"""The settings of a SAML connection, declared once like all others; ``table`` puts them beside the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jit_middleware.settings import saml
from jit_middleware.settings import values as v
from jit_middleware.settings.saml_presets import PRESETS
from jit_middleware.settings.setting import Setting

_NAME_ID_FORMAT: Callable[[object], saml.NameIDFormat] = v.choice(
    "persistent", "email", "unspecified", "transient", "none"
)

IDP_METADATA: Final = Setting[str | None](
    ("idp_metadata",), saml.metadata_source, None,
    "The provider's metadata: an `https` URL, which is fetched again as it ages, a file, which is read again when it "
    "changes, or the XML itself.",
    required=True, may_name_a_file=True,
)  # fmt: skip
IDP_ENTITY_ID: Final = Setting[str | None](
    ("idp_entity_id",), saml.entity_id, None,
    "The provider's entityID; needed where the metadata describes several (a federation).", shown="from metadata",
)  # fmt: skip
METADATA_CERT: Final = Setting[tuple[str, ...]](
    ("metadata_cert",), saml.certificates, (),
    "Certificates in PEM of whoever signs that metadata; with them unsigned metadata is refused.",
)  # fmt: skip
SP_ENTITY_ID: Final = Setting[str | None](
    ("sp_entity_id",), saml.entity_id, None, "Our own entityID.", shown="the URL of our metadata"
)
SP_KEY: Final = Setting[tuple[str, ...]](
    ("sp_key",), saml.private_keys, (),
    "Our private key in PEM: signs requests, decrypts assertions, and makes Single Logout possible; several to "
    "roll over, the one in use first.",
    secret=True,
)  # fmt: skip
SP_CERT: Final = Setting[tuple[str, ...]](
    ("sp_cert",), saml.certificates, (),
    "The certificates of these keys in PEM; all stand in our metadata, also one whose key is not in use yet.",
)  # fmt: skip
SUBJECT: Final = Setting[saml.Subject](
    ("subject",), saml.subject, saml.Subject(),
    "What names a person for good: a `persistent` NameID, `attribute:NAME`, or, knowing that they may change or be "
    "given to somebody else, an `email` or `unspecified` NameID.",
    shown="persistent",
)  # fmt: skip
NAME_ID_FORMAT: Final = Setting[saml.NameIDFormat | None](
    ("name_id_format",), _NAME_ID_FORMAT, None,
    "The NameID format to ask for; `none` asks for none.", shown="as `JIT_SAML_SUBJECT` needs it",
)  # fmt: skip
BINDING: Final = Setting[saml.Binding](
    ("binding",), v.choice("redirect", "post"), "redirect", "How our requests travel, where the provider offers both."
)
SIGN_REQUESTS: Final = Setting[bool](
    ("sign_requests",), v.switch, False,
    "Sign login requests also where the provider's metadata does not ask for it.",
)  # fmt: skip
SIGN_METADATA: Final = Setting[bool](("sign_metadata",), v.switch, False, "Sign our own metadata.")
METADATA_VALID_FOR: Final = Setting[int | None](
    ("metadata_valid_for",), saml.validity, None,
    "Put a `validUntil` this far ahead into our metadata, as `30d`; providers then have to fetch it again.",
    shown="no limit",
)  # fmt: skip
FORCE_AUTHN: Final = Setting[bool](
    ("force_authn",), v.switch, False, "Ask the provider to authenticate the person anew at every login."
)
IS_PASSIVE: Final = Setting[bool](
    ("is_passive",), v.switch, False, "Ask the provider to show nothing: only who is signed in there gets in."
)
AUTHN_CONTEXTS: Final = Setting[tuple[str, ...]](
    ("authn_contexts",), v.blank_list, (), "Authentication contexts to ask for, of which one is then required."
)
ALLOW_IDP_INITIATED: Final = Setting[bool](
    ("allow_idp_initiated",), v.switch, False,
    "Accept logins that begin at the provider; the person then has to confirm, since any page could have sent them.",
)  # fmt: skip
PRESET: Final = Setting[str | None](
    ("preset",), v.choice(*PRESETS), None,
    "Whose attribute names the claim mapping starts from: " + ", ".join(f"`{name}`" for name in PRESETS) + ".",
    shown="common names",
)  # fmt: skip

SETTINGS: Final[tuple[Setting[object], ...]] = (
    IDP_METADATA, IDP_ENTITY_ID, METADATA_CERT, SP_ENTITY_ID, SP_KEY, SP_CERT, SUBJECT, NAME_ID_FORMAT, BINDING,
    SIGN_REQUESTS, SIGN_METADATA, METADATA_VALID_FOR, FORCE_AUTHN, IS_PASSIVE, AUTHN_CONTEXTS, ALLOW_IDP_INITIATED,
    PRESET,
)  # fmt: skip
