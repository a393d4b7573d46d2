"""``link``: where a person ties the identity that they sign in with to an account that was there before.

``link/<connection>`` asks for the password of that account, after a sign-in that found one with the same address.
``link?invitation=…`` is what an administrator has sent them. Neither links anything itself: both begin a login at the
provider with the proof sealed into it, and only that login's own answer, in this very browser, makes the link.

A GET changes nothing, since mail scanners open links. How often a password may be tried is counted in the ledger, for
all workers and all browsers together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from jit_middleware.audit import identity_key
from jit_middleware.endpoints.attempts import ATTEMPTS, may_try
from jit_middleware.endpoints.forms import form_once
from jit_middleware.endpoints.house import House
from jit_middleware.endpoints.login import begin
from jit_middleware.endpoints.refusal import log_refusal, refuse
from jit_middleware.errors import (
    InvitationUnusable,
    LinkLimited,
    LinkRefused,
    LinkRequired,
    LoginError,
    NothingHere,
    StaleLogin,
)
from jit_middleware.http.form import parameters_once
from jit_middleware.http.messages import Request, Response
from jit_middleware.model import LinkProof, OnceKey, Prelink, VerifiedIdentity
from jit_middleware.pages import LINK_FIELD, Ways, redirect
from jit_middleware.provisioning.invitations import Invitation, find_invited
from jit_middleware.settings import OIDCConnection
from jit_middleware.sso.state import LIFETIME
from jit_middleware.sso.strategy import Strategy
from jit_middleware.sso.tickets import LinkTicket, shows

_LARGEST_FORM: Final = 16_384
_LONGEST_PASSWORD: Final = 1_024


async def link(house: House, request: Request, name: str) -> Response:
    """Ask, or take the answer."""
    if not name:
        return await _invitation(house, request)
    strategy = house.strategies.get(name)
    if strategy is None:
        raise NothingHere("connection_unknown")
    return await _confirmation(house, request, strategy)


# --- by password --------------------------------------------------------------------------------------------------


async def ask_to_confirm(
    house: House,
    request: Request,
    strategy: Strategy,
    error: LinkRequired,
    *,
    identity: VerifiedIdentity,
    target: str,
    reference: str,
) -> Response:
    """On to the page that asks for the account's password; the login that led here is over, and refused."""
    log_refusal(house, request, error, reference=reference)
    event = house.audit.login_refused(
        connection=strategy.name,
        tenant=strategy.tenant,
        code=error.code,
        reason=error.reason,
        reference=reference,
        identity=identity,
        path=error.path,
    )
    await house.ledger.transaction(lambda tx: tx.append_audit(event))
    ticket = house.tickets.confirm(
        connection=strategy.name, user_id=error.user_id, target=target, identity=identity_key(identity)
    )
    return redirect(house.own(f"link/{strategy.name}"), status=303, cookies=[house.tickets.keep(ticket)])


async def _confirmation(house: House, request: Request, strategy: Strategy) -> Response:
    ticket = house.tickets.find(request.cookie)
    if ticket is None or (ticket.kind, ticket.connection) != ("confirm", strategy.name):
        return _unknown(house, request, strategy.name)
    if request.method != "POST":
        return _password_page(house, strategy, ticket)
    form = await form_once(request, _LARGEST_FORM)
    if not shows(ticket, form.get(LINK_FIELD)):
        return _unknown(house, request, strategy.name)
    refusal = await _prove(house, strategy.tenant, ticket, form.get("password", ""))
    if isinstance(refusal, LinkLimited):
        return await _refuse(house, request, strategy, refusal, ticket)
    if refusal is not None:
        await _refuse(house, request, strategy, refusal, ticket)
        return _password_page(house, strategy, ticket, is_wrong=True)
    once = OnceKey("link_proof", house.tokens(16), house.clock.now() + 2 * LIFETIME)
    proof = LinkProof(ticket.user_id, "password", ticket.identity, once)
    return await _go(house, request, strategy, ticket, proof)


async def _prove(house: House, tenant: str, ticket: LinkTicket, password: str) -> LoginError | None:
    """Why this is not proof enough, or ``None``. The attempt counts before the password is looked at."""
    users = house.users
    if users is None or not await may_try(house.ledger, tenant, ticket.user_id, at=house.clock.now()):
        return LinkLimited("link_attempts", f"{ATTEMPTS} passwords were tried for this account")
    if len(password) > _LONGEST_PASSWORD or not await users.check_password(ticket.user_id, password):
        return LinkRefused("link_password_wrong", "the password is not that of the account")
    return None


