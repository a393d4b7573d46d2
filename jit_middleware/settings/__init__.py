"""What the operator decides, typed, frozen and checked before anything starts.

Rule of the room: every setting stands once in ``table``; every reader returns a narrow type or a problem with its fix;
all faults are listed together; a secret is in no ``repr`` and in no fault.
"""

from __future__ import annotations

from jit_middleware.settings.connections import ClaimMapping, OIDCConnection
from jit_middleware.settings.policy import FieldPolicy, ProvisioningSettings, Rate, RoleRule
from jit_middleware.settings.saml import SAMLConnection
from jit_middleware.settings.sections import InjectSettings, SessionSettings
from jit_middleware.settings.settings import Settings
from jit_middleware.settings.step_up import StepUpRule
from jit_middleware.settings.url import PublicURL

__all__ = [
    "ClaimMapping",
    "FieldPolicy",
    "InjectSettings",
    "OIDCConnection",
    "ProvisioningSettings",
    "PublicURL",
    "Rate",
    "RoleRule",
    "SAMLConnection",
    "SessionSettings",
    "Settings",
    "StepUpRule",
]
