"""The guide to trying and testing works as it stands: each of its blocks, and the provider that is an example."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest

from jit_middleware.settings import Settings
from jit_middleware.testing.provider import DemoProvider, DemoUser
from tests.client import Client, Edge, middleware_of
from tests.examples.conftest import EXAMPLES, ORIGIN, answer_at_the_provider
from tests.examples.reasons import ROOT
from tests.examples.test_docs import blocks, executed

GUIDE = "docs/testing.md"


def block(name: str) -> dict[str, Any]:
    """What the block of the guide that defines ``name`` leaves behind."""
    (text,) = (text for where, text in blocks("python") if where.startswith(GUIDE) and f"def {name}(" in text)
    return executed(text, GUIDE)


def test_the_test_of_the_guide_passes(tmp_path: Path) -> None:
    block("test_an_operator_sees_that_they_are_one")["test_an_operator_sees_that_they_are_one"](tmp_path)


@pytest.mark.parametrize("edge", ["wsgi", "asgi"])
def test_the_provider_of_the_guide_signs_people_in(edge: Edge, five_variables: dict[str, str]) -> None:
    namespace = block("identity_provider")
    serve = cast("Callable[[], AbstractContextManager[DemoProvider]]", namespace["identity_provider"])
    with serve() as provider:
        settings = Settings.load({**jit_only(five_variables), "JIT_OIDC_ISSUER": provider.issuer})
        assert whoever_signs_in(edge, settings, namespace["ALICE"]) == "alice"


@pytest.mark.parametrize("edge", ["wsgi", "asgi"])
@pytest.mark.parametrize("who", ["ann", "ben"])
def test_the_provider_that_is_an_example_signs_its_people_in(edge: Edge, who: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "demo_provider.py"), ORIGIN, "0"],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(5)]
        variables = dict(re.fullmatch(r"export (\w+)=(\S+)\n", line).groups() for line in printed)  # type: ignore[union-attr]
        settings = Settings.load({**variables, "JIT_DATABASE_URL": f"sqlite:///{tmp_path / 'jit.db'}"})
        assert whoever_signs_in(edge, settings, DemoUser(f"s-{who}", who, f"{who}-demo")) == who
    finally:
        process.terminate()
        process.communicate(timeout=10)


def whoever_signs_in(edge: Edge, settings: Settings, user: DemoUser) -> str:
    with Client(edge, lambda app: middleware_of(edge)(app, settings)) as client:
        landed = client.get(answer_at_the_provider(client.get("/").location, user))
        assert landed.status == 303, landed.text
        return str(client.get("/").json()["user"]["username"])


def jit_only(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith("JIT_")}
