"""What the servers of the server benchmark serve: ``bare`` and ``guarded``, for WSGI and for ASGI.

The guarded ones are made when they are asked for, from ``JIT_BENCH_DATABASE``.
"""

from __future__ import annotations

import os

from benchmarks.loops import bare_asgi, bare_wsgi
from benchmarks.subject import settings

__all__ = ["bare_asgi", "bare_wsgi"]


def __getattr__(name: str) -> object:
    if name not in ("guarded_wsgi", "guarded_asgi"):
        raise AttributeError(name)
    database = os.environ["JIT_BENCH_DATABASE"]
    if name == "guarded_wsgi":
        from jit_middleware.wsgi import JITMiddleware

        made: object = JITMiddleware(bare_wsgi, settings(f"sqlite:///{database}"))
    else:
        from jit_middleware.asgi import JITMiddleware as ASGIMiddleware

        made = ASGIMiddleware(bare_asgi, settings(f"sqlite+aiosqlite:///{database}"))
    globals()[name] = made
    return made
