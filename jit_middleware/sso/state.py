"""Logins in flight: one sealed cookie for each, at most five, for ten minutes and one use.

The state is bound to the browser because it lives in the browser's cookie and nowhere else (RFC 9700 §4.7.1); it is
bound to the connection because the connection's name is sealed in. One use is the ledger's once-key, taken in the same
transaction that starts the session.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from hmac import compare_digest
from typing import cast

from jit_middleware.http.cookies import CookieSpec, names, values
from jit_middleware.keyring import Envelope
from jit_middleware.model import LinkProof, OnceKey, StepUp
from jit_middleware.ports import Clock, TokenSource
from jit_middleware.sso.strategy import LoginState, Strategy

LIFETIME = 600
AT_MOST = 5
_CLAIMS_KEPT = 10_000
_SESSIONS_KEPT = 4
_STATE = re.compile(r"[A-Za-z0-9_-]{32,64}\.\d{1,2}", re.ASCII)
_ROOM = 6_000
_SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,8}")
_NAMES = tuple(field.name for field in fields(LoginState))
_JSON = json.JSONEncoder(separators=(",", ":"))


class LoginStates:
    """Makes, keeps and finds the logins in flight of a browser."""

    def __init__(self, envelope: Envelope, *, secure: bool, clock: Clock, tokens: TokenSource) -> None:
        self._envelope = envelope
        self._secure = secure
        self._clock = clock
        self._tokens = tokens
        self._claimed: dict[str, object] = {}
        self.prefix = "__Host-jit-login-" if secure else "jit-login-"

    def begin(
        self,
        connection: str,
        target: str,
        *,
        restarts: int = 0,
        someone_else: bool = False,
        hops: int = 0,
        replaces: tuple[str, ...] = (),
        proof: LinkProof | None = None,
        step_up: StepUp | None = None,
    ) -> LoginState:
        """A fresh login in flight. The count of restarts rides in ``state``, for a browser that loses its cookie."""
        return LoginState(
            connection=connection,
            state=f"{self._tokens(24)}.{restarts}",
            nonce=self._tokens(24),
            code_verifier=self._tokens(48),
            target=target,
            created_at=self._clock.now(),
            someone_else=someone_else,
            hops=hops,
            replaces=replaces,
            proof=proof,
            step_up=step_up,
        )

    def keep(self, login: LoginState, strategy: Strategy, cookie: str) -> list[tuple[str, str]]:
        """The Set-Cookie headers that bind this login to the browser, and drop its oldest ones beyond five."""
        sealed = self._envelope.seal(_written(login), self._clock.now())
        kept = self._spec(login.state, strategy).set(sealed)
        return [kept, *(self._named(name, strategy).clear() for name in self._surplus(cookie, len(sealed)))]

    def _surplus(self, cookie: str, size: int) -> list[str]:
        """Which logins in flight make room: servers refuse a request whose headers have grown beyond some kilobytes."""
        present = [name for name in names(cookie, self.prefix) if _SUFFIX.fullmatch(name, len(self.prefix))]
        sizes = [sum(map(len, values(cookie, name))) for name in present]
        gone: list[str] = []
        # RFC 6265 §5.4: browsers send the cookies made first, first.
        while len(present) - len(gone) >= AT_MOST or (
            len(gone) < len(present) and sum(sizes[len(gone) :]) + size > _ROOM
        ):
            gone.append(present[len(gone)])
        return gone[: 2 * AT_MOST]

    def find(self, cookie: str, connection: str, state: str) -> LoginState | None:
        """The login that this ``state`` belongs to, if this browser began it, for this connection, in time."""
        for sealed in values(cookie, self.prefix + _suffix(state)):
            text = self._envelope.open(sealed, now=self._clock.now(), max_age=LIFETIME)
            if text is None:
                continue
            login = _read(text)
            if (
                login is not None
                and login.connection == connection
                and compare_digest(login.state.encode(), state.encode("utf-8", "replace"))
            ):
                return login
        return None

    def tell_others(
        self, session_id: str, cookie: str, strategies: Mapping[str, Strategy], *, finished: str | None
    ) -> list[tuple[str, str]]:
        """The Set-Cookie headers by which this browser's other logins in flight learn of the session that has begun.

        An answer that comes as a cross-site POST does not show it, and it is to end when that one begins.
        """
        headers: list[tuple[str, str]] = []
        if all(strategy.answer != "form_post" for strategy in strategies.values()):
            return headers  # nobody to tell: the cookies stay sealed
        for name in names(cookie, self.prefix)[:AT_MOST]:
            for sealed in values(cookie, name)[:1]:
                text = self._envelope.open(sealed, now=self._clock.now(), max_age=LIFETIME)
                login = None if text is None else _read(text)
                strategy = None if login is None else strategies.get(login.connection)
                if login is None or strategy is None or strategy.answer != "form_post" or login.state == finished:
                    continue
                told = replace(login, replaces=(*login.replaces, session_id)[-_SESSIONS_KEPT:])
                again = self._envelope.seal(_written(told), login.created_at)
                headers.append(self._spec(login.state, strategy).set(again))
        return headers

    def claim(self, state: str) -> bool:
        """Whether this process sees the state's answer for the first time, so that a reload sends no code twice.

        The ledger's once-key is the guarantee across processes; this saves the provider the second call.
        """
        if len(self._claimed) >= _CLAIMS_KEPT:
            for old in list(self._claimed)[: _CLAIMS_KEPT // 4]:
                self._claimed.pop(old, None)
        mine = object()
        return self._claimed.setdefault(state, mine) is mine

    def was_claimed(self, state: str) -> bool:
        """Whether this process has seen the state's answer before."""
        return state in self._claimed

    def forget(self, state: str, strategy: Strategy) -> tuple[str, str]:
        return self._spec(state, strategy).clear()

    def _spec(self, state: str, strategy: Strategy) -> CookieSpec:
        return self._named(self.prefix + _suffix(state), strategy)

    def _named(self, name: str, strategy: Strategy) -> CookieSpec:
        # A form_post answer is a cross-site POST: only SameSite=None reaches it, and browsers want Secure with that,
        # which they accept on loopback http as well.
        crosses = strategy.answer == "form_post"
        return CookieSpec(
            name=name,
            secure=self._secure or crosses,
            same_site="None" if crosses else "Lax",
            max_age=LIFETIME,
        )


