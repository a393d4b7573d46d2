"""The command line: exit codes, wrong use, and the commands that need no database."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from jit_middleware.asgi import JITMiddleware as ASGIMiddleware
from jit_middleware.cli import main
from jit_middleware.cli.live import check_database, check_redis, check_user_store
from jit_middleware.cli.terminal import columns, plain, positive
from jit_middleware.settings import Settings
from jit_middleware.settings.values import secret_keys
from jit_middleware.wrapped import world_of
from jit_middleware.wsgi import JITMiddleware as WSGIMiddleware
from jit_middleware_sqlalchemy import migrate

FIVE = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "hunter2",
}


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in FIVE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["users"],
        ["users", "show"],
        ["users", "list", "--limit", "0"],
        ["users", "list", "--limit", "many"],
        ["users", "suspend"],
        ["users", "grant", "u"],
        ["users", "revoke-role", "u"],
        ["users", "approve"],
        ["sessions"],
        ["sessions", "revoke"],
        ["sessions", "revoke", "--user", "a", "--all"],
        ["sessions", "revoke", "--all"],
        ["sessions", "revoke", "--all", "--yes", "--connection", "a"],
        ["sessions", "revoke", "--idp-session", "a"],
        ["sessions", "revoke", "--idp-session", "a", "--user", "b"],
        ["sessions", "revoke", "--session"],
        ["sessions", "revoke", "--session", "--"],
        ["sessions", "revoke", "--session=--"],
        ["audit", "export", "--since", "x"],
        ["run"],
        ["run", "m:app", "--port", "0"],
        ["run", "m:app", "--port", "70000"],
        ["run", "m:app", "--wsgi", "--asgi"],
        ["check", "extra"],
        ["keygen", "--length", "5"],
    ],
)
def test_wrong_use_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage:" in captured.err


@pytest.mark.parametrize("command", ["check", "demo", "run", "keygen", "migrate", "users", "sessions", "audit"])
def test_help_lists_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert f"\n    {command} " in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--live", "--json"],
        ["keygen", "--json"],
        ["migrate", "--json"],
        ["run", "m:app", "--json"],
        ["users", "list", "--json"],
        ["users", "show", "u", "--json"],
        ["users", "suspend", "u", "--json"],
        ["users", "resume", "u", "--json"],
        ["users", "deactivate", "u", "--json"],
        ["users", "approve", "u", "--role", "r", "--json"],
        ["users", "reinstate", "u", "--json"],
        ["users", "delete", "u", "--json"],
        ["users", "erase", "u", "--json"],
        ["users", "grant", "u", "r", "--json"],
        ["users", "revoke-role", "u", "r", "--json"],
        ["sessions", "list", "--json"],
        ["sessions", "revoke", "--all", "--yes", "--json"],
        ["audit", "list", "--json"],
        ["audit", "export", "--json"],
    ],
)
def test_json_is_an_option_of_every_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FIVE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JIT_APP", "")  # restored afterwards, as `run` sets it
    main(arguments)
    assert "usage:" not in capsys.readouterr().err


def test_faulty_configuration_prints_every_fault_and_exits_2(
    configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.setenv("JIT_SESSION_IDLE", "15")
    configured.setenv("JIT_PUBLIC_UL", "x")
    configured.setenv("JIT_SECRET_KEY", "short")
    assert main(["check"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sorted(line.partition(":")[0] for line in captured.err.splitlines()) == [
        "JIT_PUBLIC_UL",
        "JIT_SECRET_KEY",
        "JIT_SESSION_IDLE",
    ]


def test_keygen_prints_a_key_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen"]) == 0
    first = capsys.readouterr().out.strip()
    assert main(["keygen", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)["secret_key"]
    assert first != second
    assert secret_keys(f"{first},{second}") == (first.encode(), second.encode())


def test_check_prints_what_is_in_force_without_secrets(
    configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.setenv("JIT_DATABASE_URL", "postgresql://u:hunter2@db.example/jit")
    configured.setenv("JIT_INSECURE_CROSS_SITE_WRITES", "true")
    assert main(["check"]) == 0
    captured = capsys.readouterr()
    assert "redirect_uri https://app.example.org/_jit/callback/oidc" in captured.out
    assert "database: postgresql://db.example/jit" in captured.out
    assert "warning: JIT_INSECURE_CROSS_SITE_WRITES is on." in captured.err
    for secret in ("hunter2", FIVE["JIT_SECRET_KEY"]):
        assert secret not in captured.out + captured.err


def test_check_prints_json(configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    assert said["settings"]["session_idle_seconds"] == 3600
    assert said["settings"]["connections"][0]["name"] == "oidc"
    assert said["steps"] == said["warnings"] == []


def test_demo_gets_its_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[str]] = []

    def demo(argv: Sequence[str]) -> int:
        seen.append(argv)
        return 7

    module = ModuleType("jit_middleware.demo")
    module.main = demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jit_middleware.demo", module)
    assert main(["demo", "--port", "9", "-x"]) == 7
    assert seen == [["--port", "9", "-x"]]


async def _asgi_function(scope: object, receive: object, send: object) -> None: ...


class _ASGIObject:
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


class _WSGIObject:
    def __call__(self, environ: object, start_response: object) -> list[bytes]:
        return []


def test_interface_of_an_application_is_told_from_its_call() -> None:
    assert world_of(_asgi_function) == "asgi"
    assert world_of(_ASGIObject()) == "asgi"
    assert world_of(_WSGIObject()) == "wsgi"
    assert world_of(lambda environ, start_response: []) == "wsgi"


wsgi_app = _WSGIObject()
asgi_app = _ASGIObject()
made: list[_ASGIObject] = []


def make_app() -> _ASGIObject:
    made.append(_ASGIObject())
    return made[-1]


@pytest.fixture
def importable(configured: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """This module can be imported as ``legacy``; what `run` leaves behind is taken away again."""
    configured.setenv("JIT_APP", "")
    configured.setenv("JIT_DATABASE_URL", f"sqlite:///{tmp_path / 'jit.db'}")
    configured.setattr(sys, "path", list(sys.path))
    configured.setitem(sys.modules, "legacy", sys.modules[__name__])
    return configured


def test_check_tries_the_templates(
    configured: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.setenv("JIT_TEMPLATES", str(tmp_path))
    (tmp_path / "loop.html").write_text("{{ no_such_name }}")
    assert main(["check"]) == 2
    assert f"{tmp_path}/loop.html" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "meant"), [("eror.html", "error.html"), ("Error.html", "error.html"), ("styles.css", "style.css")]
)
def test_check_notices_a_template_whose_name_is_nearly_one_of_ours(
    configured: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, meant: str
) -> None:
    configured.setenv("JIT_TEMPLATES", str(tmp_path))
    for file in (name, "macros.html", "logo.svg", "loop.html"):
        (tmp_path / file).write_text("")
    assert main(["check"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "JIT_TEMPLATES" in line]
    assert line == f"warning: JIT_TEMPLATES: the file {name} replaces nothing; did you mean {meant}?"


@pytest.mark.parametrize("url", ["oracle://u:hunter2@h/n", "sqlite://"])
def test_check_refuses_a_database_that_cannot_serve(
    configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    configured.setenv("JIT_DATABASE_URL", url)
    assert main(["check"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("JIT_DATABASE_URL: ")
    assert "Fix: " in said
    assert "hunter2" not in said


class _Server(ModuleType):
    """Stands for waitress and uvicorn."""

    def __init__(self) -> None:
        super().__init__("server")
        self.served: list[tuple[object, str, int]] = []

    def run(self, app: object, *, host: str, port: int, proxy_headers: bool) -> None:
        assert proxy_headers is False
        self.served.append((app, host, port))

    def create_server(self, app: object, *, host: str, port: int) -> SimpleNamespace:
        return SimpleNamespace(run=lambda: self.served.append((app, host, port)))


@pytest.mark.parametrize(
    ("app", "options", "server", "middleware", "host", "port"),
    [
        ("legacy:wsgi_app", [], "waitress", WSGIMiddleware, "127.0.0.1", 8000),
        ("legacy:asgi_app", ["--port", "81"], "uvicorn", ASGIMiddleware, "127.0.0.1", 81),
        ("legacy:asgi_app", ["--wsgi", "--host", "0.0.0.0"], "waitress", WSGIMiddleware, "0.0.0.0", 8000),
        ("legacy:wsgi_app", ["--asgi"], "uvicorn", ASGIMiddleware, "127.0.0.1", 8000),
    ],
)
def test_run_serves_the_wrapped_application(
    importable: pytest.MonkeyPatch, app: str, options: list[str], server: str, middleware: type, host: str, port: int
) -> None:
    standin = _Server()
    importable.setitem(sys.modules, server, standin)
    assert main(["run", app, *options]) == 0
    ((served, *where),) = standin.served
    assert isinstance(served, middleware)
    assert where == [host, port]


def test_run_ends_with_2_when_uvicorn_gives_up(
    importable: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object, **__: object) -> None:
        raise SystemExit(3)

    importable.setitem(sys.modules, "uvicorn", SimpleNamespace(run=run))
    assert main(["run", "legacy:asgi_app"]) == 2
    assert capsys.readouterr().err == "uvicorn could not start on 127.0.0.1 port 8000.\n"


@pytest.mark.parametrize(("app", "server"), [("legacy:wsgi_app", "waitress"), ("legacy:asgi_app", "uvicorn")])
def test_run_serves_below_the_mount_path(importable: pytest.MonkeyPatch, app: str, server: str) -> None:
    standin = _Server()
    importable.setenv("JIT_PUBLIC_URL", "http://localhost:5005/legacy")
    importable.setitem(sys.modules, server, standin)
    assert main(["run", app]) == 0
    ((served, *_),) = standin.served
    assert getattr(served, "__qualname__", "").partition(".")[0] == (
        "wsgi_below" if server == "waitress" else "asgi_below"
    )


def test_run_calls_a_factory_once(importable: pytest.MonkeyPatch) -> None:
    importable.setitem(sys.modules, "uvicorn", _Server())
    made.clear()
    assert main(["run", "legacy:make_app()"]) == 0
    assert len(made) == 1


def test_run_takes_the_port_of_a_loopback_public_url(importable: pytest.MonkeyPatch) -> None:
    standin = _Server()
    importable.setenv("JIT_PUBLIC_URL", "http://localhost:5005")
    importable.setitem(sys.modules, "waitress", standin)
    assert main(["run", "legacy:wsgi_app"]) == 0
    assert standin.served[0][2] == 5005


def test_run_without_uvicorn_says_what_to_install(
    importable: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    importable.setitem(sys.modules, "uvicorn", None)
    assert main(["run", "legacy:asgi_app"]) == 2
    assert "pip install uvicorn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "why"),
    [("127.0.0.1", "something else listens there. Fix: end that"), ("no-host.invalid", "Fix: choose another --host")],
)
def test_run_says_where_it_cannot_listen(
    importable: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, why: str
) -> None:
    importable.setitem(sys.modules, "waitress", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["run", "legacy:wsgi_app", "--host", host, "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Cannot listen on {host} port {port}: ")
    assert why in said
    assert "Serving" not in said


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use"), "something else listens there. Fix: end that"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied. Fix: choose another --host or --port"),
        (ValueError("Invalid host/port specified."), "Invalid host/port specified. Fix: choose another --host or"),
    ],
    ids=["taken", "forbidden", "unknown"],
)
def test_run_says_so_before_waitress_serves(
    importable: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refusal: Exception, why: str
) -> None:
    def create_server(*_: object, **__: object) -> None:
        raise refusal

    importable.setitem(sys.modules, "waitress", SimpleNamespace(create_server=create_server))
    assert main(["run", "legacy:wsgi_app"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Cannot listen on 127.0.0.1 port 8000: {why}")
    assert "Serving" not in said


def test_run_names_an_application_that_is_not_there(
    importable: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "legacy:absent"]) == 2
    assert capsys.readouterr().err.startswith("JIT_APP: ")


def test_names_from_outside_cannot_drive_the_terminal() -> None:
    assert plain("eve\x1b[2J\r\n\u202e") == "eve\ufffd[2J\ufffd\ufffd\ufffd"
    assert columns(("id", "name"), [("1", "eve\x1b"), ("22", "")]) == ["id  name", "1   eve\ufffd", "22  -"]


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1.5", "٣", "9" * 10])
def test_limit_is_a_whole_number_above_zero(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        positive(text)


FIVE_VERBS = ("get", "find", "create", "update", "set_active")


def test_check_tells_the_policy_that_is_in_force(
    configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "JIT_SEAT_LIMIT": "5",
        "JIT_SEATS_WHEN_FULL": "minimal_role",
        "JIT_MINIMAL_ROLE": "guest",
        "JIT_CREATION_RATE": "30/1m",
        "JIT_GROUP_ROLES": '{"g1": ["editor"]}',
        "JIT_PRIVILEGED_ROLES": "admin",
        "JIT_LINK_UNTIL": "2030-12-31",
        "JIT_STEP_UP": '[{"paths": ["/admin/*"], "max_age": "10m"}]',
        "JIT_CLAIM_FILTER": "hd == 'example.org'",
    }.items():
        configured.setenv(name, value)
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {
        "seat_limit: 5",
        "seats_when_full: minimal_role",
        "minimal_role: guest",
        "creation_rate: 30/1m",
        "creation_alarm: 100/1h",
        "session_idle: 1h",
        "session_absolute: 12h",
        "revocation_max_staleness: 1s",
        "step_up: paths /admin/*, acr -, max_age 10m",
        "group_roles: g1 editor",
        "privileged_roles: admin",
        "claim_filter: hd == 'example.org'",
    } <= set(lines)
    assert any(line.startswith("link_until: 203") for line in lines)


def test_check_notes_that_no_role_is_privileged(
    configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is for the operator to say which roles have to wait for a new login; not saying so is no error."""
    configured.setenv("JIT_DATABASE_URL", "sqlite:////srv/app/jit.db")
    assert main(["check"]) == 0
    assert "note:" not in capsys.readouterr().err
    configured.setenv("JIT_DEFAULT_ROLES", "viewer")
    assert main(["check"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: No role is privileged (JIT_PRIVILEGED_ROLES)")
    assert main(["check", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["notes"], said["warnings"]) == ([line.removeprefix("note: ")], [])
    configured.setenv("JIT_PRIVILEGED_ROLES", "*")
    assert main(["check"]) == 0
    told = capsys.readouterr()
    assert "note:" not in told.err
    assert "privileged_roles: *" in told.out.splitlines()


FULL = Path("/dev/full")


@pytest.mark.parametrize(
    "command", [["keygen"], ["check", "--json"], ["users", "list"], ["audit", "list"]], ids=" ".join
)
def test_what_cannot_be_printed_is_said_in_one_line(command: list[str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jit.db'}"
    environment = {**os.environ, **FIVE, "JIT_DATABASE_URL": url, "PYTHONPATH": os.pathsep.join(sys.path)}
    migrate(url)
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from jit_middleware.cli import main; sys.exit(main())", *command],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False,
        )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert (done.returncode, said) == (2, ["Standard output cannot be written (No space left on device)."])


def test_version_is_that_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jit_middleware-7.8.9.dist-info").mkdir()
    (tmp_path / "jit_middleware-7.8.9.dist-info" / "METADATA").write_text("Name: jit-middleware\nVersion: 7.8.9\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "jit-middleware 7.8.9\n"
    assert main(["--help"]) == 0
    assert "--version" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["users", "link", "ada"], ["explain", "x.json"]])
def test_a_connection_that_is_not_there_is_answered_with_those_that_are(
    configured: pytest.MonkeyPatch, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.setenv("JIT_DATABASE_URL", f"sqlite:///{tmp_path / 'jit.db'}")
    migrate(f"sqlite:///{tmp_path / 'jit.db'}")
    assert main([*command, "--connection", "nope"]) == 2
    assert capsys.readouterr().err == "There is no connection 'nope'; there is: oidc.\n"


def test_a_wrong_length_of_time_is_answered_with_the_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["users", "link", "ada", "--valid", "1 day"]) == 2
    assert "'1 day' is not a length of time. Fix: write a number and a unit" in capsys.readouterr().err


def test_check_live_tells_redis_without_its_library_once(
    configured: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.setenv("JIT_DATABASE_URL", f"sqlite:///{tmp_path / 'jit.db'}")
    configured.setenv("JIT_REDIS_URL", "redis://cache.invalid")
    migrate(f"sqlite:///{tmp_path / 'jit.db'}")
    configured.setitem(sys.modules, "redis", None)
    for name in [name for name in sys.modules if name.startswith("jit_middleware_redis")]:
        configured.delitem(sys.modules, name)
    settings = Settings.load()
    assert check_database(settings).ok
    (step,) = check_redis(settings)
    assert not step.ok


def test_check_live_names_a_user_store_that_is_not_there(configured: pytest.MonkeyPatch) -> None:
    configured.setenv("JIT_USER_STORE", "no_such_module:People")
    (step,) = check_user_store(Settings.load())
    assert not step.ok
    assert "no_such_module:People" in step.detail
    assert "module:factory" in step.fix


@pytest.mark.parametrize(
    ("text", "raised"),
    [
        (
            "def people():\n    raise RuntimeError('password hunter2 refused')\n",
            "RuntimeError (people_who_fail.py, line 2)",
        ),
        ("1 / 0\n", "ZeroDivisionError (people_who_fail.py, line 1)"),
        ("def people(url): ...\n", "TypeError."),
    ],
)
@pytest.mark.parametrize("command", [["users", "approve", "ann"], ["users", "suspend", "ann"]])
def test_a_user_store_that_cannot_be_made_is_a_fault_of_its_setting(
    configured: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    text: str,
    raised: str,
) -> None:
    (tmp_path / "people_who_fail.py").write_text(text)
    configured.chdir(tmp_path)
    configured.delitem(sys.modules, "people_who_fail", raising=False)
    configured.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    configured.setenv("JIT_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    configured.setenv("JIT_USER_STORE", "people_who_fail:people")
    assert main(command) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert complaint.startswith(f"JIT_USER_STORE: 'people_who_fail:people' raised {raised}")
    assert "Fix: " in complaint
    assert "hunter2" not in complaint


def test_a_user_store_is_found_where_the_command_is_given(configured: pytest.MonkeyPatch, tmp_path: Path) -> None:
    verbs = "".join(f"    def {verb}(self, *given, **named): ...\n" for verb in FIVE_VERBS)
    (tmp_path / "people_of_here.py").write_text(f"class People:\n{verbs}")
    configured.chdir(tmp_path)
    configured.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    configured.setenv("JIT_USER_STORE", "people_of_here:People")
    (step,) = check_user_store(Settings.load())
    assert (step.ok, step.fix) == (True, "")


def test_a_file_of_settings_that_is_not_toml_is_named_with_its_place(
    configured: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jit.toml").write_text("seat_limit = 5\nlink_policy = never\n")
    configured.setenv("JIT_CONFIG", str(tmp_path / "jit.toml"))
    assert main(["check"]) == 2
    complaint = capsys.readouterr().err
    assert "is not TOML (at line 2" in complaint
    assert "correct it there" in complaint


def test_a_name_that_only_the_applications_own_store_knows_is_answered_with_what_to_give(
    configured: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.chdir(tmp_path)
    configured.setenv("JIT_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    configured.setenv("JIT_USER_STORE", "people_of_theirs:People")
    (tmp_path / "ledger.db").touch()
    assert main(["sessions", "revoke", "--user", "ann"]) == 1
    assert "no user with the id 'ann'" in capsys.readouterr().err
