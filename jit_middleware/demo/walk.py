"""``demo --once``: sign in like a browser would, look at every message on the way, and say what was seen.

Nothing here is recited: each line is read from a response, from the identity provider's own key, or from the ledger.
Secrets are shown as present, never as what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from jit_middleware.bridge import step as stepped
from jit_middleware.demo.browser import Browser, Form, Visit
from jit_middleware.demo.report import Report
from jit_middleware.demo.stage import AppOnStage, Stage
from jit_middleware.model import Account, AuditEvent
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Ledger
from jit_middleware.system import SystemClock
from jit_middleware.testing.provider import DemoUser

_MOST_HOPS: Final = 5
_PAGE: Final = 1000
_SESSION_COOKIE: Final = "jit"


def walk(stage: Stage, report: Report) -> None:
    """Alice at the legacy application, Bob at the ASGI one, Mallory at the door. Raises ``Broken`` when stuck."""
    alice, bob, mallory = stage.provider.users
    ledger = open_ledger(stage.legacy.settings)
    try:
        _Login(stage, stage.legacy, alice, ledger, report).run()
        _Login(stage, stage.modern, bob, ledger, report).run()
        _Login(stage, stage.legacy, mallory, ledger, report).run_refused()
    finally:
        stepped(ledger.close())


class _Login:
    """One person at one application, from the first visit to the sign-out."""

    def __init__(self, stage: Stage, app: AppOnStage, person: DemoUser, ledger: Ledger, report: Report) -> None:
        self._stage = stage
        self._app = app
        self._person = person
        self._ledger = ledger
        self._report = report
        self._browser = Browser()
        self._issuer = stage.provider.issuer

    def run(self) -> None:
        name = str(self._person.claims.get("name", self._person.username))
        self._report.say(f"\n=== {name} at {self._app.url} ({self._app.kind}) ===")
        if self._app is self._stage.legacy:
            self._without_login()
        request = self._challenge()
        callback = self._at_the_provider(request)
        before = self._last_event()
        landing = self._callback(callback)
        self._token(request)
        user_id = self._records(before)
        self._what_the_app_saw(landing, user_id)
        self._sign_out(landing)

    def run_refused(self) -> None:
        self._report.say(f"\n=== {self._person.claims.get('name')} at {self._app.url} ({self._app.kind}) ===")
        callback = self._at_the_provider(self._challenge())
        before = self._last_event()
        step = self._report.step("Back at the application: verified, but not let in")
        visit = self._browser.get(callback, came_from=self._issuer)
        step.check("refused", _status(visit), visit.status == 403)
        refusals = [event for event in self._events_after(before) if event.type == "login.refused"]
        step.need("audit trail", f"{len(refusals)} x login.refused", len(refusals) == 1)
        event = refusals[0]
        step.check(
            "reason, for the operator only", event.reason, event.reason is not None and event.reason not in visit.text
        )
        step.check(
            "reference, on page and in log",
            event.reference,
            bool(event.reference) and str(event.reference) in visit.text,
        )
        made = [seen.type for seen in self._events_after(before) if seen.type == "user.created"]
        step.check("no user was created", made or "none", not made)
        again = self._browser.get(self._app.url + self._app.deep_link)
        step.check("no session either", _status(again), again.location is not None)

    # --- the steps ----------------------------------------------------------------------------------------------

    def _without_login(self) -> None:
        step = self._report.step("Nobody is signed in")
        api = self._browser.get(f"{self._app.url}/whoami", accept="application/json")
        step.check("a script gets no redirect", f"{_status(api)}, {api.document().get('error')}", api.status == 401)
        public = self._browser.get(f"{self._app.url}/about")
        step.check(
            "a public page is served", _status(public), public.status == 200 and "This page is public" in public.text
        )
        forged = self._browser.get(
            f"{self._app.url}/about?x=1", headers={"Remote-User": "admin", "X_Remote_User": "admin"}
        )
        step.check(
            "a forged Remote-User is dropped", _status(forged), forged.status == 200 and "admin" not in forged.text
        )

    def _challenge(self) -> dict[str, str]:
        step = self._report.step(f"First visit to {self._app.deep_link}")
        visit = self._follow(self._browser.get(self._app.url + self._app.deep_link))
        target = visit.location or ""
        step.need(
            "sent to the identity provider",
            f"{_status(visit)} to {_place(target)}",
            _place(target) == f"{self._issuer}/authorize",
        )
        query = dict(parse_qsl(urlsplit(target).query))
        step.check("code flow", query.get("response_type"), query.get("response_type") == "code")
        step.check(
            "redirect_uri", query.get("redirect_uri"), query.get("redirect_uri") in self._app.client.redirect_uris
        )
        method = query.get("code_challenge_method")
        step.check(
            "PKCE challenge",
            f"{_present(query, 'code_challenge')}, {method}",
            method == "S256" and "code_challenge" in query,
        )
        for name in ("state", "nonce"):
            step.check(name, _present(query, name), len(query.get(name, "")) >= 20)
        step.check("login cookie", *_cookie(visit.cookies))
        return query | {"": target}

    def _at_the_provider(self, request: dict[str, str]) -> str:
        step = self._report.step("At the identity provider")
        page = self._browser.get(request[""], came_from=self._app.url)
        form = _form_of(page, self._person.username)
        step.need("login form", _status(page), page.status == 200 and form is not None)
        assert form is not None
        answer = self._browser.submit(form, page)
        target = answer.location or ""
        step.need(
            "signed in and sent back",
            f"{_status(answer)} to {_place(target)}",
            _place(target) == request["redirect_uri"],
        )
        query = dict(parse_qsl(urlsplit(target).query))
        step.check("code", _present(query, "code"), "code" in query)
        step.check("state comes back", _present(query, "state"), query.get("state") == request.get("state"))
        step.check("iss (RFC 9207)", query.get("iss"), query.get("iss") == self._issuer)
        return target

    def _callback(self, callback: str) -> Visit:
        step = self._report.step("Back at the application")
        visit = self._browser.get(callback, came_from=self._issuer)
        wanted = self._app.url + self._app.deep_link
        step.need("accepted, on to where it began", f"{_status(visit)} to {visit.location}", visit.location == wanted)
        session = [
            line for line in visit.cookies if line.startswith((f"{_SESSION_COOKIE}=", f"__Host-{_SESSION_COOKIE}="))
        ]
        step.check("session cookie", *_cookie(session))
        replay = Browser().get(callback, came_from=self._issuer)
        away = replay.location is None or _place(replay.location) == f"{self._issuer}/authorize"
        step.check("the same link in another browser", f"{_status(replay)}, not signed in", away)
        landing = self._browser.get(wanted)
        step.need("the page asked for", _status(landing), landing.status == 200)
        return landing

    def _token(self, request: dict[str, str]) -> None:
        step = self._report.step("The ID token that was exchanged for the code, checked here once more")
        keys = self._browser.get(f"{self._issuer}/jwks", accept="application/json").document()
        try:
            token = jwt.decode(self._stage.provider.issued[-1], KeySet.import_key_set(keys), algorithms=["RS256"])  # type: ignore[arg-type]
        except (JoseError, ValueError, IndexError) as error:
            step.need("signature", type(error).__name__, False)
            return
        claims, now = token.claims, SystemClock().now()
        step.check("signature", f"{token.header['alg']}, key {str(token.header.get('kid'))[:8]}… of the JWKS", True)
        step.check("iss is the configured issuer", claims.get("iss"), claims.get("iss") == self._issuer)
        step.check("aud is our client_id", claims.get("aud"), claims.get("aud") == self._app.client.client_id)
        step.check(
            "nonce is the one we sent",
            "equal" if claims.get("nonce") == request.get("nonce") else "different",
            claims.get("nonce") == request.get("nonce"),
        )
        step.check("not expired", f"{claims['exp'] - now} s left", claims["iat"] - 60 <= now < claims["exp"])
        step.check("sub", claims.get("sub"), claims.get("sub") == self._person.subject)
        step.note("email_verified", claims.get("email_verified"))
        step.note("groups", ", ".join(claims.get("groups", [])))

    def _records(self, before: str | None) -> str:
        step = self._report.step("What the ledger recorded")
        events = self._events_after(before)
        logins = [event for event in events if event.type == "login.succeeded" and event.user_id]
        step.need("login.succeeded", f"{len(logins)} x", len(logins) == 1)
        user_id = str(logins[0].user_id)
        account = next((one for one in self._accounts() if one.user_id == user_id), None)
        step.need(
            "account", "missing" if account is None else f"{account.status.value}, id {user_id}", account is not None
        )
        assert account is not None
        if account.user is not None:
            step.check("username", account.user.username, account.user.username == self._person.username)
        roles = ", ".join(f"{grant.role} ({grant.source})" for grant in account.grants)
        step.check("roles", roles, {grant.role for grant in account.grants} == set(self._roles))
        first = [event.type for event in events if event.type in ("user.created", "user.first_login")]
        if first:
            step.check(
                "first login, recorded once", ", ".join(first), sorted(first) == ["user.created", "user.first_login"]
            )
        else:
            step.note("known from an earlier run", "nothing to create")
        return user_id

    def _what_the_app_saw(self, landing: Visit, user_id: str) -> None:
        step = self._report.step("What the application saw")
        seen = self._browser.get(f"{self._app.url}/whoami").document()
        name = self._person.username
        if self._app.kind == "WSGI":
            step.check("REMOTE_USER", seen.get("REMOTE_USER"), seen.get("REMOTE_USER") == name)
        else:
            step.check('scope["user"]', seen.get("display_name"), seen.get("is_authenticated") is True)
        step.check("jit.user.id", seen.get("jit.user.id"), seen.get("jit.user.id") == user_id)
        step.check("jit.user.username", seen.get("jit.user.username"), seen.get("jit.user.username") == name)
        step.note("jit.user.display_name", seen.get("jit.user.display_name"))
        roles = seen.get("jit.user.roles")
        step.check("jit.user.roles", roles, roles == self._roles)
        step.note("jit.session.expires_at", seen.get("jit.session.expires_at"))
        if self._app.kind == "WSGI":
            board = self._browser.get(f"{self._app.url}/", came_from=landing.url)
            posted = self._browser.submit(board.forms()[0], board, text="Signed in, and writing.")
            after = self._browser.get(posted.location or board.url)
            step.check(
                "a note, posted by form", f"{_status(posted)}, by {name}", "Signed in, and writing." in after.text
            )

    def _sign_out(self, landing: Visit) -> None:
        step = self._report.step("Sign out, here and at the provider")
        page = self._browser.get(f"{self._app.url}/_jit/logout", came_from=landing.url)
        step.need("asked first", _status(page), page.status == 200 and len(page.forms()) == 1)
        copy = Browser(dict(self._browser.jar))
        visit = self._browser.submit(page.forms()[0], page)
        step.need(
            "on to the provider",
            f"{_status(visit)} to {_place(visit.location or '')}",
            _place(visit.location or "") == f"{self._issuer}/end-session",
        )
        back = self._browser.get(visit.location or "", came_from=page.url)
        step.need(
            "and back",
            f"{_status(back)} to {_place(back.location or '')}",
            _place(back.location or "") in self._app.client.post_logout_redirect_uris,
        )
        done = self._browser.get(back.location or "", came_from=self._issuer)
        step.check("signed out", _status(done), done.status == 200)
        stale = copy.get(self._app.url + self._app.deep_link)
        step.check("a copy of the session cookie", f"{_status(stale)}, refused", stale.location is not None)
        again = self._follow(self._browser.get(self._app.url + self._app.deep_link))
        form = self._browser.get(again.location or "", came_from=self._app.url)
        step.check("the next visit starts over", "login form", _form_of(form, self._person.username) is not None)

    # --- looking ----------------------------------------------------------------------------------------------------

    @property
    def _roles(self) -> list[str]:
        """What the rules of the stage give this person."""
        groups = self._person.claims.get("groups")
        return ["operator", "reader"] if isinstance(groups, Sequence) and "ops" in groups else ["reader"]

    def _follow(self, visit: Visit) -> Visit:
        """Follow redirects as long as they stay at the application."""
        for _ in range(_MOST_HOPS):
            target = visit.location
            if target is None or not target.startswith(f"{self._app.url}/"):
                break
            visit = self._browser.get(target, came_from=visit.url)
        return visit

    def _last_event(self) -> str | None:
        events = self._events_after(None)
        return events[-1].id if events else None

    def _accounts(self) -> Sequence[Account]:
        found: list[Account] = []
        while page := stepped(self._ledger.list_users(after=found[-1].user_id if found else None, limit=_PAGE)):
            found += page
        return found

    def _events_after(self, last: str | None) -> Sequence[AuditEvent]:
        found: list[AuditEvent] = []
        while page := stepped(self._ledger.list_audit(after=last, limit=_PAGE)):
            found += page
            last = page[-1].id
        return found


def _form_of(page: Visit, username: str) -> Form | None:
    return next((form for form in page.forms() if form.fields.get("username") == username), None)


def _status(visit: Visit) -> str:
    return f"{visit.status} {HTTPStatus(visit.status).phrase}"


def _place(url: str) -> str:
    """A URL without its query, which holds secrets."""
    return url.partition("?")[0]


def _present(query: Mapping[str, str], name: str) -> str:
    return f"present, {len(query[name])} characters" if name in query else "missing"


def _cookie(lines: Sequence[str]) -> tuple[str, bool]:
    """What is to be seen of a cookie of ours, and whether it is as it must be: one, for this host, not for scripts."""
    if len(lines) != 1:
        return f"{len(lines)} cookies", False
    pair, _, attributes = lines[0].partition(";")
    name, _, value = pair.partition("=")
    flags = [flag.strip() for flag in attributes.split(";")]
    shown = ", ".join(flag for flag in flags if not flag.startswith("Expires"))
    return f"{name}, {len(value)} characters, {shown}", "HttpOnly" in flags and any(
        f.startswith("SameSite") for f in flags
    )
