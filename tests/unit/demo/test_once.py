from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from jit_middleware.demo import main
from jit_middleware.demo.browser import Browser
from jit_middleware.demo.report import Broken, Report
from jit_middleware.demo.serve import listen
from jit_middleware.demo.stage import set_up
from jit_middleware.demo.walk import walk

pytestmark = pytest.mark.slow


@pytest.fixture
def port() -> int:
    """The first of three free ports in a row."""
    for _ in range(50):
        with ExitStack() as stack:
            first: int = stack.enter_context(listen(0)).getsockname()[1]
            others = [stack.enter_context(listen(first + step)).getsockname()[1] for step in (1, 2)]
        if others == [first + 1, first + 2]:
            return first
    raise AssertionError("no three free ports in a row")


def told(text: str) -> dict[str, list[dict[str, object]]]:
    document = json.loads(text)
    assert document["ok"] is True, [fact for step in document["steps"] for fact in step["facts"] if fact["ok"] is False]
    facts: dict[str, list[dict[str, object]]] = {}
    for step in document["steps"]:
        for fact in step["facts"]:
            facts.setdefault(fact["what"], []).append(fact)
    return facts


def test_once_signs_in_at_both_applications_and_tells_it(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--once", "--json", "--port", str(port)]) == 0
    facts = told(capsys.readouterr().out)
    assert facts["REMOTE_USER"][0]["seen"] == "alice"
    assert facts['scope["user"]'][0]["seen"] == "Bob Brown"
    assert [fact["seen"] for fact in facts["jit.user.roles"]] == ["['operator', 'reader']", "['reader']"]
    assert len(facts["first login, recorded once"]) == 2
    assert facts["refused"][0]["seen"] == "403 Forbidden"


def test_once_as_text_tells_no_secret(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--once", "--port", str(port)]) == 0
    captured = capsys.readouterr()
    assert "checks hold" in captured.out
    assert "✗" not in captured.out
    assert captured.err == ""
    for secret in ("code=", "state=", "eyJ", "id_token"):
        assert secret not in captured.out


def test_once_with_a_kept_database_knows_its_people_again(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--once", "--json", "--port", str(port), "--database", f"sqlite:///{tmp_path / 'kept.db'}"]
    assert main(command) == 0
    assert "known from an earlier run" not in told(capsys.readouterr().out)
    assert main(command) == 0
    facts = told(capsys.readouterr().out)
    assert len(facts["known from an earlier run"]) == 2
    assert "first login, recorded once" not in facts


def test_walk_stops_where_the_middleware_does_not_do_its_part(port: int) -> None:
    out = io.StringIO()
    report = Report(out, as_json=False)
    with set_up(database_url=None, port=port) as stage:
        unprotected = replace(stage, legacy=replace(stage.legacy, deep_link="/about"))
        with pytest.raises(Broken):
            walk(unprotected, report)
    assert [fact.what for fact in report.failures] == ["sent to the identity provider"]
    assert not report.close()


def test_taken_ports_are_replaced_and_the_new_ones_told(capsys: pytest.CaptureFixture[str]) -> None:
    with listen(0) as taken:
        port = taken.getsockname()[1]
        assert main(["--once", "--port", str(port)]) == 0
        assert f"http://localhost:{port}\n" not in capsys.readouterr().out.replace(" ", "\n")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--json"],
        ["--port", "0"],
        ["--port", "x"],
        ["--port", "65534"],
        ["--unknown"],
        ["--once", "--database", "nonsense"],
    ],
)
def test_wrong_use_ends_with_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(wrong) == 2
    assert "jit-middleware demo" in capsys.readouterr().err


def test_async_driver_under_wsgi_is_refused_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--once", "--database", "sqlite+aiosqlite:///x.db"]) == 2
    assert "Fix:" in capsys.readouterr().err


def test_demo_stays_until_it_is_told_to_end_and_leaves_nothing(port: int, tmp_path: Path) -> None:
    command = "import sys; from jit_middleware.demo import main; sys.exit(main(sys.argv[1:]))"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-c", command, "--port", str(port)], stdout=subprocess.PIPE, env=environment, text=True
    ) as demo:
        assert demo.stdout is not None
        while "somebody else" not in (line := demo.stdout.readline()):
            assert line, "the demo ended by itself"
        assert Browser().get(f"http://localhost:{port}/about").status == 200
        assert list(tmp_path.iterdir())
        demo.terminate()
        assert demo.wait(20) == 0
    assert list(tmp_path.iterdir()) == []


def test_help_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--once" in capsys.readouterr().out
