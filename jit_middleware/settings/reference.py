"""The reference of all settings, written from the table: ``python -m jit_middleware.settings.reference`` renews it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jit_middleware.settings import table
from jit_middleware.settings.setting import Setting
from jit_middleware.settings.table import OIDC, SAML, variable

_INTRODUCTION: Final = """\
# Settings

<!-- Written by `python -m jit_middleware.settings.reference`; edit `jit_middleware/settings/table.py` instead. -->

Five variables reach a working login: `JIT_PUBLIC_URL`, `JIT_SECRET_KEY`, `JIT_OIDC_ISSUER`, `JIT_OIDC_CLIENT_ID` and
`JIT_OIDC_CLIENT_SECRET`; with SAML it is three: `JIT_PUBLIC_URL`, `JIT_SECRET_KEY` and `JIT_SAML_IDP_METADATA`.

Each variable may be given as `NAME_FILE` instead, naming a file that holds the value. A variable that is set but empty
counts as not set. `JIT_CONFIG` names a TOML file with the same settings; its keys are the names below in lower case
without `JIT_`, and relative file names in it start from its own directory. The environment wins over the file.

Lengths of time are written as `30s`, `15m`, `12h` or `90d`. A name that is not listed here is refused at start.
"""

_TOML: Final = """\
## The TOML file

```toml
public_url = "https://app.example.org"
secret_key_file = "secret-key"
public_paths = ["/static/*", "/favicon.ico"]

[claims]
username = "preferred_username || email"
fields = { department = "org.department" }

[connections.staff]
protocol = "oidc"
label = "Staff"
issuer = "https://login.example.org"
client_id = "app"
client_secret_file = "staff-secret"
verified_domains = ["example.org"]

[connections.partners]
protocol = "oidc"
issuer = "https://id.partner.example"
client_id = "app"
client_secret_file = "partners-secret"
claims = { username = "upn" }

[connections.campus]
protocol = "saml"
idp_metadata = "https://idp.campus.example/metadata"
preset = "shibboleth"
subject = "attribute:urn:oasis:names:tc:SAML:attribute:pairwise-id"

[[role_rules]]
when = "contains(groups, 'ops')"
grant = ["admin"]
```

A connection's name is 1 to 32 lower-case letters, digits and hyphens; it is part of its callback URL,
`<public URL>/_jit/callback/<name>`, or `<public URL>/_jit/acs/<name>` with SAML. `[connections.oidc]` is the connection
that the `JIT_OIDC_…` variables describe, `[connections.saml]` that of the `JIT_SAML_…` ones. A connection's own
`claims` win over the shared `[claims]`, which win over a preset.
"""


def render() -> str:
    """The whole reference as Markdown."""
    parts = [_INTRODUCTION]
    for title, settings in table.SECTIONS.items():
        parts.append(_section(title, settings))
        if title == "The app":
            parts.append(_section("The OpenID Connect connection", table.OIDC_CONNECTION))
            parts.append(_section("The SAML connection", table.SAML_CONNECTION, protocol=SAML))
    return "\n".join((*parts, _TOML))


def _section(title: str, settings: Sequence[Setting[object]], *, protocol: str = OIDC) -> str:
    rows = "\n".join(
        f"| `{variable(setting, protocol=protocol)}` | {_default(setting)} | {_cell(setting.meaning)} |"
        for setting in settings
    )
    return f"## {title}\n\n| variable | default | meaning |\n|---|---|---|\n{rows}\n"


def _default(setting: Setting[object]) -> str:
    if setting.required:
        return "required"
    if setting.shown:
        return _cell(setting.shown)
    match setting.default:
        case None | ():
            return ""
        case bool(value):
            return "on" if value else "off"
        case str(value):
            return f"`{_cell(value)}`"
        case _:
            return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(argv: Sequence[str] | None = None) -> int:
    """Write ``docs/settings.md``, or the file named as the only argument."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    target = Path(arguments[0]) if arguments else Path("docs/settings.md")
    target.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
