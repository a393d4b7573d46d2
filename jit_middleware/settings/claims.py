"""What is said of one field of the user: where it comes from, and how it is filled.

``claims.<field>`` is a JMESPath expression as text, or a table (as a variable: a JSON object) with ``from`` and the
field's policy. What a table leaves out, the next place says: the connection's own table, the shared one, the preset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from jit_middleware.records import dataclass
from jit_middleware.settings.connections import ClaimMapping
from jit_middleware.settings.expressions import expression
from jit_middleware.settings.policy import Authority, FieldPolicy, Normaliser, OnMissing
from jit_middleware.settings.sections import FIELD_NAME
from jit_middleware.settings.values import BadValue, choice, comma_list, one_of, shown, switch, table, text

T = TypeVar("T")

#: The fields that every user has, by the names of their settings. A further field is ``fields.<name>``.
FIELDS: Final = ("username", "email", "display_name", "groups", "roles")
_LISTS: Final = frozenset({"groups", "roles"})
_KEYS: Final = ("from", "default", "required", "normalise", "authority", "on_missing")
_PLAIN: Final = FieldPolicy()
#: Given once: the app's own data hangs on it.
_OF_USERNAMES: Final = FieldPolicy(authority="first_write")

_NORMALISER: Callable[[object], Normaliser] = choice("trim", "lower", "nfc", "domain")
_AUTHORITY: Callable[[object], Authority] = choice("idp", "scim", "app", "first_write")
_ON_MISSING: Callable[[object], OnMissing] = choice("keep", "clear")


def field_name(name: str) -> str:
    """How policies and refusals call a further field of this name."""
    return f"fields.{name}"


def default_policy(field: str) -> FieldPolicy:
    """How a field is filled of which nothing is said."""
    return _OF_USERNAMES if field == "username" else _PLAIN


def field_policy(mapping: ClaimMapping, field: str) -> FieldPolicy:
    """How this field is filled: one of ``FIELDS``, or ``fields.<name>``."""
    return mapping.policies.get(field) or default_policy(field)


@dataclass(frozen=True, slots=True)
class ClaimSource:
    """What one place says of one field; ``None`` is what it leaves to others."""

    source: str | None = None
    default: str | tuple[str, ...] | None = None
    required: bool | None = None
    normalise: tuple[Normaliser, ...] | None = None
    authority: Authority | None = None
    on_missing: OnMissing | None = None

    def over(self, other: ClaimSource) -> ClaimSource:
        """Both together; this one wins."""
        return ClaimSource(
            source=_first(self.source, other.source),
            default=other.default if self.default is None else self.default,
            required=_first(self.required, other.required),
            normalise=_first(self.normalise, other.normalise),
            authority=_first(self.authority, other.authority),
            on_missing=_first(self.on_missing, other.on_missing),
        )

    def policy(self, otherwise: FieldPolicy) -> FieldPolicy:
        """The policy it makes, completed by another."""
        return FieldPolicy(
            default=otherwise.default if self.default is None else self.default,
            required=otherwise.required if self.required is None else self.required,
            normalise=otherwise.normalise if self.normalise is None else self.normalise,
            authority=otherwise.authority if self.authority is None else self.authority,
            on_missing=otherwise.on_missing if self.on_missing is None else self.on_missing,
        )


def _first(mine: T | None, theirs: T | None) -> T | None:
    return theirs if mine is None else mine


# --- readers ------------------------------------------------------------------------------------------------------


def claim(field: str) -> Callable[[object], ClaimSource]:
    """A reader of what is said of one of ``FIELDS``. Text that begins with ``{`` is JSON: an object is no text, so no
    expression that makes one could fill such a field."""

    def read(value: object) -> ClaimSource:
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            return ClaimSource(source=expression(value))
        return _policy_table(field, table(value))

    return read


def claim_fields(value: object) -> Mapping[str, ClaimSource]:
    """Further fields by name, each an expression or a table."""
    found: dict[str, ClaimSource] = {}
    for name, said in table(value).items():
        if not FIELD_NAME.fullmatch(name):
            raise BadValue(f"{shown(name)} cannot be a field name.", "use letters, digits and _.- only.")
        try:
            as_text = ClaimSource(expression(said)) if isinstance(said, str) else None
            found[name] = as_text or _policy_table(field_name(name), table(said))
        except BadValue as bad:
            raise BadValue(f"for {name}, {bad.problem}", bad.fix) from bad
    return MappingProxyType(found)


def _policy_table(field: str, said: Mapping[str, object]) -> ClaimSource:
    for key in said:
        if key not in _KEYS:
            raise BadValue(f"{shown(key)} is nothing that can be said of a field.", f"write {one_of(_KEYS)}.")
    found = ClaimSource(
        source=_read(said, "from", expression),
        default=_read(said, "default", _names if field in _LISTS else _default),
        required=_read(said, "required", switch),
        normalise=_read(said, "normalise", _normalisers),
        authority=_read(said, "authority", _AUTHORITY),
        on_missing=_read(said, "on_missing", _ON_MISSING),
    )
    _judge(field, found)
    return found


def _read(said: Mapping[str, object], key: str, read: Callable[[object], T]) -> T | None:
    if key not in said:
        return None
    try:
        return read(said[key])
    except BadValue as bad:
        raise BadValue(f"in {key}, {bad.problem}", bad.fix) from bad


def _default(value: object) -> str | tuple[str, ...]:
    return text(value) if isinstance(value, str) else _names(value)


def _names(value: object) -> tuple[str, ...]:
    """A list of texts, which may be empty; one text is a list of one, and not split."""
    return (text(value),) if isinstance(value, str) else comma_list(value)


def _normalisers(value: object) -> tuple[Normaliser, ...]:
    return tuple(_NORMALISER(name) for name in comma_list(value))


def _judge(field: str, said: ClaimSource) -> None:
    """Refuse what has no effect, or would make two people one."""
    if field in {"username", "email"} and said.default is not None:
        raise BadValue(f"a default {field} would be the same for everybody.", "remove default.")
    if field in FIELDS and isinstance(said.default, tuple) and field not in _LISTS:
        raise BadValue("its default is a list, and it is one text.", "write the default as text.")
    if field in FIELDS and "domain" in (said.normalise or ()):
        raise BadValue(f"the domain of an address is no {field}.", "use it for a further field, in claims.fields.")
    if field == "username" and (said.authority in {"app", "scim"} or said.on_missing == "clear"):
        raise BadValue("a user is created with a username and keeps one.", 'write authority = "first_write" or "idp".')
    if field in _LISTS and (said.authority is not None or said.on_missing is not None):
        fix = "remove authority and on_missing; see JIT_ROLE_SYNC and JIT_MISSING_GROUPS."
        raise BadValue(f"{field} are no field that a login writes.", fix)
    if said.required and said.default is not None:
        raise BadValue("what has a default is never missing, so required has no effect.", "remove one of the two.")
    if said.on_missing == "clear" and said.authority not in {None, "idp"}:
        raise BadValue(
            "a login clears only what is the provider's, so on_missing has no effect.", "remove one of the two."
        )
