"""Provisioning: a verified identity in, a local user out, or a refusal with its reason; nothing half-done."""

from __future__ import annotations

from jit_middleware.provisioning.mapping import ClaimMapper, MappedClaims
from jit_middleware.provisioning.provision import Arrival, Provisioner

__all__ = ["Arrival", "ClaimMapper", "MappedClaims", "Provisioner"]
