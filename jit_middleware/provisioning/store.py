"""What the app's own user store is told when the ledger has moved an account, or its roles were changed by hand.

Always after the commit: the ledger alone decides who is served, so a store that cannot be reached never keeps anybody
in. Each of these may be repeated until it succeeds, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from jit_middleware.model import Account, Status
from jit_middleware.ports import Users
from jit_middleware.provisioning.lifecycle import Trigger
from jit_middleware.settings import ProvisioningSettings

#: Who may come in by signing in, so that the app's other doors need not be shut to them.
_MAY_ENTER: Final = frozenset({Status.ACTIVE, Status.DORMANT, Status.INVITED})


async def tell_moved(users: Users, account: Account, trigger: Trigger, *, settings: ProvisioningSettings) -> None:
    """Open or shut the app's own doors to this account as ``move`` has left it.

    Whoever is shut out also loses what signs them in without us (passwords, API tokens), and whoever is erased is
    deleted, where the store offers that. Raises ``StoreUnavailable``.
    """
    if account.status is Status.ERASED:
        await users.delete(account.user_id)
        return
    may_enter = account.status in _MAY_ENTER
    if trigger is Trigger.REINSTATE:
        # Roles first: whoever comes back must not be let in with the privileges that they had.
        await tell_roles(users, account, lost=settings.privileged)
    await users.set_active(account.user_id, may_enter)
    if not may_enter:
        await users.revoke_credentials(account.user_id)


async def tell_roles(users: Users, account: Account, *, lost: Container[str]) -> None:
    """Write the roles that the account holds; ``lost`` are taken away unless it holds them for some reason.

    Roles that only the store knows of stay. Raises ``StoreUnavailable``.
    """
    user = await users.get(account.user_id)
    if user is None:
        return
    held = {grant.role for grant in account.grants}
    roles = tuple(sorted({role for role in user.roles if role not in lost} | held))
    if roles != user.roles:
        await users.set_roles(account.user_id, roles)
