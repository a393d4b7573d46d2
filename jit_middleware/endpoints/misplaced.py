"""Requests that are meant for us and come to a path that is not ours, since somebody on the way changes paths.

Left alone they would count as paths of the app that need a login: each answer of the provider would begin another one,
for ever. They are not served either: whether a mount path was taken off is told by nobody for sure (a proxy that does
it says nothing), and the patterns of paths, public ones or such that ask for more, would hold for other paths than the
operator meant.
"""

from __future__ import annotations

from jit_middleware.endpoints.house import House
from jit_middleware.errors import ConfigurationError, RequestError
from jit_middleware.http.form import parameters_once
from jit_middleware.http.messages import Request
from jit_middleware.http.paths import mount_left_on
from jit_middleware.sso.state import is_state


class Misplaced(RequestError):
    """The path of this request was changed on its way, or not changed as ``JIT_PUBLIC_URL`` says."""

    code = "configuration"
    public = ConfigurationError.public


def misplaced(house: House, request: Request) -> Misplaced | None:
    """What is wrong with the way here, where this path of the app's shows that; ``None`` for any other path.

    That this browser's own login is answered here proves it (500); anybody can ask for a path (404).
    """
    url, prefix = house.settings.public_url, house.settings.endpoint_prefix
    if prefix not in request.path and "state=" not in request.query:
        return None  # nearly every request
    left = mount_left_on(request.path, prefix, url.mount)
    state = parameters_once(request.query).get("state", "")
    is_proved = is_state(state) and _is_known(house, request, state)
    if left is not None:
        return Misplaced(
            "mount_in_path",
            f"JIT_PUBLIC_URL has the path {url.mount}, and {left} comes with the path. Fix: let server or proxy take "
            f"it off (gunicorn: SCRIPT_NAME={url.mount}), or set JIT_PUBLIC_URL={url.origin} and JIT_ENDPOINT_PREFIX="
            f"{url.mount}{prefix}; see docs/deployment.md.",
            status=500 if is_proved else 404,
        )
    if is_proved or (is_state(state) and _ends_like_ours(house, request.path)):
        return Misplaced(
            "path_changed",
            f"a login is answered here and not below {prefix}: paths are changed between JIT_PUBLIC_URL "
            f"({url.join('')}) and here. Fix: only the path of JIT_PUBLIC_URL may be taken off, as docs/deployment.md "
            "says.",
            status=500 if is_proved else 404,
        )
    return None


def _is_known(house: House, request: Request, state: str) -> bool:
    """Whether this is the state of a login that this browser has in flight."""
    return any(house.states.find(request.cookie, connection, state) is not None for connection in house.strategies)


def _ends_like_ours(house: House, path: str) -> bool:
    """Whether an answer to a browser that keeps no cookies, which has nothing to prove it by, may have come here."""
    return any(path.endswith(f"{house.settings.endpoint_prefix}/callback/{name}") for name in house.strategies)
