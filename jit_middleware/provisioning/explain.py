"""Why somebody would get what they would get: the rehearsal of a login, told.

The values of claims are shown here, to the operator who has them anyway; they are kept nowhere.
"""

from __future__ import annotations

from typing import Literal

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import VerifiedIdentity
from jit_middleware.provisioning.arrival import Arrival
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.policy import Policy
from jit_middleware.provisioning.provision import Provisioner
from jit_middleware.provisioning.steps import Step, Steps
from jit_middleware.records import dataclass

Outcome = Literal["created", "linked", "returning", "refused"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a login of this identity would come to.

    ``arrival`` is there unless it would be refused, then ``refusal`` is; ``mapped`` is ``None`` when the claims make no
    user at all.
    """

    identity: VerifiedIdentity
    steps: tuple[Step, ...]
    mapped: MappedClaims | None
    arrival: Arrival | None = None
    refusal: NotProvisioned | None = None

    @property
    def outcome(self) -> Outcome:
        """What would become of the person: a new user, an existing account, the account they have, or nothing."""
        if self.arrival is None:
            return "refused"
        if self.arrival.created:
            return "created"
        return "returning" if self.arrival.proof is None else "linked"


async def explain(provisioner: Provisioner, policy: Policy, identity: VerifiedIdentity) -> Explanation:
    """Rehearse the login of this identity. Changes nothing; raises ``StoreUnavailable``."""
    steps = Steps()
    mapped = _mapped(policy, identity)
    try:
        arrival = await provisioner.rehearse(identity, steps)
    except NotProvisioned as refusal:
        return Explanation(identity, steps.taken, mapped, refusal=refusal)
    return Explanation(identity, steps.taken, mapped, arrival=arrival)


def _mapped(policy: Policy, identity: VerifiedIdentity) -> MappedClaims | None:
    try:
        return policy.mapper.map(identity)
    except NotProvisioned:
        return None
