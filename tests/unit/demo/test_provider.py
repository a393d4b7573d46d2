from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from jit_middleware.testing.provider import SESSION_COOKIE, DemoClient, DemoProvider, DemoUser

ISSUER = "http://127.0.0.1:8081/op"
CALLBACK = "http://localhost:8080/_jit/callback/oidc"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SECRET = "s3:cr%t +ü"
KEY = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)


class FakeClock:
    def __init__(self) -> None:
        self.at = 1_800_000_000

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return float(self.at)


class CountedTokens:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, bytes_of_entropy: int = 32) -> str:
        self.count += 1
        return f"token-{self.count}"


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def document(self) -> dict[str, object]:
        return json.loads(self.body)

    @property
    def location(self) -> dict[str, str]:
        query = urlsplit(self.header("Location") or "").query
        return {name: values[0] for name, values in parse_qs(query).items()}


@dataclass
class Browser:
    """Calls the provider in process, through wsgiref's validator."""

    provider: DemoProvider
    cookie: str = ""
    seen: list[Answer] = field(default_factory=list)

    def call(
        self, method: str, path: str, query: str = "", form: dict[str, str] | str | None = None, **headers: str
    ) -> Answer:
        environ: dict[str, object] = {}
        setup_testing_defaults(environ)
        body = (form if isinstance(form, str) else urlencode(form or {})).encode()
        environ |= {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": "/op" + path, "QUERY_STRING": query}
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))} if method == "POST" else {}
        environ |= {"CONTENT_TYPE": "application/x-www-form-urlencoded"} if method == "POST" else {}
        environ |= {"HTTP_COOKIE": self.cookie} if self.cookie else {}
        environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        answers: list[Answer] = []

        def start_response(status: str, head: list[tuple[str, str]], exc_info: object = None) -> object:
            answers.append(Answer(int(status[:3]), head, b""))
            return lambda data: None

        chunks = validator(self.provider)(environ, start_response)
        answers[0].body = b"".join(chunks)
        chunks.close()
        for name, value in answers[0].headers:
            if name == "Set-Cookie":
                self.cookie = "" if "Max-Age=0" in value else value.partition(";")[0]
        return answers[0]

    def authorize(self, *, login: tuple[str, str] | None = ("alice", "wonderland"), **changes: str | None) -> Answer:
        asked = {
            "response_type": "code",
            "client_id": "notes",
            "redirect_uri": CALLBACK,
            "scope": "openid email",
            "state": "st&te",
            "nonce": "n0nce",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        } | changes
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        if login is None:
            return self.call("GET", "/authorize", query)
        return self.call("POST", "/authorize", query, {"username": login[0], "password": login[1]})

    def token(self, code: str, *, authorization: str | None = None, **changes: str | None) -> Answer:
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
            "client_id": "notes",
            "client_secret": SECRET,
        } | changes
        form = {name: value for name, value in asked.items() if value is not None}
        return self.call("POST", "/token", "", form, **({"authorization": authorization} if authorization else {}))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def provider(clock: FakeClock) -> DemoProvider:
    clients = [
        DemoClient("notes", SECRET, (CALLBACK, f"{CALLBACK}?x=1"), ("http://localhost:8080/_jit/signed-out",)),
        DemoClient("other", "other-secret", ("http://localhost:9999/cb",)),
    ]
    users = [
        DemoUser(
            "sub-1", "alice", "wonderland", {"name": "Alice <b>", "email": "alice@example.com", "groups": ["staff"]}
        ),
        DemoUser("sub-2", "bob", "builder"),
    ]
    return DemoProvider(ISSUER, clients, users, clock, tokens=CountedTokens(), key=KEY)


@pytest.fixture
def browser(provider: DemoProvider) -> Browser:
    return Browser(provider)


def test_metadata_names_the_issuer_and_endpoints_that_answer(browser: Browser) -> None:
    metadata = browser.call("GET", "/.well-known/openid-configuration").document
    assert metadata["issuer"] == ISSUER
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    for name in ("authorization_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"):
        path = str(metadata[name]).removeprefix(ISSUER)
        assert browser.call("GET", path).status != 404
    assert browser.call("POST", str(metadata["token_endpoint"]).removeprefix(ISSUER)).status == 401
    assert browser.call("GET", "/nothing").status == 404


