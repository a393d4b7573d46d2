"""What the pages of the two demo applications look like, and how they show what they were told."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from jit_middleware.model import Session, User

_STYLE: Final = """
:root { color-scheme: light dark; --ground: #fbfaf7; --card: #fff; --text: #1d2420; --muted: #59645d; --line: #dcdfd8;
  --edge: #79857d; --accent: #1c6b45; --on-accent: #fff; }
@media (prefers-color-scheme: dark) { :root { --ground: #101512; --card: #181f1b; --text: #e7ece8; --muted: #a3b0a8;
  --line: #2c3630; --edge: #7f8d85; --accent: #7fd3a8; --on-accent: #06210f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header, main { max-width: 42rem; margin: 0 auto; padding: 1rem; }
header { display: flex; gap: 1rem; align-items: baseline; border-bottom: 1px solid var(--line); }
header strong { flex: 1; } a { color: var(--accent); } small { color: var(--muted); }
h1 { margin: 1rem 0; font-size: 1.5rem; } h2 { margin: 2rem 0 .5rem; font-size: 1rem; }
.note { margin: .75rem 0; padding: .75rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; overflow-wrap: anywhere; } .note p { margin: 0; }
label { font-weight: 600; }
textarea { display: block; width: 100%; margin: .25rem 0 .5rem; padding: .5rem; font: inherit;
  color: inherit; background: var(--card); border: 1px solid var(--edge); border-radius: .5rem; }
button { min-height: 2.5rem; padding: 0 1rem; font: inherit; font-weight: 600; cursor: pointer; border: 0;
  border-radius: .5rem; background: var(--accent); color: var(--on-accent); }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
th, td { padding: .375rem .75rem .375rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; } th { width: 12rem; font-weight: 500; color: var(--muted); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
"""


def page(app: str, title: str, main: str, user: str | None) -> bytes:
    """A whole page; ``main`` is markup, everything else is text."""
    who = "" if user is None else f'<span>{escape(user)}</span> <a href="/_jit/logout">Sign out</a>'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} – {escape(app)}</title><style>{_STYLE}</style></head>
<body><header><strong>{escape(app)}</strong>{who}</header>
<main>{main}</main></body></html>
""".encode("utf-8", "replace")


def facts(heading: str, values: Mapping[str, object]) -> str:
    """What arrived, as a table."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in values.items())
    return f"<h2>{escape(heading)}</h2><table>{rows}</table>"


def told(user: User, session: Session) -> dict[str, object]:
    """``jit.user`` and ``jit.session`` as plain values."""
    return {
        "jit.user.id": user.id,
        "jit.user.username": user.username,
        "jit.user.email": user.email,
        "jit.user.display_name": user.display_name,
        "jit.user.roles": list(user.roles),
        "jit.user.status": user.status.value,
        "jit.session.connection": session.connection,
        "jit.session.expires_at": session.expires_at.isoformat(),
    }
