"""A FastAPI application behind single sign-on; Starlette is the same.

Run it with the five ``JIT_`` variables set (see ``README.md``)::

    uvicorn --app-dir examples fastapi_app:app
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse

from jit_middleware import User
from jit_middleware.asgi import JITMiddleware

app = FastAPI()
app.add_middleware(JITMiddleware)


def signed_in(request: Request) -> User:
    """The user, as a dependency. The middleware lets nobody else through."""
    user: User = request.scope["jit.user"]
    return user


@app.get("/", response_class=PlainTextResponse)
def hello(request: Request, user: Annotated[User, Depends(signed_in)]) -> str:
    """Greet the person; ``request.user`` and ``request.auth`` work as with Starlette's own middleware."""
    assert request.user.is_authenticated
    return f"Hello {user.username}, your roles are {', '.join(user.roles) or 'none'}.\n"
