"""The verbs of ``users`` that let somebody in, keep them out, or forget them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jit_middleware.audit import event_id
from jit_middleware.cli.conversation import actor, converse
from jit_middleware.cli.finding import find_account, name_of, outside_store, user_argument
from jit_middleware.cli.terminal import DONE, NO, complain, say, say_json
from jit_middleware.cli.users_roles import check_known
from jit_middleware.errors import SeatsFull
from jit_middleware.model import Account, Status
from jit_middleware.ports import Ledger, Transaction
from jit_middleware.provisioning.by_hand import grant_role
from jit_middleware.provisioning.lifecycle import TRANSITIONS, Trigger, move
from jit_middleware.provisioning.store import tell_moved, tell_roles
from jit_middleware.records import dataclass
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens

_VERBS: Final[Mapping[str, tuple[Trigger, str]]] = MappingProxyType(
    {
        "approve": (Trigger.APPROVE, "Let a user in who waits for approval."),
        "suspend": (Trigger.SUSPEND, "Keep a user out, for now; ends their sessions."),
        "resume": (Trigger.RESUME, "Lift a suspension."),
        "deactivate": (
            Trigger.DEPROVISION,
            "Keep a user out who has left (status deprovisioned); ends their sessions.",
        ),
        "reinstate": (Trigger.REINSTATE, "Let a deactivated user in again, without their privileged roles."),
        "delete": (Trigger.DELETE, "Close an account for good; its identities never get another one."),
        "erase": (Trigger.ERASE, "Forget who a deleted user was; their username is free then."),
    }
)
_WAY_IN: Final[Mapping[Status, str]] = MappingProxyType(
    {Status.PENDING: "approve", Status.SUSPENDED: "resume", Status.DEPROVISIONED: "reinstate"}
)


def declare(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the verbs."""
    for verb, (trigger, sentence) in _VERBS.items():
        changing = verbs.add_parser(verb, help=sentence, description=sentence)
        user_argument(changing)
        if trigger is Trigger.APPROVE:
            changing.add_argument("--role", action="append", default=[], help="a role to give them (may be repeated)")
        changing.set_defaults(command=_change, trigger=trigger)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The account before, and after; the same twice when it was there already, ``None`` when there is no such step."""

    before: Account
    after: Account | None


def _change(arguments: argparse.Namespace) -> int:
    trigger: Trigger = arguments.trigger
    roles: list[str] = getattr(arguments, "role", [])
    settings = Settings.load()
    check_known(settings, roles)
    store = outside_store(settings)  # before anything is changed: one that cannot be made must not be left behind

    async def question(ledger: Ledger) -> _Outcome | str:
        outcome = await ledger.transaction(lambda tx: _step(tx, arguments, trigger, roles, settings))
        if store is not None and not isinstance(outcome, str) and outcome.after is not None:
            await tell_moved(store, outcome.after, trigger, settings=settings.provisioning)
            if roles:
                await tell_roles(store, outcome.after, lost=())
        return outcome

    try:
        outcome = converse(settings, question)
    except SeatsFull:
        complain(
            "No seat is free: raise JIT_SEAT_LIMIT, or suspend or deactivate somebody (deactivating frees a seat)."
        )
        return NO
    if isinstance(outcome, str):
        complain(outcome)
        return NO
    before, after = outcome.before, outcome.after
    if arguments.json:
        now = (after or before).status.value
        done = after is not None
        say_json({"user": before.user_id, "was": before.status.value, "status": now, "done": done})
    elif after is not None and after.status is before.status:
        say(f"{name_of(before)} is {after.status.value} already.")
    elif after is not None:
        say(f"{name_of(before)} was {before.status.value} and is {after.status.value} now.")
    if after is None:
        complain(_why_not(before.status, trigger))
    return NO if after is None else DONE


async def _step(
    tx: Transaction, arguments: argparse.Namespace, trigger: Trigger, roles: list[str], settings: Settings
) -> _Outcome | str:
    clock, tokens, policy = SystemClock(), SystemTokens(), settings.provisioning
    account = await find_account(tx, arguments.user, only_id=arguments.id)
    if isinstance(account, str):
        return account
    if account.status is _goal(trigger):
        after: Account | None = account
    else:
        event = event_id(clock, tokens)
        after = await move(tx, account, trigger, settings=policy, actor=actor(), at=clock.now(), event_id=event)
    for role in roles:
        if after is not None:
            event = event_id(clock, tokens)
            after = await grant_role(tx, after, role, settings=policy, actor=actor(), at=clock.now(), event_id=event)
    return _Outcome(account, after)


def _goal(trigger: Trigger) -> Status:
    return next(to for (_, by), to in TRANSITIONS.items() if by is trigger)


def _why_not(status: Status, trigger: Trigger) -> str:
    said = f"A user who is {status.value} cannot become {_goal(trigger).value}"
    if trigger is Trigger.ERASE:
        return f"{said}: delete them first."
    if _goal(trigger) is Status.ACTIVE and status in _WAY_IN:
        return f"{said} that way: use `users {_WAY_IN[status]}`."
    return f"{said}."