async def _refuse(
    house: House, request: Request, strategy: Strategy, error: LoginError, ticket: LinkTicket
) -> Response:
    """The refusal with its audit event, which names the account."""
    reference = house.reference()
    answer = refuse(house, request, error, reference=reference)
    event = house.audit.login_refused(
        connection=strategy.name, tenant=strategy.tenant, code=error.code, reason=error.reason, reference=reference
    )
    event = replace(event, user_id=ticket.user_id, data={**event.data, "identity": ticket.identity})
    await house.ledger.transaction(lambda tx: tx.append_audit(event))
    return answer


def _password_page(house: House, strategy: Strategy, ticket: LinkTicket, *, is_wrong: bool = False) -> Response:
    return house.pages.confirm_link(
        action_url=house.own(f"link/{strategy.name}"),
        nonce=ticket.nonce,
        provider=strategy.label,
        is_wrong=is_wrong,
        form_targets=_targets(house, strategy),
    )


# --- by invitation ------------------------------------------------------------------------------------------------


async def _invitation(house: House, request: Request) -> Response:
    if request.method == "POST":
        return await _accepted(house, request)
    token = parameters_once(request.query).get("invitation", "")
    invitation = house.invitations.read(token, house.clock.now())
    found = None if invitation is None else await _found(house, invitation)
    if invitation is None or found is None:
        return _unusable(house, request)
    strategy, prelink = found
    ticket = house.tickets.invited(
        connection=strategy.name, user_id=prelink.user_id, target=house.home, invitation=invitation.id
    )
    return house.pages.invitation(
        action_url=house.own("link"),
        nonce=ticket.nonce,
        provider=strategy.label,
        form_targets=_targets(house, strategy),
        cookies=[house.tickets.keep(ticket)],
    )


async def _accepted(house: House, request: Request) -> Response:
    ticket = house.tickets.find(request.cookie)
    form = await form_once(request, _LARGEST_FORM)
    if ticket is None or ticket.invitation is None or not shows(ticket, form.get(LINK_FIELD)):
        return _unusable(house, request)
    found = await _found(house, Invitation(ticket.invitation, ticket.connection, 0))
    if found is None or found[1].user_id != ticket.user_id:
        return _unusable(house, request)
    strategy, prelink = found
    once = OnceKey("invitation", ticket.invitation, prelink.until + LIFETIME)
    proof = LinkProof(ticket.user_id, "invitation", None, once)
    return await _go(house, request, strategy, ticket, proof)


async def _found(house: House, invitation: Invitation) -> tuple[Strategy, Prelink] | None:
    strategy = house.strategies.get(invitation.connection)
    if strategy is None:
        return None
    now = house.clock.now()
    prelink = await house.ledger.transaction(lambda tx: find_invited(tx, strategy.tenant, invitation, now))
    return None if prelink is None else (strategy, prelink)


def _unusable(house: House, request: Request) -> Response:
    # No event in the audit trail: anybody can call this.
    error = InvitationUnusable("invitation_unusable", "not written here, used, revoked, too old, or another browser's")
    return refuse(house, request, error, reference=house.reference())


# --- both ---------------------------------------------------------------------------------------------------------


async def _go(house: House, request: Request, strategy: Strategy, ticket: LinkTicket, proof: LinkProof) -> Response:
    """On to the provider with the proof; the ticket has served."""
    onward = await begin(house, request, strategy, ticket.target, proof=proof)
    return Response(onward.status, [*onward.headers, house.tickets.forget()], onward.body)


def _unknown(house: House, request: Request, connection: str) -> Response:
    error = StaleLogin("link_unknown", "this browser was not asked to link an account")
    ways = Ways(retry=house.login_path(house.home, connection))
    return refuse(house, request, error, reference=house.reference(), ways=ways)


def _targets(house: House, strategy: Strategy) -> list[str]:
    """Where the form may end besides any https origin: a provider that is spoken to without TLS, on loopback."""
    return [
        connection.issuer
        for connection in house.settings.connections
        if connection.name == strategy.name and isinstance(connection, OIDCConnection)
    ]
