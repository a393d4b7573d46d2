"""No secret in a log line, an audit row or a page: every token, code, verifier, nonce, cookie, client secret, address."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from tests.adversarial.bends import claims, claims_in_userinfo, html, metadata, person, reset_connection, status, tokens
from tests.adversarial.cases_lawful import CLIENT_KEY, CLIENT_PEM, FORM_POST
from tests.adversarial.provider import HostileProvider
from tests.adversarial.stage import SECRET_KEY, Stage
from tests.client import Answer, Edge

EMAIL = "ada.quill@people.example"


class Watched:
    """A stage whose every answer and cookie is kept."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.pages: list[Answer] = []
        self.cookies: set[str] = set()
        exchange = stage.browser.world.exchange

        def watch(request):  # type: ignore[no-untyped-def]
            answer = exchange(request)
            self.pages.append(answer)
            for line in answer.all("set-cookie"):
                name, _, rest = line.partition("=")
                value = rest.partition(";")[0]
                if value and "hops" not in name:
                    self.cookies.add(value)
            return answer

        stage.browser.world.exchange = watch  # type: ignore[method-assign]

    def secrets(self) -> Iterator[str]:
        """Everything secret that was made in the run, as itself and as it stands in URLs."""
        made: set[str] = {SECRET_KEY, EMAIL, EMAIL.partition("@")[0], *self.cookies}
        for provider in self.stage.providers:
            made |= {text for text in provider.made if len(text) > 12}
            for code in provider.codes.values():
                made |= {code.request[name] for name in ("state", "nonce") if name in code.request}
        for jws in [text for text in made if text.count(".") == 2]:
            made |= {part for part in jws.split(".")[1:] if len(part) > 20}
        made |= {cookie.partition(".")[0].split(":")[1] for cookie in self.cookies if cookie.startswith("1:")}
        for text in made:
            yield text
            yield quote(text, safe="")

    def assert_kept(self) -> None:
        """Look through the log, the audit trail and the pages of our own."""
        ours = [page.text for page in self.pages if page.header("x-frame-options") and page.status != 302]
        # Who one is, told to oneself, is no leak; a script of the app asks for it.
        ours = [text.replace(f'"email": "{EMAIL}"', "") for text in ours]
        trail = [repr(event) for event in self.stage.audit()]
        log = [unquote(line) for line in self.stage.log.lines] + self.stage.log.lines
        assert log
        sessions = {event.session for event in self.stage.audit()}
        for secret in set(self.secrets()):
            for line in log:
                assert secret not in line, f"logged: {line[:300]}"
            for page in ours:
                assert secret not in page, "on a page"
            if secret not in sessions:
                for event in trail:
                    assert secret not in event, f"audited: {event}"


