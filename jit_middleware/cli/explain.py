"""``explain``: what would become of a person with these claims, rule by rule; or what became of one, from the trail."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from jit_middleware.audit.export import as_json
from jit_middleware.cli.connections import named_connection
from jit_middleware.cli.conversation import absent_file, converse
from jit_middleware.cli.finding import look_here
from jit_middleware.cli.terminal import DONE, NO, WrongUse, complain, json_option, say, say_json, time_text
from jit_middleware.errors import VerificationError
from jit_middleware.model import JSON, AuditEvent, Grant, VerifiedIdentity
from jit_middleware.ports import Ledger
from jit_middleware.provisioning import Policy
from jit_middleware.provisioning.explain import Explanation, explain
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings

NAME = "explain"
HELP = "Say what a login with these claims would come to and why, changing nothing; or what a login came to."
_LARGEST: Final = 262_144
_OUTCOMES: Final = {
    "created": "a new user is created",
    "linked": "the identity is linked to an account that is there",
    "returning": "the user that this identity is linked to signs in",
    "refused": "nobody is signed in",
}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "claims",
        metavar="CLAIMS.json",
        nargs="?",
        help="a file with the claims: of an ID token, or a SAML assertion's name_id and attributes; - reads them here",
    )
    parser.add_argument("--connection", metavar="NAME", help="the connection; may be left out when there is one")
    parser.add_argument("--reference", metavar="REF", help="instead: the reference of a login, as on its error page")
    json_option(parser)
    parser.set_defaults(command=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    claims: str | None = arguments.claims
    reference: str | None = arguments.reference
    if (claims is None) == (reference is None):
        raise WrongUse("Give either a file with claims (or - to paste them), or a --reference.")
    settings = Settings.load()
    if reference is not None:
        return _from_the_trail(settings, reference, as_lines=not arguments.json)
    connection = named_connection(settings, arguments.connection)
    identity = _identity(connection, settings, _document(claims or "-"))
    explanation = _rehearse(settings, connection, identity)
    if arguments.json:
        say_json(_as_json(explanation))
    else:
        say(*_as_text(explanation))
    return NO if explanation.refusal is not None else DONE


def _document(source: str) -> Mapping[str, JSON]:
    try:
        text = sys.stdin.read(_LARGEST + 1) if source == "-" else Path(source).read_text("utf-8")
        document: object = json.loads(text) if len(text) <= _LARGEST else None
    except OSError as broken:
        raise WrongUse(f"{source} cannot be read ({broken.strerror}).") from broken
    except (ValueError, RecursionError) as broken:
        raise WrongUse("The claims are not JSON (UTF-8).") from broken
    if not isinstance(document, dict):
        raise WrongUse('The claims are not a JSON object such as {"sub": "..."} of at most 256 KiB.')
    return cast("Mapping[str, JSON]", document)


def _identity(
    connection: OIDCConnection | SAMLConnection, settings: Settings, document: Mapping[str, JSON]
) -> VerifiedIdentity:
    try:
        if isinstance(connection, OIDCConnection):
            from jit_middleware.sso.oidc.pasted import pasted_identity as pasted

            return pasted(document, connection)
        from jit_middleware.sso.saml.pasted import pasted_identity

        own = settings.public_url.join(f"{settings.endpoint_prefix}/metadata/{connection.name}")
        return pasted_identity(
            document,
            connection,
            idp_entity_id=connection.idp_entity_id,
            sp_entity_id=connection.sp_entity_id or own,
        )
    except VerificationError as refused:
        raise WrongUse(f"No login gets as far as that with these claims: {refused}.") from refused


def _rehearse(
    settings: Settings, connection: OIDCConnection | SAMLConnection, identity: VerifiedIdentity
) -> Explanation:
    from jit_middleware.assembly import open_provisioner

    look_here()

    async def question(ledger: Ledger) -> Explanation:
        return await explain(open_provisioner(settings, ledger), Policy.of(connection), identity)

    with _somewhere(settings) as asked:
        return converse(asked, question)


@contextmanager
def _somewhere(settings: Settings) -> Generator[Settings]:
    """The settings, with a new database for as long as this lasts where the service has not made its own yet."""
    absent = absent_file(settings)
    if absent is None:
        yield settings
        return
    complain(f"note: there is no database {absent}: this is what the first login of all would come to.")
    with TemporaryDirectory() as directory:
        new = Path(directory, "jit.db")
        new.touch()
        yield replace(settings, database_url=f"sqlite:///{new}")


# --- from the trail -----------------------------------------------------------------------------------------------


def _from_the_trail(settings: Settings, reference: str, *, as_lines: bool) -> int:
    async def question(ledger: Ledger) -> Sequence[AuditEvent]:
        return await ledger.list_audit(reference=reference)

    events = converse(settings, question)
    if not events:
        complain(f"The audit trail knows no reference {reference!r}.")
        return NO
    if not as_lines:
        say_json([as_json(event) for event in events])
        return DONE
    for event in events:
        say(f"{time_text(event.at)}  {event.type}  {event.outcome}{'' if event.reason is None else f' {event.reason}'}")
        say(*(f"    {name}: {_short(value)}" for name, value in event.data.items() if name != "path" and value))
        path = event.data.get("path")
        say(*(f"    {step}" for step in path) if isinstance(path, list) else ())
    return DONE


def _short(value: JSON) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# --- what is said -------------------------------------------------------------------------------------------------


def _as_text(explanation: Explanation) -> list[str]:
    identity, mapped, arrival = explanation.identity, explanation.mapped, explanation.arrival
    lines = [f"identity   {identity.connection}: {identity.subject} at {identity.issuer}", ""]
    if mapped is not None:
        vouched = "vouched for" if mapped.email_verified else "nobody vouches for it"
        groups = mapped.groups_state if mapped.groups is None else ", ".join(mapped.groups) or "none"
        lines += [
            f"username   {mapped.username}",
            f"e-mail     {'-' if mapped.email is None else f'{mapped.email} ({vouched})'}",
            f"name       {mapped.display_name or '-'}",
            f"groups     {groups}",
            *(f"{name:<10} {_short(value)}" for name, value in mapped.attributes.items()),
            "",
        ]
    lines += [f"{'step':<9}  {step}" for step in explanation.steps]
    lines += ["", f"outcome    {_OUTCOMES[explanation.outcome]}"]
    if explanation.refusal is not None:
        lines += [f"reason     {explanation.refusal.reason}: {explanation.refusal.detail}"]
    if arrival is not None:
        lines += [f"user       {arrival.user.username} ({arrival.user.id}), {arrival.user.status.value}"]
        lines += [
            f"role       {grant.role} ({grant.source}){_mark(arrival.plan.add, grant)}" for grant in arrival.plan.grants
        ]
        lines += [f"role lost  {grant.role} ({grant.source})" for grant in arrival.plan.remove]
    return lines


def _mark(added: Sequence[Grant], grant: Grant) -> str:
    return ", new" if grant in added else ""


def _as_json(explanation: Explanation) -> dict[str, JSON]:
    identity, mapped, arrival = explanation.identity, explanation.mapped, explanation.arrival
    refusal = explanation.refusal
    return {
        "connection": identity.connection,
        "issuer": identity.issuer,
        "subject": identity.subject,
        "outcome": explanation.outcome,
        "code": None if refusal is None else refusal.code,
        "reason": None if refusal is None else refusal.reason,
        "detail": None if refusal is None else refusal.detail,
        "mapped": None
        if mapped is None
        else {
            "username": mapped.username,
            "email": mapped.email,
            "email_verified": mapped.email_verified,
            "display_name": mapped.display_name,
            "groups": mapped.groups,
            "groups_state": mapped.groups_state,
            "attributes": mapped.attributes,
            "missing": sorted(mapped.missing),
        },
        "steps": [{"rule": each.rule, "outcome": each.outcome, "detail": each.detail} for each in explanation.steps],
        "user": None
        if arrival is None
        else {
            "id": arrival.user.id,
            "username": arrival.user.username,
            "status": arrival.user.status.value,
            "roles": arrival.user.roles,
        },
        "grants": [] if arrival is None else _grants(arrival.plan.grants),
        "added": [] if arrival is None else _grants(arrival.plan.add),
        "removed": [] if arrival is None else _grants(arrival.plan.remove),
        "proof": None if arrival is None else arrival.proof,
    }


def _grants(grants: Sequence[Grant]) -> list[JSON]:
    return [{"role": grant.role, "source": grant.source} for grant in grants]
