"""``check --live`` and Redis: a step that says ok, or what to do."""

from __future__ import annotations

from pathlib import Path

from jit_middleware.cli.live import check_redis
from jit_middleware.settings import Settings
from tests.peers.valkey import Valkey

ENV = {
    "JIT_PUBLIC_URL": "https://app.example.org/shop",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "from the provider",
}


def settings(url: str | None = None) -> Settings:
    return Settings.load({**ENV, **({} if url is None else {"JIT_REDIS_URL": url})})


def test_without_redis_nothing_is_checked() -> None:
    assert check_redis(settings()) == []


def test_a_server_that_hands_messages_on_is_ok(valkey_server: Valkey) -> None:
    (step,) = check_redis(settings(valkey_server.url))
    assert (step.name, step.ok, step.fix) == ("redis", True, "")
    assert step.detail.startswith(valkey_server.url)


def test_a_server_that_is_away_is_named_with_the_fix_and_no_secret() -> None:
    (step,) = check_redis(settings("redis://user:hunter2@127.0.0.1:1/0?socket_timeout=1"))
    assert not step.ok
    assert step.detail == "redis://127.0.0.1:1/0: ConnectionError."
    assert "JIT_REDIS_URL" in step.fix
    assert "JIT_REVOCATION_MAX_STALENESS" in step.fix


def test_a_url_that_cannot_be_used_is_named_with_the_fix_and_no_secret() -> None:
    (step,) = check_redis(settings("redis://user:hunter2@127.0.0.1:1/0?nonsense=1"))
    assert not step.ok
    assert step.detail == "it is not a URL that the library understands."
    assert "hunter2" not in step.fix


def test_the_rights_in_the_documentation_suffice_and_reach_no_further(own_valkey: Valkey) -> None:
    page = (Path(__file__).parents[3] / "docs" / "redis.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "ACL SETUSER" in line]
    command = line.strip().strip("`").split()
    assert own_valkey.say(*command) == b"+OK\r\n"
    url = f"{own_valkey.url}?username=jit&password=password"
    (step,) = check_redis(settings(url))
    assert step.ok, step.detail
    own_valkey.say("ACL", "SETUSER", "jit", "resetchannels", "&other:*")
    (step,) = check_redis(settings(url))
    assert step.detail.endswith(": NoPermissionError.")
