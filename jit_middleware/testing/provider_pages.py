"""What a person sees of the demo provider: plain pages, safe against markup in what a client sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol

from jit_middleware.http.messages import Response
from jit_middleware.model import Claims

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f3ee; --card: #fff; --text: #221d16; --muted: #655c50; --line: #ddd5c8;
  --edge: #857a6b; --accent: #8a4b08; --on-accent: #fff; }
@media (prefers-color-scheme: dark) { :root { --ground: #14110d; --card: #1e1a15; --text: #f0ebe3; --muted: #b3a899;
  --line: #3a332a; --edge: #8f8473; --accent: #f0b26b; --on-accent: #231602; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-content: center; padding: 1.5rem 1rem;
  background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { width: min(28rem, calc(100vw - 2rem)); padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; }
.mark { margin: 0 0 1rem; color: var(--accent); font-size: .8125rem; font-weight: 700; letter-spacing: .06em;
  text-transform: uppercase; }
h1 { margin: 0 0 .5rem; font-size: 1.375rem; } h2 { margin: 1.75rem 0 .25rem; font-size: 1rem; }
p { margin: 0 0 .75rem; overflow-wrap: anywhere; } .muted { color: var(--muted); font-size: .9375rem; }
label { display: block; margin: .75rem 0 .25rem; font-weight: 600; font-size: .9375rem; }
input, button { width: 100%; min-height: 2.75rem; padding: .5rem .75rem; border: 1px solid var(--edge);
  border-radius: .5rem; background: transparent; color: inherit; font: inherit; }
button { cursor: pointer; font-weight: 600; } form > button { margin-top: 1rem; }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
.person { display: grid; grid-template-columns: 1fr auto; align-items: center; gap: .75rem; padding: .625rem 0;
  border-top: 1px solid var(--line); }
.person button { width: auto; min-height: 2.25rem; margin: 0; padding: .25rem .875rem; }
.person small { display: block; color: var(--muted); font-size: .875rem; }
a { color: var(--accent); } code { font-size: .875em; } .bad { color: #a3160c; font-weight: 600; }
@media (prefers-color-scheme: dark) { .bad { color: #ff9d94; } }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
"""


class Person(Protocol):
    """Someone the login page offers."""

    @property
    def username(self) -> str: ...

    @property
    def password(self) -> str: ...

    @property
    def claims(self) -> Claims: ...


def message(status: int, title: str, sentence: str) -> Response:
    """A page that only says something."""
    return _page(status, title, f"<h1>{escape(title)}</h1><p>{escape(sentence)}</p>")


def home(sign_out_url: str) -> Response:
    """The front page: where to begin, and how to become somebody else."""
    main = f"""<h1>Nothing to do here</h1><p>Begin at the application: it will send you here.</p>
<p><a href="{escape(sign_out_url)}">Sign out here</a>, to sign in as somebody else.</p>"""
    return _page(200, "Demo identity provider", main)


def login(people: Sequence[Person], client_id: str, *, failed: bool = False) -> Response:
    """The login form, and below it everyone who can sign in, with the password. It posts to its own URL."""
    refused = '<p class="bad" role="alert">This name and password do not belong together.</p>' if failed else ""
    main = f"""<h1>Sign in</h1>
<p>to continue to <strong>{escape(client_id)}</strong></p>{refused}
<form method="post" id="login">
<label for="username">Username</label>
<input id="username" name="username" autocomplete="username" autocapitalize="none" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button class="main" type="submit">Sign in</button>
</form>
<h2>Or take one of the demo people</h2>
{"".join(_person(person) for person in people)}"""
    return _page(401 if failed else 200, "Sign in", main)


def confirm_logout(fields: Mapping[str, str]) -> Response:
    """Ask before signing out: a request without an ID token may come from anywhere."""
    form = f'<form method="post">{_hidden({**fields, "confirmed": "yes"})}<button class="main">Sign out</button></form>'
    return _page(
        200, "Sign out", f"<h1>Sign out?</h1><p>You will be signed out at the demo identity provider.</p>{form}"
    )


def form_post(target: str, fields: Mapping[str, str]) -> Response:
    """The answer as a form that sends itself (OAuth 2.0 Form Post Response Mode §2)."""
    main = f"""<h1>One moment</h1>
<form method="post" action="{escape(target)}">{_hidden(fields)}<button class="main">Continue</button></form>
<script>document.forms[0].submit()</script>"""
    return _page(200, "One moment", main)


def _person(person: Person) -> str:
    name, groups = str(person.claims.get("name", person.username)), person.claims.get("groups")
    listed = "no groups"
    if isinstance(groups, Sequence) and not isinstance(groups, str) and groups:
        listed = ", ".join(str(group) for group in groups)
    small = f"<code>{escape(person.username)}</code> / <code>{escape(person.password)}</code> · {escape(listed)}"
    return f"""<form method="post" class="person">
{_hidden({"username": person.username, "password": person.password})}<div>{escape(name)}<small>{small}</small></div>
<button type="submit" aria-label="Sign in as {escape(name)}">Sign in</button></form>
"""


def _hidden(fields: Mapping[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )


def _page(status: int, title: str, main: str) -> Response:
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} – demo identity provider</title><style>{_STYLE}</style></head>
<body><main><p class="mark">Demo identity provider</p>
{main}
</main></body></html>
"""
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
    ]
    return Response(status, headers, text.encode("utf-8", "replace"))
