"""Answers through the browser and answers of the token endpoint that lie."""

from __future__ import annotations

import json

from tests.adversarial import keys
from tests.adversarial.bends import (
    Bend,
    answer,
    answers,
    claims_in_userinfo,
    html,
    metadata,
    only_tokens,
    reply,
    status,
    tokens,
    userinfo,
)
from tests.adversarial.cases import Case, malformed, refused, rejected, restarted, unavailable
from tests.adversarial.provider import CLIENT_ID, HostileProvider
from tests.adversarial.wire import JSON, Reply

FORM_POST = {"JIT_OIDC_RESPONSE_MODE": "form_post"}
ALWAYS = {"JIT_OIDC_USERINFO": "always"}
MIXUP = "attack catalogue 24; RFC 9207 §2.4; FAPI 2.0: iss response parameter"
MARKUP = '"><script>alert(1)</script>'


def _iss(value: str | None) -> Bend:
    """Another ``iss``, or none."""

    def change(pairs: list[tuple[str, str]]) -> None:
        pairs[:] = [pair for pair in pairs if pair[0] != "iss"] + ([] if value is None else [("iss", value)])

    return answer(change)


def _also(name: str, value: str | None = None) -> Bend:
    """A parameter once more, with the honest value or another."""
    return answer(lambda pairs: pairs.append((name, dict(pairs)[name] if value is None else value)))


def _userinfo_jwt(text: str) -> Bend:
    return reply("userinfo", lambda honest: Reply(200, text.encode(), (("Content-Type", "application/jwt"),)))


def _signed_userinfo(**changes: object) -> Bend:
    """Signed userinfo with wrong parts."""

    def bend(provider: HostileProvider) -> None:
        def sign(honest: Reply) -> Reply:
            document = {**json.loads(honest.body), "iss": provider.issuer, "aud": CLIENT_ID, **changes}
            key = keys.rsa("another") if changes.get("forged") else provider.signing_key
            head = {"alg": "none" if changes.get("unsigned") else "RS256", "kid": "main"}
            token = keys.compact(head, json.dumps(document).encode(), None if changes.get("unsigned") else key, "RS256")
            return Reply(200, token.encode(), (("Content-Type", "application/jwt"),))

        provider.on_reply["userinfo"] = [sign]

    return bend


def _refuses(error: object, code: int = 400, **more: object) -> Bend:
    document = {"error": error, **more}
    return reply("token", lambda honest: Reply(code, json.dumps(document).encode(), JSON))


