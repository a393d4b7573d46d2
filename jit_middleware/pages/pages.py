"""The pages: templates in, whole responses out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.http.messages import Response
from jit_middleware.pages import answers
from jit_middleware.pages.answers import Header, checked_headers, security_headers

LOGOUT_TOKEN_FIELD: Final = "token"  # noqa: S105 - a field name
"""The form field in which the confirmation of a logout sends its token back."""

_STYLE: Final = "style.css"
_PRINTABLE_URL: Final = re.compile(r"[^\x00-\x20\x7f]+")
_HEADINGS: Final = {403: "You were not let in", 404: "Nothing is here", 503: "Not available right now"}


class Pages:
    """The pages of one application, ready to be sent.

    ``templates`` names a directory whose files replace ours of the same name (``layout.html``, ``error.html``, …,
    ``style.css``); what it does not hold is ours. All are tried once here, so a template that cannot be rendered is a
    ``ConfigurationError`` at the start and not a blank page later. ``prefix_url`` is the path of our own endpoints.

    The style is one inline sheet taken from ``style.css`` and allowed by its hash alone; a replaced page that brings
    styles, scripts or images of its own will see the browser refuse them.
    """

    json_error = staticmethod(answers.json_error)

    def __init__(self, *, app_name: str, prefix_url: str, templates: str | None = None) -> None:
        shipped = PackageLoader("jit_middleware.pages", "templates")
        loader = ChoiceLoader([FileSystemLoader(templates), shipped]) if templates is not None else shipped
        self._templates = Environment(
            loader=loader,
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        style = self._read_style() if templates is None else self._read_own_style(templates)
        self._style_hash = "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
        self._always: dict[str, object] = {"app_name": app_name, "prefix_url": prefix_url, "style": Markup(style)}  # noqa: S704
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
        retry_url: str | None,
        headers: Sequence[Header] = (),
    ) -> Response:
        """Say in one sentence that something did not work, with what an operator needs to find the cause.

        ``code`` is stable, ``reference`` leads to the log and the audit trail; ``retry_url`` puts a button below.
        ``headers`` adds what the status calls for: ``Retry-After``, ``Allow``.
        """
        heading = _HEADINGS.get(status, "Something went wrong" if status >= 500 else "That did not work")
        retry = None if retry_url is None else _link(retry_url)
        return self._page(
            "error.html",
            status,
            headers=headers,
            heading=heading,
            code=code,
            message=message,
            reference=reference,
            retry_url=retry,
        )

    def loop(self, *, reference: str, retry_url: str) -> Response:
        """Stop a browser that signs in again and again because our cookie does not come back, and name the causes."""
        return self._page("loop.html", 400, code="login_loop", reference=reference, retry_url=_link(retry_url))

    def restart(self, *, retry_url: str, reference: str) -> Response:
        """Offer a fresh start to someone whose sign-in is too old, already used, or another browser's."""
        return self._page("restart.html", 400, code="login_expired", reference=reference, retry_url=_link(retry_url))

    def signed_out(self, *, login_url: str) -> Response:
        """Say that the session here has ended, and offer to sign in again."""
        return self._page("signed_out.html", 200, login_url=_link(login_url))

    def confirm_logout(self, *, action_url: str, token: str, form_targets: Sequence[str]) -> Response:
        """Ask before signing out, since a link from anywhere can lead here.

        The form posts ``token`` in the field :data:`LOGOUT_TOKEN_FIELD`. ``form_targets`` are the URLs the answer to
        that POST may redirect to, such as the provider's ``end_session_endpoint``.
        """
        return self._page(
            "confirm_logout.html",
            200,
            form_targets=form_targets,
            action_url=_link(action_url),
            token=token,
            token_field=LOGOUT_TOKEN_FIELD,
        )

    def _page(
        self,
        template: str,
        status: int,
        *,
        headers: Sequence[Header] = (),
        form_targets: Sequence[str] = (),
        **values: object,
    ) -> Response:
        text = self._templates.get_template(template).render({**self._always, **values})
        head = [
            ("Content-Type", "text/html; charset=utf-8"),
            *security_headers(style_hash=self._style_hash, form_targets=form_targets),
            *checked_headers(headers),
        ]
        # A lone surrogate, from bytes of a client that are no UTF-8, becomes "?" and never a failed page.
        return Response(status, head, text.encode("utf-8", "replace"))

    def _read_style(self) -> str:
        loader = self._templates.loader
        assert loader is not None
        text, _, _ = loader.get_source(self._templates, _STYLE)
        # HTML §13.2.3.5: the browser hashes the sheet with its newlines normalized.
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _read_own_style(self, directory: str) -> str:
        if not Path(directory).is_dir():
            raise _fault(directory, "is not a directory.", "name an existing directory, or leave the setting out.")
        try:
            style = self._read_style()
        except UnicodeDecodeError:
            raise _fault(f"{directory}/{_STYLE}", "is not UTF-8.", "save it as UTF-8.") from None
        if "</style" in style.lower() or "<!--" in style:
            raise _fault(f"{directory}/{_STYLE}", "holds markup.", "keep to CSS.")
        return style

    def _try_all(self, directory: str) -> None:
        specimens: dict[str, Callable[[], Response]] = {
            "chooser.html": lambda: self.chooser([("A", "/a"), ("B", "/b")], next="/"),
            "error.html": lambda: self.error(code="c", message="m", reference="r", status=403, retry_url="/"),
            "loop.html": lambda: self.loop(reference="r", retry_url="/"),
            "restart.html": lambda: self.restart(reference="r", retry_url="/"),
            "signed_out.html": lambda: self.signed_out(login_url="/"),
            "confirm_logout.html": lambda: self.confirm_logout(action_url="/", token="", form_targets=()),
        }
        for name, render in specimens.items():
            try:
                render()
            except (TemplateError, UnicodeDecodeError, TypeError, ValueError) as error:
                problem = f"does not render: {type(error).__name__}: {error}."
                raise _fault(f"{directory}/{name}", problem, "correct it, or remove it to use ours.") from error


def _fault(subject: str, problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError([Fault("JIT_TEMPLATES", f"{subject} {problem}", fix)])


def _with_next(url: str, target: str) -> str:
    if not target or "next" in parse_qs(urlsplit(url).query, keep_blank_values=True):
        return url
    return f"{url}{'&' if '?' in url else '?'}next={quote(target, safe='/', errors='surrogateescape')}"


def _link(url: str) -> str:
    """The same URL; raises ``ValueError`` unless it leads to a path of ours or to an http(s) address.

    Escaping alone does not disarm a ``javascript:`` link, nor keep ``//host`` at home.
    """
    own = url.startswith("/") and url[1:2] not in ("/", "\\")
    if not _PRINTABLE_URL.fullmatch(url) or not (own or url.startswith(("https://", "http://"))):
        raise ValueError("a link on a page must be a path or an http(s) URL")
    return url
