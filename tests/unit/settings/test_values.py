"""Every reader, by table: what it takes, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.model import Status
from jit_middleware.settings import RoleRule
from jit_middleware.settings import claims as cl
from jit_middleware.settings import connections as c
from jit_middleware.settings import policy as p
from jit_middleware.settings import sections as s
from jit_middleware.settings import values as v
from jit_middleware.settings.table import path_patterns, trusted_proxies
from jit_middleware.settings.values import BadValue

GOOD_KEY = "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM"
OTHER_KEY = "9f2c4e8a1b7d3056c8e4f9a2b6d10735"


READS: list[tuple[Callable[[object], object], object, object]] = [
    (v.text, "  app ", "app"),
    (v.secret_text, " s p a c e ", " s p a c e "),
    (
        v.private_key,
        "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----",
    ),
    (v.private_key, '{"kty":"OKP"}', '{"kty":"OKP"}'),
    (v.switch, "Yes", True),
    (v.switch, "0", False),
    (v.switch, True, True),
    (v.seconds, "30s", 30.0),
    (v.seconds, "15m", 900.0),
    (v.seconds, "12h", 43_200.0),
    (v.seconds, "90d", 7_776_000.0),
    (v.seconds, "0.5s", 0.5),
    (v.seconds, " 0s ", 0.0),
    (v.whole_seconds, "1.5m", 90),
    (v.positive_seconds, "1s", 1),
    (v.choice("a", "b"), " b ", "b"),
    (v.database_url, "postgresql+psycopg://u:p@h/n", "postgresql+psycopg://u:p@h/n"),
    (v.database_url, "sqlite:///jit.db", "sqlite:///jit.db"),
    (v.database_url, "sqlite:////var/lib/:memory:", "sqlite:////var/lib/:memory:"),
    (v.database_url, "sqlite+aiosqlite:///memory.db?mode=ro", "sqlite+aiosqlite:///memory.db?mode=ro"),
    (v.database_url, "postgres://u:p/w#?@h/n", "postgres://u:p/w#?@h/n"),
    (v.database_url, "mariadb+pymysql://u@h/n?mode=memory", "mariadb+pymysql://u@h/n?mode=memory"),
    (v.redis_url, " redis://cache:6379/0 ", "redis://cache:6379/0"),
    (v.redis_url, "rediss://u:p@cache", "rediss://u:p@cache"),
    (v.redis_url, "unix:///run/valkey/socket?db=1", "unix:///run/valkey/socket?db=1"),
    (v.store_name, "shop.users:make_store", "shop.users:make_store"),
    (v.store_name, "default", "default"),
    (v.endpoint_prefix, "/_jit", "/_jit"),
    (v.endpoint_prefix, "/auth/v1.0~", "/auth/v1.0~"),
    (v.comma_list, " a, b ,,a ", ("a", "b")),
    (v.comma_list, ["x,y", "z"], ("x,y", "z")),
    (v.word_list, "openid  email,profile", ("openid", "email", "profile")),
    (v.blank_list, "urn:a,b urn:c", ("urn:a,b", "urn:c")),
    (v.domains, "Example.ORG, sub.example.com", ("example.org", "sub.example.com")),
    (v.hosts, "db.internal, 10.0.0.7, [fd00::1]", ("db.internal", "10.0.0.7", "fd00::1")),
    (v.table, '{"a": "b"}', {"a": "b"}),
    (v.secret_keys, GOOD_KEY, (GOOD_KEY.encode(),)),
    (v.secret_keys, f" {OTHER_KEY} , {GOOD_KEY} ", (OTHER_KEY.encode(), GOOD_KEY.encode())),
    (v.secret_keys, [GOOD_KEY], (GOOD_KEY.encode(),)),
    (c.issuer, "https://login.example.org/tenant/", "https://login.example.org/tenant/"),
    (c.issuer, "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    (c.scopes, "openid groups", ("openid", "groups")),
    (c.algorithms, "ES256, RS512", ("ES256", "RS512")),
    (s.inject, "remote_user, X-Remote-Email=email", s.InjectSettings(("remote_user",), (("X-Remote-Email", "email"),))),
    (s.inject, "X-Team=attributes.team", s.InjectSettings((), (("X-Team", "attributes.team"),))),
    (s.cookie_names, "sessionid, csrftoken", ("sessionid", "csrftoken")),
    (
        p.role_rules,
        '[{"when": "admin == `true`", "grant": "a, b"}]',
        (RoleRule("admin == `true`", ("a", "b"), "rule-1"),),
    ),
    (p.role_rules, [{"when": "a", "grant": ["x"]}], (RoleRule("a", ("x",), "rule-1"),)),
    (cl.claim_fields, {"team": "org.team"}, {"team": cl.ClaimSource("org.team")}),
    (p.initial_status, "pending", Status.PENDING),
    (path_patterns, "/static/*,/favicon.ico", ("/static/*", "/favicon.ico")),
]

REFUSES: list[tuple[Callable[[object], object], object]] = [
    (v.text, ""),
    (v.text, "two\nlines"),
    (v.text, 7),
    (v.secret_text, "  "),
    (v.secret_text, None),
    (v.private_key, "MIIEvQIBADANBg"),
    (v.switch, "maybe"),
    (v.switch, 1),
    (v.seconds, "15"),
    (v.seconds, 15),
    (v.seconds, "15 m"),
    (v.seconds, "-1s"),
    (v.seconds, "1w"),
    (v.seconds, "٣s"),
    (v.seconds, "1e3s"),
    (v.whole_seconds, "0.5s"),
    (v.positive_seconds, "0s"),
    (v.choice("a", "b"), "A"),
    (v.choice("a", "b"), None),
    (v.directory, "/no/such/directory"),
    (v.database_url, "jit.db"),
    (v.database_url, "sqlite://"),
    (v.database_url, "sqlite:///"),
    (v.database_url, "sqlite:///:memory:"),
    (v.database_url, "sqlite+aiosqlite://"),
    (v.database_url, "sqlite:///file::memory:?cache=shared&uri=true"),
    (v.database_url, "sqlite:///file:jit?mode=memory&cache=shared&uri=true"),
    (v.database_url, "oracle://u:p@h/n"),
    (v.redis_url, "cache:6379"),
    (v.redis_url, "http://cache"),
    (v.redis_url, "redis://"),
    (v.redis_url, "unix://run/valkey"),
    (v.store_name, "shop users"),
    (v.store_name, "shop.users:"),
    (v.endpoint_prefix, "_jit"),
    (v.endpoint_prefix, "/"),
    (v.endpoint_prefix, "/_jit/"),
    (v.endpoint_prefix, "/a//b"),
    (v.endpoint_prefix, "/../x"),
    (v.endpoint_prefix, "/%2e"),
    (v.endpoint_prefix, "/a?b"),
    (v.endpoint_prefix, "/ünsere"),
    (v.comma_list, 5),
    (v.comma_list, ["a", 5]),
    (v.comma_list, "a\x00b"),
    (v.domains, "*.example.org"),
    (v.domains, "user@example.org"),
    (v.domains, "localhost"),
    (v.domains, "example..org"),
    (v.hosts, "https://db.internal"),
    (v.hosts, "db.internal:443"),
    (v.table, "[1]"),
    (v.table, "{"),
    (v.rows, '{"when": "a"}'),
    (v.rows, "[" * 100_000),
    (v.secret_keys, " , "),
    (v.secret_keys, "x" * 31),
    (v.secret_keys, "a" * 64),
    (v.secret_keys, "0123456789" * 4),
    (v.secret_keys, "abcdefghijklmnopqrstuvwxyz0123456789"),
    (v.secret_keys, "aaaaaaaabbbbbbbbccccccccdddddddd"),
    (v.secret_keys, f"changeme-{GOOD_KEY}"),
    (v.secret_keys, f"django-insecure-{GOOD_KEY}"),
    (v.secret_keys, f"{GOOD_KEY},short"),
    (v.secret_keys, 5),
    (c.issuer, "login.example.org"),
    (c.issuer, "https://user:pw@login.example.org"),
    (c.issuer, "https://login.example.org?x=1"),
    (c.issuer, "https://login.example.org#x"),
    (c.issuer, "https://login.example.org/.well-known/openid-configuration"),
    (c.issuer, "ftp://login.example.org"),
    (c.scopes, "email profile"),
    (c.algorithms, "none"),
    (c.algorithms, "HS256"),
    (c.algorithms, []),
    (s.inject, "remote_usr"),
    (s.inject, "Host=username"),
    (s.inject, "X_Remote_User=username"),
    (s.inject, "X-Remote-User=password"),
    (s.inject, "X-Remote-User="),
    (s.inject, "X-Remote-User=attributes."),
    (s.inject, "X-Evil\r\nSet-Cookie=username"),
    (s.cookie_names, "session id"),
    (s.cookie_names, "a=b"),
    (p.role_rules, '[{"when": "a"}]'),
    (p.role_rules, '[{"when": "a", "grant": ["x"], "revoke": ["y"]}]'),
    (p.role_rules, '[{"when": "a ==", "grant": ["x"]}]'),
    (p.role_rules, '[{"when": "a", "grant": []}]'),
    (p.role_rules, "[1]"),
    (cl.claim_fields, {"team name": "x"}),
    (cl.claim_fields, {"team": "a["}),
    (cl.claim_fields, {"team": 1}),
    (p.initial_status, "suspended"),
    (path_patterns, "static"),
    (path_patterns, "/a/*/b"),
    (trusted_proxies, "0.0.0.0/0"),
    (trusted_proxies, "everyone"),
    (trusted_proxies, True),
]


@pytest.mark.parametrize(("read", "value", "expected"), READS)
def test_good_value_is_read(read: Callable[[object], object], value: object, expected: object) -> None:
    assert read(value) == expected


@pytest.mark.parametrize(("read", "value"), REFUSES)
def test_bad_value_is_refused_with_problem_and_fix(read: Callable[[object], object], value: object) -> None:
    with pytest.raises(BadValue) as refused:
        read(value)
    for sentence in (refused.value.problem, refused.value.fix):
        assert sentence.endswith((".", "?")), sentence
        assert sentence.isprintable()
        assert len(sentence) < 300


def test_existing_directory_is_read(tmp_path: Path) -> None:
    assert v.directory(str(tmp_path)) == str(tmp_path)


def test_number_and_networks_of_trusted_proxies_are_read() -> None:
    assert trusted_proxies(2).count == trusted_proxies("2").count == 2
    assert [str(each) for each in trusted_proxies(["10.0.0.0/8", "fd00::/8"]).networks] == ["10.0.0.0/8", "fd00::/8"]


@given(st.binary(min_size=32, max_size=64))
def test_random_key_is_never_called_guessable_unless_it_is_short_of_variety(raw: bytes) -> None:
    key = raw.hex()
    varied = len(set(key)) >= 10 and len(set(pairwise(key))) >= 40
    if varied:
        assert v.secret_keys(key) == (key.encode(),)


@given(st.text(min_size=1, max_size=3), st.integers(min_value=12, max_value=60))
def test_repeated_unit_is_never_a_key(unit: str, times: int) -> None:
    with pytest.raises(BadValue):
        v.secret_keys([unit * times])


@given(st.text(max_size=60))
def test_a_duration_reader_answers_or_refuses(text: str) -> None:
    try:
        length = v.seconds(text)
    except BadValue:
        return
    assert length >= 0
    assert text.strip()[-1] in "smhd"


@pytest.mark.parametrize(
    ("length", "text"),
    [(0, "0s"), (1, "1s"), (90, "90s"), (60, "1m"), (3_600, "1h"), (5_400, "90m"), (86_400, "24h"), (172_800, "2d"),
     (7_776_000, "90d"), (0.5, "0.5s"), (90_000, "25h")],
)  # fmt: skip
def test_a_length_of_time_is_shown_as_one_writes_it(length: float, text: str) -> None:
    assert v.as_written(length) == text
    assert v.seconds(text) == length
