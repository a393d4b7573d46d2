"""The audit trail: what happened, recorded in the transaction in which it happened."""

from __future__ import annotations

from jit_middleware.audit.events import EVENT_TYPES, AuditTrail, event_id, first_login_once, identity_key, session_ended
from jit_middleware.audit.export import to_line

__all__ = ["EVENT_TYPES", "AuditTrail", "event_id", "first_login_once", "identity_key", "session_ended", "to_line"]
