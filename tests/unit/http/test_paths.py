"""Paths that need no login, and the tricks to pass for one."""

from __future__ import annotations

import pytest

from jit_middleware.http.paths import Access, PathPolicy, is_ambiguous, is_own, validate_pattern

POLICY = PathPolicy(
    public=("/public/*", "/health", "/api/status", "/öffentlich/*"),
    optional=("/", "/blog/*", "/public/me"),
    api=("/api/*", "/rpc", "/public/api/*"),
)


@pytest.mark.parametrize(
    ("path", "access"),
    [
        ("/admin", Access.REQUIRED),
        ("/public", Access.PUBLIC),
        ("/public/", Access.PUBLIC),
        ("/public/a/b.css", Access.PUBLIC),
        ("/public/my file (1).pdf", Access.PUBLIC),
        ("/public/.well-known/x", Access.PUBLIC),
        ("/public/v1..2/x", Access.PUBLIC),
        ("/public/100%.png", Access.PUBLIC),
        ("/publicx", Access.REQUIRED),
        ("/publi", Access.REQUIRED),
        ("/health", Access.PUBLIC),
        ("/health/", Access.REQUIRED),
        ("/healthz", Access.REQUIRED),
        ("/öffentlich/größe.png", Access.PUBLIC),
        ("/", Access.OPTIONAL),
        ("", Access.OPTIONAL),
        ("/blog/1", Access.OPTIONAL),
        ("/public/me", Access.OPTIONAL),
        ("/public/me/x", Access.PUBLIC),
        ("/api", Access.API),
        ("/api/", Access.API),
        ("/api/v1/users", Access.API),
        ("/api/status", Access.PUBLIC),
        ("/api/status/x", Access.API),
        ("/public/api/x", Access.API),
        ("/rpc", Access.API),
        ("/rpc/x", Access.REQUIRED),
        ("/apix", Access.REQUIRED),
    ],
)
def test_the_most_specific_pattern_decides(path: str, access: Access) -> None:
    assert POLICY.classify(path) is access


@pytest.mark.parametrize(
    "path",
    [
        "/public/../admin",
        "/public/./x",
        "/public/..",
        "/public/.",
        "/public/...",
        "/public/.. /admin",
        "/public/ /x",
        "//public/x",
        "/public//x",
        "/public//../admin",
        "/public/x;y",
        "/public/..;/admin",
        "/public/..\\admin",
        "\\public/x",
        "/public\\..\\admin",
        "/public/%2e%2e/admin",
        "/public%2f..%2fadmin",
        "/public/%2F",
        "/public/%5cadmin",
        "/public/%61",
        "/public/%252e",
        "/public/%u002e%u002e/admin",
        "/public/x%00",
        "/public/x\x00",
        "/public/x\n",
        "/public/x\r\ny",
        "/public/\x7f",
        "/public/\x85",
        "/public/\udcc0\udcae\udcc0\udcae/admin",  # overlong UTF-8, kept as lone surrogates
        "/public/\udcff",
        "/public/\u200b..",
        "/public/\u202ex",
        "/public/\u2028",
        "/public/\uff0e\uff0e/admin",
        "/public/..\uff0fadmin",
        "/public/\uff05\u0032e",
        "/public/\u2024\u2024/admin",
        "/PUBLIC/x",
        "/Public",
        "public/x",
        "*",
        "https://app.example.com/public/x",
        "/HEALTH",
    ],
)
def test_a_path_with_two_readings_needs_a_login(path: str) -> None:
    assert POLICY.classify(path) is Access.REQUIRED


@pytest.mark.parametrize(
    "path", ["/api/../admin", "/api//x", "/api/x;y", "/api/%2e%2e/public/x", "/public/api/../x", "/api/\x00"]
)
def test_an_ambiguous_path_below_an_api_stays_api(path: str) -> None:
    assert POLICY.classify(path) is Access.API


def test_an_open_prefix_does_not_open_the_api_to_an_app_that_ignores_case() -> None:
    policy = PathPolicy(public=("/*",), api=("/api/*", "/Rpc"))
    assert policy.classify("/anything") is Access.PUBLIC
    assert policy.classify("/api/x") is Access.API
    for path in ("/API/x", "/Api", "/rpc", "/aPI/x"):
        assert policy.classify(path) is Access.REQUIRED


def test_of_equal_patterns_the_stricter_wins() -> None:
    assert PathPolicy(public=("/a",), optional=("/a",)).classify("/a") is Access.OPTIONAL
    assert PathPolicy(public=("/a/*",), optional=("/a/*",), api=("/a/*",)).classify("/a/b") is Access.API


def test_without_patterns_everything_needs_a_login() -> None:
    for path in ("", "/", "/static/x", "/health"):
        assert PathPolicy().classify(path) is Access.REQUIRED


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "does not start"),
        ("static/*", "does not start"),
        ("*", "does not start"),
        ("/static*", "elsewhere"),
        ("/*/x", "elsewhere"),
        ("/a/**", "elsewhere"),
        ("/a/*/*", "elsewhere"),
        ("/a?x=1", "query"),
        ("/a#x", "query"),
        ("/a/../b", "ambiguous"),
        ("//a", "ambiguous"),
        ("/a//*", "ambiguous"),
        ("/a%20b", "ambiguous"),
        ("/a;b/*", "ambiguous"),
        ("/a\\b", "ambiguous"),
        ("/a\x00", "ambiguous"),
    ],
)
def test_a_bad_pattern_is_named(pattern: str, problem: str) -> None:
    sentence = validate_pattern(pattern)
    assert sentence is not None
    assert problem in sentence
    for policy in ({"public": (pattern,)}, {"optional": (pattern,)}, {"api": (pattern,)}):
        with pytest.raises(ValueError, match=problem):
            PathPolicy(**policy)


@pytest.mark.parametrize("pattern", ["/", "/*", "/a", "/a/", "/a/*", "/a b/*", "/größe/*", "/.well-known/*"])
def test_a_good_pattern_has_no_problem(pattern: str) -> None:
    assert validate_pattern(pattern) is None


def test_what_is_no_absolute_path_is_ambiguous() -> None:
    assert all(is_ambiguous(path) for path in ("", "*", "a", "a/b", "https:/x", " /a"))


def test_an_ambiguous_path_that_leaves_an_open_part_of_an_api_stays_api() -> None:
    policy = PathPolicy(public=("/api/docs/*", "/api/open"), api=("/api/*",))
    assert policy.classify("/api/docs/x") is Access.PUBLIC
    assert policy.classify("/api/docs/../users") is Access.API
    assert policy.classify("/api/docs/%2e%2e/users") is Access.API


def test_plain_paths_are_not_ambiguous() -> None:
    assert not any(is_ambiguous(path) for path in ("/", "/a", "/a/", "/a.b/..c", "/50%", "/日本語", "/a:b@c"))


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/_jit/login", "login"),
        ("/_jit/callback/oidc", "callback/oidc"),
        ("/_jit/", ""),
        ("/_jit", ""),
        ("/_jit//login", "/login"),
        ("/_jitter", None),
        ("/_JIT/login", None),
        ("//_jit/login", None),
        ("/x/_jit/login", None),
        ("/", None),
        ("", None),
    ],
)
def test_own_paths_are_those_below_the_prefix_exactly(path: str, rest: str | None) -> None:
    assert is_own(path, "/_jit") == rest
