"""An application under Apache's mod_wsgi behind single sign-on.

Apache's ``SetEnv`` does not reach the process, so the settings come from a TOML file beside this one (copy
``settings.example.toml`` to ``settings.toml``), or from the file that ``JIT_CONFIG`` names. In the virtual host::

    WSGIDaemonProcess app processes=2 threads=15 python-home=/srv/app/venv
    WSGIProcessGroup app
    WSGIScriptAlias / /srv/app/app.wsgi
"""

from __future__ import annotations

import os
from pathlib import Path

from jit_middleware.settings import Settings
from jit_middleware.wsgi import JITMiddleware


def hello(environ, start_response):
    """Put the import of your own application here instead."""
    body = f"Hello {environ['REMOTE_USER']}, your roles are {', '.join(environ['jit.user'].roles) or 'none'}.\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


settings = Settings.load({"JIT_CONFIG": str(Path(__file__).with_name("settings.toml")), **os.environ})
application = JITMiddleware(hello, settings)
