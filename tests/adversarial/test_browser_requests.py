"""Requests that no honest browser sends: cookies, headers, paths, targets, methods and forms made to break something."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from urllib.parse import quote, unquote, urlencode, urlsplit

import pytest

from tests.adversarial.judging import NOBODY, OWN, assert_careful_headers, assert_clean, assert_signed_in, code_of
from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import ORIGIN, SESSION, TARGET, Stage
from tests.client import Answer, Client, Edge
from tests.worlds import Outgoing

REDIRECTS = json.loads((Path(__file__).parents[1] / "data" / "redirects.json").read_text("utf-8"))["cases"]


# --- cookies (session attacks, 4 and 31) -------------------------------------------------------------------------

COOKIES = [
    "", ";", "=", ";;;;=;=;", SESSION, f"{SESSION}=", f"{SESSION}=;{SESSION}=", f"{SESSION}={'A' * 600}", f"{SESSION}=1:x:zz.AAAA",
    f"{SESSION}=1:a:b:c:d.sig", f'{SESSION}="quoted"', f"$Version=1; {SESSION}=x; $Path=/", f"\u00a0{SESSION}=x", f"{SESSION} =x",
    f"{SESSION.lower()}=x", "__Host-jit-login-=", "__Host-jit-login-aaaaaaaa=gAAAAA", "__Host-jit-login-aaaaaaaa=" + "A" * 4000,
    "__Host-jit-hops=9", "__Host-jit-hops=-1", "__Host-jit-hops=99999999999999999999", "__Host-jit-hops=\xb2", "a" * 5000, "\xff\xfe=\xfd",
    f"{SESSION}=\x01\x02", f"{SESSION}=1:AAAAAAAAAAAAAAAA:7fffffff.{'A' * 43}", ",".join(f"c{n}=v" for n in range(200)),
]  # fmt: skip


@pytest.mark.parametrize("cookie", COOKIES, ids=range(len(COOKIES)))
def test_garbage_in_the_cookie_header_is_nobody(cookie: str, stage: Stage) -> None:
    # A count of logins that is made up stops the next login with a page that says why (400), for half a minute.
    for path, expected in (
        ("/reports", {302, 400} if "hops" in cookie else {302}),
        ("/open", {200}),
        ("/perhaps", {200}),
        *((f"/_jit/{own}", None) for own in OWN),
    ):
        answer = stage.browser.get(path, headers={"Cookie": cookie})
        assert_clean(stage, answer)
        assert expected is None or answer.status in expected
        if answer.status == 200 and not path.startswith("/_jit"):
            assert answer.json()["user"] is None
    assert stage.count() == NOBODY


@pytest.mark.parametrize("size", ["a megabyte", "ten thousand cookies", "ten thousand of ours", "semicolons"])
def test_huge_cookie_headers_cost_little_and_sign_nobody_in(size: str, signed_in: Stage) -> None:
    real = signed_in.browser.jar.header(f"{ORIGIN}/")
    filler = {
        "a megabyte": "x=" + "y" * 1_000_000,
        "ten thousand cookies": "; ".join(f"c{n}=v" for n in range(10_000)),
        "ten thousand of ours": "; ".join(f"{SESSION}=v{n}" for n in range(10_000)),
        "semicolons": ";" * 1_000_000,
    }[size]
    for header in (filler, f"{filler}; {real}", f"{real}; {filler}"):
        for path in ("/reports", "/open", "/_jit/session", "/_jit/callback/oidc?state=aaaaaaaa.0&code=x"):
            started = time.thread_time()
            answer = signed_in.browser.another().get(path, headers={"Cookie": header})
            assert time.thread_time() - started < 1.0
            assert_clean(signed_in, answer)


# --- headers that say who one is (attack catalogue 55) ------------------------------------------------------------------

NAMES = (
    "Remote-User", "X-Remote-User", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Auth-Request-User",
    "X-Forwarded-Preferred-Username", "X-WebAuth-User", "X-Authentik-Username", "X-Remote-Groups", "Remote-Groups", "X-Remote-Role",
)  # fmt: skip


def spellings(name: str) -> Iterator[str]:
    """Every choice of ``-`` and ``_``, in three cases."""
    words = name.split("-")
    for joints in product("-_", repeat=len(words) - 1):
        joined = words[0] + "".join(joint + word for joint, word in zip(joints, words[1:], strict=True))
        yield from (joined, joined.lower(), joined.upper())


@pytest.mark.parametrize("path", ["/open", "/open/deep", "/perhaps", "/reports"])
def test_app_never_sees_an_identity_that_the_client_made_up(path: str, signed_in: Stage) -> None:
    lines = [(spelled, "spoofed-root") for name in NAMES for spelled in spellings(name)]
    for browser in (signed_in.browser, signed_in.browser.another()):
        for chunk in (lines, lines[::-1]):
            answer = browser.get(path, headers=chunk)
            assert_clean(signed_in, answer)
            assert "spoofed-root" not in answer.text
            if answer.status == 200:
                assert answer.json()["remote_user"] in {None, "ada"}


def test_names_that_differ_from_injected_ones_by_spelling_are_scrubbed_too(
    edge: Edge, tmp_path: Path, provider: HostileProvider
) -> None:
    with Stage(edge, tmp_path, provider, env={"JIT_INJECT": "remote_user,X-Our-Own-Id=id,X-Who=username"}) as stage:
        assert_signed_in(stage, stage.log_in())
        lines = [(spelled, "spoofed-root") for name in ("X-Our-Own-Id", "X-Who") for spelled in spellings(name)]
        for path in ("/open", "/perhaps", "/reports"):
            answer = stage.browser.get(path, headers=lines)
            assert answer.status == 200
            assert "spoofed-root" not in answer.text
        assert stage.browser.get("/reports").json()["headers"]["x-who"] == "ada"


@pytest.mark.parametrize("header", ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Host", "Forwarded", "X-HTTP-Method-Override", "X-Forwarded-Proto", "X-Forwarded-Path"])  # fmt: skip
def test_forwarding_headers_open_no_path_and_change_no_url(header: str, stage: Stage) -> None:
    for value in ("/open", "/open/x", "evil.example", "host=evil.example;proto=http", "OPTIONS", "http"):
        answer = stage.browser.get("/reports", headers={header: value})
        assert answer.status == 302
        assert quote(f"{ORIGIN}/_jit/callback/oidc", safe="") in answer.location
        assert "evil" not in answer.location


def test_host_header_changes_no_url(stage: Stage) -> None:
    for host in ("evil.example", "app.example.test.evil.example", "app.example.test:1@evil.example", ""):
        answer = stage.browser.get("/reports", headers={"Host": host})
        assert answer.status == 302
        assert "evil" not in answer.location


# --- paths past the open ones (attack catalogue 56) ---------------------------------------------------------------------

PATHS = [
    "/open/../reports", "/open/..", "/open/%2e%2e/reports", "/open/.%2e/reports", "/open/..%2freports", "/open%2f..%2freports", "/open/..%5creports",
    "/open/..\\reports", "/open/..;/reports", "/open;/../reports", "/open/;x/../../reports", "//open", "//reports", "///reports", "/open//../reports",
    "/open/%00/../reports", "/open%00", "/open%0a", "/open/%0d%0areports", "/open/%252e%252e/reports", "/open/%c0%ae%c0%ae/reports",
    "/open/%e2%80%ae", "/open/%ef%bc%8e%ef%bc%8e/reports", "/open/%ff", "/OPEN", "/Open/x", "/opens", "/openx/y", "/open.", "/reports/open", "/reports;/open",
    "/reports?/open", "/reports%3f/open", "/reports%23/open", "/./open/../reports", "/open/. /reports", "/open/.../reports", "/open/%20../reports",
    "/%6fpen/../reports", "/_jit/../reports", "/_jitx", "/_JIT/session", "/%5fjit/../reports", "/_jit%2f..%2freports", "/_jit/..%2freports", "/perhaps/../reports",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_gets_past_the_login(path: str, stage: Stage) -> None:
    answer = stage.browser.request("GET", path)
    assert_clean(stage, answer)
    assert answer.status in {302, 400, 404, 405}, (answer.status, answer.text[:200])


@pytest.mark.parametrize(
    "path", ["/open", "/open/x", "/%6fpen", "/open/x%20y", "/open/a.b", "/open/é".replace("é", "%c3%a9"), "/open/"]
)
def test_open_paths_are_open(path: str, stage: Stage) -> None:
    answer = stage.browser.get(path)
    assert answer.status == 200
    assert answer.json()["user"] is None


# --- open redirects (attack catalogue 52) -------------------------------------------------------------------------------


def landing(location: str) -> str:
    """The origin a browser lands on: it takes a backslash for a slash and drops line breaks and tabs."""
    seen = location.replace("\\", "/").replace("\t", "").replace("\n", "").replace("\r", "").strip()
    if seen.startswith("//"):
        return "elsewhere"
    return ORIGIN if seen.startswith("/") else "{0.scheme}://{0.netloc}".format(urlsplit(seen))


def test_no_target_of_the_corpus_leaves_the_origin(signed_in: Stage) -> None:
    for case in REDIRECTS:
        value = case["value"].replace("https://app.example.com", ORIGIN)
        raw = value if case["kind"] == "raw" else quote(value, safe="", errors="surrogatepass")
        if not raw.isascii() or any(ord(c) < 33 for c in raw):
            raw = quote(raw, safe="%/?&=:", errors="surrogatepass")
        for door in ("login", "login/oidc"):
            answer = signed_in.browser.get(f"/_jit/{door}?next={raw}")
            assert_clean(signed_in, answer)
            assert answer.status == 303
            location = answer.header("location") or ""
            assert landing(location) == ORIGIN, (value, location)
            assert not urlsplit(location).path.startswith("/_jit/"), value
            if case["verdict"] == "allow" and not value.startswith(ORIGIN) and case["kind"] == "decoded":
                assert unquote(location) == unquote(value), value


@pytest.mark.parametrize(
    "value",
    ["//evil.example", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "/%09/evil.example", "/_jit/logout", "/%5fjit/logout", "\\\\evil.example", "/x\r\nSet-Cookie: a=b", "https:evil.example", "/" * 3000, "%2f%2fevil.example"],
)  # fmt: skip
def test_login_from_a_bad_target_ends_at_home(value: str, stage: Stage) -> None:
    start = stage.browser.get(f"/_jit/login?{urlencode({'next': value})}")
    answer = stage.carry(stage.authorized(start))
    assert answer.status == 303
    assert answer.location == f"{ORIGIN}/", answer.location


def test_target_given_twice_is_none(stage: Stage) -> None:
    start = stage.browser.get("/_jit/login?next=/a&next=/b")
    assert stage.carry(stage.authorized(start)).location == f"{ORIGIN}/"


# --- every answer of ours -----------------------------------------------------------------------------------------


def test_every_answer_of_ours_is_not_stored_framed_or_sniffed(stage: Stage, provider: HostileProvider) -> None:
    browser = stage.browser

    def all_answers(client: Client) -> Iterator[Answer]:
        for own in (*OWN, "", "nothing"):
            yield client.get(f"/_jit/{own}")
            yield client.xhr(f"/_jit/{own}")
            yield client.request("DELETE", f"/_jit/{own}")
        if client.jar.get(SESSION) is None:
            yield client.get("/reports")
            yield client.xhr("/reports")
            yield client.get("/api/x")
            yield client.post("/reports", {"a": "b"})

    for answer in all_answers(browser):
        assert_careful_headers(answer)
    assert_signed_in(stage, stage.log_in())
    for answer in all_answers(browser):
        assert_careful_headers(answer)


def test_forged_write_of_another_site_does_not_reach_the_app(signed_in: Stage) -> None:
    real = {"Cookie": signed_in.browser.jar.header(f"{ORIGIN}/")}
    for site in ("https://evil.example/", "null"):
        answer = signed_in.browser.request(
            "POST",
            "/reports",
            body=b"a=1",
            headers={**real, "Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site", "Origin": site.rstrip("/")},
        )
        assert (answer.status, code_of(answer)) == (403, "cross_site_request")


@pytest.mark.parametrize("line", [("Accept", "\xff"), ("Accept", "text/html" * 5000), ("Origin", "\x80"), ("Sec-Fetch-Site", "\xe9"), ("User-Agent", "\xff" * 100), ("X-Requested-With", ""), ("Content-Type", "\xff/\xfe")])  # fmt: skip
def test_odd_header_values_never_break(line: tuple[str, str], signed_in: Stage) -> None:
    for browser, path, method in product(
        (signed_in.browser, signed_in.browser.another()), ("/reports", "/_jit/login", "/_jit/logout"), ("GET", "POST")
    ):
        answer = browser.world.exchange(
            Outgoing(method, f"{ORIGIN}{path}", (line, ("Cookie", browser.jar.header(ORIGIN))), b"")
        )
        assert_clean(signed_in, answer)


def test_target_survives_the_login_as_it_was(stage: Stage) -> None:
    ending = stage.log_in(target=TARGET)
    assert ending.answer.location == ORIGIN + TARGET
