"""The steps of ``check --live``: each asks one thing of the world and says what to do when the answer is no."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Final, cast
from urllib.parse import urlsplit

from jit_middleware.cli.conversation import absent_file, converse
from jit_middleware.cli.finding import outside_store
from jit_middleware.cli.live_client import check_client
from jit_middleware.cli.step import Step
from jit_middleware.errors import AdapterError, ConfigurationError, ProviderUnavailable
from jit_middleware.ports import Clock, Fetch, Fetched, Ledger, Transport
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings, StepUpRule
from jit_middleware.settings.database import database_fault
from jit_middleware.settings.values import as_written

_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_REACH: Final = "check the issuer, DNS, the firewall and the provider's certificate from this machine."
#: By the reason for which a provider cannot be asked.
_WAYS_OUT: Final = {
    "name_unresolved": "check the host for typing errors, and the name server that this machine asks.",
    "connection_refused": "check host and port, and that the provider runs.",
    "certificate_untrusted": "name the authority that signed its certificate in SSL_CERT_FILE, or ask its operator for "
    "a certificate that is valid for this host.",
    "deadline": "check that the firewall lets this machine reach the host.",
    "url_forbidden": "write an https address; a private one of your network must be named in JIT_PRIVATE_HOSTS.",
    "redirected": "write the address that it leads to.",
}


async def check_connection(
    connection: OIDCConnection,
    *,
    transport: Transport,
    clock: Clock,
    step_up: Sequence[StepUpRule] = (),
    redirect_uri: str | None = None,
) -> list[Step]:
    """Discovery, what it promises, the keys and the clock of one provider; with our ``redirect_uri``, also whether it
    accepts the client. What needs a failed step is left out."""
    name = connection.name
    discovery = f"{connection.issuer.removesuffix('/')}/.well-known/openid-configuration"
    answer = await _get(transport, discovery)
    if isinstance(answer, tuple):
        detail, fix = answer
        fix = fix or "is the path of the issuer right? What follows its host belongs to it, as the provider writes it."
        return [Step(f"{name} discovery", False, f"{discovery}: {detail}.", fix)]
    metadata = _object(answer.body)
    if metadata is None:
        return [Step(f"{name} discovery", False, f"{discovery} is not a JSON object.", "check the issuer.")]
    steps = [
        Step(f"{name} discovery", True, discovery),
        _issuer(connection, metadata),
        compare_clocks(connection, answer, clock.now()),
        *_promises(connection, metadata),
        *check_step_up(connection.name, step_up, _texts(metadata.get("acr_values_supported"))),
        *_probe(connection, metadata),
    ]
    jwks_uri = metadata.get("jwks_uri")
    if isinstance(jwks_uri, str):
        steps.append(await _keys(connection, transport, jwks_uri))
    if redirect_uri is not None:
        asked = check_client(connection, metadata, transport=transport, clock=clock, redirect_uri=redirect_uri)
        steps.append(await asked)
    return steps


def check_step_up(name: str, rules: Sequence[StepUpRule], offered: Sequence[str] | None) -> list[Step]:
    """A word on each rule whose classes the provider does not offer; its people cannot reach those paths.

    No failure: they may not be meant to. ``offered`` ``None``: the provider does not say.
    """
    steps: list[Step] = []
    for rule in rules:
        if rule.acr and offered is not None and not set(rule.acr).intersection(offered):
            paths, wanted = " ".join(rule.paths), " ".join(rule.acr)
            detail = (
                f"warning: nobody from here reaches {paths}: offered is {' '.join(offered) or 'nothing'}, not {wanted}"
            )
            steps.append(Step(f"{name} step-up", True, detail))
    if rules and not steps:
        steps.append(Step(f"{name} step-up", True, "nothing that the rules name is known to be missing"))
    return steps


def _probe(connection: OIDCConnection, metadata: Mapping[str, object]) -> list[Step]:
    """Whether the refresh probe can work, as far as the provider says."""
    if connection.refresh_probe is None:
        return []
    name = f"{connection.name} refresh probe"
    grants = _texts(metadata.get("grant_types_supported"))
    if grants is not None and "refresh_token" not in grants:
        return [Step(name, False, "the provider offers no refresh tokens.", "remove refresh_probe.")]
    scopes = _texts(metadata.get("scopes_supported")) or ()
    if "offline_access" in scopes and "offline_access" not in connection.scopes:
        detail = "warning: the provider has the scope offline_access, and it is not asked for"
        return [Step(name, True, f"{detail}: without it there may be no refresh token")]
    return [Step(name, True, f"asks every {as_written(connection.refresh_probe)}")]


def check_database(settings: Settings) -> Step:
    """The database answers as soon as a request needs it to, and its schema is the one this version needs; a missing
    one is left to the first start."""
    from jit_middleware_sqlalchemy import schema_version

    async def question(ledger: Ledger) -> None:
        await ledger.read_feed(None)

    label = settings.database_label
    try:
        absent = absent_file(settings)
        if absent is not None and os.access(absent.parent, os.W_OK | os.X_OK):
            # Not made now: this may be root, or another directory than the service's.
            return Step("database", True, f"{absent} is not there yet; the first start will make it")
        version = schema_version(settings.database_url)
        if version is None:
            return Step("database", True, f"{label} answers; the first start will make the schema")
        # Without Redis, which has a step of its own
        converse(replace(settings, redis_url=None), question, patient=False)
    except ConfigurationError as error:
        return Step("database", False, " ".join(fault.problem for fault in error.faults), error.faults[0].fix)
    except AdapterError as error:
        fault = database_fault(settings, error)
        return Step("database", False, fault.problem, f"{fault.setting}: {fault.fix}")
    return Step("database", True, f"{label} answers; its schema {version} is the current one")


def check_user_store(settings: Settings) -> list[Step]:
    """Whether the store that ``JIT_USER_STORE`` names can be made; nothing to check with the default one."""
    if settings.user_store == "default":
        return []
    try:
        outside_store(settings)
    except ConfigurationError as error:
        return [Step("user store", False, " ".join(fault.problem for fault in error.faults), error.faults[0].fix)]
    return [Step("user store", True, f"{settings.user_store} is there")]


def check_redis(settings: Settings) -> list[Step]:
    """Whether workers can hear each other where ``JIT_REDIS_URL`` leads; nothing to check without it."""
    if settings.redis_url is None:
        return []
    from jit_middleware.outside import neighbours_channel
    from jit_middleware_redis import problem_with

    label = settings.redis_label or ""
    try:
        problem = problem_with(settings.redis_url, neighbours_channel(settings))
    except ConfigurationError as error:
        return [Step("redis", False, " ".join(fault.problem for fault in error.faults), error.faults[0].fix)]
    if problem is None:
        return [Step("redis", True, f"{label} hands on what workers tell each other")]
    fix = (
        "check JIT_REDIS_URL, that the server runs, and that the user may PUBLISH and SUBSCRIBE on jit:*. Until then "
        "revocations take up to JIT_REVOCATION_MAX_STALENESS."
    )
    return [Step("redis", False, f"{label}: {problem}.", fix)]


async def _get(transport: Transport, url: str) -> Fetched | tuple[str, str]:
    """The answer; or what is wrong, and what to do when that lies on the way there, not with the address."""
    try:
        answer = await transport.fetch(Fetch(url, headers={"accept": "application/json"}))
    except ProviderUnavailable as error:
        return str(error), way_out(error)
    if answer.status == 200:
        return answer
    fix = "look into the provider's own log." if answer.status >= 500 else ""
    return f"the answer has status {answer.status}", fix


def way_out(error: ProviderUnavailable) -> str:
    """What to do about a provider that cannot be asked."""
    return _WAYS_OUT.get(error.reason, _REACH)


def _issuer(connection: OIDCConnection, metadata: Mapping[str, object]) -> Step:
    said = metadata.get("issuer")
    if said == connection.issuer:  # OIDC Discovery §4.3: identical, a slash at the end counts
        return Step(f"{connection.name} issuer", True, connection.issuer)
    fix = f"set the issuer to exactly {said}, if that is the provider meant." if isinstance(said, str) else _REACH
    return Step(
        f"{connection.name} issuer", False, f"the provider calls itself {said!r}, not {connection.issuer!r}.", fix
    )


def compare_clocks(connection: OIDCConnection | SAMLConnection, answer: Fetched, now: int) -> Step:
    """Whether the provider's clock, as its answer shows it, is near enough to ours."""
    name = f"{connection.name} clock"
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return Step(name, True, "not compared: the provider sends no date")
    away = int(theirs.timestamp()) - now
    allowed = connection.clock_skew
    if abs(away) <= allowed:
        return Step(name, True, f"the provider's clock is {away:+d}s from ours ({allowed}s are allowed)")
    fix = "set this machine's clock by NTP; if the provider is the one who is off, raise clock_skew (at most 5m)."
    return Step(name, False, f"the provider's clock is {away:+d}s from ours, and {allowed}s are allowed.", fix)


