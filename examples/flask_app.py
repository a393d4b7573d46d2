"""A Flask application behind single sign-on.

Run it with the five ``JIT_`` variables set (see ``README.md``)::

    flask --app examples/flask_app.py run        # or: gunicorn --chdir examples flask_app:app
"""

from __future__ import annotations

from flask import Flask, request

from jit_middleware.wsgi import JITMiddleware

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Greet the person; ``request.remote_user`` is the username."""
    return f"Hello {request.remote_user}, your roles are {', '.join(request.environ['jit.user'].roles) or 'none'}.\n"


app.wsgi_app = JITMiddleware(app.wsgi_app)
