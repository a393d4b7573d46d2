"""From what the sources say about claims to the mapping of one connection."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jit_middleware.settings import table as t
from jit_middleware.settings.claims import ClaimSource, default_policy, field_name, field_policy
from jit_middleware.settings.connections import ClaimMapping
from jit_middleware.settings.policy import FieldPolicy
from jit_middleware.settings.reading import Reading
from jit_middleware.settings.setting import Path, Setting

_NOTHING: Final = ClaimSource()


def read_claims(reading: Reading, under: Path, start: ClaimMapping) -> ClaimMapping:
    """The mapping of a connection: its own words, else the shared ones, else those of ``start``, key by key.

    Which further fields there are, the connection's own table says, else the shared one, else ``start``.
    """
    said = {
        "username": _said(reading, t.CLAIMS_USERNAME, under),
        "email": _said(reading, t.CLAIMS_EMAIL, under),
        "display_name": _said(reading, t.CLAIMS_DISPLAY_NAME, under),
        "groups": _said(reading, t.CLAIMS_GROUPS, under),
        "roles": _said(reading, t.CLAIMS_ROLES, under),
    }
    further = _further(reading, under, start)
    policies = {name: source.policy(field_policy(start, name)) for name, source in said.items()} | {
        field_name(name): source.policy(field_policy(start, field_name(name))) for name, source in further.items()
    }
    return ClaimMapping(
        username=said["username"].source or start.username,
        email=said["email"].source or start.email,
        display_name=said["display_name"].source or start.display_name,
        groups=said["groups"].source or start.groups,
        roles=said["roles"].source or start.roles,
        fields=MappingProxyType({name: source.source for name, source in further.items() if source.source}),
        policies=_worth_saying(policies),
    )


def _said(reading: Reading, setting: Setting[ClaimSource], under: Path) -> ClaimSource:
    own, shared = (
        reading.take(setting, under=place) if reading.has(setting, under=place) else _NOTHING for place in (under, ())
    )
    return own.over(shared)


def _further(reading: Reading, under: Path, start: ClaimMapping) -> Mapping[str, ClaimSource]:
    """Each further field with all that is said of it; one without an expression is a fault."""
    given = {name: ClaimSource(source=source) for name, source in start.fields.items()}
    for place in ((), under):
        if reading.has(t.CLAIMS_FIELDS, under=place):
            own = reading.take(t.CLAIMS_FIELDS, under=place)
            given = {name: source.over(given.get(name, _NOTHING)) for name, source in own.items()}
            _judge_sources(reading, place, given)
    return {name: source for name, source in given.items() if source.source is not None}


def _judge_sources(reading: Reading, place: Path, given: Mapping[str, ClaimSource]) -> None:
    for name, source in given.items():
        if source.source is None:
            problem = f"it does not say where the field {name} comes from."
            reading.note(reading.name(t.CLAIMS_FIELDS, under=place), problem, "add from, a JMESPath expression.")


def _worth_saying(policies: Mapping[str, FieldPolicy]) -> Mapping[str, FieldPolicy]:
    return MappingProxyType({name: policy for name, policy in policies.items() if policy != default_policy(name)})
