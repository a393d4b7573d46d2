"""Provisioning: a verified identity in, a local user out, or a refusal with its reason; nothing half-done."""

from __future__ import annotations

from jit_middleware.provisioning.arrival import Arrival
from jit_middleware.provisioning.creation import CreationAlarm
from jit_middleware.provisioning.mapping import ClaimMapper, MappedClaims
from jit_middleware.provisioning.policy import Policy
from jit_middleware.provisioning.provision import Provisioner

__all__ = ["Arrival", "ClaimMapper", "CreationAlarm", "MappedClaims", "Policy", "Provisioner"]
