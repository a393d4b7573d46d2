"""Our own endpoints under fire: methods they lack, junk in queries and forms, and other sites that sign people out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.adversarial.judging import NOBODY, OWN, assert_clean, assert_says_little, assert_signed_in
from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import ORIGIN, SESSION, Stage
from tests.client import Answer, Edge

# --- methods, queries and forms at our own endpoints --------------------------------------------------------------


@pytest.mark.parametrize("own", OWN)
def test_methods_that_an_endpoint_lacks_are_refused(own: str, signed_in: Stage) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST", "HEAD"):
        if (own, method) == ("logout", "POST"):
            continue
        answer = signed_in.browser.request(method, f"/_jit/{own}")
        assert answer.status < 500
        if method in {"PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"}:
            assert answer.status == 405
            assert answer.header("allow")
        if method == "HEAD":
            assert answer.body == b""
    assert signed_in.browser.get("/reports").status == 200, "still signed in"


def test_head_at_the_callback_does_not_use_up_the_login(stage: Stage, provider: HostileProvider) -> None:
    back = stage.authorized(stage.begin())
    assert stage.browser.request("HEAD", back.query_url, initiator=provider.issuer).status == 405
    assert stage.carry(back).status == 303


QUERIES = [
    "", "&", "&&&&", "=", "=&=", "%", "%zz", "%ff%fe", "%00", "next", "next=", "next[]=/x", "state", "state=", "state=%00", "state=%ff&code=%fe", "a;b;c", "state=x;code=y",
    "state=x&state=x", "code=x", "error=x", "state=aaaaaaaa.0", "state=aaaaaaaa.1&error=" + "e" * 9000, "&".join(f"p{n}=1" for n in range(2000)), "x=" + "y" * 200_000,
    "state=" + "%F0%9F%92%A9" * 2000, "state=.&code=.", "state=%2e%2e%2f.0", "%73tate=x.0&state=x.0", "state=%ed%a0%80.0", "state=\u0661.\u0661".encode("utf-8").decode("latin-1").replace("\xd9", "%D9").replace("\xa1", "%A1"),
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_junk_queries_never_break_an_endpoint(query: str, stage: Stage) -> None:
    for own in (
        *OWN,
        "",
        "nothing",
        "login/x",
        "callback",
        "callback/x",
        "callback/oidc/x",
        "login/%00",
        "login/..",
        "%ff",
        "callback/%e2%80%ae",
    ):
        answer = stage.browser.get(f"/_jit/{own}?{query}")
        assert_clean(stage, answer)
        assert not stage.has_session(answer)
    assert stage.count() == NOBODY


@pytest.fixture
def form_post(edge: Edge, tmp_path: Path, provider: HostileProvider) -> Iterator[Stage]:
    with Stage(edge, tmp_path, provider, env={"JIT_OIDC_RESPONSE_MODE": "form_post"}) as stage:
        yield stage
    assert provider.complaints == []


BODIES: list[tuple[str, bytes, int]] = [
    ("application/x-www-form-urlencoded", b"state=" + b"x" * 70_000, 413),
    ("application/x-www-form-urlencoded", b"&" * 60_000, 400),
    ("application/x-www-form-urlencoded", b"", 400),
    ("application/x-www-form-urlencoded", b"\xff\xfe\x00", 400),
    ("application/x-www-form-urlencoded", b"state=%ff%fe&code=%00", 303),
    ("application/x-www-form-urlencoded", b"state=a&state=b", 400),
    ("application/x-www-form-urlencoded", b"a=1&" * 1000, 400),
    ("application/json", b'{"state": "x", "code": "y"}', 415),
    ("text/plain", b"state=x&code=y", 415),
    ("multipart/form-data; boundary=x", b"--x\r\n\r\n--x--", 415),
    ("", b"state=x&code=y", 415),
]


@pytest.mark.parametrize(("kind", "body", "status"), BODIES, ids=range(len(BODIES)))
def test_forms_that_are_none_are_refused(
    kind: str, body: bytes, status: int, form_post: Stage, provider: HostileProvider
) -> None:
    form_post.begin()
    browser = form_post.browser
    headers = {"Content-Type": kind or None}
    answer = browser.request("POST", "/_jit/callback/oidc", body=body, headers=headers, initiator=provider.issuer)
    expected = {status, 400} if status == 303 else {status}
    assert answer.status in expected, form_post.log.own
    assert_clean(form_post, answer)
    assert not form_post.has_session(answer)
    assert "token" not in provider.calls


def test_answer_in_the_other_mode_is_refused(form_post: Stage, provider: HostileProvider) -> None:
    back = form_post.authorized(form_post.begin())
    answer = form_post.browser.get(back.query_url, initiator=provider.issuer)
    assert (answer.status, answer.header("allow")) == (405, "POST")
    assert form_post.carry(back).status == 303


def test_form_answer_without_the_login_cookie_signs_nobody_in(form_post: Stage, provider: HostileProvider) -> None:
    """attack catalogue 54: a browser that withholds the cookie on the cross-site POST fails closed."""
    back = form_post.authorized(form_post.begin())
    answer = form_post.carry(back, form_post.browser.another())
    assert answer.status == 303
    assert form_post.count() == NOBODY
    assert "token" not in provider.calls


# --- logout -------------------------------------------------------------------------------------------------------


def test_another_site_cannot_sign_anybody_out(signed_in: Stage) -> None:
    browser, evil = signed_in.browser, "https://evil.example/"
    real = browser.jar.header(f"{ORIGIN}/")
    own_cookie = {"Cookie": real}
    for send in (
        lambda: browser.get("/_jit/logout", initiator=evil),
        lambda: browser.get("/_jit/logout", headers={**own_cookie, "Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}, initiator=evil),
        lambda: browser.post("/_jit/logout", headers=own_cookie, initiator=evil),
        lambda: browser.post("/_jit/logout", headers={**own_cookie, "Origin": "null"}, initiator=evil),
        lambda: browser.post("/_jit/logout", headers={**own_cookie, "Origin": f"{ORIGIN}.evil.example"}, initiator=evil),
        lambda: browser.post("/_jit/logout", headers={**own_cookie, "Origin": None, "Sec-Fetch-Site": None}, initiator=evil),
        lambda: browser.post("/_jit/logout", [("logout_token", "x"), ("token", "x"), ("csrf_token", "x")], headers=own_cookie, initiator=evil),
        lambda: browser.get("/_jit/logout?_method=POST", headers={"X-HTTP-Method-Override": "POST"}, initiator=evil),
    ):  # fmt: skip
        answer = send()
        assert_clean(signed_in, answer)
        assert signed_in.live_sessions() == 1
    assert browser.get("/reports").status == 200


def test_form_of_another_site_does_not_make_the_browser_forget_its_session(signed_in: Stage) -> None:
    """The browser withholds a Lax cookie from a cross-site POST, and obeys a Set-Cookie in the answer all the same."""
    answer = signed_in.browser.post("/_jit/logout", initiator="https://evil.example/")
    assert_clean(signed_in, answer)
    assert not any(line.startswith(f"{SESSION}=;") for line in answer.all("set-cookie"))
    assert signed_in.browser.get("/reports").status == 200


def _form_of(page: Answer) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page.text))


def test_token_of_another_session_signs_nobody_out(signed_in: Stage) -> None:
    other = signed_in.browser.another()
    assert_signed_in(signed_in, signed_in.log_in(other), other)
    stolen = _form_of(other.get("/_jit/logout"))
    real = signed_in.browser.jar.header(f"{ORIGIN}/")
    signed_in.browser.post(
        "/_jit/logout",
        stolen,
        headers={"Cookie": real, "Sec-Fetch-Site": "cross-site"},
        initiator="https://evil.example/",
    )
    assert signed_in.live_sessions() == 2
    own = _form_of(signed_in.browser.get("/_jit/logout"))
    answer = signed_in.browser.post(
        "/_jit/logout", own, headers={"Cookie": real, "Origin": None, "Sec-Fetch-Site": None}
    )
    assert answer.status == 303
    assert signed_in.live_sessions() == 1


def test_rp_initiated_logout_names_session_return_address_and_state(
    signed_in: Stage, provider: HostileProvider
) -> None:
    """OpenID RP-Initiated RP: oidcc-client-test-rp-init-logout, -other-state, -no-state."""
    answer = signed_in.browser.post("/_jit/logout")
    onward = urlsplit(answer.location)
    asked = dict(pair.split("=", 1) for pair in onward.query.split("&"))
    assert answer.location.startswith(f"{provider.base}/end-session?")
    assert unquote(asked["id_token_hint"]) in provider.made
    assert unquote(asked["post_logout_redirect_uri"]) == f"{ORIGIN}/_jit/signed-out"
    assert asked["state"]
    for back in (
        f"?state={asked['state']}",
        "?state=another",
        "",
        "?state=a&state=b",
        "?error=x&error_description=<script>",
    ):
        page = signed_in.browser.get(f"/_jit/signed-out{back}", initiator=provider.issuer)
        assert page.status == 200
        assert_says_little(page)
    assert signed_in.live_sessions() == 0
