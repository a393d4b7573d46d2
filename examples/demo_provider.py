"""An identity provider for an application of your own, until there is a real one: two people, on this machine alone.

Start it with the address of the application, and set in another terminal the five variables that it prints; what is
started there with the middleware signs in here::

    python examples/demo_provider.py http://localhost:8000

It knows nothing any more when it ends. It is no place for real people: the passwords are on its login page.
"""

from __future__ import annotations

import secrets
import sys
from contextlib import suppress
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from jit_middleware.system import SystemClock
from jit_middleware.testing.provider import DemoClient, DemoProvider, DemoUser

#: Whoever you need: the claims are those that your provider is going to send.
PEOPLE = (
    DemoUser(
        "s-ann",
        "ann",
        "ann-demo",
        {"name": "Ann Adams", "email": "ann@example.org", "email_verified": True, "groups": ["staff", "ops"]},
    ),
    DemoUser(
        "s-ben",
        "ben",
        "ben-demo",
        {"name": "Ben Brown", "email": "ben@example.org", "email_verified": True, "groups": ["staff"]},
    ),
)


class Server(ThreadingMixIn, WSGIServer):
    """One thread for each connection: browsers open some that they do not use at once."""

    daemon_threads = True


def main(public_url: str, port: int = 9000) -> None:
    """Serve until Control-C."""
    public_url = public_url.rstrip("/")
    client = DemoClient(
        "app", secrets.token_urlsafe(), (f"{public_url}/_jit/callback/oidc",), (f"{public_url}/_jit/signed-out",)
    )
    with make_server("127.0.0.1", port, None, Server) as server:
        provider = DemoProvider(f"http://127.0.0.1:{server.server_port}", [client], PEOPLE, SystemClock())
        server.set_app(provider)
        print(f"export JIT_PUBLIC_URL={public_url}")
        print(f"export JIT_SECRET_KEY={secrets.token_urlsafe(48)}")
        print(f"export JIT_OIDC_ISSUER={provider.issuer}")
        print(f"export JIT_OIDC_CLIENT_ID={client.client_id}")
        print(f"export JIT_OIDC_CLIENT_SECRET={client.client_secret}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1], *map(int, sys.argv[2:3]))
