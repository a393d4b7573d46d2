"""Every page in each of its forms, so that an operator's own templates fail at the start and not before people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from jit_middleware.http.messages import Response
from jit_middleware.pages.ways import DEAD_END, Ways

if TYPE_CHECKING:
    from jit_middleware.pages.pages import Pages

_WAYS: Final = (DEAD_END, Ways("/", "/", "/", "/"), Ways("/"), Ways(None, "/"), Ways(None, None, "/"), Ways(home="/"))


def trials(pages: Pages) -> Iterator[tuple[str, Callable[[], Response]]]:
    """The name of each template, and what renders it."""
    yield "chooser.html", lambda: pages.chooser([("A", "/a"), ("B", "/b")], next="/")
    yield "chooser.html", lambda: pages.chooser([], next="/")
    for ways in _WAYS:
        yield "error.html", _error(pages, ways)
    yield "loop.html", lambda: pages.loop(reference="r", retry_url="/")
    for flag in (False, True):
        yield from _either(pages, flag)
    yield "signed_out.html", lambda: pages.signed_out(login_url="/")
    yield "post.html", lambda: pages.post(url="https://idp.example/sso", fields=[("a", "b")])
    yield (
        "confirm_login.html",
        lambda: pages.confirm_login(action_url="/", person="p", provider="q", fields=[("a", "b")]),
    )
    yield "invitation.html", lambda: pages.invitation(action_url="/", nonce="", provider="q", form_targets=())


def _error(pages: Pages, ways: Ways) -> Callable[[], Response]:
    is_lost = ways.login is not None
    return lambda: pages.error(code="c", message="m", reference="r", status=403, ways=ways, is_lost=is_lost)


def _either(pages: Pages, flag: bool) -> Iterator[tuple[str, Callable[[], Response]]]:
    yield "restart.html", lambda: pages.restart(reference="r", retry_url="/", leads_back=flag)
    yield (
        "confirm_link.html",
        lambda: pages.confirm_link(action_url="/", nonce="", provider="q", is_wrong=flag, form_targets=()),
    )
    yield (
        "confirm_logout.html",
        lambda: pages.confirm_logout(action_url="/", token="", form_targets=(), stay_url="/", is_over=flag),
    )