def _promises(connection: OIDCConnection, metadata: Mapping[str, object]) -> list[Step]:
    name = connection.name
    missing = [key for key in _ENDPOINTS if not isinstance(metadata.get(key), str)]
    open_ones = [key for key in _ENDPOINTS if key not in missing and _is_weaker(str(metadata[key]), connection.issuer)]
    if missing or open_ones:
        detail = "; ".join(
            (*(f"{key} is missing" for key in missing), *(f"{key} is not https" for key in open_ones)),
        )
        steps = [Step(f"{name} endpoints", False, f"{detail}.", "ask the provider's operator to correct its metadata.")]
    else:
        steps = [Step(f"{name} endpoints", True, "authorization, token and keys")]
    algorithms = _texts(metadata.get("id_token_signing_alg_values_supported"))
    steps.append(
        _overlap(f"{name} algorithms", connection.algorithms, algorithms, "accept one of them with JIT_OIDC_ALGORITHMS")
    )
    if (challenges := _texts(metadata.get("code_challenge_methods_supported"))) is not None:
        steps.append(_overlap(f"{name} PKCE", ("S256",), challenges, "allow PKCE with S256 at the provider (RFC 7636)"))
    if connection.client_auth is not None:
        methods = _texts(metadata.get("token_endpoint_auth_methods_supported"))
        steps.append(
            _overlap(f"{name} client auth", (connection.client_auth,), methods, "choose one of them as client_auth")
        )
    if connection.response_mode is not None:
        modes = _texts(metadata.get("response_modes_supported"))
        steps.append(_overlap(f"{name} response mode", (connection.response_mode,), modes, "choose one of them"))
    return steps