def _written(login: LoginState) -> str:
    """What is sealed."""
    values: dict[str, object] = {name: getattr(login, name) for name in _NAMES}
    for name, part in (("proof", login.proof), ("step_up", login.step_up)):
        if part is not None:
            values[name] = asdict(part)  # these are rare: the rest needs no deep copy
    return _JSON.encode(values)


def _read(text: str) -> LoginState | None:
    """What was sealed; ``None`` when another version of this software sealed it."""
    fields: dict[str, object] = json.loads(text)
    fields["replaces"] = tuple(cast("list[str]", fields.get("replaces", [])))
    try:
        fields["proof"] = _read_proof(fields.get("proof"))
        fields["step_up"] = _read_step_up(fields.get("step_up"))
        return cast("Callable[..., LoginState]", LoginState)(**fields)
    except (TypeError, KeyError):
        return None


def _read_proof(value: object) -> LinkProof | None:
    if value is None:
        return None
    fields = cast("dict[str, object]", value)
    once = cast("Callable[..., OnceKey]", OnceKey)(**cast("dict[str, object]", fields["once"]))
    return cast("Callable[..., LinkProof]", LinkProof)(**{**fields, "once": once})


def _read_step_up(value: object) -> StepUp | None:
    if value is None:
        return None
    fields = cast("dict[str, object]", value)
    return cast("Callable[..., StepUp]", StepUp)(**{**fields, "acr": tuple(cast("list[str]", fields["acr"]))})


def is_state(text: str) -> bool:
    """Whether this could be a ``state`` of ours, and not something that a provider made up itself."""
    return _STATE.fullmatch(text) is not None


def restarts_of(state: str) -> int:
    """How often this login was begun anew because its cookie did not come back; junk counts as often enough."""
    _, _, count = state.rpartition(".")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 3 else 99


def _suffix(state: str) -> str:
    head = state[:8]
    return head if head.isascii() and head.replace("-", "").replace("_", "").isalnum() else "none"
