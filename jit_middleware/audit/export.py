"""Audit events as JSON lines: one event, one line, whatever a claim tried to smuggle into it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from jit_middleware.model import AuditEvent

SCHEMA_VERSION = 1


def to_line(event: AuditEvent) -> str:
    """The event as one line of ASCII JSON, without the line break; times as RFC 3339 in UTC.

    Everything beyond printable ASCII is escaped, so no value can forge a line or drive a terminal (CWE-117).
    """
    record = {
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
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")
