"""The audit trail: what happened, recorded in the transaction in which it happened."""

from __future__ import annotations

from jit_middleware.audit.events import AuditTrail, event_id, first_login_once, identity_key, session_ended
from jit_middleware.audit.export import to_line

__all__ = ["AuditTrail", "event_id", "first_login_once", "identity_key", "session_ended", "to_line"]
