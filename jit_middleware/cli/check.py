"""``check``: is the configuration right, and with ``--live``, do the identity providers and the database agree?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from jit_middleware.cli.interrupts import run
from jit_middleware.cli.live import check_connection, check_database, check_redis, check_user_store
from jit_middleware.cli.live_saml import check_saml
from jit_middleware.cli.step import Step
from jit_middleware.cli.terminal import DONE, NO, complain, json_option, say, say_json, time_text
from jit_middleware.model import JSON
from jit_middleware.outside import open_transport
from jit_middleware.pages import Pages
from jit_middleware.pages.misspelt import misspelt_templates
from jit_middleware.settings import OIDCConnection, Rate, SAMLConnection, Settings
from jit_middleware.settings.database import database_file
from jit_middleware.settings.values import as_written
from jit_middleware.system import SystemClock

NAME = "check"
HELP = "Check the settings; with --live, prove them against the identity providers and the database."
_LENGTH = "_seconds"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--live",
        action="store_true",
        help="also ask the identity providers and the database",
    )
    json_option(parser)
    parser.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    settings = Settings.load()
    _try_templates(settings)
    warnings = [*settings.warnings(), *misspelt_templates(settings.templates)]
    notes = [*settings.notes(), *_notes(settings)]
    steps: Sequence[Step] = _live(settings) if arguments.live else ()
    is_good = all(step.ok for step in steps)
    if arguments.json:
        say_json(
            {
                "ok": is_good,
                "settings": in_force(settings),
                "warnings": warnings,
                "notes": notes,
                "steps": [{"name": each.name, "ok": each.ok, "detail": each.detail, "fix": each.fix} for each in steps],
            }
        )
        return DONE if is_good else NO
    for name, value in in_force(settings).items():
        say(f"{name.removesuffix(_LENGTH)}: {_shown(value, name)}")
    complain(*(f"warning: {sentence}" for sentence in warnings))
    complain(*(f"note: {sentence}" for sentence in notes))
    for step in steps:
        say(f"{'ok  ' if step.ok else 'FAIL'}  {step.name}: {step.detail}", *([] if step.ok else [f"      {step.fix}"]))
    if not arguments.live:
        say("The settings are complete. `jit-middleware check --live` asks the providers and the database.")
    return DONE if is_good else NO


def _try_templates(settings: Settings) -> None:
    """Raises ``ConfigurationError`` for a template that the start would refuse."""
    prefix = settings.public_url.mount + settings.endpoint_prefix
    Pages(app_name=settings.app_name, prefix_url=prefix, templates=settings.templates)


def _notes(settings: Settings) -> Iterator[str]:
    """What only a command can say: here, and not where the service runs."""
    file = database_file(settings.database_url)
    # As it is written: three slashes, or a driver's own form
    if file is not None and str(file) not in settings.database_url:
        yield (
            f"JIT_DATABASE_URL is relative: from this directory it is {file}, and from any other it is another "
            f"database. Write sqlite:///{file} if that is the one."
        )


def _live(settings: Settings) -> list[Step]:
    return [
        *run(lambda _: _ask_providers(settings)),
        check_database(settings),
        *check_user_store(settings),
        *check_redis(settings),
    ]


async def _ask_providers(settings: Settings) -> list[Step]:
    clock = SystemClock()
    transport = open_transport(settings, "wsgi", clock)
    steps: list[Step] = []
    try:
        for connection in settings.connections:
            if isinstance(connection, SAMLConnection):
                steps.extend(await check_saml(connection, settings, transport=transport, clock=clock))
            else:
                own = settings.public_url.join(f"{settings.endpoint_prefix}/callback/{connection.name}")
                asked = check_connection(
                    connection, transport=transport, clock=clock, step_up=settings.step_up, redirect_uri=own
                )
                steps.extend(await asked)
    finally:
        await transport.close()
    return steps


def in_force(settings: Settings) -> dict[str, JSON]:
    """What is in force, by the names operators know; no secrets."""
    provisioning, paths = settings.provisioning, settings.paths
    return {
        "public_url": settings.public_url.join(""),
        "endpoint_prefix": settings.endpoint_prefix,
        "secret_keys": len(settings.secret_keys),
        "connections": [_connection(connection, settings) for connection in settings.connections],
        "database": settings.database_label,
        "database_file": None if (file := database_file(settings.database_url)) is None else str(file),
        "redis": settings.redis_label,
        "user_store": settings.user_store,
        "public_paths": paths.public,
        "optional_paths": paths.optional,
        "api_paths": paths.api,
        "provisioning": provisioning.mode,
        "initial_status": provisioning.initial_status.value,
        "link_policy": provisioning.link_policy,
        "link_until": None if provisioning.link_until is None else time_text(provisioning.link_until),
        "link_excluded_roles": provisioning.link_excluded_roles,
        "sync": provisioning.sync,
        "default_roles": provisioning.default_roles,
        "role_rules": [{"when": rule.when, "grant": rule.grant} for rule in provisioning.role_rules],
        "group_roles": {group: list(roles) for group, roles in provisioning.group_roles.items()},
        "role_catalogue": provisioning.role_catalogue,
        "privileged_roles": provisioning.privileged_roles,
        "role_sync": provisioning.role_sync,
        "allowed_domains": provisioning.allowed_domains,
        "required_groups": provisioning.required_groups,
        "claim_filter": provisioning.claim_filter or None,
        "seat_limit": provisioning.seat_limit,
        "seats_when_full": provisioning.seats_when_full,
        "minimal_role": provisioning.minimal_role,
        "creation_rate": _rate(provisioning.creation_rate),
        "creation_alarm": _rate(provisioning.creation_alarm),
        "session_idle_seconds": settings.session.idle,
        "session_absolute_seconds": settings.session.absolute,
        "step_up": [
            {"paths": rule.paths, "acr": rule.acr, "max_age_seconds": rule.max_age} for rule in settings.step_up
        ],
        "revocation_max_staleness_seconds": settings.revocation_max_staleness,
        "revocation_grace_seconds": settings.revocation_grace,
        "inject": [*settings.inject.presets, *(f"{name}={source}" for name, source in settings.inject.headers)],
        "app_cookies": settings.inject.app_cookies,
        "trusted_proxies": settings.trusted_proxies.count or [str(each) for each in settings.trusted_proxies.networks],
        "private_hosts": settings.private_hosts,
        "app_name": settings.app_name,
        "app": settings.app,
        "templates": settings.templates,
        "insecure": settings.insecure,
    }


def _rate(rate: Rate | None) -> str | None:
    return None if rate is None else f"{rate.count}/{as_written(rate.seconds)}"


def _connection(connection: OIDCConnection | SAMLConnection, settings: Settings) -> dict[str, JSON]:
    own = f"{settings.public_url.join(settings.endpoint_prefix)}/{{}}/{connection.name}"
    if isinstance(connection, SAMLConnection):
        return {
            "name": connection.name,
            "idp_metadata": "inline" if connection.metadata_is_inline else connection.idp_metadata,
            "sp_entity_id": connection.sp_entity_id or own.format("metadata"),
            "acs_url": own.format("acs"),
            "metadata_url": own.format("metadata"),
            "subject": str(connection.subject),
            "idp_initiated": "allowed" if connection.allow_idp_initiated else "refused",
            "encryption": "accepted" if connection.sp_keys else "refused",
            "single_logout": "on" if connection.sp_keys else "off",
            "preset": connection.preset,
            "tenant": connection.tenant,
        }
    return {
        "name": connection.name,
        "issuer": connection.issuer,
        "client_id": connection.client_id,
        "redirect_uri": own.format("callback"),
        "credential": "private key" if connection.private_key is not None else "client secret",
        "scopes": connection.scopes,
        "needed_claims": connection.needed_claims,
        "session_ceiling": connection.session_ceiling,
        "refresh_probe_seconds": connection.refresh_probe,
        "tenant": connection.tenant,
    }


def _shown(value: JSON, name: str = "") -> str:
    """As one writes it: ``name`` tells what is a length of time."""
    match value:
        case None:
            return "-"
        case int() | float() if name.endswith(_LENGTH):
            return as_written(value)
        case str() | int() | float():
            return str(value)
        case dict():
            return ", ".join(f"{key.removesuffix(_LENGTH)} {_shown(inner, key)}" for key, inner in value.items()) or "-"
        case _:
            return "; ".join(_shown(inner) for inner in value) or "-"
