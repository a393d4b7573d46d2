"""``check --live``: each step says ok, or what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from email.utils import formatdate

import pytest
from joserfc.jwk import ECKey

from jit_middleware.cli.live import check_connection
from jit_middleware.cli.step import Step
from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Fetch, Fetched
from jit_middleware.settings import OIDCConnection, StepUpRule

NOW = 1_800_000_000
ISSUER = "https://login.example.org"
DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"
JWKS = f"{ISSUER}/jwks"
METADATA: Mapping[str, object] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": JWKS,
    "id_token_signing_alg_values_supported": ["RS256"],
    "code_challenge_methods_supported": ["plain", "S256"],
    "token_endpoint_auth_methods_supported": ["client_secret_post"],
    "response_modes_supported": ["query"],
}
PRIVATE_KEY = json.dumps(ECKey.generate_key("P-256").as_dict(private=True))
KEYS = {"keys": [{"kty": "RSA", "use": "sig", "n": "AQ", "e": "AQAB"}]}


class StillClock:
    def now(self) -> int:
        return NOW

    def monotonic(self) -> float:
        return 0.0


class Provider:
    """Answers what it was told to; anything else is unreachable."""

    def __init__(self, answers: Mapping[str, Fetched]) -> None:
        self._answers = answers

    async def fetch(self, request: Fetch) -> Fetched:
        if request.url not in self._answers:
            raise ProviderUnavailable("unreachable", "login.example.org")
        return self._answers[request.url]

    async def close(self) -> None: ...


def answer(body: object, *, status: int = 200, date: int | None = NOW) -> Fetched:
    headers = {} if date is None else {"date": formatdate(date, usegmt=True)}
    return Fetched(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def steps(
    connection: OIDCConnection | None = None, *, step_up: Sequence[StepUpRule] = (), **answers: Fetched | None
) -> dict[str, Step]:
    known = {"discovery": answer(METADATA), "jwks": answer(KEYS)} | answers
    urls = {"discovery": DISCOVERY, "jwks": JWKS}
    provider = Provider({urls[name]: each for name, each in known.items() if each is not None})
    asked = connection or OIDCConnection("oidc", ISSUER, "app", "s")
    found = asyncio.run(check_connection(asked, transport=provider, clock=StillClock(), step_up=step_up))
    return {step.name.removeprefix("oidc "): step for step in found}


def failing(found: Mapping[str, Step]) -> set[str]:
    assert all(step.fix for step in found.values() if not step.ok)
    return {name for name, step in found.items() if not step.ok}


def changed(**members: object) -> Fetched:
    return answer({name: value for name, value in {**METADATA, **members}.items() if value is not None})


def test_sound_provider_passes_every_step() -> None:
    found = steps()
    assert failing(found) == set()
    assert set(found) == {"discovery", "issuer", "clock", "endpoints", "algorithms", "PKCE", "keys"}


def test_issuer_with_a_path_is_asked_below_it() -> None:
    issuer = f"{ISSUER}/tenant/"
    provider = Provider(
        {f"{ISSUER}/tenant/.well-known/openid-configuration": changed(issuer=issuer), JWKS: answer(KEYS)}
    )
    connection = OIDCConnection("oidc", issuer, "app", "s")
    found = asyncio.run(check_connection(connection, transport=provider, clock=StillClock()))
    assert all(step.ok for step in found)


@pytest.mark.parametrize(
    "discovery", [None, answer({}, status=404), answer(b"<html>"), answer([1]), answer(b"[" * 100_000)]
)
def test_failed_discovery_is_the_only_step(discovery: Fetched | None) -> None:
    found = steps(discovery=discovery)
    assert set(found) == failing(found) == {"discovery"}


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("name_unresolved", "typing errors"),
        ("connection_refused", "host and port"),
        ("certificate_untrusted", "SSL_CERT_FILE"),
        ("deadline", "firewall"),
        ("url_forbidden", "JIT_PRIVATE_HOSTS"),
        ("redirected", "leads to"),
        ("unreachable", "DNS"),
    ],
)
def test_a_provider_that_cannot_be_asked_gets_the_fix_for_that(reason: str, fix: str) -> None:
    class Away:
        async def fetch(self, request: Fetch) -> Fetched:
            raise ProviderUnavailable(reason, "login.example.org: why")

        async def close(self) -> None: ...

    asked = OIDCConnection("oidc", ISSUER, "app", "s")
    (step,) = asyncio.run(check_connection(asked, transport=Away(), clock=StillClock()))
    assert f"{reason}: login.example.org: why" in step.detail
    assert fix in step.fix


@pytest.mark.parametrize(("status", "fix"), [(404, "path of the issuer"), (400, "path of the issuer"), (502, "log")])
def test_discovery_that_is_not_there_asks_for_the_path(status: int, fix: str) -> None:
    found = steps(discovery=answer({}, status=status))
    assert fix in found["discovery"].fix
    assert "DNS" not in found["discovery"].fix


@pytest.mark.parametrize(
    ("discovery", "step"),
    [
        (changed(issuer=f"{ISSUER}/"), "issuer"),
        (changed(issuer=None), "issuer"),
        (changed(token_endpoint=None), "endpoints"),
        (changed(token_endpoint="http://login.example.org/token"), "endpoints"),
        (changed(id_token_signing_alg_values_supported=["HS256"]), "algorithms"),
        (changed(code_challenge_methods_supported=["plain"]), "PKCE"),
    ],
)
def test_bad_metadata_fails_its_own_step(discovery: Fetched, step: str) -> None:
    assert failing(steps(discovery=discovery)) == {step}


def test_what_the_provider_does_not_mention_is_not_held_against_it() -> None:
    silent = changed(id_token_signing_alg_values_supported=None, code_challenge_methods_supported=None)
    assert failing(steps(discovery=silent)) == set()


@pytest.mark.parametrize(("away", "ok"), [(0, True), (60, True), (-60, True), (61, False), (-3600, False)])
def test_clock_is_compared_with_the_date_header(away: int, ok: bool) -> None:
    step = steps(discovery=answer(METADATA, date=NOW + away))["clock"]
    assert step.ok is ok
    assert f"{away:+d}s" in step.detail


def test_clock_is_not_judged_without_a_date() -> None:
    assert steps(discovery=answer(METADATA, date=None))["clock"].ok


@pytest.mark.parametrize(
    "jwks",
    [
        None,
        answer({}, status=500),
        answer(b"no"),
        answer({"keys": []}),
        answer({"keys": "x"}),
        answer({"keys": [1, {"kty": "oct", "k": "AQ"}, {"kty": "RSA", "use": "enc"}]}),
    ],
)
def test_keys_must_hold_one_for_signatures(jwks: Fetched | None) -> None:
    assert failing(steps(jwks=jwks)) == {"keys"}


def test_configured_choices_are_compared_with_the_offer() -> None:
    connection = OIDCConnection(
        "oidc", ISSUER, "app", "s", client_auth="client_secret_basic", response_mode="form_post"
    )
    assert failing(steps(connection)) == {"client auth", "response mode"}
    fitting = OIDCConnection("oidc", ISSUER, "app", "s", client_auth="client_secret_post", response_mode="query")
    assert failing(steps(fitting)) == set()


RULES = (StepUpRule(("/admin/*",), acr=("phr",)), StepUpRule(("/keys",), max_age=60))


@pytest.mark.parametrize(
    ("offered", "warned"), [(["low", "phr"], False), (["low"], True), ([], True), (None, False)], ids=str
)
def test_a_rule_whose_acr_the_provider_does_not_offer_is_pointed_out(offered: list[str] | None, warned: bool) -> None:
    step = steps(step_up=RULES, discovery=changed(acr_values_supported=offered))["step-up"]
    assert step.ok, "the people of one provider may not be meant"
    assert ("warning" in step.detail, "/admin/*" in step.detail) == (warned, warned)


def test_without_rules_there_is_no_word_on_them() -> None:
    assert "step-up" not in steps()
    assert "refresh probe" not in steps()


@pytest.mark.parametrize(
    ("scopes", "members", "ok", "word"),
    [
        (("openid",), {}, True, "15m"),
        (("openid",), {"scopes_supported": ["openid", "offline_access"]}, True, "offline_access"),
        (("openid", "offline_access"), {"scopes_supported": ["openid", "offline_access"]}, True, "15m"),
        (("openid",), {"grant_types_supported": ["authorization_code"]}, False, "no refresh tokens"),
    ],
    ids=["silent", "not-asked-for", "asked-for", "none-offered"],
)
def test_what_a_probe_needs_is_compared_with_the_offer(
    scopes: tuple[str, ...], members: dict[str, object], ok: bool, word: str
) -> None:
    probed = OIDCConnection("oidc", ISSUER, "app", "s", scopes=scopes, refresh_probe=900)
    step = steps(probed, discovery=changed(**members))["refresh probe"]
    assert (step.ok, word in step.detail) == (ok, True)


def tried(token: Fetched | None, connection: OIDCConnection | None = None, **members: object) -> Step:
    metadata = answer({**METADATA, "token_endpoint_auth_methods_supported": ["client_secret_basic"], **members})
    known = {DISCOVERY: metadata, JWKS: answer(KEYS)} | ({} if token is None else {f"{ISSUER}/token": token})
    provider = Provider(known)
    asked = connection or OIDCConnection("okta", ISSUER, "app", "hunter2")
    url = "https://app.example.org/_jit/callback/okta"
    asking = check_connection(asked, transport=provider, clock=StillClock(), redirect_uri=url)
    (step,) = [step for step in asyncio.run(asking) if step.name == f"{asked.name} client"]
    assert "hunter2" not in step.detail + step.fix
    return step


def test_a_made_up_code_that_is_refused_as_such_proves_the_client() -> None:
    step = tried(answer({"error": "invalid_grant"}, status=400))
    assert step.ok
    assert step.detail == (
        "accepted: a made-up code is refused as such (invalid_grant); not tried: whether "
        "https://app.example.org/_jit/callback/okta is registered as redirect URI"
    )


@pytest.mark.parametrize("status", [400, 401])
def test_client_that_the_provider_does_not_accept_is_named_with_its_settings(status: int) -> None:
    step = tried(answer({"error": "invalid_client"}, status=status))
    assert not step.ok
    assert step.detail == "the provider does not accept this client (invalid_client)."
    assert "client_id or client_secret (connection okta)" in step.fix
    own_key = OIDCConnection("oidc", ISSUER, "app", private_key=PRIVATE_KEY)
    step = tried(answer({"error": "invalid_client"}, status=status), own_key)
    assert "JIT_OIDC_CLIENT_ID or JIT_OIDC_PRIVATE_KEY (connection oidc)" in step.fix


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (answer({"error": "invalid_request"}, status=400), "invalid_request"),
        (answer({"error": "unauthorized_client"}, status=400), "unauthorized_client"),
        (answer({"error": 7}, status=400), "provider_error"),
        (answer(b"<html>", status=502), "token_endpoint_failed"),
        (answer(b"<html>", status=404), "token_answer_not_json"),
        (answer({"access_token": "x", "token_type": "Bearer", "id_token": "y"}), "tokens for a made-up code"),
        (None, "unreachable"),
    ],
)
def test_an_answer_that_tells_nothing_of_the_client_is_no_failure(token: Fetched | None, said: str) -> None:
    step = tried(token)
    assert step.ok
    assert step.detail.startswith("not known: ")
    assert said in step.detail


def test_metadata_that_no_login_would_take_leaves_the_client_untried() -> None:
    step = tried(answer({"error": "invalid_grant"}, status=400), issuer="https://other.example.org")
    assert step.ok
    assert step.detail == "not tried: metadata_issuer_mismatch"
