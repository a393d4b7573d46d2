"""``users grant`` and ``users revoke-role``: roles by hand."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from jit_middleware.audit import event_id
from jit_middleware.cli.conversation import actor, converse
from jit_middleware.cli.finding import find_account, name_of, outside_store, roles_of, user_argument
from jit_middleware.cli.terminal import DONE, NO, WrongUse, complain, say, say_json
from jit_middleware.model import Account
from jit_middleware.ports import Ledger, Transaction, Users
from jit_middleware.provisioning.by_hand import grant_role, revoke_role
from jit_middleware.provisioning.store import tell_roles
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock, SystemTokens

_GRANT = "Give a user a role by hand. A privileged one ends their sessions, so that they sign in anew."
_REVOKE = "Take back a role that was given by hand."


def declare(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the verbs."""
    granting = verbs.add_parser("grant", help=_GRANT, description=_GRANT)
    revoking = verbs.add_parser("revoke-role", help=_REVOKE, description=_REVOKE)
    for parser, command in ((granting, _grant), (revoking, _revoke)):
        user_argument(parser)
        parser.add_argument("role", metavar="ROLE")
        parser.set_defaults(command=command)


def check_known(settings: Settings, roles: Iterable[str]) -> None:
    """Raises ``WrongUse`` for a role that is not in the catalogue, where there is one, or cannot be a role at all."""
    catalogue = settings.provisioning.role_catalogue
    for role in roles:
        if not role.strip() or not role.isprintable() or len(role) > 255:
            raise WrongUse(f"{role!r} cannot be a role.")
        if catalogue and role not in catalogue:
            raise WrongUse(f"{role!r} is not in JIT_ROLE_CATALOGUE: {', '.join(catalogue)}.")


def _grant(arguments: argparse.Namespace) -> int:
    settings = Settings.load()
    role: str = arguments.role
    check_known(settings, [role])
    store = outside_store(settings)

    async def work(tx: Transaction) -> tuple[Account, Account | None] | str:
        clock = SystemClock()
        account = await find_account(tx, arguments.user, only_id=arguments.id)
        if isinstance(account, str):
            return account
        event = event_id(clock, SystemTokens())
        policy = settings.provisioning
        return account, await grant_role(
            tx, account, role, settings=policy, actor=actor(), at=clock.now(), event_id=event
        )

    async def question(ledger: Ledger) -> tuple[Account, Account | None] | str:
        answer = await ledger.transaction(work)
        await _tell(store, answer, lost=())
        return answer

    answer = converse(settings, question)
    refused = "" if isinstance(answer, str) else f"A user who is {answer[0].status.value} can hold no roles."
    return _report(arguments, answer, refused)


def _revoke(arguments: argparse.Namespace) -> int:
    settings = Settings.load()
    store = outside_store(settings)
    role: str = arguments.role

    async def work(tx: Transaction) -> tuple[Account, Account | None] | str:
        clock = SystemClock()
        account = await find_account(tx, arguments.user, only_id=arguments.id)
        if isinstance(account, str):
            return account
        event = event_id(clock, SystemTokens())
        return account, await revoke_role(tx, account, role, actor=actor(), at=clock.now(), event_id=event)

    async def question(ledger: Ledger) -> tuple[Account, Account | None] | str:
        answer = await ledger.transaction(work)
        await _tell(store, answer, lost=(role,))
        return answer

    answer = converse(settings, question)
    code = _report(arguments, answer, f"Nobody has given them {role!r} by hand.")
    if not isinstance(answer, str) and answer[1] is not None:
        for grant in answer[1].grants:
            if grant.role == role:
                complain(f"They still hold {role!r}, from {grant.source}.")
    return code


async def _tell(store: Users | None, answer: tuple[Account, Account | None] | str, *, lost: tuple[str, ...]) -> None:
    if store is not None and not isinstance(answer, str):
        await tell_roles(store, answer[1] or answer[0], lost=lost)


def _report(arguments: argparse.Namespace, answer: tuple[Account, Account | None] | str, refused: str) -> int:
    if isinstance(answer, str):
        complain(answer)
        return NO
    before, after = answer
    now = after or before
    if arguments.json:
        done = after is not None
        say_json({"user": now.user_id, "role": arguments.role, "roles": list(roles_of(now)), "done": done})
    elif after is not None:
        say(f"{name_of(now)} holds {', '.join(roles_of(now)) or 'no role'} now.")
    if after is None:
        complain(refused)
    return NO if after is None else DONE
