"""Single sign-on with just-in-time user provisioning, in front of any WSGI or ASGI application.

``jit_middleware.wsgi.JITMiddleware`` and ``jit_middleware.asgi.JITMiddleware`` wrap an application object;
``jit_middleware.wrapped`` does it without code. The names here are what a custom user store and its tests need.
"""

from __future__ import annotations

from jit_middleware.errors import (
    AdapterError,
    ConfigurationError,
    Conflict,
    Fault,
    JITError,
    LoginError,
    StoreUnavailable,
)
from jit_middleware.model import UNSET, Profile, ProfileChanges, Session, Status, User

__all__ = [
    "UNSET",
    "AdapterError",
    "ConfigurationError",
    "Conflict",
    "Fault",
    "JITError",
    "LoginError",
    "Profile",
    "ProfileChanges",
    "Session",
    "Status",
    "StoreUnavailable",
    "User",
]