# fmt: off
ANSWER: list[Case] = [
    refused("error-login-required", "login_required", "OpenID Form Post RP: form-post-error, as a query", answers(error="login_required")),
    refused("form-post-error", "login_required", "OpenID Form Post RP: oidcc-client-test-form-post-error", answers(error="login_required"), env=FORM_POST),
    refused("error-access-denied", "access_denied", "RFC 6749 §4.1.2.1", answers(error="access_denied", error_description="No.")),
    refused("error-with-markup", "provider_error", "CWE-79", answers(error=MARKUP, error_description=MARKUP, error_uri="javascript:alert(1)")),
    refused("error-with-line-breaks", "provider_error", "attack catalogue 66", answers(error="x\r\n2026 login ok", error_description="\x1b[2J\u2028")),
    refused("error-of-great-length", "provider_error", "attack catalogue 67", answers(error="e" * 20_000)),
    refused("error-beside-a-code", "access_denied", "RFC 6749 §4.1.2", answers(keep=("code", "state", "iss"), error="access_denied")),
    refused("error-empty", "provider_error", "RFC 6749 §4.1.2.1", answers(error="")),
    rejected("error-of-another-issuer", "response_iss_mismatch", "RFC 9207 §2.4: errors as well", answers(keep=("state",), iss="https://evil.example", error="access_denied")),
    rejected("code-missing", "code_missing", "RFC 6749 §4.1.2", answers()),
    rejected("code-empty", "code_missing", "RFC 6749 §4.1.2", answers(code="")),
    rejected("code-with-line-break", "code_malformed", "RFC 6749 §A.11: VSCHAR", answers(code="a\r\nb")),
    rejected("code-non-ascii", "code_malformed", "RFC 6749 §A.11", answers(code="cöde")),
    rejected("code-too-long", "code_malformed", "attack catalogue 67", answers(code="c" * 9000)),
    refused("code-of-nobody", "invalid_grant", "RFC 6749 §5.2", answers(code="code-that-was-never-issued")),
    rejected("jarm-answer", "code_missing|response_iss_missing", "JARM: not asked for", answers(response="eyJhbGciOiJub25lIn0.e30.")),
    malformed("state-twice", "parameter_repeated", "let through by Authlib 1.9.9; RFC 6749 §3.1", _also("state")),
    malformed("state-twice-and-another", "parameter_repeated", "RFC 6749 §3.1", _also("state", "x")),
    malformed("code-twice", "parameter_repeated", "let through by Authlib 1.9.9", _also("code")),
    malformed("code-twice-and-another", "parameter_repeated", "attack catalogue 26", _also("code", "stolen")),
    malformed("iss-twice", "parameter_repeated", MIXUP, _also("iss", "https://evil.example")),
    malformed("state-missing", "state_missing", "FAPI 2.0: missing state", answers(keep=("code", "iss"))),
    malformed("form-post-state-twice", "parameter_repeated", "RFC 6749 §3.1", _also("state"), env=FORM_POST),
    malformed("nothing-at-all", "state_missing", "RFC 6749 §4.1.2", answers(keep=())),
    malformed("sixty-parameters", "parameters_malformed", "attack catalogue 67", answer(lambda pairs: pairs.extend((f"p{n}", "") for n in range(60)))),
    restarted("state-invalid", "FAPI 2.0: invalid state", answers(keep=("code", "iss"), state="0" * 32 + ".0")),
    restarted("state-of-another-shape", "attack catalogue 25", answers(keep=("code", "iss"), state="ä/..%00.0")),
    rejected("iss-param-wrong", "response_iss_mismatch", f"let through by Authlib 1.9.9; {MIXUP}", _iss("https://evil.example")),
    rejected("iss-param-missing", "response_iss_missing", f"let through by Authlib 1.9.9; {MIXUP}", _iss(None)),
    rejected("iss-param-unadvertised-wrong", "response_iss_mismatch", f"let through by Authlib 1.9.9; {MIXUP}", _iss("https://evil.example"), metadata(authorization_response_iss_parameter_supported=...)),
    rejected("iss-param-empty", "response_iss_mismatch", MIXUP, _iss("")),
    rejected("iss-param-with-slash", "response_iss_mismatch", f"attack catalogue 15; {MIXUP}", lambda p: _iss(f"{p.issuer}/")(p)),
    # The token endpoint
    refused("token-invalid-grant", "invalid_grant", "RFC 6749 §5.2", _refuses("invalid_grant")),
    refused("token-invalid-client", "invalid_client", "RFC 6749 §5.2", _refuses("invalid_client", 401)),
    refused("token-error-with-status-200", "invalid_grant", "seen in the wild", _refuses("invalid_grant", 200)),
    refused("token-error-with-markup", "provider_error", "CWE-79", _refuses(MARKUP, error_description=MARKUP)),
    refused("token-error-no-text", "provider_error", "RFC 6749 §5.2", _refuses({"code": 1})),
    refused("token-error-null", "provider_error", "RFC 6749 §5.2", _refuses(None)),
    refused("token-error-beside-tokens", "invalid_grant", "RFC 6749 §5", tokens(error="invalid_grant")),
    unavailable("token-400-without-error", "token_endpoint_failed", "RFC 6749 §5.2", status("token", 400, b"{}")),
    unavailable("token-500", "token_endpoint_failed", "RFC 6749 §5", status("token", 500)),
    unavailable("token-429", "token_endpoint_failed", "RFC 6585 §4", status("token", 429)),
    unavailable("token-html", "token_answer_not_json", "RFC 6749 §5.1", html("token", 200)),
    unavailable("token-html-502", "token_endpoint_failed", "RFC 6749 §5.1", html("token", 502)),
    rejected("token-empty-object", "token_type_unsupported", "RFC 6749 §5.1", only_tokens()),
    rejected("token-no-id-token", "id_token_missing", "OIDC Core §3.1.3.3", tokens(id_token=...)),
    rejected("token-id-token-null", "id_token_missing", "OIDC Core §3.1.3.3", tokens(id_token=None)),
    rejected("token-id-token-object", "id_token_missing", "OIDC Core §3.1.3.3", tokens(id_token={"iss": "x"})),
    rejected("token-no-access-token", "access_token_malformed", "let through by Authlib 1.9.9", tokens(access_token=...)),
    rejected("token-access-token-number", "access_token_malformed", "RFC 6749 §5.1", tokens(access_token=12345)),
    rejected("token-access-crlf", "access_token_malformed", "let through by Authlib 1.9.9; CWE-113", tokens(access_token="abc\r\nHost: evil.example")),
    rejected("token-access-blank", "access_token_malformed", "RFC 6750 §2.1", tokens(access_token="a b")),
    rejected("token-access-non-ascii", "access_token_malformed", "RFC 6750 §2.1", tokens(access_token="tökén")),
    rejected("token-access-too-long", "access_token_malformed", "attack catalogue 67", tokens(access_token="a" * 70_000)),
    rejected("token-type-mac", "token_type_unsupported", "let through by Authlib 1.9.9; RFC 6749 §7.1", tokens(token_type="mac")),
    rejected("token-type-dpop", "token_type_unsupported", "RFC 9449 §5", tokens(token_type="DPoP")),
    rejected("token-type-missing", "token_type_unsupported", "RFC 6749 §5.1", tokens(token_type=...)),
    rejected("token-type-list", "token_type_unsupported", "RFC 6749 §5.1", tokens(token_type=["Bearer"])),
    # Userinfo
    rejected("userinfo-invalid-sub", "userinfo_subject_mismatch", "OpenID Basic RP: oidcc-client-test-userinfo-invalid-sub; attack catalogue 34", userinfo(sub="somebody-else"), env=ALWAYS),
    rejected("userinfo-sub-missing", "userinfo_subject_mismatch", "OIDC Core §5.3.2", userinfo(sub=...), claims_in_userinfo),
    rejected("userinfo-sub-other-case", "userinfo_subject_mismatch", "attack catalogue 17", userinfo(sub="Subject-of-Ada"), env=ALWAYS),
    rejected("userinfo-sub-list", "userinfo_subject_mismatch", "OIDC Core §5.3.2", userinfo(sub=["subject-of-ada"]), env=ALWAYS),
    rejected("userinfo-not-offered", "userinfo_unsupported", "OIDC Discovery §3", metadata(userinfo_endpoint=...), env=ALWAYS),
    unavailable("userinfo-401", "userinfo_unavailable", "OIDC Core §5.3.3", status("userinfo", 401), env=ALWAYS),
    unavailable("userinfo-500", "userinfo_unavailable", "OIDC Core §5.3.3", status("userinfo", 500), claims_in_userinfo),
    unavailable("userinfo-html", "userinfo_malformed", "OIDC Core §5.3.2", html("userinfo", 200), env=ALWAYS),
    unavailable("userinfo-array", "userinfo_malformed", "OIDC Core §5.3.2", status("userinfo", 200, b'[{"sub": "subject-of-ada"}]'), env=ALWAYS),
    rejected("userinfo-jwt-garbage", "token_malformed", "OIDC Core §5.3.2", _userinfo_jwt("not.a.token"), env=ALWAYS),
    rejected("userinfo-jwt-unsigned", "algorithm_not_allowed", "attack catalogue 27", _signed_userinfo(unsigned=True), env=ALWAYS),
    rejected("userinfo-jwt-forged", "signature_invalid", "OIDC Core §5.3.2", _signed_userinfo(forged=True), env=ALWAYS),
    rejected("userinfo-jwt-other-issuer", "issuer_mismatch", "OIDC Core §5.3.2", _signed_userinfo(iss="https://evil.example"), env=ALWAYS),
    rejected("userinfo-jwt-other-audience", "audience_mismatch", "OIDC Core §5.3.2", _signed_userinfo(aud="client-of-somebody-else"), env=ALWAYS),
    rejected("userinfo-jwt-expired", "token_expired", "RFC 7519 §4.1.4", _signed_userinfo(exp=1_600_000_000), env=ALWAYS),
    rejected("userinfo-jwt-other-sub", "userinfo_subject_mismatch", "OIDC Core §5.3.2", _signed_userinfo(sub="somebody-else"), env=ALWAYS),
    # Pushed authorization requests
    *(
        make(name, reason, "RFC 9126 §2.2, §2.3", metadata(require_pushed_authorization_requests=True, pushed_authorization_request_endpoint="{base}/par"), bend)
        for make, name, reason, bend in (
            (refused, "par-error", "invalid_request", status("par", 400, b'{"error": "invalid_request"}')),
            (unavailable, "par-500", "pushed_request_failed", status("par", 500)),
            (unavailable, "par-html", "pushed_request_failed", html("par", 200)),
            (unavailable, "par-no-reference", "pushed_request_failed", status("par", 201, b"{}")),
            (unavailable, "par-reference-with-line-break", "pushed_request_failed", status("par", 201, b'{"request_uri": "urn:x\\r\\nSet-Cookie: a=b"}')),
        )
    ),
]
# fmt: on
