"""wsgiref as people use it in development: one request after the other. ``python -m tests.servers.wsgiref_server PORT``."""

from __future__ import annotations

import os
import signal
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    """Serve until told to stop."""
    from jit_middleware import wrapped

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # wsgiref would take an exception for the app's
    with make_server("127.0.0.1", int(sys.argv[1]), wrapped.wsgi, handler_class=_Quiet) as server:
        server.serve_forever(0.05)


if __name__ == "__main__":
    main()
