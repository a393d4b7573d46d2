"""The pages: templates in, whole responses out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote, urlsplit

from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.http.messages import Response
from jit_middleware.pages import answers
from jit_middleware.pages.answers import Header, checked_headers, security_headers
from jit_middleware.pages.trial import trials
from jit_middleware.pages.ways import DEAD_END, Ways
from jit_middleware.records import dataclass

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

LOGOUT_TOKEN_FIELD: Final = "token"  # noqa: S105 - a field name
"""The form field in which the confirmation of a logout sends its token back."""

LOGOUT_EVERYWHERE_FIELD: Final = "everywhere"
"""The form field that makes it a logout from all devices."""

CONFIRMATION_FIELD: Final = "jit_confirmation"
"""The form field in which the confirmation of a login that began elsewhere sends its proof back."""

LINK_FIELD: Final = "jit_link"
"""The form field in which a page about linking an account sends its nonce back."""

SUBMIT_FORM: Final = b"document.forms[0].submit();\n"
"""The script of the page that posts a form."""

_STYLE: Final = "style.css"
_PRINTABLE_URL: Final = re.compile(r"[^\x00-\x20\x7f]+")
#: By code where there is something better to say than what the status says.
_HEADINGS: Final[Mapping[str | int, str]] = {
    "step_up_required": "Please sign in once more",
    "step_up_refused": "You cannot open this page yet",
    "login_overtaken": "Please sign in once more",
    "account_pending": "Your account is not open yet",
    "cross_site_request": "That was not carried out",
    "configuration": "Something went wrong",
    401: "Please sign in first",
    403: "You were not let in",
    404: "Nothing is here",
    429: "Please wait a little",
    503: "Not available right now",
}


@dataclass(frozen=True, slots=True)
class _Look:
    """What every page is made with: the templates, the style sheet, and the hash that allows it."""

    templates: Environment
    style: Markup
    style_hash: str


class Pages:
    """The pages of one application, ready to be sent.

    ``templates`` names a directory whose files replace ours of the same name (``layout.html``, ``error.html``, …,
    ``style.css``); what it does not hold is ours. All are tried here, so a template that cannot be rendered is a
    ``ConfigurationError`` at the start and not a blank page later. Without it the template engine is loaded with the
    first page. ``prefix_url`` is the path of our own endpoints.

    The style is one inline sheet taken from ``style.css`` and allowed by its hash alone; a replaced page that brings
    styles, scripts or images of its own will see the browser refuse them.
    """

    json_error = staticmethod(answers.json_error)

    def __init__(self, *, app_name: str, prefix_url: str, templates: str | None = None) -> None:
        self._directory = templates
        self._always: dict[str, object] = {"app_name": app_name, "prefix_url": prefix_url}
        if templates is not None:
            self._try_all(templates)

    def chooser(self, choices: Sequence[tuple[str, str]], *, next: str, status: int = 200) -> Response:
        """Ask which connection to sign in with. ``choices`` are ``(label, url)``.

        ``next`` is the path to land on afterwards; it is added to each URL that does not say ``next`` itself, and an
        empty one is left out.
        """
        links = [(label, _link(_with_next(url, next))) for label, url in choices]
        return self._page("chooser.html", status, choices=links)

    def error(
        self,
        *,
        code: str,
        message: str,
        reference: str,
        status: int,
        ways: Ways = DEAD_END,
        is_lost: bool = False,
        headers: Sequence[Header] = (),
    ) -> Response:
        """Say in one sentence that something did not work, with what an operator needs to find the cause.

        ``code`` is stable, ``reference`` leads to the log and the audit trail; ``ways`` are the buttons below.
        ``is_lost``: the person sent something, and it was not kept. ``headers`` adds what the status calls for:
        ``Retry-After``, ``Allow``.
        """
        otherwise = "Something went wrong" if status >= 500 else "That did not work"
        return self._page(
            "error.html",
            status,
            headers=headers,
            heading=_HEADINGS.get(code) or _HEADINGS.get(status, otherwise),
            code=code,
            message=message,
            is_lost=is_lost,
            reference=reference,
            login_url=_link_or_none(ways.login),
            retry_url=_link_or_none(ways.retry),
            someone_else_url=_link_or_none(ways.someone_else),
            home_url=_link_or_none(ways.home),
        )

    def loop(self, *, reference: str, retry_url: str) -> Response:
        """Stop a browser that signs in again and again because our cookie does not come back, and name the causes."""
        return self._page("loop.html", 400, code="login_loop", reference=reference, retry_url=_link(retry_url))

    def restart(self, *, retry_url: str, reference: str, leads_back: bool = False) -> Response:
        """Offer a fresh start to someone whose sign-in is too old, already used, or another browser's.

        ``leads_back``: the page that was wanted is known, and the fresh start ends there; else on the front page.
        """
        return self._page(
            "restart.html",
            400,
            code="login_expired",
            reference=reference,
            retry_url=_link(retry_url),
            leads_back=leads_back,
        )

    def signed_out(self, *, login_url: str) -> Response:
        """Say that the session here has ended, and offer to sign in again."""
        return self._page("signed_out.html", 200, login_url=_link(login_url))

    def post(self, *, url: str, fields: Sequence[tuple[str, str]], cookies: Sequence[Header] = ()) -> Response:
        """Take the browser on to ``url`` with a form: by a script of ours at once, or by a click without scripts.

        The receiver may send the browser on to any https origin, as a form page's policy would otherwise forbid.
        """
        return self._page(
            "post.html",
            200,
            headers=cookies,
            form_targets=[url],
            form_anywhere=True,
            own_script=True,
            action_url=_link(url),
            fields=fields,
        )

    def confirm_login(
        self,
        *,
        action_url: str,
        person: str,
        provider: str,
        fields: Sequence[tuple[str, str]],
        cookies: Sequence[Header] = (),
    ) -> Response:
        """Ask before signing in as ``person``, whom ``provider`` sent without being asked."""
        return self._page(
            "confirm_login.html",
            200,
            headers=cookies,
            action_url=_link(action_url),
            person=person,
            provider=provider,
            fields=fields,
        )

    def confirm_link(
        self, *, action_url: str, nonce: str, provider: str, is_wrong: bool, form_targets: Sequence[str]
    ) -> Response:
        """Ask for the password of the account that is to be linked; ``is_wrong`` when the last one was not it.

        The answer to the form leads on to the provider, at any https origin or at one of ``form_targets``.
        """
        return self._page(
            "confirm_link.html",
            403 if is_wrong else 200,
            form_targets=form_targets,
            form_anywhere=True,
            action_url=_link(action_url),
            nonce=nonce,
            nonce_field=LINK_FIELD,
            provider=provider,
            is_wrong=is_wrong,
        )

    def invitation(
        self,
        *,
        action_url: str,
        nonce: str,
        provider: str,
        form_targets: Sequence[str],
        cookies: Sequence[Header] = (),
    ) -> Response:
        """Ask whoever opened an invitation to sign in with ``provider``; the form may end as :meth:`confirm_link`'s."""
        return self._page(
            "invitation.html",
            200,
            headers=cookies,
            form_targets=form_targets,
            form_anywhere=True,
            action_url=_link(action_url),
            nonce=nonce,
            nonce_field=LINK_FIELD,
            provider=provider,
        )

    def confirm_logout(
        self,
        *,
        action_url: str,
        token: str,
        form_targets: Sequence[str],
        form_anywhere: bool = False,
        is_over: bool = False,
        stay_url: str,
    ) -> Response:
        """Ask before signing out, since a link from anywhere can lead here; ``stay_url`` is the way back.

        The form posts ``token`` in the field :data:`LOGOUT_TOKEN_FIELD`; its second button adds the field
        :data:`LOGOUT_EVERYWHERE_FIELD`. ``form_targets`` are the URLs the answer to that POST may redirect to, such as
        the provider's ``end_session_endpoint``; ``form_anywhere`` allows every https origin. ``is_over``: the session
        here has ended, and what is left is the provider's; then there is one button.
        """
        return self._page(
            "confirm_logout.html",
            200,
            form_targets=form_targets,
            form_anywhere=form_anywhere,
            action_url=_link(action_url),
            token=token,
            token_field=LOGOUT_TOKEN_FIELD,
            everywhere_field=LOGOUT_EVERYWHERE_FIELD,
            is_over=is_over,
            stay_url=_link(stay_url),
        )

    def _page(
        self,
        template: str,
        status: int,
        *,
        headers: Sequence[Header] = (),
        form_targets: Sequence[str] = (),
        form_anywhere: bool = False,
        own_script: bool = False,
        **values: object,
    ) -> Response:
        look = self._look
        always = {**self._always, "style": look.style, "status": status}
        text = look.templates.get_template(template).render({**always, **values})
        head = [
            ("Content-Type", "text/html; charset=utf-8"),
            *security_headers(
                style_hash=look.style_hash,
                form_targets=form_targets,
                form_anywhere=form_anywhere,
                own_script=own_script,
            ),
            *checked_headers(headers),
        ]
        # A lone surrogate, from bytes of a client that are no UTF-8, becomes "?" and never a failed page.
        return Response(status, head, text.encode("utf-8", "replace"))

    @cached_property
    def _look(self) -> _Look:
        from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
        from markupsafe import Markup

        directory = self._directory
        shipped = PackageLoader("jit_middleware.pages", "templates")
        templates = Environment(
            loader=shipped if directory is None else ChoiceLoader([FileSystemLoader(directory), shipped]),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        style = _read_style(templates) if directory is None else _read_own_style(templates, directory)
        style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
        return _Look(templates, Markup(style), "sha256-" + style_hash)  # noqa: S704

    def _try_all(self, directory: str) -> None:
        from jinja2 import TemplateError

        _ = self._look  # what is wrong with the directory or its sheet, before what is wrong with a page
        for name, render in trials(self):
            try:
                render()
            except (TemplateError, UnicodeDecodeError, TypeError, ValueError) as error:
                problem = f"does not render: {type(error).__name__}: {error}."
                raise _fault(f"{directory}/{name}", problem, "correct it, or remove it to use ours.") from error


def _read_style(templates: Environment) -> str:
    loader = templates.loader
    assert loader is not None
    text, _, _ = loader.get_source(templates, _STYLE)
    # HTML §13.2.3.5: the browser hashes the sheet with its newlines normalized.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_own_style(templates: Environment, directory: str) -> str:
    if not Path(directory).is_dir():
        raise _fault(directory, "is not a directory.", "name an existing directory, or leave the setting out.")
    try:
        style = _read_style(templates)
    except UnicodeDecodeError:
        raise _fault(f"{directory}/{_STYLE}", "is not UTF-8.", "save it as UTF-8.") from None
    if "</style" in style.lower() or "<!--" in style:
        raise _fault(f"{directory}/{_STYLE}", "holds markup.", "keep to CSS.")
    return style


def _fault(subject: str, problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError([Fault("JIT_TEMPLATES", f"{subject} {problem}", fix)])


def _with_next(url: str, target: str) -> str:
    if not target or "next" in parse_qs(urlsplit(url).query, keep_blank_values=True):
        return url
    return f"{url}{'&' if '?' in url else '?'}next={quote(target, safe='/', errors='surrogateescape')}"


def _link_or_none(url: str | None) -> str | None:
    return None if url is None else _link(url)


def _link(url: str) -> str:
    """The same URL; raises ``ValueError`` unless it leads to a path of ours or to an http(s) address.

    Escaping alone does not disarm a ``javascript:`` link, nor keep ``//host`` at home.
    """
    own = url.startswith("/") and url[1:2] not in ("/", "\\")
    if not _PRINTABLE_URL.fullmatch(url) or not (own or url.startswith(("https://", "http://"))):
        raise ValueError("a link on a page must be a path or an http(s) URL")
    return url
