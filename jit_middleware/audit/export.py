"""Audit events as JSON lines: one event, one line, whatever a claim tried to smuggle into it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from jit_middleware.model import JSON, AuditEvent

SCHEMA_VERSION = 1


def to_line(event: AuditEvent) -> str:
    """The event as one line of ASCII JSON, without the line break.

    Everything beyond printable ASCII is escaped, so no value can forge a line or drive a terminal (CWE-117).
    """
    return json.dumps(as_json(event), ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")


def as_json(event: AuditEvent) -> dict[str, JSON]:
    """The event as a JSON object; times as RFC 3339 in UTC."""
    return {
        "schema": SCHEMA_VERSION,
        "id": event.id,
        "type": event.type,
        "at": datetime.fromtimestamp(event.at, UTC).isoformat().replace("+00:00", "Z"),
        "tenant": event.tenant,
        "user": event.user_id,
        "connection": event.connection,
        "session": event.session,
        "outcome": event.outcome,
        "reason": event.reason,
        "reference": event.reference,
        "data": dict(event.data),
    }
