"""A mount path that somebody on the way to the middleware does not take off, or takes off twice: said, and never a loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from jit_middleware.settings import Settings
from tests.client import Client, middleware_of
from tests.peers.agent import Agent
from tests.scenarios.conftest import Stage, StageBuilder
from tests.worlds import Answer

BASE = "http://localhost:8000"
Rewrite = Callable[[str], str]


def client_behind(stage: Stage, rewrite: Rewrite) -> Client:
    """A browser whose paths reach the middleware as ``rewrite`` makes them, with no mount told by the server."""
    settings = Settings.load(stage.env)
    kind = middleware_of(stage.edge)

    class Behind(kind):  # type: ignore[misc, valid-type]
        def __call__(self, given: dict[str, Any], *rest: Any) -> Any:
            if stage.edge == "wsgi":
                given["PATH_INFO"] = rewrite(given["PATH_INFO"])
            elif "path" in given:
                path = rewrite(given["path"])
                given = {**given, "path": path, "raw_path": path.encode()}
            return super().__call__(given, *rest)

    def wrap(app: Any) -> Any:
        return Behind(app, settings, clock=stage.clock)

    return stage.closing.enter_context(Client(stage.edge, wrap, origin=BASE, now=stage.clock.now))


def followed(stage: Stage, client: Client, agent: Agent, url: str, most: int = 12) -> tuple[Answer, int]:
    """What the browser ends on, carried back and forth by the provider; and how many redirects that took."""
    answer = client.get(url)
    for count in range(most):
        if answer.status not in (302, 303):
            return answer, count
        place = answer.location
        answer = client.get(place) if place.startswith(BASE) else stage.come_back(client, agent.visit(place))
    raise AssertionError("an endless redirect")


def as_it_came(path: str) -> str:
    return path


def half_cut(path: str) -> str:
    return path.removeprefix("/a")


def doubled_slash(path: str) -> str:
    return path.replace("/a/b/", "//", 1)


def put_elsewhere(path: str) -> str:
    return path.replace("/a/b/", "/backend/", 1)


@pytest.mark.parametrize("rewrite", [as_it_came, half_cut, doubled_slash, put_elsewhere])
def test_a_login_whose_answer_comes_to_another_path_ends_on_a_page_that_says_so(
    build: StageBuilder, rewrite: Rewrite, caplog: pytest.LogCaptureFixture
) -> None:
    stage = build(mount="/a/b")
    client = client_behind(stage, rewrite)
    agent = stage.agent(stage.person("alice"))
    with caplog.at_level(logging.WARNING, "jit_middleware"):
        answer, redirects = followed(stage, client, agent, f"{BASE}/a/b/reports")
    assert (answer.status, redirects) == (500, 1)
    assert "not configured correctly" in answer.text
    (record,) = [record for record in caplog.records if record.getMessage().startswith("configuration ")]
    assert record.levelno == logging.ERROR, "an operator has to mend it"
    line = record.getMessage()
    reference = line.partition("reference=")[2].partition(" ")[0]
    assert reference in answer.text
    assert "JIT_PUBLIC_URL" in line
    assert "Fix: " in line
    assert "docs/deployment.md" in line
    assert not stage.accounts()
    for secret in (*client.jar.header(f"{BASE}/a/b/", method="GET", initiator=None, navigation=True).split("=")[1:],):
        assert secret.partition(";")[0] not in line


@pytest.mark.parametrize("rewrite", [as_it_came, half_cut, doubled_slash, put_elsewhere])
def test_a_browser_without_cookies_goes_in_no_circle_either(build: StageBuilder, rewrite: Rewrite) -> None:
    stage = build(mount="/a/b")
    client = client_behind(stage, rewrite)
    client.defaults["Cookie"] = ""
    answer, redirects = followed(stage, client, stage.agent(stage.person("alice")), f"{BASE}/a/b/reports")
    assert (answer.status, redirects) == (404, 1)
    assert "not configured correctly" in answer.text


@pytest.mark.parametrize(("rewrite", "left"), [(as_it_came, "/a/b"), (half_cut, "/b")], ids=["as-it-came", "half-cut"])
@pytest.mark.parametrize("endpoint", ["login", "health", "ready", "acs/corp", "callback/oidc", ""])
def test_our_endpoints_with_the_mount_left_on_name_the_setting_and_the_fix(
    build: StageBuilder, rewrite: Rewrite, left: str, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = build(mount="/a/b")
    client = client_behind(stage, rewrite)
    with caplog.at_level(logging.WARNING, "jit_middleware"):
        answer = client.xhr(f"{BASE}/a/b/_jit/{endpoint}", method="POST" if endpoint.startswith("acs") else "GET")
    assert (answer.status, answer.json()["error"]) == (404, "configuration")
    (line,) = [record.getMessage() for record in caplog.records if "mount_in_path" in record.getMessage()]
    assert f"JIT_PUBLIC_URL has the path /a/b, and {left} comes with the path" in line
    assert "JIT_ENDPOINT_PREFIX=/a/b/_jit" in line
    assert answer.json()["reference"] in line


def test_an_endpoint_prefix_with_the_mount_in_it_serves_where_nobody_can_take_the_mount_off(
    build: StageBuilder,
) -> None:
    stage = build(JIT_ENDPOINT_PREFIX="/a/b/_jit", JIT_PUBLIC_PATHS="/a/b/static/*", JIT_API_PATHS="/a/b/api/*")
    stage.provider.register(
        client_id=stage.env["JIT_OIDC_CLIENT_ID"],
        client_secret=stage.env["JIT_OIDC_CLIENT_SECRET"],
        redirect_uris=[f"{BASE}/a/b/_jit/callback/oidc"],
    )
    client = stage.client
    assert client.get("/a/b/static/x").json()["path"] == "/a/b/static/x"
    assert client.get("/a/b/api/x").status == 401
    seen, redirects = followed(stage, client, stage.agent(stage.person("alice")), f"{BASE}/a/b/reports?week=7")
    assert (seen.json()["path"], seen.json()["query"], redirects) == ("/a/b/reports", "week=7", 2)


@pytest.mark.parametrize(
    "path", ["/_jit2/x", "/a/b/_jitter/x", "/a/b/c/_jit/x", "/b/_jit/x", "/x/_jit/callback/oidc?state=no"]
)
def test_paths_of_the_app_that_only_look_like_ours_are_the_apps(build: StageBuilder, path: str) -> None:
    stage = build(mount="/a/c", JIT_PUBLIC_PATHS="/*")
    assert stage.client.get(path).json()["path"] == path.partition("?")[0]


def test_the_state_of_somebody_elses_login_says_nothing(build: StageBuilder) -> None:
    stage = build(mount="/a/b")
    client = client_behind(stage, as_it_came)
    sent = stage.client.get("/x").location
    state = sent.partition("state=")[2].partition("&")[0]
    assert client.get(f"{BASE}/a/b/x?state={state}").status == 302
    client.jar.store(f"{BASE}/", [f"{name}={value}; Path=/" for name, value in _cookies(stage.client)])
    assert client.get(f"{BASE}/a/b/x?state={state}").status == 500


def _cookies(client: Client) -> list[tuple[str, str]]:
    header = client.jar.header(f"{BASE}/a/b/", method="GET", initiator=None, navigation=True)
    return [(name, value) for name, _, value in (pair.partition("=") for pair in header.split("; "))]
