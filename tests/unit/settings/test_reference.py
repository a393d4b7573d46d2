"""``docs/settings.md`` is the table, written out."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.settings.reference import main, render
from jit_middleware.settings.table import CONNECTION, SECTIONS, variables

DOCS = Path(__file__).parents[3] / "docs" / "settings.md"


def test_docs_are_up_to_date() -> None:
    assert DOCS.read_text(encoding="utf-8") == render(), "run python -m jit_middleware.settings.reference"


def test_every_setting_is_in_the_reference_once() -> None:
    text = render()
    for name in variables():
        assert text.count(f"| `{name}` |") == 1, name


def test_every_setting_has_a_sentence() -> None:
    for setting in (*CONNECTION, *(each for rows in SECTIONS.values() for each in rows)):
        assert setting.meaning[0].isupper() or setting.meaning[0] == "`"
        assert setting.meaning.endswith("."), setting.path


def test_toml_example_of_the_reference_loads(tmp_path: Path) -> None:
    example = render().partition("```toml\n")[2].partition("```")[0]
    tomllib.loads(example)
    (tmp_path / "jit.toml").write_text(example)
    (tmp_path / "secret-key").write_text("vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM\n")
    (tmp_path / "staff-secret").write_text("one\n")
    (tmp_path / "partners-secret").write_text("two\n")
    settings = Settings.load({"JIT_CONFIG": str(tmp_path / "jit.toml")})
    staff, partners, campus = settings.connections
    assert isinstance(staff, OIDCConnection)
    assert isinstance(partners, OIDCConnection)
    assert (staff.client_secret, partners.client_secret) == ("one", "two")
    assert isinstance(campus, SAMLConnection)
    assert settings.connections[0].claims.username == "preferred_username || email"
    assert settings.connections[1].claims.username == "upn"
    assert settings.provisioning.role_rules[0].grant == ("admin",)


def test_generator_writes_the_named_file(tmp_path: Path) -> None:
    target = tmp_path / "settings.md"
    assert main([str(target)]) == 0
    assert target.read_text(encoding="utf-8") == render()


def test_generator_runs_as_a_module_without_warnings(tmp_path: Path) -> None:
    target = tmp_path / "settings.md"
    command = [sys.executable, "-W", "error", "-m", "jit_middleware.settings.reference", str(target)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert target.read_text(encoding="utf-8") == render()
