"""One connection to Redis or Valkey: publish, subscribe, hear. Every failure of it is a :class:`WireDown`.

The client library's connections are used without its pool and its retries: each side of the conversation has one
connection of its own and decides by itself when to try again.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self, cast

from jit_middleware.errors import ConfigurationError, Fault

SETTING: Final = "JIT_REDIS_URL"
#: Seconds that connecting, or the answer to one command, may take, unless the URL says otherwise.
PATIENCE: Final = 0.5


class WireDown(Exception):
    """Redis cannot be reached, does not answer, or refuses: ``args[0]`` is the kind of failure, never its text."""


class _Connection(Protocol):
    def connect(self) -> None: ...
    def send_command(self, *arguments: str | bytes) -> None: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def read_response(self) -> object: ...
    def disconnect(self) -> None: ...


class _Pool(Protocol):
    connection_kwargs: dict[str, object]

    def make_connection(self) -> _Connection: ...


class _Library(Protocol):
    RedisError: type[Exception]


class Address:
    """Where Redis is: ``redis://``, ``rediss://`` or ``unix://``, with the library's options in the query.

    Raises ``ConfigurationError`` for a URL that cannot be used, and when the library is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            redis = importlib.import_module("redis")
        except ImportError:
            raise _refusal("the library redis is not installed.", "pip install 'jit-middleware[redis]'.") from None
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        patience = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
        fixed = {
            "retry": Retry(NoBackoff(), 0),
            # Spoken by every version there is, and brings no messages that nobody asked for.
            "protocol": 2,
            # Messages are bytes, and the channel has one name for all.
            "decode_responses": False,
            "encoding": "utf-8",
            # We ask for signs of life ourselves: the library's own question has another answer while we listen.
            "health_check_interval": 0,
        }
        try:
            self._pool = cast("_Pool", redis.ConnectionPool.from_url(url, **patience, **fixed))
            self._pool.connection_kwargs.update(fixed)  # whatever the query says
            self._pool.make_connection().disconnect()
            # A name that cannot be one is found at the first connection only, and is no failure of the network then.
            str(self._pool.connection_kwargs.get("host", "")).encode("idna")
        except (ValueError, TypeError):
            # The text itself may hold a password: it is not repeated.
            fix = "write it like redis://user:password@host:6379/0, rediss://… or unix:///path."
            raise _refusal("it is not a URL that the library understands.", fix) from None
        except redis.RedisError as error:
            raise _refusal(f"it cannot be used here ({type(error).__name__}).", "check its options.") from None
        self.failures: tuple[type[Exception], ...] = (cast("_Library", redis).RedisError, OSError)

    def open(self) -> Wire:
        """A new connection. Raises ``WireDown``."""
        return Wire(self._pool.make_connection(), self.failures)


class Wire:
    """An open connection; a context manager that closes it."""

    def __init__(self, connection: _Connection, failures: tuple[type[Exception], ...]) -> None:
        self._connection = connection
        self._failures = failures
        try:
            connection.connect()
        except failures as error:
            connection.disconnect()
            raise WireDown(type(error).__name__) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(self, channel: str, message: bytes) -> None:
        """Say it to all who listen now. Raises ``WireDown``; then nobody knows who heard it."""
        self._send("PUBLISH", channel, message)
        self._read()

    def subscribe(self, channel: str) -> None:
        """Return when everything said from now on will be heard. Raises ``WireDown``."""
        self._send("SUBSCRIBE", channel)
        self._read()

    def ping(self) -> None:
        """Ask for a sign of life, which :meth:`hear` answers with ``b""``. Raises ``WireDown``."""
        self._send("PING")

    def hear(self, timeout: float) -> bytes | None:
        """The next message, or ``b""`` for any other sign of life; ``None`` after so many seconds of silence.

        Raises ``WireDown``.
        """
        try:
            if not self._connection.can_read(timeout):
                return None
        except self._failures as error:
            raise WireDown(type(error).__name__) from None
        said = self._read()
        if isinstance(said, Sequence) and len(cast("Sequence[object]", said)) == 3:
            kind, _, message = cast("Sequence[object]", said)
            if kind == b"message" and isinstance(message, bytes):
                return message
        return b""

    def close(self) -> None:
        """Let go of the socket."""
        self._connection.disconnect()

    def _send(self, *command: str | bytes) -> None:
        try:
            self._connection.send_command(*command)
        except self._failures as error:
            raise WireDown(type(error).__name__) from None

    def _read(self) -> object:
        try:
            return self._connection.read_response()
        except self._failures as error:
            raise WireDown(type(error).__name__) from None


def problem_with(url: str, channel: str) -> str | None:
    """Why workers could not hear each other there: what came back from saying something to oneself; ``None`` when they
    could. Raises ``ConfigurationError`` for a URL that cannot be used."""
    address = Address(url)
    try:
        with address.open() as ear, address.open() as mouth:
            ear.subscribe(channel)
            mouth.publish(channel, b"check")
            # Others may be talking.
            heard = iter(lambda: ear.hear(PATIENCE), None)
            return None if b"check" in heard else "a message was lost"
    except WireDown as down:
        return str(down)


def _refusal(problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError([Fault(SETTING, problem, fix)])