def test_jwks_publishes_the_public_key_only(browser: Browser) -> None:
    (key,) = browser.call("GET", "/jwks").document["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


def test_login_page_lists_everyone_with_the_password_and_escapes_names(browser: Browser) -> None:
    answer = browser.authorize(login=None)
    page = answer.body.decode()
    assert answer.status == 200
    assert all(text in page for text in ("Alice &lt;b&gt;", "wonderland", "bob", "builder"))
    assert "<b>" not in page


def test_wrong_password_shows_the_form_again_and_gives_no_code(browser: Browser) -> None:
    for login in (("alice", "builder"), ("nobody", "wonderland"), ("", "")):
        answer = browser.authorize(login=login)
        assert answer.status == 401
        assert answer.header("Location") is None
    assert browser.cookie == ""


def test_answer_carries_code_state_and_iss(browser: Browser) -> None:
    answer = browser.authorize()
    assert answer.status == 303
    assert (answer.header("Location") or "").startswith(f"{CALLBACK}?")
    assert answer.location == {"code": answer.location["code"], "state": "st&te", "iss": ISSUER}


def test_answer_joins_a_query_the_redirect_uri_has(browser: Browser) -> None:
    assert (browser.authorize(redirect_uri=f"{CALLBACK}?x=1").header("Location") or "").startswith(
        f"{CALLBACK}?x=1&code="
    )


def test_answer_by_form_post_holds_the_same_fields(browser: Browser) -> None:
    answer = browser.authorize(response_mode="form_post")
    assert answer.status == 200
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.body.decode()))
    assert f'action="{CALLBACK}"' in answer.body.decode()
    assert fields == {"code": fields["code"], "state": "st&amp;te", "iss": ISSUER}
    assert browser.token(fields["code"]).status == 200


@pytest.mark.parametrize(
    "redirect_uri",
    [
        f"{CALLBACK}/",
        f"{CALLBACK}?y",
        CALLBACK.upper(),
        "http://localhost:9999/cb",
        "https://evil.example/",
        f"{CALLBACK}#f",
        None,
    ],
)
def test_redirect_uri_mismatch_is_refused_without_a_redirect(browser: Browser, redirect_uri: str | None) -> None:
    for login in (None, ("alice", "wonderland")):
        answer = browser.authorize(redirect_uri=redirect_uri, login=login)
        assert answer.status == 400
        assert answer.header("Location") is None


def test_unknown_client_is_refused_without_a_redirect(browser: Browser) -> None:
    answer = browser.authorize(client_id="nobody")
    assert (answer.status, answer.header("Location")) == (400, None)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
    ],
)
def test_faulty_authorization_request_is_sent_back(
    browser: Browser, changes: dict[str, str | None], error: str
) -> None:
    for login in (None, ("alice", "wonderland")):
        location = browser.authorize(login=login, **changes).location
        assert (location["error"], location["state"], location["iss"]) == (error, "st&te", ISSUER)
        assert "code" not in location


def test_repeated_parameter_is_refused(browser: Browser) -> None:
    answer = browser.call("GET", "/authorize", "client_id=notes&client_id=other")
    assert (answer.status, answer.document["error"]) == (400, "invalid_request")


def test_single_sign_on_answers_without_a_form_until_login_is_prompted_or_too_old(
    browser: Browser, clock: FakeClock
) -> None:
    assert browser.authorize(login=None, prompt="none").location["error"] == "login_required"
    browser.authorize()
    assert browser.cookie.startswith(SESSION_COOKIE)
    assert "code" in browser.authorize(login=None).location
    assert "code" in browser.authorize(login=None, prompt="none").location
    assert browser.authorize(login=None, prompt="login").status == 200
    clock.at += 100
    assert "code" in browser.authorize(login=None, max_age="100").location
    assert browser.authorize(login=None, max_age="99").status == 200


def test_id_token_verifies_and_says_who(browser: Browser, clock: FakeClock) -> None:
    answer = browser.token(browser.authorize().location["code"])
    assert answer.status == 200
    assert answer.header("Cache-Control") == "no-store"
    keys = KeySet.import_key_set(browser.call("GET", "/jwks").document)
    token = jwt.decode(str(answer.document["id_token"]), keys, algorithms=["RS256"])
    assert (token.header["alg"], token.header["kid"]) == ("RS256", KEY.kid)
    half = hashlib.sha256(str(answer.document["access_token"]).encode()).digest()[:16]
    assert token.claims == {
        "iss": ISSUER,
        "sub": "sub-1",
        "aud": "notes",
        "nonce": "n0nce",
        "iat": clock.at,
        "exp": clock.at + 300,
        "auth_time": clock.at,
        "amr": ["pwd"],
        "sid": token.claims["sid"],
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
        "preferred_username": "alice",
        "name": "Alice <b>",
        "email": "alice@example.com",
        "groups": ["staff"],
    }


def test_id_token_without_a_nonce_asked_for_has_none(browser: Browser) -> None:
    answer = browser.token(browser.authorize(nonce=None).location["code"])
    assert "nonce" not in jwt.decode(str(answer.document["id_token"]), KEY).claims


@pytest.mark.parametrize("verifier", ["w" * 64, VERIFIER + "v", CHALLENGE, "", "v" * 42, None])
def test_wrong_pkce_verifier_is_refused_and_spends_the_code(browser: Browser, verifier: str | None) -> None:
    code = browser.authorize().location["code"]
    answer = browser.token(code, code_verifier=verifier)
    assert (answer.status, answer.document["error"]) == (400, "invalid_grant")
    assert browser.token(code).document["error"] == "invalid_grant"


def test_code_reuse_is_refused_and_takes_the_access_token_back(browser: Browser) -> None:
    code = browser.authorize().location["code"]
    bearer = f"Bearer {browser.token(code).document['access_token']}"
    assert browser.call("GET", "/userinfo", authorization=bearer).document["sub"] == "sub-1"
    assert browser.token(code).document["error"] == "invalid_grant"
    assert browser.call("GET", "/userinfo", authorization=bearer).status == 401