RUNS: dict[str, tuple[Callable[[HostileProvider], None], dict[str, str], dict[str, object]]] = {
    "success": (lambda p: None, {}, {}),
    "success-form-post": (lambda p: None, FORM_POST, {}),
    "success-userinfo": (claims_in_userinfo, {}, {}),
    "success-client-secret-post": (lambda p: None, {}, {"client_auth": "client_secret_post"}),
    "success-private-key": (lambda p: None, {"JIT_OIDC_CLIENT_SECRET": "", "JIT_OIDC_PRIVATE_KEY": CLIENT_PEM}, {"client_auth": "private_key_jwt", "client_key": CLIENT_KEY}),
    "success-pushed": (metadata(require_pushed_authorization_requests=True, pushed_authorization_request_endpoint="{base}/par"), {}, {}),
    "wrong-nonce": (claims(nonce="a-nonce-of-another-login"), {}, {}),
    "wrong-signature": (lambda p: p.on_id_token.append(lambda token: token[:-8] + "AAAAAAAA"), {}, {}),
    "malformed-email": (person(email=f"{EMAIL}\0x"), {}, {}),
    "domain-not-allowed": (lambda p: None, {"JIT_ALLOWED_DOMAINS": "company.example"}, {}),
    "username-unusable": (person(preferred_username=f"{EMAIL}\n"), {}, {}),
    "access-token-malformed": (tokens(access_token="access token with blanks and enough length"), {}, {}),
    "token-endpoint-reset": (reset_connection("token"), {}, {}),
    "token-endpoint-html": (html("token", 502), {}, {}),
    "token-endpoint-error": (status("token", 400, b'{"error": "invalid_grant", "error_description": "ada.quill@people.example is blocked"}'), {}, {}),
    "userinfo-500": (status("userinfo", 500), {"JIT_OIDC_USERINFO": "always"}, {}),
    "userinfo-other-sub": (lambda p: p.on_userinfo.append(lambda d: d.update(sub="another")), {"JIT_OIDC_USERINFO": "always"}, {}),
    "error-answer": (lambda p: p.on_answer.append(lambda pairs: pairs.append(("error", EMAIL))), {}, {}),
    "jwks-gone": (status("jwks", 404), {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_no_secret_leaves_in_a_log_line_an_audit_row_or_a_page(
    name: str, edge: Edge, tmp_path: Path, make_provider: Callable[..., HostileProvider]
) -> None:
    bend, env, how = RUNS[name]
    provider = make_provider(**how)
    bend(provider)
    with Stage(edge, tmp_path, provider, env=env) as stage:
        watched = Watched(stage)
        ending = stage.log_in()
        assert (ending.answer.status == 303) is name.startswith("success"), stage.log.own
        if ending.answer.status == 303:
            stage.browser.get("/_jit/logout")
            stage.browser.get("/reports")
        back = stage.authorized(stage.begin(stage.browser.another()))
        stage.carry(back)  # a foreign answer
        stage.carry(back, stage.browser.another())
        stage.browser.get("/_jit/session")
        stage.browser.get("/_jit/callback/oidc?state=x&state=y&code=a-code-that-must-not-be-logged")
        assert not any("a-code-that-must-not-be-logged" in line for line in stage.log.lines)
        if ending.answer.status == 303:
            stage.browser.post("/_jit/logout")
        assert watched.cookies
        watched.assert_kept()


def test_the_search_finds_what_it_looks_for(stage: Stage, provider: HostileProvider) -> None:
    """Each kind of secret, were it logged, would be seen."""
    watched = Watched(stage)
    stage.log_in()
    stage.browser.another().get("/_jit/callback/oidc?state=unknown.1&code=x")  # refused, and so in the log
    [code] = provider.codes
    [access_token] = provider.tokens
    id_token = next(text for text in provider.made if text.startswith("eyJ"))
    lines = list(stage.log.lines)
    for secret in (
        code,
        access_token,
        id_token,
        id_token.split(".")[1],
        *watched.cookies,
        provider.client_secret,
        EMAIL,
    ):
        stage.log.lines[:] = [*lines, f"jit_middleware INFO something about {secret} here"]
        with pytest.raises(AssertionError, match="logged"):
            watched.assert_kept()
    stage.log.lines[:] = lines
    watched.assert_kept()


def test_failure_of_the_database_tells_nothing(stage: Stage) -> None:
    """A driver quotes the row it was about; we do not."""
    watched = Watched(stage)
    back = stage.authorized(stage.begin())
    with closing(sqlite3.connect(stage.database)) as connection:
        connection.execute("DROP TABLE jit_sessions")
        connection.commit()
    answer = stage.carry(back)
    assert answer.status == 503, stage.log.own
    assert not stage.has_session(answer)
    for secret in set(watched.secrets()):
        for line in stage.log.lines:
            assert secret not in line, f"logged: {line[:300]}"
        assert secret not in answer.text
    assert "jit_sessions" not in answer.text


def test_secrets_at_rest(stage: Stage, provider: HostileProvider) -> None:
    """Whoever reads the database can neither take over a session nor replay a login."""
    watched = Watched(stage)
    stage.log_in()
    raw = stage.database.read_bytes()
    wal = stage.database.with_name(stage.database.name + "-wal")
    raw += wal.read_bytes() if wal.exists() else b""
    for secret in [*provider.made, *watched.cookies]:
        if secret.startswith(("code-", "access-", "refresh-", "eyJ", "1:", "gAAAA", "client-secret")):
            assert secret.encode() not in raw, secret[:12]
    for code in provider.codes.values():
        assert code.request["nonce"].encode() not in raw


def test_repr_of_settings_shows_no_secret(stage: Stage, provider: HostileProvider) -> None:
    text = repr(stage.settings) + str(stage.settings)
    assert provider.client_secret not in text
    assert SECRET_KEY not in text
