"""The middleware as ``gunicorn --preload`` may meet it: it has served requests before the workers were forked.

So the parent has a database connection, a position in the feed and a cached session, and the children begin with copies
of all three. The parent's cookie and connection are written to the file in ``PRELOADED``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jit_middleware.bridge import step
from jit_middleware.testing.login import login_as
from jit_middleware.wsgi import JITMiddleware
from tests.worlds import Outgoing, call_wsgi, environ_of


def _number_of_the_connection() -> int:
    """Which connection this process has to the database, as the server counts them."""
    database: Any = application.gate.house.ledger
    asked = "SELECT pg_backend_pid()" if database.database.kind == "postgresql" else "SELECT CONNECTION_ID()"
    return int(step(database.database.use(lambda connection: connection.exec_driver_sql(asked).scalar_one())))


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Who serves, by which connection."""
    body = json.dumps({"pid": os.getpid(), "connection": _number_of_the_connection()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


application = JITMiddleware(app)
_cookie = login_as(application, "alice", preferred_username="alice")
_answer = call_wsgi(
    application, environ_of(Outgoing("GET", os.environ["JIT_PUBLIC_URL"] + "/", (("Cookie", _cookie),)))
)
assert _answer.status == "200 OK", _answer
Path(os.environ["PRELOADED"]).write_text(json.dumps({"cookie": _cookie, **json.loads(_answer.body)}))
