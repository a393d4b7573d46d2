"""What a hostile provider can do, as a table: each case a name, how the provider is bent, and what must come of it.

``expected`` is ``accepted``, the reason of the refusal, ``restarted`` (the login begins anew), or several reasons where
the same fault may be noticed at two places. ``source`` says where the case comes from: rows of our attack catalogue,
modules of the OpenID conformance suite, sections of specifications.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.adversarial.bends import Bend
from tests.adversarial.provider import HostileProvider

VERIFICATION = ("login_not_verified", 403)
UNAVAILABLE = ("provider_unavailable", 503)
REFUSED = ("provider_refused", 403)
STRANGER = ("not_provisioned", 403)
MALFORMED = ("bad_request", 400)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing a provider does. ``answer`` is the public code and status of a refusal."""

    name: str
    bends: tuple[Bend, ...]
    expected: tuple[str, ...]
    answer: tuple[str, int] | None
    source: str
    env: Mapping[str, str] = field(default_factory=dict)
    provider: Mapping[str, Any] = field(default_factory=dict)
    after_a_login: bool = False
    heavy: bool = False
    sees: Mapping[str, Any] = field(default_factory=dict)

    def bend(self, provider: HostileProvider) -> None:
        for bend in self.bends:
            bend(provider)


def _case(
    expected: str, answer: tuple[str, int] | None, name: str, source: str, bends: tuple[Bend, ...], how: Any
) -> Case:
    return Case(name, bends, tuple(expected.split("|")), answer, source, **how)


def accepted(name: str, source: str, *bends: Bend, **how: Any) -> Case:
    """An honest login, however odd: the person is in."""
    return _case("accepted", None, name, source, bends, how)


def rejected(name: str, reason: str, source: str, *bends: Bend, **how: Any) -> Case:
    """What the provider says does not verify."""
    return _case(reason, VERIFICATION, name, source, bends, how)


def unavailable(name: str, reason: str, source: str, *bends: Bend, **how: Any) -> Case:
    """The provider is not there, or talks nonsense."""
    return _case(reason, UNAVAILABLE, name, source, bends, how)


def refused(name: str, reason: str, source: str, *bends: Bend, **how: Any) -> Case:
    """The provider itself says no."""
    return _case(reason, REFUSED, name, source, bends, how)


def malformed(name: str, reason: str, source: str, *bends: Bend, **how: Any) -> Case:
    """The message at our own endpoint is not one."""
    return _case(reason, MALFORMED, name, source, bends, how)


def unwelcome(name: str, reason: str, source: str, *bends: Bend, **how: Any) -> Case:
    """Verified, but not let in."""
    return _case(reason, STRANGER, name, source, bends, how)


def restarted(name: str, source: str, *bends: Bend, **how: Any) -> Case:
    """The answer belongs to no login of this browser, which begins anew once."""
    return _case("restarted", None, name, source, bends, how)


def every_case() -> list[Case]:
    """The whole table."""
    from tests.adversarial.cases_answer import ANSWER
    from tests.adversarial.cases_id_token import CLAIMS, JOSE
    from tests.adversarial.cases_lawful import LAWFUL
    from tests.adversarial.cases_metadata import KEYS, METADATA
    from tests.adversarial.cases_wire import DOCUMENTS, TRANSPORT

    cases = [*LAWFUL, *METADATA, *KEYS, *ANSWER, *JOSE, *CLAIMS, *DOCUMENTS, *TRANSPORT]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return cases