def test_code_lives_for_a_minute(browser: Browser, clock: FakeClock) -> None:
    first, second = browser.authorize().location["code"], browser.authorize().location["code"]
    clock.at += 59
    assert browser.token(first).status == 200
    clock.at += 1
    assert browser.token(second).document["error"] == "invalid_grant"


def test_code_of_another_client_or_redirect_uri_is_refused(browser: Browser) -> None:
    code = browser.authorize().location["code"]
    assert browser.token(code, client_id="other", client_secret="other-secret").document["error"] == "invalid_grant"
    code = browser.authorize().location["code"]
    assert browser.token(code, redirect_uri=f"{CALLBACK}?x=1").document["error"] == "invalid_grant"


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{quote(client_id)}:{quote(secret, safe='')}".encode()).decode()


def test_client_secret_basic_is_form_encoded_before_it_is_joined(browser: Browser) -> None:
    code = browser.authorize().location["code"]
    answer = browser.token(code, authorization=basic("notes", SECRET), client_id=None, client_secret=None)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"authorization": basic("notes", "wrong"), "client_secret": None}, 401, "invalid_client"),
        ({"authorization": "Basic ???", "client_secret": None}, 401, "invalid_client"),
        (
            {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode(), "client_secret": None},
            401,
            "invalid_client",
        ),
        ({"authorization": basic("notes", SECRET)}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_client_that_does_not_authenticate_gets_no_token(
    browser: Browser, changes: dict[str, str | None], status: int, error: str
) -> None:
    code = browser.authorize().location["code"]
    answer = browser.token(code, **changes)
    assert (answer.status, answer.document["error"]) == (status, error)
    assert ("WWW-Authenticate" in dict(answer.headers)) is (status == 401)
    assert browser.token(code).status == 200


def test_access_token_expires(browser: Browser, clock: FakeClock) -> None:
    bearer = f"Bearer {browser.token(browser.authorize().location['code']).document['access_token']}"
    clock.at += 300
    answer = browser.call("POST", "/userinfo", authorization=bearer)
    assert (answer.status, answer.document["error"]) == (401, "invalid_token")


def test_logout_with_an_id_token_returns_to_the_registered_uri(browser: Browser) -> None:
    hint = str(browser.token(browser.authorize().location["code"]).document["id_token"])
    target = "http://localhost:8080/_jit/signed-out"
    query = urlencode({"id_token_hint": hint, "post_logout_redirect_uri": target, "state": "x&y"})
    answer = browser.call("GET", "/end-session", query)
    assert (answer.status, answer.header("Location")) == (303, f"{target}?state=x%26y")
    assert browser.authorize(login=None, prompt="none").location["error"] == "login_required"


def test_logout_does_not_return_to_a_foreign_uri(browser: Browser) -> None:
    hint = str(browser.token(browser.authorize().location["code"]).document["id_token"])
    query = urlencode({"id_token_hint": hint, "post_logout_redirect_uri": "https://evil.example/"})
    answer = browser.call("GET", "/end-session", query)
    assert (answer.status, answer.header("Location")) == (200, None)


@pytest.mark.parametrize("hint", ["", "junk", "a.b.c", "ü.ü.ü"])
def test_logout_without_a_genuine_id_token_asks_first(browser: Browser, hint: str) -> None:
    browser.authorize()
    assert b"Sign out?" in browser.call("GET", "/end-session", urlencode({"id_token_hint": hint})).body
    assert "code" in browser.authorize(login=None, prompt="none").location
    browser.call("POST", "/end-session", "", {"id_token_hint": hint, "confirmed": "yes"})
    assert browser.authorize(login=None, prompt="none").location["error"] == "login_required"


def test_front_page_leads_to_the_sign_out(browser: Browser) -> None:
    assert f'href="{ISSUER}/end-session"' in browser.call("GET", "/").body.decode()


def test_token_of_another_key_is_no_hint(browser: Browser) -> None:
    foreign = RSAKey.generate_key(2048, auto_kid=True)
    hint = jwt.encode({"alg": "RS256"}, {"aud": "notes"}, foreign)
    assert b"Sign out?" in browser.call("GET", "/end-session", urlencode({"id_token_hint": hint})).body


def test_oversized_and_hostile_input_is_refused_without_a_traceback(browser: Browser) -> None:
    assert browser.call("POST", "/token", "", "a=" + "x" * 70_000).status == 413
    assert browser.call("GET", "/authorize", "client_id=%ff%00&redirect_uri=%0d%0a").status == 400
    browser.cookie = '@=";;[]'
    assert browser.authorize(login=None).status == 200


def test_sign_makes_tokens_an_honest_provider_would_not(provider: DemoProvider) -> None:
    token = jwt.decode(provider.sign({"iss": "elsewhere"}, typ="logout+jwt"), KEY)
    assert (token.header["typ"], token.claims) == ("logout+jwt", {"iss": "elsewhere"})
