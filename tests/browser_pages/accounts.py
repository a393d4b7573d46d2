"""People who had an account before they came by single sign-on, and the pages that they meet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jit_middleware.bridge import step
from jit_middleware.model import Profile, User
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Transaction
from tests.browser_pages.conftest import Site
from tests.scenarios.linking import PASSWORD, accounts_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

ADDRESS = "ann@example.org"


def with_passwords(directory: Path) -> Any:
    """An application's own accounts: Ann's, with a password."""
    accounts = accounts_in(directory)
    accounts.register("ann", ADDRESS, PASSWORD, mail_confirmed=True)
    return accounts


def prepared(site: Site, username: str) -> User:
    """An account of the default store, from before, without a password."""

    async def make(tx: Transaction) -> User:
        assert tx.users is not None
        return await tx.users.create(Profile(f"key of {username}", username, email=ADDRESS, email_verified=True))

    ledger = open_ledger(site.settings)
    try:
        step(ledger.prepare())
        return step(ledger.transaction(make))
    finally:
        step(ledger.close())


def invitation_for(site: Site, user: User) -> str:
    """The address that an operator hands over."""
    found = re.search(r"https?://\S+", site.operate("users", "link", user.username, "--connection", "oidc"))
    assert found is not None
    return found[0]


def asked_for_password(site: Site, page: Page, target: str = "/") -> None:
    """Ann signs in at the provider, and is asked whether the account with her address is hers."""
    site.sign_in(page, site.person("ann", email=ADDRESS), target)
    assert page.url == f"{site.url}/_jit/link/oidc"


def give_password(page: Page, password: str) -> None:
    """Fill in the page, and press its button."""
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Link and sign in").click()
    page.wait_for_load_state()