def _overlap(name: str, wanted: Sequence[str], offered: Sequence[str] | None, fix: str) -> Step:
    """Whether the provider offers something that is wanted; what it does not mention is not held against it."""
    if offered is None:
        return Step(name, True, f"{' '.join(wanted)} (the provider does not say what it offers)")
    both = [each for each in wanted if each in offered]
    if both:
        return Step(name, True, " ".join(both))
    return Step(name, False, f"wanted is {' '.join(wanted)}, offered is {' '.join(offered) or 'nothing'}.", f"{fix}.")


async def _keys(connection: OIDCConnection, transport: Transport, jwks_uri: str) -> Step:
    name = f"{connection.name} keys"
    answer = await _get(transport, jwks_uri)
    if isinstance(answer, tuple):
        detail, fix = answer
        return Step(name, False, f"{jwks_uri}: {detail}.", fix or "ask the provider's operator.")
    keys = (_object(answer.body) or {}).get("keys")
    found = cast("Sequence[object]", keys) if isinstance(keys, list) else ()
    count = sum(_signs(key) for key in found)
    if count:
        return Step(name, True, f"{count} for signatures")
    return Step(name, False, f"{jwks_uri} holds no public key for signatures.", "ask the provider's operator.")


def _signs(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    key = cast("Mapping[str, object]", value)
    return key.get("kty") in {"RSA", "EC", "OKP"} and key.get("use") in {None, "sig"}


def _is_weaker(endpoint: str, issuer: str) -> bool:
    """Whether an endpoint does without TLS although the issuer has it."""
    return urlsplit(endpoint).scheme != "https" and urlsplit(issuer).scheme == "https"


def _object(body: bytes) -> Mapping[str, object] | None:
    try:
        found = cast("object", json.loads(body))
    except (ValueError, RecursionError):
        return None
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else None


def _texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(each for each in cast("Sequence[object]", value) if isinstance(each, str))
