"""What README and ``docs/`` say is so: their Python runs, their settings exist, their links lead somewhere.

The pages are checked, not trusted: a renamed setting, a new reason or a moved file breaks a test here.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from jit_middleware.audit import EVENT_TYPES, to_line
from jit_middleware.cli import main
from jit_middleware.endpoints import TABLE
from jit_middleware.injection import HEADER_PRESETS
from jit_middleware.model import AuditEvent, Session, Status, User
from jit_middleware.settings import Settings, table
from jit_middleware.settings.sections import PRESETS
from jit_middleware.testing.contract import UserStoreContract
from tests.examples.conftest import EXAMPLES
from tests.examples.reasons import ROOT, codes, reasons

PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")] + sorted((ROOT / "docs").rglob("*.md"))
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
GENERATED = ROOT / "docs" / "settings.md"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_VARIABLE = re.compile(r"\bJIT_[A-Z_]*[A-Z]\b(?!…|_)")
_PREAMBLE = (
    "def application(environ, start_response): ...\nasync def app(scope, receive, send): ...\nstore = object()\n"
)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of one language on all pages, each with the name of its page and its number there."""
    for page in PAGES:
        for number, (kind, text) in enumerate(_BLOCK.findall(page.read_text("utf-8")), start=1):
            if kind == language:
                yield f"{page.relative_to(ROOT)}#{number}", text


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


# --- settings ---------------------------------------------------------------------------------------------------------


def known_variables() -> set[str]:
    names = {*table.variables(), table.CONFIG}
    return names | {f"{name}_FILE" for name in table.variables()}


@pytest.mark.parametrize(
    "path", [*PAGES, *sorted(p for p in EXAMPLES.rglob("*") if p.is_file() and p.suffix != ".pyc")]
)
def test_every_variable_that_is_named_exists(path: Path) -> None:
    mentioned = set(_VARIABLE.findall(path.read_text("utf-8"))) - {"JIT_OIDC", "JIT_INSECURE"}  # as in JIT_OIDC_…
    assert mentioned <= known_variables()


def test_a_misspelt_variable_would_be_noticed() -> None:
    assert set(_VARIABLE.findall("`JIT_OIDC_ISSUR` and JIT_SECRET_KEY_FILES=1")) - known_variables() == {
        "JIT_OIDC_ISSUR",
        "JIT_SECRET_KEY_FILES",
    }


@pytest.mark.parametrize(
    ("where", "text"), [*blocks("toml"), *((p.name, p.read_text()) for p in EXAMPLES.rglob("*.toml"))]
)
def test_every_toml_block_is_accepted(where: str, text: str, five_variables: dict[str, str], tmp_path: Path) -> None:
    for name in re.findall(r'_file = "([^"/]+)"', text):
        (tmp_path / name).write_text("vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM")
    (tmp_path / "jit.toml").write_text(text, "utf-8")
    given = {name: value for name, value in five_variables.items() if name.startswith("JIT_")}
    settings = Settings.load({**given, "JIT_CONFIG": str(tmp_path / "jit.toml")})
    assert settings.connections, where
    assert tomllib.loads(text), where


@pytest.mark.parametrize(("where", "text"), list(blocks("sh")))
def test_every_assignment_in_a_shell_block_is_accepted(
    where: str, text: str, five_variables: dict[str, str], tmp_path: Path
) -> None:
    given = {name: value for name, value in five_variables.items() if name.startswith("JIT_")}
    (tmp_path / "secret").write_text(given["JIT_SECRET_KEY"])
    for name, value in re.findall(r"^(?:export )?(JIT_[A-Z_]+)=(\S+)", text, re.MULTILINE):
        if name in {"JIT_SECRET_KEY", "JIT_OIDC_CLIENT_SECRET"}:
            continue  # placeholders and commands stand there
        if name.endswith("_FILE"):
            given.pop(name.removesuffix("_FILE"), None)
            value = str(tmp_path / "secret")  # noqa: PLW2901
        given[name] = value
    Settings.load(given)


# --- code -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "text"), list(blocks("python")), ids=[where for where, _ in blocks("python")])
def test_every_python_block_runs(
    where: str, text: str, five_variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "users=store" in text:
        namespace = executed(readme_store(), "README.md")
        exec(_PREAMBLE.replace("store = object()", "store = People()"), namespace)
    else:
        namespace = executed(_PREAMBLE, "preamble")
    exec(compile(text, where, "exec"), namespace)


@pytest.mark.parametrize(("where", "text"), list(blocks("json")), ids=[where for where, _ in blocks("json")])
def test_every_json_block_is_json(where: str, text: str) -> None:
    assert json.loads(text), where


def executed(text: str, where: str) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "documentation"}
    exec(compile(text, where, "exec"), namespace)
    return namespace


def readme_store() -> str:
    return next(text for where, text in blocks("python") if where.startswith("README.md") and "class People" in text)


class TestTheStoreOfTheReadme(UserStoreContract):
    """The store in README keeps its promises, within the columns it has."""

    keeps_attributes = keeps_display_name = keeps_roles = False

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[object]:
        people = executed(readme_store(), "README.md")["People"]
        assert isinstance(people, type)
        store = people(str(tmp_path / "people.db"))
        yield store
        store.db.close()


def test_the_store_of_the_readme_is_as_short_as_it_says() -> None:
    assert "in thirty lines\n" in page("README.md")
    assert len([line for line in readme_store().splitlines() if line.strip()]) == 30


