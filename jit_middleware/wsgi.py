"""The WSGI edge: translates an environ into a request and a decision into an answer, and else keeps out of the way.

A request that goes on to the app reaches it with a copied environ and the server's own ``start_response``; a body that
is whole, a file for the server to send and everything for anonymous people go back to the server as the very same
object. So ``write()``, ``close()``, ``exc_info``, lazy bodies and what comes of ``wsgi.file_wrapper`` are the app's and
the server's business alone (PEP 3333). Any other body goes through :class:`~jit_middleware.asking.Parts`, which ends it
when the session has ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Self, Unpack, overload

from jit_middleware.asking import IsLive, Parts
from jit_middleware.assembly import Ports, assemble
from jit_middleware.bridge import StartOnce, step
from jit_middleware.edge import LOGGER, failure, framed, status_line
from jit_middleware.errors import AdapterError, RequestError
from jit_middleware.http.messages import Decision, PassThrough, Request, Respond, Response
from jit_middleware.http.navigation import kind_of
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens

if TYPE_CHECKING:
    from wsgiref.types import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

    from jit_middleware.gate import Gate
    from jit_middleware.ports import AsyncUserStore, UserStore
    from jit_middleware.sessions import Watch

_CHUNK: Final = 65536
#: Bodies that are all there when the app returns.
_WHOLE: Final = frozenset({list, tuple, bytes})


class JITMiddleware:
    """Single sign-on in front of a WSGI application.

    ::

        from jit_middleware.wsgi import JITMiddleware

        application = JITMiddleware(application)  # settings from JIT_* variables

    ``users`` is a custom user store; ``ports`` replace further parts of the assembly by name. Attributes that the
    middleware lacks are the wrapped application's, for tools that look for them. Raises ``ConfigurationError``.
    """

    app: WSGIApplication
    gate: Gate

    def __init__(
        self,
        app: WSGIApplication,
        settings: Settings | None = None,
        *,
        users: UserStore | AsyncUserStore | None = None,
        **ports: Unpack[Ports],
    ) -> None:
        self._stand(app, assemble(settings, world="wsgi", users=users, **ports))

    @classmethod
    def with_gate(cls, app: WSGIApplication, gate: Gate) -> Self:
        """The middleware with a gate assembled elsewhere, which several applications may share."""
        middleware = cls.__new__(cls)
        middleware._stand(app, gate)
        return middleware

    def _stand(self, app: WSGIApplication, gate: Gate) -> None:
        self.app = app
        self.gate = gate
        # One attribute for the hot path: a class with __getattr__ pays for each that it reads. The last is whether the
        # server's file wrapper may be a function, until a request has shown that it is none: see _noted.
        self._hot = (app, gate.admit, gate.scrubber.is_clean, gate.scrubber.clean_environ, True)
        self._start = StartOnce(gate.start, SystemClock(), "wsgi")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        app, admit, is_clean, clean_environ, by_function = self._hot
        inner, passed, answer = environ, None, None
        files: _FileFunction | None = None
        try:
            # Other methods, and what may be a websocket handshake, are first checked for cross-site forgery.
            if environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS") and "HTTP_UPGRADE" not in environ:
                path: str = environ.get("PATH_INFO", "")
                passed = admit(path if path.isascii() else _decoded(path), environ.get("HTTP_COOKIE", ""))
            if passed is None:
                decision = self._decide(environ)
                if isinstance(decision, Respond):
                    answer = _Answer(decision.response, environ["REQUEST_METHOD"])
                else:
                    passed = decision
            if passed is not None:
                # A copy, since apps change their environ and servers read theirs again afterwards.
                shown = passed.shown or _shown(passed, self.gate.watch)
                if is_clean(environ):
                    inner = environ | shown
                else:
                    inner = dict(environ)
                    clean_environ(inner)
                    inner |= shown
                if not passed.cookie:
                    inner.pop("HTTP_COOKIE", None)
                if by_function:
                    files = self._noted(inner)
        except Exception as error:  # noqa: BLE001 - the edge is the last resort
            answer = _Answer(failure(error, SystemTokens()), environ.get("REQUEST_METHOD", ""))
        if answer is not None:
            return answer.send(start_response)
        body = app(inner, start_response)
        if type(body) in _WHOLE:
            return body
        basis = None if passed is None else passed.basis
        return body if basis is None or _is_file(body, environ, files) else Parts(body, basis, self.gate.watch)

    def __getattr__(self, name: str) -> object:
        if name == "app" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        return getattr(self.app, name)

    def _noted(self, inner: WSGIEnvironment) -> _FileFunction | None:
        """Have a file wrapper that is a function noted down what it gives; without one, never look again."""
        wrapper = inner.get("wsgi.file_wrapper")
        if wrapper is None or isinstance(wrapper, type):
            self._hot = (*self._hot[:-1], False)
            return None
        inner["wsgi.file_wrapper"] = files = _FileFunction(wrapper)
        return files

    def _decide(self, environ: WSGIEnvironment) -> Decision:
        if not self._start.is_done():
            try:
                step(self._start())
            except AdapterError as error:
                # The gate itself says what it can still serve (health) and refuses the rest.
                LOGGER.warning("not started yet: %s", error)
        return step(self.gate.decide(_request(environ)))


def paste_filter(
    global_conf: Mapping[str, str],  # noqa: ARG001 - the PasteDeploy signature
    **local_conf: str,
) -> Callable[[WSGIApplication], JITMiddleware]:
    """A PasteDeploy filter (``use = egg:jit-middleware``); the section's keys are settings and win over ``os.environ``.

    A key is a setting's name with or without ``JIT_``, in either case: ``public_url`` or ``JIT_PUBLIC_URL``.
    """
    given = {_setting_name(key): value for key, value in local_conf.items()}
    settings = Settings.load(env={**os.environ, **given})

    def wrap(app: WSGIApplication) -> JITMiddleware:
        return JITMiddleware(app, settings)

    return wrap


def _setting_name(key: str) -> str:
    name = key.upper()
    return name if name.startswith("JIT_") else f"JIT_{name}"


# --- environ ⇄ messages -------------------------------------------------------------------------------------------


def _shown(passed: PassThrough, watch: Watch) -> dict[str, object]:
    """What is put over the scrubbed environ: the app's own cookies, who is there, and what tells whether they still
    are."""
    shown: dict[str, object] = {"HTTP_COOKIE": passed.cookie} if passed.cookie else {}
    admission = passed.admission
    if admission is not None:
        shown |= admission.environ
        for name, value in admission.headers:
            shown[f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"] = value.decode("latin-1")
    if passed.basis is not None:
        shown["jit.is_live"] = IsLive(passed.basis, watch)
    passed.shown = shown
    return shown


def _is_file(body: object, environ: WSGIEnvironment, files: _FileFunction | None) -> bool:
    """Whether the server sends the body by itself, as a file: it came out of the server's own ``wsgi.file_wrapper``.

    What can merely be read may as well be the answer of another server, handed on for as long as that goes on.
    """
    if files is not None:
        return files.gave(body)
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None or isinstance(wrapper, type):
        return wrapper is not None and isinstance(body, wrapper)
    # A function for this request and not for one before: some layer outside does that, and nobody noted it down.
    return hasattr(body, "read")


class _FileFunction:
    """A ``wsgi.file_wrapper`` that is a function, as uWSGI's: what it makes cannot be told by its type.

    The app gets the very object that the server made: the server knows it again by that. The last one counts.
    """

    __slots__ = ("_given", "_wrapper")

    def __init__(self, wrapper: Callable[..., object]) -> None:
        self._wrapper = wrapper
        self._given: object = None

    def __call__(self, *args: object, **kwargs: object) -> object:
        self._given = self._wrapper(*args, **kwargs)
        return self._given

    def gave(self, body: object) -> bool:
        """Whether that is the one; asked once, since nothing is kept for longer."""
        given, self._given = self._given, None
        return body is given


class _Answer:
    """A whole answer of ours, framed; the body of an answer to HEAD stays here (RFC 9110 §9.3.2)."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, response: Response, method: str) -> None:
        self._status = status_line(response.status)
        self._headers = framed(response)
        self._body = [] if method == "HEAD" or not response.body else [response.body]

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self._status, self._headers)
        return self._body


def _request(environ: WSGIEnvironment) -> Request:
    path: str = environ.get("PATH_INFO", "")
    method: str = environ["REQUEST_METHOD"]
    return Request(
        kind_of(method, (environ.get("HTTP_UPGRADE", ""),)),
        method,
        path if path.isascii() else _decoded(path),
        environ.get("QUERY_STRING", ""),
        _Headers(environ),
        environ.get("HTTP_COOKIE", ""),
        environ.get("REMOTE_ADDR") or None,
        _Body(environ).read,
    )


def _decoded(path: str) -> str:
    """``PATH_INFO`` as text: PEP 3333 hands over bytes dressed as latin-1, which browsers mean as UTF-8."""
    try:
        return path.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return path  # a server that decoded already


class _Headers(Sequence[tuple[str, str]]):
    """The request headers, taken out of the environ when somebody looks: for a live session nobody does."""

    __slots__ = ("_environ", "_taken")

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._environ = environ
        self._taken: list[tuple[str, str]] | None = None

    def _all(self) -> list[tuple[str, str]]:
        if self._taken is None:
            self._taken = _headers(self._environ)
        return self._taken

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str] | list[tuple[str, str]]:
        return self._all()[index]


def _headers(environ: WSGIEnvironment) -> list[tuple[str, str]]:
    """The request headers; CGI keeps type and length apart, and some servers give them a second time as ``HTTP_``."""
    headers: list[tuple[str, str]] = []
    for key, value in environ.items():
        if key in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            if value:
                headers.append((key.lower().replace("_", "-"), value))
        elif key.startswith("HTTP_") and key not in {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"}:
            headers.append((key[5:].lower().replace("_", "-"), value))
    return headers


class _Body:
    """The request body, read for our own endpoints only, and never past its end: that blocks on some servers."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._environ = environ
        self._read: bytes | None = None
        self._most = 0

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises ``RequestError`` beyond ``limit`` bytes, or when it breaks off."""
        if self._read is None:
            self._read, self._most = self._take(limit), limit
        # Of a longer one only its beginning was read, whoever asks again.
        if len(self._read) > min(limit, self._most):
            raise RequestError("body_too_large", status=413)
        return self._read

    def _take(self, limit: int) -> bytes:
        environ = self._environ
        declared: str = environ.get("CONTENT_LENGTH") or ""
        if declared:
            # RFC 9110 §8.6: digits only; int() would also take "+1", "1_0" and foreign digits.
            if not (declared.isascii() and declared.isdigit()):
                raise RequestError("content_length_invalid")
            if len(declared) > 18 or int(declared) > limit:
                raise RequestError("body_too_large", status=413)
            body = self._up_to(int(declared))
            if len(body) < int(declared):
                raise RequestError("body_incomplete")
            return body
        if environ.get("wsgi.input_terminated"):
            return self._up_to(limit + 1)
        if environ.get("HTTP_TRANSFER_ENCODING"):
            raise RequestError("length_required", status=411)
        return b""

    def _up_to(self, count: int) -> bytes:
        source: InputStream = self._environ["wsgi.input"]
        parts: list[bytes] = []
        while count > 0:
            try:
                part = source.read(min(count, _CHUNK))
            except Exception as error:  # each server has its own for a client that went away or sent bad chunks
                raise RequestError("body_unreadable", type(error).__name__) from error
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)