# --- errors, endpoints, presets, events ---------------------------------------------------------------------------------


def test_every_public_code_is_explained() -> None:
    known = codes()
    assert {"login_required", "not_provisioned", "cross_site_request", "login_loop"} <= known
    explained = set(re.findall(r"`([a-z_]+)`", section("docs/errors.md", "Codes")))
    assert known - explained == set()


def test_every_reason_is_explained() -> None:
    known = reasons()
    assert {"state_unknown", "username_taken", "account_suspended", "nonce_mismatch", "disk_full"} <= known
    explained = set(re.findall(r"`([a-z0-9_]+)`", section("docs/errors.md", "Reasons")))
    assert known - explained == set()


def test_every_endpoint_is_listed() -> None:
    listed = set(re.findall(r"^\| `([a-z-]+)", section("docs/how-it-works.md", "Our own paths"), re.MULTILINE))
    assert listed == set(TABLE)


def test_every_preset_and_its_headers_are_listed() -> None:
    rows = section("docs/injection.md", "Presets")
    for preset in PRESETS:
        assert f"`{preset}`" in rows
        for header, _ in HEADER_PRESETS.get(preset, ()):
            assert f"`{header}`" in rows


@pytest.mark.parametrize("kind", [User, Session])
def test_what_the_application_sees_is_listed_in_full(kind: type[User | Session]) -> None:
    signature = f"{kind.__name__}({', '.join(each.name for each in fields(kind))})"
    assert signature in page("docs/injection.md")


KINDS = "adoption|feed|groups|identity|invitation|login|provisioning|role|roles|session|signal|user"


def test_every_audit_event_type_is_listed() -> None:
    source = "".join(each.read_text("utf-8") for each in (ROOT / "jit_middleware").rglob("*.py"))
    made = set(re.findall(rf'"((?:{KINDS})\.(?!html")[a-z_]+)"', source))
    assert {"user.first_login", "login.refused", "session.ended", "signal.received", "adoption.undone"} <= made
    listed = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", section("docs/audit.md", "The types")))
    assert made - listed == set()
    assert made | {f"user.{status.value}" for status in Status} - {"user.invited"} == EVENT_TYPES
    assert listed >= EVENT_TYPES


def test_the_shape_of_an_audit_line_is_as_documented() -> None:
    line = json.loads(to_line(AuditEvent(id="1", type="login.succeeded", at=1_800_000_000)))
    (shown,) = (json.loads(text) for where, text in blocks("json") if where.startswith("docs/audit.md"))
    assert list(shown) == list(line)
    assert shown["at"] == line["at"]


def test_every_room_is_described() -> None:
    house = ROOT / "jit_middleware"
    rooms = {each.name for each in house.glob("*.py") if each.name != "__init__.py"}
    rooms |= {f"{each.parent.name}/" for each in house.glob("*/__init__.py")}
    rooms |= {f"adapters/{each.parent.name}" for each in (ROOT / "adapters").glob("*/__init__.py")}
    first_column = re.findall(r"^\| (`.*?`) \|", section("docs/how-it-works.md", "The rooms"), re.MULTILINE)
    assert set(re.findall(r"`([^`]+)`", " ".join(first_column))) == rooms


def section(name: str, heading: str) -> str:
    """The part of a page below one heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page(name), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{name} has no section {heading}"
    return found[1]


# --- links and form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_every_link_inside_the_repository_leads_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text("utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{path.name} links to {target}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in _LINK.findall(page("README.md"))}
    assert set((ROOT / "docs").glob("*.md")) <= linked


@pytest.mark.parametrize("path", [each for each in PAGES if each != GENERATED])
def test_prose_keeps_within_the_line(path: Path) -> None:
    prose = _BLOCK.sub("", path.read_text("utf-8"))
    long = [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert long == []


def test_commands_that_are_named_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    usage = capsys.readouterr().out
    named = {command for path in PAGES for command in re.findall(r"jit-middleware ([a-z]+)\b", path.read_text("utf-8"))}
    assert {"check", "users", "migrate"} <= named
    for command in named:
        assert re.search(rf"^    {command}\b", usage, re.MULTILINE), command


@pytest.mark.parametrize("group", ["users", "adopt", "sessions", "audit"])
def test_every_verb_of_a_command_is_told_and_no_other(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group, "--help"]) == 0
    verbs = set(re.findall(r"^    ([a-z-]+)\b", capsys.readouterr().out, re.MULTILINE))
    assert "list" in verbs
    pages = "\n".join(each.read_text("utf-8") for each in PAGES)
    commands = "\n".join(re.findall(r"`[^`\n]+`|^jit-middleware .*$", pages, re.MULTILINE))
    assert set(re.findall(rf"(?:`|jit-middleware ){group} ([a-z][a-z-]+)\b", commands)) == verbs


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_every_page_begins_with_what_it_is_for(path: Path) -> None:
    title, _, rest = path.read_text("utf-8").partition("\n\n")
    assert title.startswith("# ")
    first = re.sub(r"^<!--.*?-->\n\n", "", rest, flags=re.DOTALL).split("\n\n")[0]
    assert re.match(r"[A-Z]", first), f"{path.name} begins with {first[:40]!r}"


def slug(heading: str) -> str:
    """The anchor that forges make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
